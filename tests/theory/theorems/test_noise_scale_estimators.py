"""Unbiased for any law; Gaussian variances; the identities of the noise-scale model."""

from __future__ import annotations

import math

import numpy as np
import pytest

import bstheory as bst
from bstheory.theory.theorems.noise_scale_estimators import BOUND, norm_variance, trace_variance
from tests.theory.checks import assert_established

J, N = 4, 8


def test_it_is_proved_and_damage_is_noticed() -> None:
    assert_established(BOUND, count=60)


def sampled(law: str, runs: int = 60_000) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Estimates of |G|^2 and tr Sigma over runs, with G and the per-coordinate variances."""
    rng = np.random.default_rng(0)
    G, S = np.array([1.0, -0.5, 0.2]), np.array([2.0, 0.5, 4.0])
    if law == "gaussian":
        noise = rng.normal(0, 1, (runs, J, 3)) / math.sqrt(N)
    else:  # skewed, unit variance, mean of N exponentials
        noise = (rng.gamma(N, 1.0, (runs, J, 3)) - N) / N
    shards = G + noise * np.sqrt(S)
    small = (shards**2).sum(axis=2).mean(axis=1)
    big = (shards.mean(axis=1) ** 2).sum(axis=1)
    found = BOUND.evaluate(constants={"B_small": N, "B_big": J * N, "norm_small": small, "norm_big": big})
    return found.parts["norm_sq"], found.parts["trace"], G, S


@pytest.mark.parametrize("law", ["gaussian", "skewed"])
def test_unbiased(law: str) -> None:
    norm, trace, G, S = sampled(law)
    for found, true in ((norm, (G**2).sum()), (trace, S.sum())):
        assert abs(found.mean() - true) < 4 * found.std() / math.sqrt(len(found))


def test_gaussian_variances() -> None:
    norm, trace, G, S = sampled("gaussian")
    squares, cross = (S**2).sum(), (G**2 * S).sum()
    stated_trace = 2 * squares / (J - 1)
    stated_norm = 2 * squares / (J * N) ** 2 + 4 * cross / (J * N) + 2 * squares / (J**2 * N**2 * (J - 1))
    assert trace_variance(squares, J - 1) == pytest.approx(stated_trace)
    assert norm_variance(squares, cross, J - 1, N) == pytest.approx(stated_norm)
    for found, stated in ((trace, stated_trace), (norm, stated_norm)):
        spread = ((found - found.mean()) ** 2).std() / math.sqrt(len(found))
        assert abs(found.var() - stated) < 4 * spread


def test_the_ratio_is_infinite_where_the_norm_estimate_is_not_positive() -> None:
    found = BOUND.evaluate(constants={"B_small": 1, "B_big": 4, "norm_small": 8.0, "norm_big": 1.0})
    assert found.parts["norm_sq"] < 0 and found.value == math.inf
    found = BOUND.evaluate(constants={"B_small": 1, "B_big": 4, "norm_small": 2.0, "norm_big": 1.0})
    assert found.value == pytest.approx(found.parts["trace"] / found.parts["norm_sq"])


def test_batches_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(bst.InputError, match="larger than the small"):
        BOUND.evaluate(constants={"B_small": 4, "B_big": 4, "norm_small": 1, "norm_big": 1})
