"""The shape of the set is proved; its coverage is sampled; unbounded is said, not numbered."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bstheory as bst
from bstheory.theory.theorems.noise_scale_ratio_interval import BOUND, moments
from tests.theory.checks import assert_established


def test_it_is_proved_and_damage_is_noticed() -> None:
    assert_established(BOUND)


@given(seed=st.integers(0, 10**6), mean=st.floats(-2, 2))
def test_the_interval_is_the_set_on_a_grid(seed: int, mean: float) -> None:
    rng = np.random.default_rng(seed)
    top, bottom = rng.normal(1, 1, 200), rng.normal(mean, 1, 200)
    found = BOUND.evaluate(constants={"numerator": top, "denominator": bottom, "blocks": 10})
    N, M, cov = moments(top, bottom, 10)
    z = 1.959963984540054
    assert found.parts["bounded"] is bool(M**2 - z**2 * cov[1, 1] > 0)
    if not found.parts["bounded"]:
        assert found.value == math.inf and found.parts["high"] == math.inf
        return
    low, high = found.parts["low"], found.parts["high"]
    assert low <= N / M <= high
    for rho in np.linspace(low - (high - low), high + (high - low), 41):
        inside = (N - rho * M) ** 2 <= z**2 * (cov[0, 0] - 2 * rho * cov[0, 1] + rho**2 * cov[1, 1])
        if abs(rho - low) > 1e-9 and abs(rho - high) > 1e-9:
            assert inside == (low <= rho <= high)


def test_coverage_with_correlated_steps() -> None:
    rng = np.random.default_rng(1)
    hits, runs = 0, 300
    every = rng.normal(size=(2000, runs, 2))
    for k in range(1, 2000):
        every[k] = 0.8 * every[k - 1] + 0.6 * every[k]
    for run in range(runs):
        noise = every[:, run].T
        parts = BOUND.evaluate(
            constants={"numerator": 3 + noise[0], "denominator": 1 + noise[1], "z": 2.093, "blocks": 20}
        ).parts  # 2.093 is the Student quantile for 19 degrees
        hits += parts["low"] <= 3.0 <= parts["high"]
    assert abs(hits / runs - 0.95) < 4 * math.sqrt(0.95 * 0.05 / runs)


def test_short_series_are_refused() -> None:
    with pytest.raises(bst.InputError, match="two steps a block"):
        BOUND.evaluate(constants={"numerator": [1.0, 2.0], "denominator": [1.0, 2.0], "blocks": 2})
