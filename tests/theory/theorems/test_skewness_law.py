"""The asymptotic law against exact thresholds, where it holds and where it fails; the quadrature itself."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bstheory.checking import check
from bstheory.errors import InputError
from bstheory.theory.adam_drift import batch_mean_law, moments, stationary_drift, threshold_half_life
from bstheory.theory.theorems.skewness_law import BOUND, two_point_law, validity


def test_consistent_only() -> None:
    certificate = check(BOUND)
    assert certificate.verdict.word == BOUND.declared == "consistent", certificate.reason
    assert BOUND.derive is None


def test_value_is_the_statement() -> None:
    found = BOUND.evaluate(constants={"mu": 0.1, "sigma_sq": 54.89, "kappa_3": 2678.632})
    assert found.value == pytest.approx(math.log(2) * 2678.632 / (2 * 0.1 * 54.89))
    assert found.parts["noise_scale"] == pytest.approx(5489.0)


def test_a_wrong_factor_would_be_seen() -> None:
    """The exact threshold tells the factor 1/2 from 1 and from 1/4."""
    row = validity(C=20.0, delta=0.1)
    assert abs(row["exact"] / row["law"] - 1) < 0.01
    assert abs(row["exact"] / (2 * row["law"]) - 1) > 0.3


def test_range_of_validity() -> None:
    small = abs(validity(C=20.0, delta=0.1)["discrepancy"])
    batch = abs(validity(C=20.0, delta=0.1, batch_size=8)["discrepancy"])
    momentum = abs(validity(C=20.0, delta=0.1, t1=40.0)["discrepancy"])
    assert small < 0.01 < min(batch, momentum) and max(batch, momentum) < 0.5
    assert validity(C=20.0, delta=0.1, batch_size=64)["discrepancy"] < -0.5  # the sign regime begins
    assert math.isnan(validity(C=20.0, delta=0.1, batch_size=256)["exact"])


def test_moments_of_batch_means() -> None:
    law = two_point_law(5.0, 0.2)
    mean, variance, third = moments(*law)
    for B in (1, 3, 10):
        found = moments(*batch_mean_law(*law, B))
        assert found == pytest.approx((mean, variance / B, third / B**2), rel=1e-9)


@pytest.mark.parametrize(("beta1", "batch_size"), [(0.0, 1), (0.5, 1), (0.8, 3)])
def test_quadrature_against_paths(beta1: float, batch_size: int) -> None:
    """Ten thousand independent stationary windows; the error is a few standard errors."""
    law = batch_mean_law(*two_point_law(5.0, 0.3), batch_size)
    beta2, rng = 0.9, np.random.default_rng(0)
    m = v = np.zeros(40_000)
    for _ in range(250):
        g = rng.choice(law[0], size=m.size, p=law[1] / law[1].sum())
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    ratio = m / np.sqrt(v)
    exact = stationary_drift(*law, beta1=beta1, beta2=beta2)
    assert abs(ratio.mean() - exact) < 5 * ratio.std() / math.sqrt(m.size)


def test_no_threshold_raises() -> None:
    with pytest.raises(InputError, match="changes sign"):
        threshold_half_life(*two_point_law(20.0, 0.1), batch_size=1, t1=0.0, low=200.0, high=300.0)


def test_outside_the_hypotheses() -> None:
    with pytest.raises(InputError, match="mu"):
        BOUND.evaluate(constants={"mu": 0.0, "sigma_sq": 1.0, "kappa_3": 1.0})
