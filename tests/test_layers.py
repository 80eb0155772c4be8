"""Imports point down only (the picture is in docs/design.md); this test holds the code to it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "bstheory"

# What a package may import from bstheory, besides itself and the base modules.
BASE = {"half_life", "run", "verdict", "references", "errors", "files", "trusted", "terminal"}
ALLOWED = {
    "schedules": set(),
    "theory": {"schedules"},
    "problems": {"schedules", "models"},
    "models": {"schedules"},
    "checking": {"theory", "problems", "schedules"},
    "simulation": {"theory", "problems", "schedules"},
    "training": {"theory", "problems", "models", "schedules"},
    "comparison": {"theory", "problems", "schedules", "checking", "simulation"},
    "reports": {"theory", "problems", "schedules", "checking", "simulation", "comparison"},
}
ALLOWED["reproduction"] = {*ALLOWED, "memory"}
TORCH_MAY_BE_IMPORTED_IN = ("training/", "models/", "problems/tiny_lm", "reproduction/")


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            if node.module == "bstheory":
                found |= {f"bstheory.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    relative = path.relative_to(ROOT)
    package = relative.parts[0] if len(relative.parts) > 1 else None
    for module in imported_modules(path):
        if module.split(".")[0] == "torch":
            assert str(relative).startswith(TORCH_MAY_BE_IMPORTED_IN), f"{relative} imports torch"
        if package is None or not module.startswith("bstheory."):
            continue
        target = module.split(".")[1]
        assert target in ALLOWED[package] | BASE | {package}, f"{relative} imports {module}"


def test_the_certificate_checker_imports_nothing_from_theory() -> None:
    for path in (ROOT / "checking").glob("recheck*.py"):
        assert not [m for m in imported_modules(path) if m.startswith("bstheory.theory") or m == "sympy"]
