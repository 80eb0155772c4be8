"""The average at batch boundaries is the continuous one with held input."""

from __future__ import annotations

import numpy as np
import pytest

import bstheory as bst
from bstheory.theory.theorems.zero_order_hold import BOUND
from tests.theory.checks import assert_established

# The rule's exponent enters only through the name of beta: both sides hold for any coefficient.
STILL_TRUE = ("definition of beta", "step start, gap: doubled")


def average(batches: np.ndarray, q: np.ndarray, t: float) -> float:
    v = 0.0
    for B, x in zip(batches, q, strict=True):
        beta = 2.0 ** (-B / t)
        v = beta * v + (1 - beta) * x
    return v


def test_it_is_proved_and_damage_is_noticed() -> None:
    assert_established(BOUND, still_true=STILL_TRUE)


def test_held_input_equals_the_integral_on_a_fine_grid(rng=None) -> None:
    rng = np.random.default_rng(0)
    batches, q, t = rng.integers(1, 20, 30).astype(float), rng.exponential(size=30), 17.0
    ends = np.cumsum(batches)
    lam, total = np.log(2) / t, 0.0
    for a, b, x in zip(ends - batches, ends, q, strict=True):
        u = np.linspace(a, b, 20_001)
        total += np.trapezoid(lam * np.exp(-lam * (ends[-1] - u)) * x, u)
    assert average(batches, q, t) == pytest.approx(total, rel=1e-7)


def test_splitting_and_merging_held_batches_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    batches, q = rng.integers(2, 50, 40).astype(float), rng.exponential(size=40)
    cut = rng.uniform(0.1, 0.9, 40) * batches
    split = np.stack([cut, batches - cut], axis=1).ravel()
    assert average(split, np.repeat(q, 2), 30.0) == pytest.approx(average(batches, q, 30.0), rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_a_moving_input_costs_at_most_ell_times_the_largest_batch(seed: int) -> None:
    rng = np.random.default_rng(seed)
    batches, t, ell = rng.integers(1, 30, 60).astype(float), rng.uniform(1, 200), 0.3
    ends, lam = np.cumsum(batches), np.log(2) / t
    slope = ell * rng.choice([-1.0, 1.0])

    def moving(u: np.ndarray) -> np.ndarray:
        return 100 + slope * u

    u = np.linspace(0, ends[-1], 400_001)
    integral = np.trapezoid(lam * np.exp(-lam * (ends[-1] - u)) * moving(u), u)
    bound = BOUND.evaluate(constants={"t": t, "ell": ell}, schedule=batches.astype(int))
    assert abs(average(batches, moving(ends), t) - integral) <= bound.value * (1 + 1e-6)
    assert bound.value == pytest.approx(ell * batches.max())


def test_an_instance_comes_close() -> None:
    # One batch far longer than the half-life with input that jumps to its end value at once would be ell B.
    t, B, ell = 1000.0, 1.0, 1.0
    batches = np.full(20_000, B)
    ends = np.cumsum(batches)
    lam = np.log(2) / t
    exact = ends[-1] - (1 - np.exp(-lam * ends[-1])) / lam
    held = average(batches, ends, t)
    assert 0.4 * ell * B <= held - exact <= ell * B


def test_bad_input_is_named() -> None:
    with pytest.raises(bst.InputError, match="ell=-1"):
        BOUND.evaluate(constants={"t": 1, "ell": -1}, schedule=[1])
    with pytest.raises(bst.InputError, match="no schedule"):
        BOUND.evaluate(constants={"t": 1})
