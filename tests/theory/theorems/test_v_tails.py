"""Tail thresholds of v hold in frequency, and the exponent is the stated one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bstheory.theory.theorems.v_tails import BOUND
from tests.theory.checks import assert_established


def test_it_is_proved_and_damage_is_noticed() -> None:
    certificate = assert_established(
        BOUND,
        still_true=("stationary_largest: definition of beta", "stationary: definition of beta"),
    )
    assert {"markov", "exp_series", "gaussian_moments"} <= set(certificate.rests_on)


@pytest.mark.parametrize("batches", [[4] * 60, [1] * 30 + [16] * 6, [16] * 6 + [1] * 30])
@pytest.mark.parametrize("x", [0.5, 2.0, 4.0])
def test_frequencies_stay_below_the_bound(batches, x: float) -> None:
    rng = np.random.default_rng(0)
    t, n = 12.0, 100_000
    v, weight = np.zeros(n), 0.0
    for B in batches:
        beta = 2 ** (-B / t)
        v = beta * v + (1 - beta) * rng.normal(0, 1 / math.sqrt(B), n) ** 2
        weight = beta * weight + (1 - beta) / B
    found = BOUND.evaluate(constants={"t": t, "x": x}, schedule=batches)
    assert found.value == pytest.approx(math.exp(-x))
    sampling = 4 * math.sqrt(found.value / n)
    assert (v > found.parts["above"] * weight).mean() <= found.value + sampling
    assert (v < found.parts["below"] * weight).mean() <= found.value + sampling


def test_stationary_thresholds_are_the_stated_ones() -> None:
    t, B, x = 40.0, 8, 3.0
    found = BOUND.evaluate(constants={"t": t, "x": x}, schedule=[B] * 200)
    tau, c = math.tanh(math.log(2) * B / (2 * t)), 1 - 2 ** (-B / t)
    assert found.parts["stationary_above"] == pytest.approx(1 + 2 * math.sqrt(x * tau) + 2 * c * x)
    assert found.parts["stationary_below"] == pytest.approx(1 - 2 * math.sqrt(x * tau))
    assert found.parts["above"] == pytest.approx(found.parts["stationary_above"], rel=1e-9)
