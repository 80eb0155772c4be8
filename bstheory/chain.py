"""One slug names a theorem's places: paper, module, test, page, simulation, experiment; this module finds
them.

Module, test and page are required of every theorem; a paper page, a simulation in ``bstheory check`` and a
folder of experiments are there for some.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bstheory.files import read_json

ROOT = Path(__file__).resolve().parent.parent


def links(slug: str, root: Path = ROOT) -> list[dict[str, Any]]:
    """The places of one theorem, in order.

    Args:
        slug: the theorem.
        root: the source tree; an installed package without one has the module only.

    Returns:
        One dictionary for each place: ``part``, ``path`` (from ``root``), ``state`` in words, ``required``,
        and
        ``ok``: the place exists, or is not required, and no verdict there contradicts the declared one.

    Raises:
        InputError: no such theorem.
    """
    from bstheory.checking import check
    from bstheory.theory.library import get

    bound = get(slug)
    verdict = check(bound).verdict.word
    found = places(slug, root)
    for link in found:
        if link["part"] == "module":
            link["state"] += f"; derivation {verdict}"
            link["ok"] = link["ok"] and verdict == bound.declared
    return found


def places(slug: str, root: Path = ROOT) -> list[dict[str, Any]]:
    """:func:`links` without deriving anything."""
    from bstheory.check_plan import SIMULATIONS
    from bstheory.theory.library import get

    bound = get(slug)
    found = [
        _place("paper", root / "docs" / "papers" / f"{reference.key}.md", root, required=False)
        for reference in bound.references
    ]
    found.append(_place("module", root / "bstheory" / "theory" / "theorems" / f"{slug}.py", root))
    found.append(_place("test", _test(slug, root / "tests" / "theory" / "theorems"), root))
    found.append(_place("page", root / "docs" / "theorems" / f"{slug}.md", root))
    if slug in SIMULATIONS:
        simulation = _place("simulation", root / "bstheory" / "check_plan.py", root)
        names = ", ".join(item.name for item in SIMULATIONS[slug](quick=True))
        found.append(simulation | {"state": f"bstheory check {slug}: {names}"})
    experiment = _place("experiment", root / "experiments" / slug / "results.json", root, required=False)
    if (root / experiment["path"]).exists():
        experiment["state"] += f"; {read_json(root / experiment['path']).get('verdict', 'without a verdict')}"
    found.append(experiment)
    return found


def _place(part: str, path: Path, root: Path, *, required: bool = True) -> dict[str, Any]:
    there = path.exists()
    return {
        "part": part,
        "path": str(path.relative_to(root)),
        "state": "exists" if there else "missing" if required else "none",
        "required": required,
        "ok": there or not required,
    }


def _test(slug: str, folder: Path) -> Path:
    """``test_<slug>.py``, or the test that forms of one theorem share: named after their stem, naming the
    slug."""
    own = folder / f"test_{slug}.py"
    if not own.exists():
        for shared in sorted(folder.glob("test_*.py")):
            stem = shared.stem.removeprefix("test_").removesuffix("_forms")
            if slug.startswith(stem) and slug in shared.read_text():
                return shared
    return own
