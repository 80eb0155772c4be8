"""Steps to a target: the identity is proved, the numbers are an independent recursion."""

from __future__ import annotations

import numpy as np
import pytest

import bstheory as bst
from bstheory.simulation.critical_batch import tuned_steps
from bstheory.theory.theorems.nqm_critical_batch import BOUND, noise_ratio
from tests.theory.checks import assert_established


def test_the_identity_is_proved_and_damage_is_noticed() -> None:
    assert_established(BOUND)
    assert BOUND.kind == "prediction"


@pytest.mark.parametrize("x", [0.01, 0.5, 1.0, 1.9])
def test_two_half_steps_add_less_noise(x: float) -> None:
    one = two = 0.0
    one = x**2 * 1.0
    for _ in range(2):
        two = (1 - x / 2) ** 2 * two + (x / 2) ** 2 * 2.0
    assert two / one == pytest.approx(1 - x / 2 + x**2 / 8) == noise_ratio(x, 1.0)
    assert two < one


@pytest.mark.parametrize("B", [1.0, 8.0, 64.0])
def test_steps_agree_with_an_independent_search(B: float) -> None:
    h = 1.0 / np.arange(1, 201)
    rates = [2.0 ** (j / 2) for j in range(-39, 2)]
    known = tuned_steps(h, h, np.ones(200), target=0.05, batch_sizes=[B], learning_rates=rates)[0]
    found = BOUND.evaluate(constants={"B": B, "d": 200, "target": 0.05})
    assert found.value == known.steps and found.parts["learning_rate"] == pytest.approx(known.learning_rate)


def test_the_large_setting() -> None:
    # 1e4 coordinates, h = c = 1/i. Other grids of the same ratio give about one per cent more or less.
    one, many = (BOUND.evaluate(constants={"B": B}) for B in (1, 256))
    assert one.value == pytest.approx(6.4e6, rel=0.02) and many.value == pytest.approx(2.64e4, rel=0.02)
    assert many.parts["samples"] < 1.1 * one.parts["samples"]


def test_a_target_out_of_reach_is_named() -> None:
    with pytest.raises(bst.InputError, match="target"):
        BOUND.evaluate(constants={"B": 1, "d": 10, "target": 1e-9})
