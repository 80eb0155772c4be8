"""The minimisers are minima, with the stated slopes in the batch size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bstheory as bst
from bstheory.theory.theorems.optimal_half_life import BOUND
from tests.theory.checks import assert_established


def test_the_calculus_is_proved_and_damage_is_noticed() -> None:
    assert_established(BOUND)
    assert BOUND.kind == "asymptotic"


@given(rho=st.floats(1e-8, 1e-3), B=st.floats(1, 1e6), scale=st.floats(1, 1e6), walk=st.booleans())
def test_no_half_life_on_a_grid_is_better(rho, B, scale, walk) -> None:
    found = BOUND.evaluate(constants={"rho": rho, "B": B, "noise_scale": scale, "walk": int(walk)})
    best = found.parts["decay_rate"]
    lam = best * np.geomspace(1e-3, 1e3, 2001)
    cost = B if walk else min(B, 2 * scale)
    error = rho / (2 * lam) + lam * cost if walk else (rho / lam) ** 2 + lam * cost
    assert error.min() >= found.parts["squared_error"] * (1 - 1e-9)
    assert error.min() == pytest.approx(found.parts["squared_error"], rel=1e-3)


def test_slopes_in_the_batch_size() -> None:
    def half_life(B: float, walk: int = 0) -> float:
        constants = {"rho": 1e-6, "B": B, "noise_scale": 1e4, "walk": walk}
        return float(BOUND.evaluate(constants=constants).value)

    assert half_life(80) / half_life(10) == pytest.approx(2.0)
    assert half_life(1e6) == pytest.approx(half_life(1e8))
    assert half_life(40, 1) / half_life(10, 1) == pytest.approx(2.0)


def test_the_lag_behind_a_linear_drift() -> None:
    t, rho, v = 50.0, 0.3, 0.0
    lam = np.log(2) / t
    for n in range(200_000):
        beta = 2 ** (-0.01 / t)
        v = beta * v + (1 - beta) * rho * 0.01 * (n + 1)
    assert rho * 0.01 * 200_000 - v == pytest.approx(rho / lam, rel=1e-3)


def test_bad_constants_are_named() -> None:
    with pytest.raises(bst.InputError, match="walk"):
        BOUND.evaluate(constants={"rho": 1, "B": 1, "noise_scale": 1, "walk": 2})
