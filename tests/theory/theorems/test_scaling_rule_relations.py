"""The square-root rule is a truncation of the half-life rule; three rules are identities."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bstheory as bst
from bstheory.theory.theorems.scaling_rule_relations import BOUND
from tests.theory.checks import assert_established


def test_it_is_proved_and_damage_is_noticed() -> None:
    assert_established(BOUND, still_true=("_start, gap: doubled",))


@given(k=st.integers(1, 500), beta=st.floats(0.001, 0.99999))
def test_the_truncation_error_is_bounded(k: int, beta: float) -> None:
    found = BOUND.evaluate(constants={"k": k, "beta": beta})
    c = 1 - beta
    assert found.parts["exact"] == pytest.approx(1 - beta**k, rel=1e-7)
    assert found.value == pytest.approx(k * c, rel=1e-12)
    lower = k * c - math.comb(k, 2) * c**2
    assert found.parts["lower"] == pytest.approx(lower, rel=1e-6, abs=1e-9)
    assert lower - 1e-9 <= found.parts["exact"] <= found.value * (1 + 1e-9)
    assert found.parts["relative_error"] <= found.parts["relative_error_bound"] + 1e-9


def test_equal_betas_keep_v_above_the_square_of_m() -> None:
    rng = np.random.default_rng(0)
    beta, m, v = 0.9, 0.0, 0.0
    for g in rng.standard_cauchy(1000):
        spread = beta * (v - m**2) + beta * (1 - beta) * (g - m) ** 2
        m, v = beta * m + (1 - beta) * g, beta * v + (1 - beta) * g**2
        assert v - m**2 == pytest.approx(spread, rel=1e-6, abs=1e-9 * v)


def test_a_ratio_that_is_no_whole_number_is_refused() -> None:
    with pytest.raises(bst.InputError, match="whole number"):
        BOUND.evaluate(constants={"k": 1.5, "beta": 0.9})
