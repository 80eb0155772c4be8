"""Quadratures against Monte-Carlo and closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from bstheory.errors import InputError
from bstheory.simulation.functionals import gaussian_functionals

DRAWS = 50_000


@pytest.mark.parametrize("seed", range(70))
def test_monte_carlo_agrees_at_four_sigma(seed: int) -> None:
    rng = np.random.default_rng(seed)
    terms = int(rng.integers(5, 15))  # from 5 terms on 1/v has a finite variance
    w, a, s = rng.uniform(0.05, 1, terms), rng.uniform(0, 1, terms), rng.uniform(0.1, 2, terms)
    mu, eps = float(rng.normal()), float(rng.choice([0.0, 0.3]))
    exact = gaussian_functionals(w, a, s, mu=mu, eps=eps)
    assert exact.error < 1e-9
    g = mu + np.sqrt(s) * rng.standard_normal((DRAWS, terms))
    root = np.sqrt((g**2) @ w + eps)
    m = g @ a
    for name, sample in (("inverse_root", 1 / root), ("direction", m / root), ("square", (m / root) ** 2)):
        z = (sample.mean() - getattr(exact, name)) / (sample.std(ddof=1) / np.sqrt(DRAWS))
        assert abs(z) <= 4, (name, z)


def test_slope_is_the_derivative() -> None:
    w, a, s = np.array([0.2, 0.3, 0.5]), np.array([0.1, 0.0, 0.9]), np.array([1.0, 0.5, 2.0])
    for eps in (0.0, 0.4):
        step = 1e-4
        up = gaussian_functionals(w, a, s, mu=step, eps=eps).direction
        assert gaussian_functionals(w, a, s, eps=eps).slope == pytest.approx(up / step, rel=1e-6)


def test_published_constants_of_rmsprop() -> None:
    # theory.md, rmsprop_stationary_variance: (k1, k2) is (0.94754, 0.92104) at beta2 = 0.9, (sqrt(2/pi), 1)
    # at 0.
    w = 0.1 * 0.9 ** np.arange(400)
    last = np.eye(400)[0]
    found = gaussian_functionals(w, last, np.ones(400))
    assert found.slope == pytest.approx(0.94754, abs=1e-5)
    assert found.square == pytest.approx(0.92104, abs=1e-5)
    one = gaussian_functionals([1.0], [1.0], [1.0])
    assert one.slope == pytest.approx(np.sqrt(2 / np.pi), rel=1e-10)
    assert one.square == pytest.approx(1.0, rel=1e-10)
    assert one.inverse_root == np.inf


def test_a_constant_direction_without_noise() -> None:
    found = gaussian_functionals([0.5, 0.5], [0.5, 0.5], [1e-12, 1e-12], mu=2.0)
    assert found.direction == pytest.approx(1.0, rel=1e-9)
    assert found.inverse_root == pytest.approx(0.5, rel=1e-9)


@pytest.mark.parametrize(
    "w, a, s, message",
    [
        ([1.0], [1.0, 2.0], [1.0], "one length"),
        ([0.0], [1.0], [1.0], "positive"),
        ([1.0], [1.0], [0.0], "positive"),
    ],
)
def test_invalid_arguments(w, a, s, message: str) -> None:
    with pytest.raises(InputError, match=message):
        gaussian_functionals(w, a, s)
