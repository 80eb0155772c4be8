"""Derivation, damage, and the covariance against the exact recursion of moments."""

from __future__ import annotations

import numpy as np
import pytest

from bstheory.checking import check
from bstheory.errors import InputError
from bstheory.theory.adam_drift import stationary_drift
from bstheory.theory.theorems.skewness_bias import BOUND
from tests.theory.damage import assert_damage_is_noticed

VALUES, WEIGHTS = np.array([4.0, -1.0, 0.5]), np.array([0.2, 0.5, 0.3])


def law() -> dict[str, float]:
    mean, second = (WEIGHTS * VALUES).sum(), (WEIGHTS * VALUES**2).sum()
    return {"mean": mean, "second": second, "skew": (WEIGHTS * VALUES**3).sum() - mean * second}


def test_proved_and_damage_noticed() -> None:
    certificate = check(BOUND)
    assert certificate.verdict.word == BOUND.declared == "proved", certificate.reason
    assert_damage_is_noticed(dict(certificate.evidence))


@pytest.mark.parametrize(("beta1", "beta2"), [(0.0, 0.9), (0.9, 0.5), (0.8, 0.99)])
def test_weights_of_the_averages(beta1: float, beta2: float) -> None:
    """Independent gradients: the covariance is sum_k a_k w_k Cov(g, g^2)."""
    k = np.arange(5000)
    stated = ((1 - beta1) * beta1**k * (1 - beta2) * beta2**k).sum() * law()["skew"]
    constants = {"beta1": beta1, "beta2": beta2, "skew": law()["skew"], "second": law()["second"]}
    assert BOUND.evaluate(constants=constants).value == pytest.approx(stated, rel=1e-9)


def test_critical_mean_is_where_the_drift_vanishes_for_slow_averages() -> None:
    """Shift the law until its mean is critical: the exact drift is then small against its skewness part."""
    beta1, beta2 = 0.5, 0.999
    constants = {"beta1": beta1, "beta2": beta2, "skew": law()["skew"], "second": law()["second"]}
    critical = BOUND.evaluate(constants=constants).parts["critical_mean"]
    shifted = VALUES - law()["mean"] + critical
    size = critical / np.sqrt(law()["second"])
    assert abs(stationary_drift(shifted, WEIGHTS, beta1=beta1, beta2=beta2)) < 0.5 * size
    assert abs(stationary_drift(shifted - critical, WEIGHTS, beta1=beta1, beta2=beta2)) > 0.5 * size


def test_outside_the_hypotheses() -> None:
    with pytest.raises(InputError, match="beta1"):
        BOUND.evaluate(constants={"beta1": 1.0, "beta2": 0.9, "skew": 1.0, "second": 1.0})
