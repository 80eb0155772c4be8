"""Tables to paste."""

from __future__ import annotations

import pytest

from bstheory.comparison import Comparison
from bstheory.errors import InputError
from bstheory.reports import table
from bstheory.verdict import Verdict

SEEN = Comparison(
    slug="adam_token_half_life",
    run="50% & more",
    verdict=Verdict.CONSISTENT,
    reason="",
    kind="upper",
    quantity="weighted_sq_gradient",
    level=0.99,
    num_seeds=64,
    method="",
    measured=267.1,
    interval=(220.3, 4994.0),
    value=15610.0,
    trivial_value=2.726e8,
    ratio=0.01711,
)
FAILED = Comparison(
    slug="x|y",
    run="r",
    verdict=Verdict.INAPPLICABLE,
    reason="",
    kind="upper",
    quantity="q",
    level=0.99,
    num_seeds=8,
    method="",
)


def test_latex() -> None:
    lines = table([SEEN, FAILED]).splitlines()
    assert lines[0] == r"\begin{tabular}{lllrrrrrr}" and lines[-1] == r"\end{tabular}"
    row = next(line for line in lines if "adam" in line)
    assert row == (
        r"adam\_token\_half\_life & 50\% \& more & consistent & 64 & 267.1 & 220.3 -- 4994 & "
        r"$1.561\cdot10^{4}$ & $2.726\cdot10^{8}$ & 0.01711 \\"
    )
    assert any(line.startswith("x|y & r & inapplicable & 8 & -- & --") for line in lines)


def test_markdown_has_one_width() -> None:
    lines = table([SEEN, FAILED], form="markdown").splitlines()
    assert len(lines) == 4 and r"x\|y" in lines[3]
    assert {line.replace(r"\|", "").count("|") for line in lines} == {10}


def test_another_form_is_refused() -> None:
    with pytest.raises(InputError, match="'latex' if that was meant"):
        table([], form="latx")
