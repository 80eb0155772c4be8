"""SGD on the noisy quadratic: the recursion, its closed form, stability, and sampled paths."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bstheory as bst
from bstheory.simulation import moments
from bstheory.theory.theorems.nqm_sgd import BOUND, closed_moment
from tests.theory.checks import assert_established


def test_it_is_proved_and_damage_is_noticed() -> None:
    # The noise has mean zero and no correlation whether or not it is called known before the draw.
    assert_established(BOUND, still_true=("declared known before the draw", "start, gap: doubled"))


@given(
    eta=st.lists(st.floats(0.001, 1.9), min_size=1, max_size=20),
    c=st.floats(0, 5),
    s=st.floats(0, 2),
    data=st.data(),
)
def test_any_schedule_agrees_with_the_simulation_layer(eta, c, s, data) -> None:
    batches = data.draw(st.lists(st.integers(1, 64), min_size=len(eta), max_size=len(eta)))
    h = np.array([1.0, 0.3])
    constants = {"h": h, "c": c, "m0": 2.0, "s": s, "eta": np.array(eta)}
    found = BOUND.evaluate(constants=constants, schedule=batches)
    path = moments.sgd_moments(
        h, np.full(2, c), np.full(2, 2.0), learning_rate=np.array(eta), batch_size=np.array(batches), s=s
    )
    np.testing.assert_allclose(found.parts["second_moment"], path, rtol=1e-10)
    assert found.value == pytest.approx(0.5 * (h * path[-1]).sum())


@given(x=st.floats(0.01, 1.99), steps=st.integers(0, 60), B=st.integers(1, 100))
def test_the_closed_form(x: float, steps: int, B: int) -> None:
    h, c, m0, eta = 0.7, 1.3, 2.0, x / 0.7
    m = m0
    for _ in range(steps):
        m = (1 - eta * h) ** 2 * m + eta**2 * c / B
    power = (1 - eta * h) ** (2 * steps)
    assert closed_moment(power, m0, eta, c, B, h, 2 - eta * h) == pytest.approx(m, rel=1e-8)
    stated = power * m0 + (1 - power) * eta * c / (B * h * (2 - eta * h))
    assert m == pytest.approx(stated, rel=1e-8)


def test_stability_changes_at_two() -> None:
    for x, stable in ((1.999, True), (2.001, False)):
        constants = {"h": 1.0, "c": 0.0, "m0": 1.0, "eta": x}
        found = BOUND.evaluate(constants=constants, schedule=[1] * 3000)
        assert bool(found.value < 0.5) is stable and found.parts["stable"] is stable


def test_sampled_paths_agree() -> None:
    rng = np.random.default_rng(0)
    n, h, c, eta, batches = 100_000, 0.8, 2.0, [0.5, 1.0, 0.25, 0.25], [1, 2, 4, 8]
    theta = np.full(n, math.sqrt(2.0))
    for e, B in zip(eta, batches, strict=True):
        noise = rng.choice([-1, 1], n) * math.sqrt(c / B)
        theta = theta - e * (h * theta + noise)
    constants = {"h": h, "c": c, "m0": 2.0, "eta": np.array(eta)}
    found = BOUND.evaluate(constants=constants, schedule=batches).value
    loss = 0.5 * h * theta**2
    assert abs(loss.mean() - found) < 4 * loss.std() / math.sqrt(n)


def test_bad_input_is_named() -> None:
    with pytest.raises(bst.InputError, match="eta of shape"):
        BOUND.evaluate(constants={"h": 1, "c": 1, "m0": 1, "eta": [0.1, 0.2]}, schedule=[1])
    with pytest.raises(bst.InputError, match="h=-1"):
        BOUND.evaluate(constants={"h": -1, "c": 1, "m0": 1, "eta": 0.1}, schedule=[1])
