"""The weights of a moving average add up to 1 - 2^(-D/t); the usual factor after a ramp does not."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bstheory.checking.recheck import recheck_document
from bstheory.theory.theorems.bias_correction_tokens import BOUND
from tests.theory.checks import assert_established

BATCHES = st.lists(st.integers(1, 64), min_size=1, max_size=30)


def test_it_is_proved_and_damage_is_noticed() -> None:
    assert_established(BOUND, still_true=("step start, gap: doubled", "mass_start, gap: doubled"))


@given(batches=BATCHES, t=st.floats(0.5, 1e4))
def test_a_constant_input_is_returned_after_correction(batches, t: float) -> None:
    v = 0.0
    for B in batches:
        v = 2 ** (-B / t) * v + (1 - 2 ** (-B / t)) * 7.0
    found = BOUND.evaluate(constants={"t": t}, schedule=batches)
    assert v / found.value == pytest.approx(7.0, rel=1e-9)
    assert found.value == pytest.approx(1 - 2 ** (-sum(batches) / t), rel=1e-9)


@given(batches=BATCHES, t=st.floats(0.5, 1e3))
def test_the_usual_factor_is_too_large_after_a_ramp_up_and_too_small_after_a_ramp_down(batches, t) -> None:
    rising = BOUND.evaluate(constants={"t": t}, schedule=sorted(batches))
    falling = BOUND.evaluate(constants={"t": t}, schedule=sorted(batches, reverse=True))
    assert rising.parts["usual_factor"] >= rising.value - 1e-12
    assert falling.parts["usual_factor"] <= falling.value + 1e-12


def test_the_usual_factor_is_refuted_exactly() -> None:
    half = Fraction(1, 2)
    weight = half**3 * (1 - half) + (1 - half**3)
    assert weight == Fraction(15, 16) and 1 - (half**3) ** 2 == Fraction(63, 64)
    found = BOUND.evaluate(constants={"t": 5}, schedule=[5, 15])
    assert found.value == pytest.approx(15 / 16) and found.parts["usual_factor"] == pytest.approx(63 / 64)


def test_claiming_the_usual_factor_is_rejected() -> None:
    document = BOUND.document()["parts"]["edited_after_ramp_up"]
    document["claim"]["lhs"], document["claim"]["rhs"] = document["claim"]["rhs"], document["claim"]["lhs"]
    assert not recheck_document(document).valid


def test_vectorised_over_half_lives() -> None:
    t = np.array([1.0, 10.0, 100.0])
    both = BOUND.evaluate(constants={"t": t}, schedule=[1, 2, 3]).value
    np.testing.assert_allclose(both, 1 - 2 ** (-6 / t), rtol=1e-12)
