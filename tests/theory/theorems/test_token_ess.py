"""Effective sample size in tokens: both sides hold, and both are nearly attained."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bstheory.theory.theorems.token_ess import BOUND
from tests.theory.checks import assert_established


def exact(batches: list[int], t: float) -> float:
    """(1 - Phi)^2 / sum w^2/B by the plain sum."""
    D, total = sum(batches), 0.0
    done = 0
    for B in batches:
        done += B
        w = (1 - 2 ** (-B / t)) * 2 ** (-(D - done) / t)
        total += w * w / B
    return (1 - 2 ** (-D / t)) ** 2 / total


def test_it_is_proved_and_damage_is_noticed() -> None:
    # In the stationary part the claim is about any coefficient.
    still_true = ("step start, gap: doubled", "stationary: definition of beta", "mass_start, gap: doubled")
    certificate = assert_established(BOUND, still_true=still_true)
    assert "exp_series" in certificate.rests_on


@given(batches=st.lists(st.integers(1, 200), min_size=1, max_size=40), t=st.floats(3, 1e4))
def test_both_sides_hold(batches, t: float) -> None:
    found = BOUND.evaluate(constants={"t": t}, schedule=batches)
    lam, D = math.log(2) / t, sum(batches)
    assert found.parts["exact"] == pytest.approx(exact(batches, t), rel=1e-9)
    assert found.parts["lower"] * (1 - 1e-9) <= found.parts["exact"] <= found.value * (1 + 1e-9)
    stated = 2 / lam * math.tanh(lam * D / 2)
    assert found.parts["lower"] == pytest.approx(stated, rel=1e-9)
    assert found.value == pytest.approx(stated * (1 + (lam * max(batches)) ** 2 / 12), rel=1e-9)


def test_small_batches_attain_the_lower_side_and_one_batch_nearly_the_upper() -> None:
    small = BOUND.evaluate(constants={"t": 1e4}, schedule=[1] * 50_000)
    assert small.parts["exact"] == pytest.approx(small.parts["lower"], rel=1e-6)
    one = BOUND.evaluate(constants={"t": 1e4}, schedule=[100])
    assert one.parts["exact"] == pytest.approx(100.0) and one.value == pytest.approx(100.0, rel=1e-8)


def test_stationary_value() -> None:
    t, B = 50.0, 40
    x = math.log(2) * B / (2 * t)
    found = BOUND.evaluate(constants={"t": t}, schedule=[B] * 200)
    assert found.parts["exact"] == pytest.approx(2 * t / math.log(2) * x / math.tanh(x), rel=1e-9)


def test_vectorised_over_half_lives() -> None:
    t = np.array([5.0, 50.0])
    found = BOUND.evaluate(constants={"t": t}, schedule=[1, 5, 9])
    for k in range(2):
        assert found.parts["exact"][k] == pytest.approx(exact([1, 5, 9], t[k]))
