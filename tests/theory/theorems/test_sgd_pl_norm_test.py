"""Derivation, damage, and the rate on quadratics whose noise is a multiple of the gradient."""

from __future__ import annotations

import numpy as np
import pytest

from bstheory.checking import check
from bstheory.errors import InputError
from bstheory.theory.theorems.sgd_pl_norm_test import BOUND
from tests.theory.damage import assert_damage_is_noticed

CONSTANTS = {"L": 2.0, "mu": 0.5, "Delta": 3.0, "F_star": -1.0, "theta": 0.5}


def relative_noise(rng: np.random.Generator, theta: float, eta: np.ndarray) -> tuple[np.ndarray, dict]:
    """E theta_i^2 [K+1, d] for g_i = h_i x_i (1 + theta xi), E xi = 0, E xi^2 = 1: a test passed just so."""
    h = rng.uniform(0.3, 2.0, size=3)
    m = rng.uniform(0.1, 3.0, size=3)
    path = [m]
    for rate in eta:
        m = ((1 - rate * h) ** 2 + (rate * h * theta) ** 2) * m
        path.append(m)
    moments = np.array(path)
    constants = {"L": h.max(), "mu": h.min(), "F_star": 0.0, "Delta": (h * path[0]).sum() / 2, "theta": theta}
    return moments, constants | {"h": h}


def test_proved_and_damage_noticed() -> None:
    certificate = check(BOUND)
    assert certificate.verdict.word == BOUND.declared == "proved", certificate.reason
    assert_damage_is_noticed(dict(certificate.evidence))


def test_value_is_the_statement() -> None:
    eta = np.array([0.1, 0.4, 0.2])
    found = BOUND.evaluate(constants={"eta": eta, **CONSTANTS}, schedule=[1, 1, 1])
    assert found.value == pytest.approx(-1.0 + 3.0 * np.prod(1 - 0.5 * eta), rel=1e-12)
    assert found.parts["mean_sq_gradient_bound"] == pytest.approx(2 * 3.0 / 0.7, rel=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_above_exact_moments(seed: int) -> None:
    rng = np.random.default_rng(seed)
    theta = float(rng.uniform(0, 2))
    num_steps = int(rng.integers(1, 40))
    scale = rng.uniform(0.05, 1.0, size=num_steps)
    _, constants = relative_noise(np.random.default_rng(seed + 100), theta, np.zeros(0))
    eta = scale / ((1 + theta**2) * constants["L"])
    moments, constants = relative_noise(np.random.default_rng(seed + 100), theta, eta)
    h = constants.pop("h")
    bound = BOUND.evaluate(constants={"eta": eta, **constants}, schedule=np.ones(num_steps, dtype=int))
    assert (h * moments[-1]).sum() / 2 <= bound.value * (1 + 1e-12)
    seen = (eta * ((h**2) * moments[:-1]).sum(axis=-1)).sum()
    assert seen <= bound.parts["weighted_sum_bound"] * (1 + 1e-12)


def test_tight_without_noise_and_equal_curvatures() -> None:
    """h = mu = L, theta = 0, eta = 1/L: one step reaches the optimum, and the bound says so."""
    constants = {"eta": 0.5, "L": 2.0, "mu": 2.0, "Delta": 1.0, "F_star": 0.0, "theta": 0.0}
    assert BOUND.evaluate(constants=constants, schedule=[1]).value == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eta": 0.5}, "step_size"),
        ({"mu": 3.0}, "mu is at most L"),
        ({"theta": -1.0}, "must be at least 0"),
        ({"F_star": float("nan")}, "F_star"),
    ],
)
def test_outside_the_hypotheses(change, message) -> None:
    with pytest.raises(InputError, match=message):
        BOUND.evaluate(constants={"eta": 0.1, **CONSTANTS} | change, schedule=[1, 2])


def test_step_size_condition_is_needed() -> None:
    """Twice the admissible rate with theta = 1: the exact recursion leaves the rate behind."""
    h, theta = 1.0, 1.0
    eta = 2 / ((1 + theta**2) * h)
    factor = (1 - eta * h) ** 2 + (eta * h * theta) ** 2
    assert factor > 1 - h * eta
