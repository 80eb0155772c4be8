"""Averaged iterates: recursions of all six moments, and the stationary variance of averaged SGD."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bstheory.simulation.linear import Stage, averaged_stationary, moments_along
from bstheory.theory.theorems.nqm_ema import BOUND
from tests.theory.checks import assert_established


def test_it_is_proved_and_damage_is_noticed() -> None:
    # Making all damaged copies of the longest part takes seconds; these three are enough to draw from.
    assert_established(BOUND, parts=("p_average", "stationary", "reduction"))


@given(seed=st.integers(0, 10**6))
def test_any_schedule_agrees_with_the_simulation_layer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    K, h = int(rng.integers(1, 10)), np.array([1.0, 0.2])
    eta, beta, gamma = rng.uniform(0.01, 1.5, K), rng.uniform(0, 0.9, K), rng.uniform(0.1, 0.99, K)
    batches = rng.integers(1, 64, K)
    c, m0, s = rng.uniform(0, 3, 2), rng.uniform(0.1, 3, 2), float(rng.uniform(0, 1))
    constants = {"h": h, "c": c, "m0": m0, "s": s, "eta": eta, "beta": beta, "gamma": gamma}
    found = BOUND.evaluate(constants=constants, schedule=batches)
    stages = [
        Stage(num_steps=1, learning_rate=e, batch_size=int(b), beta1=p, averaging=g)
        for e, b, p, g in zip(eta, batches, beta, gamma, strict=True)
    ]
    last = moments_along(h, c, m0, stages, s=s)[-1]  # theta^2, theta p, theta avg, p^2, p avg, avg^2
    order = ["m11", "m12", "theta_average", "m22", "p_average", "average_average"]
    mine = found.parts["moments"][-1][[found.parts["order"].index(name) for name in order]]
    np.testing.assert_allclose(mine, last.T, rtol=1e-8, atol=1e-12)


@given(x=st.floats(0.1, 1.9), gamma=st.floats(0, 0.9))
def test_stationary_averaged_sgd(x: float, gamma: float) -> None:
    h, c, B = 0.5, 3.0, 8
    eta = x / h
    constants = {"h": h, "c": c, "m0": 0.0, "eta": eta, "gamma": gamma}
    steps = 40 + int(12 / min(1 - gamma, x, 2 - x))
    found = BOUND.evaluate(constants=constants, schedule=[B] * steps)
    a = 1 - eta * h
    stated = eta * c / (B * h * (2 - eta * h)) * (1 - gamma) / (1 + gamma) * (1 + gamma * a) / (1 - gamma * a)
    assert found.value == pytest.approx(0.5 * h * stated, rel=1e-6)
    assert found.parts["stationary_sgd"][0] == pytest.approx(stated, rel=1e-9)
    known = averaged_stationary(
        np.array([h]), np.array([c]), learning_rate=eta, averaging=gamma, batch_size=B
    )
    assert known[0] == pytest.approx(stated, rel=1e-9)
