"""Formulas as LaTeX: what is printed means what is proved, and a file compiles without overfull lines."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from bstheory.theory import library, render

SYMBOLS = {
    "f": {"latex": r"1-\beta_1"},
    "q": {"latex": r"\ln(\varepsilon + v)"},
    "logs_next": {"latex": "logs_next"},
    "C_2": {"latex": "C_2"},
}
DOCUMENT = {"symbols": SYMBOLS}


def test_a_symbol_printed_as_a_sum_stands_in_parentheses_inside_a_product() -> None:
    assert r"\left(1-\beta_1\right)" in render.latex(DOCUMENT, "2*f")
    assert render.latex(DOCUMENT, "f") == r"1-\beta_1"
    assert render.latex(DOCUMENT, "2*q") == r"2 \ln(\varepsilon + v)"


def test_a_name_is_a_word_with_an_index() -> None:
    assert render.latex(DOCUMENT, "logs_next") == r"\mathrm{logs}_{\mathrm{next}}"
    assert render.latex(DOCUMENT, "C_2") == "C_{2}"


def test_a_long_sum_is_broken_between_its_terms() -> None:
    text = " + ".join(f"x{i}**2*f" for i in range(30))
    lines = render.broken({"symbols": {"f": SYMBOLS["f"]}}, text)
    assert len(lines) > 3
    assert all(r"+ " in line for line in lines)
    assert sum(line.count(r"\left(1-\beta_1\right)") for line in lines) == 30


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("slug", ["adam_token_half_life", "sgd_nonconvex_batch_schedule"])
def test_a_derivation_compiles_and_no_line_is_too_wide(slug: str, tmp_path: Path) -> None:
    (tmp_path / "proof.tex").write_text(render.latex_file(library.get(slug).document()))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "proof.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
