"""Pages that live outside ``docs/``, and static files that must keep their own address.

``experiments/`` keeps its pages beside its results. Before a build they are copied, with their figures, to
``docs/experiments/`` (ignored by git), and links of the form ``../experiments/...`` that leave ``docs/`` in
the repository are turned into links within the site, so that the same page works in both places.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
COPIED = (".md", ".png")


def copy_experiments(app: Any) -> None:
    """Mirror pages and figures; pages that are gone there go here too."""
    target = DOCS / "experiments"
    wanted = {
        p.relative_to(ROOT / "experiments") for p in (ROOT / "experiments").rglob("*") if p.suffix in COPIED
    }
    for path in target.rglob("*"):
        if path.is_file() and path.relative_to(target) not in wanted:
            path.unlink()
    for relative in sorted(wanted):
        source, copy = ROOT / "experiments" / relative, target / relative
        if not copy.exists() or copy.read_bytes() != source.read_bytes():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)


def inside(text: str, docname: str) -> str:
    """Links from a page below ``docs/`` to ``experiments/`` at the root lose the one step that leaves."""
    depth = docname.count("/")
    outward = "../" * (depth + 1)
    return re.sub(rf"\]\({re.escape(outward)}experiments/", f"]({'../' * depth}experiments/", text)


def back(text: str, docname: str) -> str:
    """Links from a copied page to ``docs/``: the copy is as deep below it as the page is below the root."""
    return text.replace(f"]({'../' * docname.count('/')}docs/", f"]({'../' * docname.count('/')}")


def read(app: Any, docname: str, source: list[str]) -> None:
    """Sphinx's ``source-read`` event."""
    source[0] = (back if docname.startswith("experiments/") else inside)(source[0], docname)


def setup(app: Any) -> dict[str, Any]:
    """Connect both."""
    app.connect("builder-inited", copy_experiments)
    app.connect("source-read", read)
    return {"parallel_read_safe": True}
