"""One slug names a theorem's places: paper, module, test, experiment, page; this module finds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bstheory.files import read_json

ROOT = Path(__file__).resolve().parent.parent


def links(slug: str, root: Path = ROOT) -> list[dict[str, Any]]:
    """The places of one theorem, in order: paper pages, module, test, experiment, page, formal proof.

    Args:
        slug: the theorem.
        root: the source tree; an installed package without one has the module only.

    Returns:
        One dictionary for each place with ``part``, ``path`` (from ``root``), ``state`` in words, and ``ok``:
        whether the place exists and, for derivation and experiment, the verdict is the declared one.

    Raises:
        InputError: no such theorem.
    """
    from bstheory.checking import check
    from bstheory.theory.library import get

    bound = get(slug)
    certificate = check(bound)
    found = [
        _place("paper", root / "docs" / "papers" / f"{reference.key}.md", root)
        for reference in bound.references
    ]
    module = _place("module", root / "bstheory" / "theory" / "theorems" / f"{slug}.py", root)
    module["state"] += f"; derivation {certificate.verdict.word}"
    module["ok"] = module["ok"] and certificate.verdict.word == bound.declared
    found.append(module)
    found.append(_place("test", root / "tests" / "theory" / "theorems" / f"test_{slug}.py", root))
    experiment = _place("experiment", root / "experiments" / slug / "results.json", root)
    if experiment["ok"]:
        verdict = read_json(root / experiment["path"]).get("verdict", "without a verdict")
        experiment["state"] += f"; {verdict}"
    found.append(experiment)
    found.append(_place("page", root / "docs" / "theorems" / f"{slug}.md", root))
    return found


def _place(part: str, path: Path, root: Path) -> dict[str, Any]:
    ok = path.exists()
    return {
        "part": part,
        "path": str(path.relative_to(root)),
        "state": "exists" if ok else "missing",
        "ok": ok,
    }
