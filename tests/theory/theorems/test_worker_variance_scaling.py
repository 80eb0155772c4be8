"""The variance over workers: its expectation, and where the published rule comes to rest."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bstheory as bst
from bstheory.theory.theorems.worker_variance_scaling import BOUND
from tests.theory.checks import assert_established


def test_it_is_proved_and_damage_is_noticed() -> None:
    assert_established(BOUND)


def test_expectation_and_two_scalars() -> None:
    rng = np.random.default_rng(0)
    runs, J, b, S, G = 50_000, 4, 16, np.array([1.0, 4.0]), np.array([0.5, -1.0])
    groups = G + rng.normal(0, 1, (runs, J, 2)) * np.sqrt(S * J / b)
    mean = groups.mean(axis=1, keepdims=True)
    V = ((groups - mean) ** 2).sum(axis=2).mean(axis=1)
    two = (groups**2).sum(axis=2).mean(axis=1) - (mean**2).sum(axis=(1, 2))
    np.testing.assert_allclose(V, two, rtol=1e-9, atol=1e-12)
    assert abs(V.mean() - (J - 1) * S.sum() / b) < 4 * V.std() / math.sqrt(runs)


@given(scale=st.floats(0.1, 1e6), J=st.integers(2, 64), eta=st.floats(0.01, 0.99))
def test_rest_point(scale: float, J: int, eta: float) -> None:
    found = BOUND.evaluate(constants={"noise_scale": scale, "J": J, "eta": eta})
    stated = scale / 2 * (math.sqrt(1 + 4 * (J - 1) / (eta**2 * scale)) - 1)
    assert found.value == pytest.approx(stated, rel=1e-6)
    assert found.parts["balance"] == pytest.approx(1.0, rel=1e-6)
    assert found.value <= found.trivial_value * (1 + 1e-6)
    assert found.value <= found.parts["root_law"] * (1 + 1e-6)


@pytest.mark.parametrize("scale", [50.0, 5000.0])
def test_the_closed_loop_rests_near_the_prediction(scale: float) -> None:
    # Many coordinates, so that the ratio is near the ratio of expectations, as the prediction assumes.
    rng = np.random.default_rng(2)
    J, eta, d = 8, 0.2, 4000
    G, sigma_sq = 1.0 / math.sqrt(d), scale / d
    b, path = 40.0, []
    for _ in range(60):
        groups = G + rng.normal(0, math.sqrt(sigma_sq * J / b), (J, d))
        mean = groups.mean(axis=0)
        V = ((groups - mean) ** 2).sum() / J
        # The raw rule overshoots and oscillates; averaging its logarithm settles at the rest point.
        b = math.exp(0.5 * math.log(b) + 0.5 * math.log(V / (eta**2 * (mean**2).sum())))
        path.append(b)
    predicted = BOUND.evaluate(constants={"noise_scale": scale, "J": J, "eta": eta}).value
    assert np.mean(path[20:]) == pytest.approx(predicted, rel=0.05)


def test_one_group_is_refused() -> None:
    with pytest.raises(bst.InputError, match="two of them"):
        BOUND.evaluate(constants={"noise_scale": 1, "J": 1, "eta": 0.5})
