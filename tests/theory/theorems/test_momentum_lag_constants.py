"""Closed forms of the lag constants: proved, damage noticed, above the sums themselves and near them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bstheory as bst
from bstheory.checking import recheck_document
from bstheory.theory.theorems import momentum_lag_constants as module
from bstheory.theory.theorems.adam_token_half_life_momentum import lag_constants
from tests.theory.damage import assert_damage_is_noticed

BOUND = module.BOUND
NAMES = ("C_A", "C_A2", "C_2", "C_3")


def closed(beta1: float, h: float, batch: float) -> dict[str, float]:
    found = BOUND.evaluate(constants={"beta1": beta1, "h": h, "B": batch})
    return {"C_A": found.value, **found.parts}


def test_proved_and_damage_noticed() -> None:
    document = BOUND.document()
    report = recheck_document(document)
    assert report.valid and report.establishes == BOUND.declared, report.reason
    assumed = {r.removeprefix("assumption: ") for r in report.rests_on if r.startswith("assumption: ")}
    assert assumed == {a.name for a in BOUND.assumptions}
    assert_damage_is_noticed(document)


def test_the_values_are_the_stated_formulas() -> None:
    beta1, q = 0.9, 0.9 * 2 ** (4 / 100)
    stated = {
        "C_A": (1 - beta1) * (1 - q) ** -1.5,
        "C_A2": (1 - beta1) * q * (2 - q) ** 0.5 * (1 - q) ** -1.5,
        "C_2": (1 - beta1) / (1 - q),
        "C_3": beta1 * (1 + beta1) / (1 - beta1) ** 2,
    }
    found = closed(beta1, 100.0, 4.0)
    for name in NAMES:
        assert found[name] == pytest.approx(stated[name], rel=1e-12), name


@settings(max_examples=20)
@given(
    beta1=st.floats(0, 0.97),
    share=st.floats(0.05, 0.95),
    steps=st.integers(1, 120),
    h=st.sampled_from([10.0, 1e3, 1e5]),
)
def test_the_sums_stay_below(beta1, share, steps, h) -> None:
    """Constant batches up to the admissible one; the sums are those that the bound with momentum uses."""
    batch = share * h * (np.log2(1 / beta1) if beta1 > 1e-3 else 10.0)
    sums, bounds = lag_constants(np.full(steps, batch), h, beta1, 0.0), closed(beta1, h, batch)
    for name in NAMES:
        assert sums[name] <= bounds[name] * (1 + 1e-9) + 1e-300, name


@settings(max_examples=20)
@given(batches=st.lists(st.integers(1, 500), min_size=1, max_size=60), beta1=st.floats(0, 0.95))
def test_the_sum_across_stays_below_for_any_schedule(batches, beta1) -> None:
    found = lag_constants(np.array(batches), 300.0, beta1, 0.0)["C_3"]
    assert found <= module.bound_across(1 - beta1, beta1) * (1 + 1e-9)


def test_they_are_near_the_sums_of_a_long_run() -> None:
    sums, bounds = lag_constants(np.full(900, 4), 2000.0, 0.9, 0.0), closed(0.9, 2000.0, 4.0)
    assert bounds["C_2"] == pytest.approx(sums["C_2"], rel=1e-6)
    for name in ("C_A", "C_A2"):
        assert 1 <= bounds[name] / sums[name] < 1.2
    # sqrt(c_n)/om is taken as 1, and is 1/sqrt(k + 1) for small c: a factor of about the root of the lag.
    assert 1 <= bounds["C_3"] / sums["C_3"] < 5


@pytest.mark.parametrize(
    ("change", "schedule", "message"),
    [
        ({"B": 20.0}, None, "beta1 lies below"),
        ({}, [4, 8], "constant_batch"),
        ({"beta1": 1.0}, None, r"lie in \[0, 1\)"),
    ],
)
def test_outside_the_hypotheses(change, schedule, message) -> None:
    with pytest.raises(bst.InputError, match=message):
        BOUND.evaluate(constants={"beta1": 0.9, "h": 100.0, "B": 4.0} | change, schedule=schedule)
