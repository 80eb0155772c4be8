"""beta* = beta^(B*/B)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bstheory as bst
from bstheory.theory.theorems.half_life_transfer import BOUND
from tests.theory.checks import assert_established


def test_it_is_proved_and_damage_is_noticed() -> None:
    assert_established(BOUND)


@given(beta=st.floats(0.01, 0.999999), B=st.integers(1, 10**6), B_new=st.integers(1, 10**6))
def test_the_value_is_the_stated_power(beta: float, B: int, B_new: int) -> None:
    found = BOUND.evaluate(constants={"beta": beta, "B": B, "B_new": B_new})
    assert found.value == pytest.approx(beta ** (B_new / B), rel=1e-9)
    back = found.parts["half_life"]
    assert found.parts["one_minus_beta"] == pytest.approx(1 - 2 ** (-B_new / back), abs=1e-12)


def test_published_pair() -> None:
    # 0.95 at 512 sequences becomes 0.9999 at one: 2507.07101.
    found = BOUND.evaluate(constants={"beta": 0.95, "B": 512, "B_new": 1})
    assert round(float(found.value), 4) == 0.9999
    assert found.value == pytest.approx(
        bst.transfer_beta(beta=0.95, from_batch_size=512, to_batch_size=1), rel=1e-12
    )
