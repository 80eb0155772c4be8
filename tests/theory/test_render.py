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


DEFINED = {
    "symbols": {
        "g": {"latex": "g", "definition": None},
        "P": {"latex": r"\sqrt{\varepsilon+v_k}", "definition": {"op": "root", "of": "v + eps"}},
        "v": {"latex": "v_k", "definition": None},
        "eps": {"latex": r"\varepsilon", "definition": None},
        "c": {"latex": "c_k", "definition": None},
        "norm_mean": {"latex": "norm_mean", "definition": {"op": "coordinates", "of": "g**2/P**2"}},
        "T_norm": {"latex": "T_norm", "definition": {"op": "steps", "of": "c*norm_mean"}},
        "T_long_sum": {
            "latex": "T_long_sum",
            "definition": {
                "op": "steps",
                "of": "c*norm_mean + c**2*norm_mean*g + v*eps*g + v**2*g*c*norm_mean",
            },
        },
        "T_gain": {"latex": "T_{gain}", "definition": {"op": "steps", "of": "c*norm_mean"}},
        "log_low": {"latex": "log_low", "definition": {"op": "log", "of": "eps + v"}},
        "mean_g": {"latex": "E_{k-1}g", "definition": {"op": "mean", "of": "g"}},
        "R": {"latex": "R", "definition": {"op": "equals", "of": "c + g"}},
    }
}


def test_a_symbol_without_a_printed_name_stands_for_its_definition() -> None:
    assert render.latex(DEFINED, "norm_mean") == r"\sum_i \frac{g^{2}}{\sqrt{\varepsilon+v_k}^{2}}"
    assert render.latex(DEFINED, "2*norm_mean").startswith(r"2 \left[\sum_i ")
    assert render.latex(DEFINED, "2*log_low") == r"2 \ln\left(\varepsilon + v_k\right)"
    assert r"\sum_i" in render.latex(DEFINED, "T_norm") and "norm" not in render.latex(DEFINED, "T_norm")
    assert render.latex(DEFINED, "T_long_sum") == r"\Sigma_{\mathrm{long\ sum}}"
    assert render.latex(DEFINED, "T_gain") == r"T_{\mathrm{gain}}"
    assert render.latex(DEFINED, "R") == "R"


def test_a_definition_that_the_printed_name_says_already_is_dropped() -> None:
    shown = dict(render.definitions_latex(DEFINED))
    assert set(shown) == {r"\Sigma_{\mathrm{long\ sum}}", r"T_{\mathrm{gain}}", "R"}


def test_no_raw_name_of_a_sum_is_left_on_a_page() -> None:
    part = library.get("adam_token_half_life_variance_aware").document()
    names = {n for n, e in part["symbols"].items() if (e["definition"] or {}).get("op") in render.SUMS}
    raw = {rf"\mathrm{{{name.replace('_', ' ').split()[-1]}}}" for name in names if name.startswith("T_")}
    pages = " ".join(render.claim_latex(part, step) for step in part["steps"])
    assert raw and r"\mathrm{T}" not in pages and "T_{F}" not in pages and r"\mathrm{norm}_" not in pages
