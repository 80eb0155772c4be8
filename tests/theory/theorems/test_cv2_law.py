"""CV^2 of v: the exact moments, the bounds, and what a half-life does not preserve."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bstheory as bst
from bstheory.theory.theorems.cv2_law import BOUND
from tests.theory.checks import assert_established


def test_it_is_proved_and_damage_is_noticed() -> None:
    # Where only the recursion enters, the claim is about any coefficient.
    still_true = ("definition of beta", "start, gap: doubled", "_start: doubled")
    assert_established(BOUND, still_true=still_true)


def recursion(batches, mu, sigma, t) -> tuple[float, float]:
    """Mean and variance of v by the moment recursion."""
    mean = square = 0.0
    for B in batches:
        beta, s = 2 ** (-B / t), sigma**2 / B
        g2, g4 = mu**2 + s, mu**4 + 6 * mu**2 * s + 3 * s**2
        square = beta**2 * square + 2 * beta * (1 - beta) * mean * g2 + (1 - beta) ** 2 * g4
        mean = beta * mean + (1 - beta) * g2
    return mean, square - mean**2


@given(
    batches=st.lists(st.integers(1, 50), min_size=1, max_size=30),
    t=st.floats(1, 500),
    mu=st.floats(0, 3),
    sigma=st.floats(0.1, 5),
)
def test_the_value_is_the_moment_recursion(batches, t, mu, sigma) -> None:
    found = BOUND.evaluate(constants={"t": t, "mu": mu, "sigma": sigma}, schedule=batches)
    mean, variance = recursion(batches, mu, sigma, t)
    assert found.value == pytest.approx(variance / mean**2, rel=1e-6, abs=1e-12)
    assert found.value <= found.trivial_value * (1 + 1e-9)


@given(B=st.integers(1, 200), t=st.floats(5, 1e4), scale=st.floats(0.1, 1e3), steps=st.integers(1, 50))
def test_constant_batch_closed_form_and_bounds(B, t, scale, steps) -> None:
    found = BOUND.evaluate(constants={"t": t, "mu": 1.0, "sigma": math.sqrt(scale)}, schedule=[B] * steps)
    phi, lam = 2 ** (-B * steps / t), math.log(2) / t
    stated = 2 * math.tanh(lam * B / 2) * (1 - (B / (B + scale)) ** 2)
    assert found.value == pytest.approx(stated * (1 + phi) / (1 - phi), rel=1e-7)
    assert found.parts["closed_form"] == pytest.approx(found.value, rel=1e-7)
    assert stated <= found.parts["stationary_bound"] * (1 + 1e-9)
    assert found.parts["stationary_bound"] == pytest.approx(min(lam * B, 2 * lam * scale))
    assert stated >= 2 * lam * scale * (1 - 1.5 * scale / B) / (1 + (lam * B) ** 2 / 12) * (1 - 1e-9)


def test_it_agrees_with_sampled_gradients() -> None:
    rng = np.random.default_rng(0)
    batches, t, mu, sigma, n = [1, 2, 4, 8, 8], 6.0, 0.5, 2.0, 400_000
    v = np.zeros(n)
    for B in batches:
        beta = 2 ** (-B / t)
        v = beta * v + (1 - beta) * rng.normal(mu, sigma / math.sqrt(B), n) ** 2
    found = BOUND.evaluate(constants={"t": t, "mu": mu, "sigma": sigma}, schedule=batches)
    phi = 2 ** (-sum(batches) / t)
    z_mean = (v.mean() - found.parts["mean"] * (1 - phi)) / (v.std() / math.sqrt(n))
    spread = ((v - v.mean()) ** 2).std() / math.sqrt(n)
    z_variance = (v.var() - found.parts["variance"] * (1 - phi) ** 2) / spread
    assert abs(z_mean) < 4 and abs(z_variance) < 4


def test_a_half_life_does_not_preserve_it_where_noise_dominates_but_a_fixed_beta_does() -> None:
    t = 1000.0

    def stationary(B: int, half_life: float) -> float:
        return float(
            BOUND.evaluate(
                constants={"t": half_life, "mu": 0.0, "sigma": 1.0}, schedule=[B] * int(60 * half_life / B)
            ).value
        )

    tau = math.tanh(math.log(2) * 10 / (2 * t))
    assert stationary(20, t) / stationary(10, t) == pytest.approx(2 / (1 + tau**2), rel=1e-9)
    assert stationary(20, 2 * t) == pytest.approx(stationary(10, t), rel=1e-9)


def test_where_signal_dominates_it_is_preserved() -> None:
    lam, scale = math.log(2) / 1e5, 2.0
    found = [
        BOUND.evaluate(
            constants={"t": 1e5, "mu": 1.0, "sigma": math.sqrt(scale)}, schedule=[B] * int(3e6 / B)
        ).value
        for B in (400, 1600)
    ]
    assert found[0] == pytest.approx(2 * lam * scale, rel=0.01) == found[1]


def test_bad_constants_are_named() -> None:
    with pytest.raises(bst.InputError, match="sigma=0"):
        BOUND.evaluate(constants={"t": 1, "mu": 0, "sigma": 0}, schedule=[1])
