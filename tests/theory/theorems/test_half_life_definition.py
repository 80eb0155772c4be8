"""Half-life and coefficient, both ways."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bstheory as bst
from bstheory.theory.theorems.half_life_definition import BOUND
from tests.theory.checks import assert_established


def test_it_is_proved_and_damage_is_noticed() -> None:
    certificate = assert_established(BOUND)
    assert {"log_power_of_two", "log_monotone"} <= set(certificate.rests_on)


@given(B=st.floats(1, 1e7), steps=st.floats(0.1, 1e5))
def test_the_value_is_the_inverse_of_the_rule(B: float, steps: float) -> None:
    t = B * steps
    found = BOUND.evaluate(constants={"B": B, "beta": 2 ** (-B / t)})
    assert found.value == pytest.approx(t, rel=1e-9)
    assert found.value == pytest.approx(
        bst.half_life_from_beta(beta=2 ** (-B / t), tokens_per_step=B), rel=1e-12
    )


@pytest.mark.parametrize("beta", [0.0, 1.0, -0.5, math.nan])
def test_a_coefficient_without_half_life_is_refused(beta: float) -> None:
    with pytest.raises(bst.InputError, match="beta"):
        BOUND.evaluate(constants={"B": 1, "beta": beta})
