"""|x| is at most what is at least x and -x, and nothing less."""

from __future__ import annotations

import pytest

from bstheory.checking import recheck_document
from bstheory.theory.derivation import Derivation, DerivationError
from bstheory.theory.derivation_order import absolute_least


def document(above: str, below: str) -> dict:
    d = Derivation("least", "absolute value")
    x, y = d.symbol("x"), d.symbol("y")
    size = d.define("size", "absolute", x, sign="nonnegative")
    d.assume("above", y - x, assumption="given", why="y >= x")
    d.assume("below", y + x, assumption="given", why="y >= -x")
    absolute_least(d, "least", size, "above", "below", why="both signs")
    d.conclude("least", size, why="as claimed")
    result = d.document()
    step = next(s for s in result["steps"] if s["name"] == "least")
    step.update(above=above, below=below)
    return result


@pytest.mark.parametrize(
    ("above", "below", "valid"),
    [("above", "below", True), ("above", "above", False), ("below", "above", False)],
)
def test_needs_both_signs(above: str, below: str, valid: bool) -> None:
    assert recheck_document(document(above, below)).valid == valid


def test_builder_refuses_too() -> None:
    d = Derivation("least", "absolute value")
    x, y = d.symbol("x"), d.symbol("y")
    size = d.define("size", "absolute", x, sign="nonnegative")
    d.assume("above", y - x, assumption="given", why="y >= x")
    with pytest.raises(DerivationError):
        absolute_least(d, "least", size, "above", "above", why="one sign only")
