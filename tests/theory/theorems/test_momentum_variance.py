"""Var m_hat = sigma^2/ESS, for any noise law."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bstheory.theory.theorems import token_ess
from bstheory.theory.theorems.momentum_variance import BOUND
from tests.theory.checks import assert_established


def test_it_is_proved_and_damage_is_noticed() -> None:
    assert_established(BOUND, still_true=("definition of beta", "start, gap: doubled", "_start: doubled"))


@given(
    batches=st.lists(st.integers(1, 50), min_size=1, max_size=30),
    t=st.floats(1, 500),
    sigma=st.floats(0.1, 5),
)
def test_the_value_is_sigma_squared_over_the_effective_sample_size(batches, t, sigma) -> None:
    found = BOUND.evaluate(constants={"t": t, "sigma": sigma}, schedule=batches)
    ess = token_ess.BOUND.evaluate(constants={"t": t}, schedule=batches).parts["exact"]
    assert found.value == pytest.approx(sigma**2 / ess, rel=1e-9)
    assert found.value <= found.trivial_value * (1 + 1e-9)


@given(B=st.integers(1, 100), t=st.floats(10, 1e4))
def test_stationary_value_and_bounds(B: int, t: float) -> None:
    found = BOUND.evaluate(constants={"t": t, "sigma": 1.5}, schedule=[B] * int(40 * t / B + 1))
    lam = math.log(2) / t
    x = lam * B / 2
    stated = lam * 1.5**2 / 2 * math.tanh(x) / x
    assert found.value == pytest.approx(stated, rel=1e-9)
    assert found.parts["stationary"] == pytest.approx(stated, rel=1e-9)
    assert (
        found.parts["stationary_lower"] * (1 - 1e-12)
        <= stated
        <= found.parts["stationary_upper"] * (1 + 1e-12)
    )
    assert found.parts["stationary_upper"] == pytest.approx(lam * 1.5**2 / 2)
    assert found.parts["stationary_lower"] == pytest.approx(lam * 1.5**2 / 2 / (1 + (lam * B) ** 2 / 12))


def test_it_agrees_with_sampled_signs() -> None:
    rng = np.random.default_rng(0)
    batches, t, sigma, n = [8, 4, 2, 1, 1], 6.0, 2.0, 200_000
    m = np.zeros(n)
    for B in batches:
        beta = 2 ** (-B / t)
        m = beta * m + (1 - beta) * (3.0 + rng.choice([-1, 1], n) * sigma / math.sqrt(B))
    m /= 1 - 2 ** (-sum(batches) / t)
    found = BOUND.evaluate(constants={"t": t, "sigma": sigma}, schedule=batches).value
    spread = ((m - m.mean()) ** 2).std() / math.sqrt(n)
    assert abs(m.var() - found) < 4 * spread
    assert abs(m.mean() - 3.0) < 4 * math.sqrt(found / n)
