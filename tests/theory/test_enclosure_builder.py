"""The builder of enclosures: what it writes is accepted by the checker, and contains the numbers."""

from __future__ import annotations

import math

import pytest

from bstheory.checking import recheck_document
from bstheory.theory.enclosure import Enclosure


def test_every_kind_of_claim_is_accepted_and_contains_the_number() -> None:
    e = Enclosure("numbers", "numbers")
    found = [
        (e.value("value", "q*pi", let={"q": "2/3"}, digits=20, why="test"), 2 * math.pi / 3),
        (e.sign_change("root", "exp(x) - 3", "x", near=1.0, digits=18, why="test"), math.log(3)),
        (e.integral("area", "1/x", "x", 1, 3, digits=15, why="test"), math.log(3)),
        (
            e.integral("tail", "1/(1 + x**2)**2", "x", 0, "oo", split=10**6, digits=15, why="test"),
            math.pi / 4,
        ),
    ]
    e.positive("positive", "x - log(x) - 9/10", {"x": ("1/10", 5)}, why="test")
    e.monotone("slope", "tanh(x)", "x", "increasing", {"x": (0, 5)}, why="test")
    report = recheck_document(e.document())
    assert report.valid and report.steps == 6, report.reason
    for (low, high), value in found:
        assert float(low) == pytest.approx(value, abs=1e-12) == float(high)


@pytest.mark.parametrize("key", ["lower", "upper"])
def test_an_altered_bound_is_rejected(key: str) -> None:
    e = Enclosure("numbers", "numbers")
    low, high = e.value("value", "sqrt(7)", digits=20, why="test")
    shift = (high - low) if key == "lower" else (low - high)
    e.claims[0][key] = str((low if key == "lower" else high) + shift)
    assert not recheck_document(e.document()).valid
