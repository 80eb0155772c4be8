"""The constants are enclosed, their limits are as stated, and long runs agree to leading order."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bstheory.theory.theorems.rmsprop_stationary_variance import BOUND, response
from tests.theory.checks import assert_established


@pytest.mark.slow
def test_it_is_enclosed_and_damage_is_noticed() -> None:
    assert_established(BOUND, count=20)


def test_constants() -> None:
    k1, k2 = response(0.9)
    assert (round(k1, 5), round(k2, 5)) == (0.94754, 0.92104)
    assert response(0.0) == (pytest.approx(math.sqrt(2 / math.pi)), 1.0)
    for c in (0.01, 0.001):
        k1, k2 = response(1 - c)
        assert k1 == pytest.approx(1 - 5 / 8 * c, abs=3 * c**2)
        assert k2 == pytest.approx(1 - c, abs=3 * c**2)


def test_long_runs_agree_to_leading_order() -> None:
    rng = np.random.default_rng(0)
    h, sigma, B, t2, eta, paths = 0.5, 2.0, 4.0, 4.0, 0.02, 8000
    beta = 2 ** (-B / t2)
    found = BOUND.evaluate(constants={"eta": eta, "h": h, "sigma": sigma, "B": B, "t2": t2})
    theta = rng.normal(0, math.sqrt(found.value), paths)
    v, seen = np.full(paths, sigma**2 / B), []
    for step in range(600):
        g = h * theta + rng.normal(0, sigma / math.sqrt(B), paths)
        v = beta * v + (1 - beta) * g**2
        theta = theta - eta * g / np.sqrt(v)
        if step >= 300:
            seen.append(np.mean(theta**2))
    # One mean square of 8000 paths is off by about 1.6 per cent; the law itself by order eta.
    assert np.mean(seen) == pytest.approx(found.value, rel=4 * math.sqrt(2 / paths) + 2 * eta)
    assert abs(np.mean(seen) - found.value) < 0.5 * abs(np.mean(seen) - found.parts["square_root_rule"])
