"""Every notebook runs from top to bottom; their own assertions hold what their text claims."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).resolve().parents[2] / "docs" / "notebooks"
PAGES = sorted(p for p in NOTEBOOKS.glob("*.md") if p.name != "README.md")
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", re.M | re.S)


def run(text: str, name: str) -> int:
    """Execute the code cells in one namespace, with line numbers of the page; return their number."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    space = {"__name__": "__main__"}
    cells = list(CELL.finditer(text))
    try:
        with matplotlib.rc_context():
            for cell in cells:
                before = "\n" * text[: cell.start(1)].count("\n")
                code = re.sub(r"(?m)\A(?:^:.*$\n)+", lambda m: "\n" * m[0].count("\n"), cell[1])
                exec(compile(before + code, name, "exec"), space)
    finally:
        pyplot.close("all")
    return len(cells)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_notebook_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(NOTEBOOKS)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)  # there is no window
    text = page.read_text()
    assert run(text, str(page)) >= 5 and text.count("assert ") >= 2
    assert text.count("```{code-cell}") == len(CELL.findall(text)), "a fence is not closed"


def test_a_failing_cell_is_noticed() -> None:
    with pytest.raises(AssertionError, match="planted"):
        run(
            "```{code-cell} python\nx = 1\n```\ntext\n```{code-cell} python\nassert x > 1, 'planted'\n```\n",
            "p",
        )


def test_the_index_names_every_notebook() -> None:
    index = (NOTEBOOKS / "README.md").read_text()
    assert len(PAGES) >= 6
    for page in PAGES:
        assert f"]({page.name})" in index
