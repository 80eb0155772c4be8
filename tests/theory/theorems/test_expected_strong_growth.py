"""Derivation, damage, the batch identity by enumeration, and the rate on interpolating quadratics."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from bstheory.checking import check
from bstheory.errors import InputError
from bstheory.theory.theorems.expected_strong_growth import BOUND
from tests.theory.damage import assert_damage_is_noticed


def test_proved_and_damage_noticed() -> None:
    certificate = check(BOUND)
    assert certificate.verdict.word == BOUND.declared == "proved", certificate.reason
    assert_damage_is_noticed(dict(certificate.evidence))


@pytest.mark.parametrize("n", [1, 2, 5])
def test_batch_identity_by_enumeration(n: int) -> None:
    """All outcomes of n samples of a three-point law, in exact rationals."""
    law = {Fraction(-2): Fraction(1, 4), Fraction(1): Fraction(1, 2), Fraction(5): Fraction(1, 4)}
    G = sum(p * x for x, p in law.items())
    m2 = sum(p * x**2 for x, p in law.items())
    measured = Fraction(0)
    for outcome in itertools.product(law, repeat=n):
        probability = Fraction(1)
        for x in outcome:
            probability *= law[x]
        measured += probability * (sum(outcome) / Fraction(n)) ** 2
    assert measured == G**2 + (m2 - G**2) / n


@pytest.mark.parametrize("seed", range(15))
def test_above_exact_moments(seed: int) -> None:
    """g_i = h_i x_i (1 + theta xi): one sample has rho = 1 + theta^2, a batch theta^2/b."""
    rng = np.random.default_rng(seed)
    h, m, theta = rng.uniform(0.2, 2.0, size=3), rng.uniform(0.1, 3.0, size=3), rng.uniform(0, 4)
    b = rng.integers(1, 40, size=25)
    rho, L = 1 + theta**2, h.max()
    eta = rng.uniform(0.3, 1.0, size=25) / (L * (1 + (rho - 1) / b))
    bound = BOUND.evaluate(constants={"eta": eta, "L": L, "rho": rho, "Delta": (h * m).sum() / 2}, schedule=b)
    assert bound.value == pytest.approx((h * m).sum(), rel=1e-12)
    seen = 0.0
    for rate, batch in zip(eta, b):
        seen += rate * (h**2 * m).sum()
        m = ((1 - rate * h) ** 2 + (rate * h * theta) ** 2 / batch) * m
    assert seen <= bound.value


def test_parts() -> None:
    found = BOUND.evaluate(constants={"eta": 0.01, "L": 2.0, "rho": 9.0, "Delta": 3.0}, schedule=[1, 4])
    assert found.parts["growth"] == pytest.approx([9.0, 3.0])
    assert found.parts["largest_learning_rate"] == pytest.approx([1 / 18, 1 / 6])
    assert found.parts["mean_at_largest_rate"] == pytest.approx(6.0 / (1 / 18 + 1 / 6))


@pytest.mark.parametrize(
    ("change", "message"), [({"eta": 0.2}, "step_size"), ({"rho": 0.5}, "must be at least 1")]
)
def test_outside_the_hypotheses(change, message) -> None:
    with pytest.raises(InputError, match=message):
        BOUND.evaluate(constants={"eta": 0.01, "L": 2.0, "rho": 9.0, "Delta": 3.0} | change, schedule=[1, 4])
