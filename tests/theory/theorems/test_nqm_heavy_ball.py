"""Heavy ball on the noisy quadratic: recursions, stationary values, stability."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bstheory as bst
from bstheory.simulation import moments
from bstheory.theory.theorems.nqm_heavy_ball import BOUND
from tests.theory.checks import assert_established


def test_it_is_proved_and_damage_is_noticed() -> None:
    assert_established(BOUND, count=60)


@given(seed=st.integers(0, 10**6))
def test_any_schedule_agrees_with_the_simulation_layer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    K, h = int(rng.integers(1, 15)), np.array([1.0, 0.2])
    eta, beta, batches = rng.uniform(0.01, 1.5, K), rng.uniform(0, 0.95, K), rng.integers(1, 64, K)
    c, m0, s = rng.uniform(0, 3, 2), rng.uniform(0, 3, 2), float(rng.uniform(0, 1))
    constants = {"h": h, "c": c, "m0": m0, "s": s, "eta": eta, "beta": beta}
    found = BOUND.evaluate(constants=constants, schedule=batches)
    path = moments.heavy_ball_moments(h, c, m0, learning_rate=eta, beta1=beta, batch_size=batches, s=s)
    np.testing.assert_allclose(found.parts["moments"], path, rtol=1e-9, atol=1e-12)


@given(x=st.floats(0.02, 0.95), beta=st.floats(0, 0.9), s=st.floats(0, 0.5))
def test_stationary_second_moment(x: float, beta: float, s: float) -> None:
    h, c, B = 1.0, 2.0, 16
    eta = x * 2 * (1 + beta) / h
    constants = {"h": h, "c": c, "m0": 1.0, "s": s, "eta": eta, "beta": beta}
    found = BOUND.evaluate(constants=constants, schedule=[B])
    omega = 2 * (1 + beta) - eta * h
    room = B * h * (1 - beta) * omega - eta * s * (1 + beta)
    if room <= 0.05:
        return
    stated = eta * c * (1 + beta) / room
    assert found.parts["stationary_second_moment"][0] == pytest.approx(stated, rel=1e-9)
    known = moments.heavy_ball_stationary(
        np.array([h]), np.array([c]), learning_rate=eta, beta1=beta, batch_size=B, s=s
    )
    assert known[0, 0] == pytest.approx(stated, rel=1e-9)
    m = np.array([known[0, 0], known[1, 0], known[2, 0]])
    n, a = (c + s * m[0]) / B, 1 - eta * h
    again = np.array(
        [
            a**2 * m[0] - 2 * eta * beta * a * m[1] + (eta * beta) ** 2 * m[2] + eta**2 * n,
            h * a * m[0] + beta * (1 - 2 * eta * h) * m[1] - eta * beta**2 * m[2] - eta * n,
            h**2 * m[0] + 2 * h * beta * m[1] + beta**2 * m[2] + n,
        ]
    )
    np.testing.assert_allclose(again, m, rtol=1e-8)


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
def test_the_stability_limit_is_two_times_one_plus_beta(beta: float) -> None:
    for factor, stable in ((0.999, True), (1.001, False)):
        eta = factor * 2 * (1 + beta)
        radius = max(abs(np.linalg.eigvals([[1 - eta, -eta * beta], [1.0, beta]])))
        assert bool(radius < 1) is stable


def test_below_the_smallest_stable_batch_the_second_moment_grows() -> None:
    constants = {"h": 1.0, "c": 1.0, "m0": 1.0, "s": 40.0, "eta": 0.5, "beta": 0.5}
    smallest = BOUND.evaluate(constants=constants, schedule=[1]).parts["smallest_stable_batch"]
    below, above = int(0.6 * smallest), int(np.ceil(smallest * 1.2))
    grows = BOUND.evaluate(constants=constants, schedule=[below] * 300).parts["loss_path"]
    settles = BOUND.evaluate(constants=constants, schedule=[above] * 300).parts["loss_path"]
    assert grows[-1] > 2 * grows[150] and settles[-1] == pytest.approx(settles[250], rel=0.05)


def test_momentum_of_one_is_refused() -> None:
    with pytest.raises(bst.InputError, match="beta=1"):
        BOUND.evaluate(constants={"h": 1, "c": 1, "m0": 1, "eta": 0.1, "beta": 1.0}, schedule=[1])
