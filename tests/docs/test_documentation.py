"""Examples in docstrings and pages run; paper pages show what ``experiments/`` holds; names exist."""

from __future__ import annotations

import doctest
import importlib
import json
import pkgutil
import re
import sys
from pathlib import Path

import pytest

import bstheory

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
MODULES = sorted(m.name for m in pkgutil.walk_packages(bstheory.__path__, "bstheory."))


def source(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@pytest.mark.parametrize("module", [m for m in MODULES if ">>> " in source(m).read_text()])
def test_docstring_examples_run(module: str) -> None:
    found = doctest.testmod(importlib.import_module(module))
    assert found.attempted > 0 and found.failed == 0


@pytest.mark.parametrize(
    "page", [p for p in sorted(DOCS.glob("how_to/*.md")) if ">>> " in p.read_text()], ids=str
)
def test_page_examples_run(page: Path) -> None:
    found = doctest.testfile(str(page), module_relative=False)
    assert found.attempted > 0 and found.failed == 0


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("sphinx", reason="the documentation's extra is not installed")
    monkeypatch.syspath_prepend(str(DOCS / "_extensions"))
    yield importlib.import_module("claims_table")
    sys.modules.pop("claims_table", None)


@pytest.mark.parametrize("paper", ["small-batch", "adaptive-batch"])
def test_paper_pages_show_the_recorded_verdicts(table, paper: str, tmp_path: Path) -> None:
    from bstheory.reproduction.command import claims

    text = table.paper_markdown(paper)
    for claim in claims(paper):
        folder = Path("experiments", paper.replace("-", "_"), claim.name.replace("-", "_"))
        path = ROOT / folder / "results.json"
        verdict = json.loads(path.read_text())["summary"] if path.exists() else "not run"
        row = next(line for line in text.splitlines() if line.startswith(f"| `{claim.name}`:"))
        assert row.endswith(f"| {verdict} |")
    assert table.paper_markdown(paper, tmp_path).count("| not run |") == len(claims(paper))


def test_pages_name_only_theorems_that_exist() -> None:
    for page in [*DOCS.glob("explanation/*.md"), *DOCS.glob("papers/*.md")]:
        for slug in re.findall(r"\.\./theorems/(\w+)\.md", page.read_text()):
            assert (DOCS / "theorems" / f"{slug}.md").exists(), f"{page.name}: {slug}"


def test_named_modules_exist() -> None:
    for page in DOCS.glob("reference/*.md"):
        for name in re.findall(r"automodule:: ([\w.]+)", page.read_text()):
            assert name in MODULES, f"{page.name}: {name}"
