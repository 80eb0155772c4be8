"""The threshold: enclosed, and confirmed by running Adam on both sides of it."""

from __future__ import annotations

import copy
import fractions

import numpy as np
import pytest

from bstheory.checking import check, recheck_document
from bstheory.errors import InputError
from bstheory.theory.theorems.reddi_threshold import BOUND, drift, moments_after, threshold
from tests.theory.damage import assert_damage_is_noticed


def run(C: float, beta: float, cycles: int = 4000, alpha: float = 1e-4) -> float:
    """Movement of x per cycle, after the start has been forgotten."""
    v, x, before = 0.0, 0.0, 0.0
    for cycle in range(cycles):
        if cycle == cycles // 2:
            before = x
        for g in (C, -1.0, -1.0):
            v = beta * v + (1 - beta) * g * g
            x -= alpha * g / np.sqrt(v)
    return (x - before) / (cycles - cycles // 2) / alpha


def test_enclosed_and_damage_noticed() -> None:
    certificate = check(BOUND)
    assert certificate.verdict.word == BOUND.declared == "enclosed", certificate.reason
    document = dict(certificate.evidence)
    assert_damage_is_noticed(document)
    moved = copy.deepcopy(document)
    claim = moved["parts"]["threshold"]["claims"][0]
    width = fractions.Fraction(claim["upper"]) - fractions.Fraction(claim["lower"])
    claim["upper"], claim["lower"] = claim["lower"], str(fractions.Fraction(claim["lower"]) - width)
    assert not recheck_document(moved).valid
    turned = copy.deepcopy(document)
    claims = turned["parts"]["threshold"]["claims"]
    claims[1]["expression"], claims[2]["expression"] = claims[2]["expression"], claims[1]["expression"]
    assert not recheck_document(turned).valid


def test_published_number() -> None:
    found = BOUND.evaluate(constants={"C": 3.0})
    assert found.value == pytest.approx(0.47231, abs=5e-6)
    assert found.parts["classical"] == pytest.approx(0.1)


@pytest.mark.parametrize("C", [2.5, 3.0, 10.0])
def test_adam_on_both_sides(C: float) -> None:
    beta = BOUND.evaluate(constants={"C": C}).value
    assert run(C, beta * 0.98) > 0  # towards x = 1, the worst point
    assert run(C, 1 - (1 - beta) * 0.98) < 0


def test_stationary_moments_and_movement() -> None:
    C, beta, v = 3.0, 0.6, 0.0
    for _ in range(200):
        after = []
        for g in (C, -1.0, -1.0):
            v = beta * v + (1 - beta) * g * g
            after.append(v)
    assert moments_after(C, beta) == pytest.approx(after, rel=1e-12)
    assert run(C, beta) == pytest.approx(-drift(C, beta), rel=1e-6)


def test_other_rational_C() -> None:
    document = threshold(fractions.Fraction(7, 2)).document()
    assert recheck_document(document).valid
    claim = document["claims"][0]
    value = BOUND.evaluate(constants={"C": 3.5}).value
    assert (
        fractions.Fraction(claim["lower"]) <= fractions.Fraction(value) <= fractions.Fraction(claim["upper"])
    )


def test_stochastic_threshold() -> None:
    found = BOUND.evaluate(constants={"C": 50.0, "delta": 0.1}).parts["stochastic_half_life"]
    assert found == pytest.approx(169.4, abs=0.05)


@pytest.mark.parametrize("change", [{"C": 2.0}, {"C": 3.0, "B": 1.5}, {"C": 3.0, "delta": -1.0}])
def test_outside_the_hypotheses(change) -> None:
    with pytest.raises(InputError):
        BOUND.evaluate(constants=change)
