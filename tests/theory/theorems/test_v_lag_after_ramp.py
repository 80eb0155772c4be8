"""The mean of v after a jump of the batch size, and the remedy."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bstheory.theory.theorems.v_lag_after_ramp import BOUND
from tests.theory.checks import assert_established


def test_it_is_proved_and_damage_is_noticed() -> None:
    # The remedy and the factor of a doubling hold whatever fraction is left.
    assert_established(
        BOUND, still_true=("definition of left", "remedy: definition of beta", "start, gap: doubled")
    )


@given(
    mu=st.floats(-2, 2),
    sigma=st.floats(0.1, 5),
    B0=st.integers(1, 100),
    B1=st.integers(1, 100),
    t=st.floats(1, 1e4),
    steps=st.integers(0, 50),
)
def test_the_value_is_the_recursion(mu, sigma, B0, B1, t, steps) -> None:
    v = mu**2 + sigma**2 / B0
    for _ in range(steps):
        beta = 2 ** (-B1 / t)
        v = beta * v + (1 - beta) * (mu**2 + sigma**2 / B1)
    constants = {"mu": mu, "sigma": sigma, "B0": B0, "B1": B1, "t": t, "a": B1 * steps}
    found = BOUND.evaluate(constants=constants)
    assert found.value == pytest.approx(v, rel=1e-9)
    stated = mu**2 + sigma**2 * (1 / B1 + (1 / B0 - 1 / B1) * 2 ** (-B1 * steps / t))
    assert found.value == pytest.approx(stated, rel=1e-9)
    assert found.value <= found.trivial_value * (1 + 1e-12)


def test_doubling_costs_a_root_of_two_at_first_and_the_remedy_removes_it() -> None:
    constants = {"mu": 0.0, "sigma": 3.0, "B0": 8, "B1": 16, "t": 100.0}
    for a in (0.0, 50.0, 100.0):
        factor = BOUND.evaluate(constants={**constants, "a": a}).parts["learning_rate_factor"]
        assert factor == pytest.approx((1 + 2 ** (-a / 100)) ** -0.5)
    assert BOUND.evaluate(constants=constants).parts["rescale_at_jump"] == pytest.approx(0.5)
    assert BOUND.evaluate(constants=constants).parts["learning_rate_factor"] == pytest.approx(
        1 / math.sqrt(2)
    )
    v = BOUND.evaluate(constants=constants).value * 0.5
    beta = 2 ** (-16 / 100)
    assert beta * v + (1 - beta) * 9 / 16 == pytest.approx(v)
