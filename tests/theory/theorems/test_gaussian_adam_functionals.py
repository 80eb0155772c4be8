"""Quadratures against closed forms, sampled gradients, and both places of epsilon."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bstheory as bst
from bstheory.theory.theorems.gaussian_adam_functionals import BOUND, functionals
from tests.theory.checks import assert_established


def test_it_is_enclosed_and_damage_is_noticed() -> None:
    certificate = assert_established(BOUND)
    assert "interval_arithmetic" in certificate.rests_on


@pytest.mark.parametrize("n", [2, 3, 4, 10, 60])
def test_equal_weights_are_inverse_chi_moments(n: int) -> None:
    one = np.ones(n)
    root, first, second = functionals(one, one / n, one, mu=0.0)
    assert root == pytest.approx(math.gamma((n - 1) / 2) / (math.sqrt(2) * math.gamma(n / 2)), rel=1e-9)
    assert first == 0.0
    assert second == pytest.approx(1 / n**2, rel=1e-9)  # mean^2/sum of squares: E = 1/n per unit, over n


SETTINGS = [
    {"mu": 0.0, "eps": 0.0, "outside": False},
    {"mu": 0.7, "eps": 0.0, "outside": False},
    {"mu": 0.7, "eps": 0.3, "outside": False},
    {"mu": -0.7, "eps": 0.3, "outside": True},
]


@pytest.mark.parametrize("setting", SETTINGS)
def test_sampled_gradients_agree(setting) -> None:
    rng = np.random.default_rng(0)
    batches, n = np.array([1.0, 2, 4, 8, 8, 4]), 400_000
    w = 0.3 * 0.7 ** np.arange(5, -1, -1.0)
    a = 0.5 * 0.5 ** np.arange(5, -1, -1.0)
    s = 4.0 / batches
    g = setting["mu"] + rng.normal(size=(n, 6)) * np.sqrt(s)
    v, m = g**2 @ w, g @ a
    eps = setting["eps"]
    inverse = 1 / (np.sqrt(v) + eps) if setting["outside"] else 1 / np.sqrt(v + eps)
    for found, seen in zip(
        functionals(w, a, s, **setting), (inverse, m * inverse, m**2 * inverse**2), strict=True
    ):
        assert abs(seen.mean() - found) < 4.5 * seen.std() / math.sqrt(n) + 1e-12


@given(seed=st.integers(0, 10**6))
def test_second_order_expansion_for_many_terms(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 2000
    w, s = rng.uniform(0.5, 1.5, n) / n, rng.uniform(0.5, 1.5, n)
    root, _, _ = functionals(w, w, s, mu=0.3)
    mean = (w * (0.09 + s)).sum()
    cv2 = (w**2 * (2 * s**2 + 4 * 0.09 * s)).sum() / mean**2
    assert root == pytest.approx(mean**-0.5 * (1 + 3 / 8 * cv2), rel=20 * cv2**2)


def test_a_schedule_with_momentum() -> None:
    constants = {"mu": 0.2, "sigma": 2.0, "t2": 50.0, "t1": 5.0}
    found = BOUND.evaluate(constants=constants, schedule=[1] * 20 + [4] * 20)
    assert 0 < found.value < found.trivial_value
    assert found.parts["mean_step"] ** 2 <= found.value


def test_a_single_centred_term_is_refused() -> None:
    with pytest.raises(bst.InputError, match="infinite"):
        functionals(np.ones(1), np.ones(1), np.ones(1), mu=0.0)
    with pytest.raises(bst.InputError, match="eps_outside"):
        BOUND.evaluate(constants={"mu": 1, "sigma": 1, "t2": 1, "eps_outside": 2}, schedule=[1, 1])
