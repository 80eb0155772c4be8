"""Derivation, damage, and the bound against every outcome of short sign-descent runs."""

from __future__ import annotations

import numpy as np
import pytest

from bstheory.checking import check
from bstheory.errors import InputError
from bstheory.theory.theorems.sign_sgd_batch_schedule import BOUND
from tests.theory.damage import assert_damage_is_noticed


def test_proved_and_damage_noticed() -> None:
    certificate = check(BOUND)
    assert certificate.verdict.word == BOUND.declared == "proved", certificate.reason
    assert_damage_is_noticed(dict(certificate.evidence))


def test_value_is_the_statement() -> None:
    b, delta = np.array([1, 4, 9]), np.array([0.1, 0.2, 0.3])
    noise = np.array([1.0, 0.5])
    found = BOUND.evaluate(constants={"delta": delta, "L_1": 3.0, "noise": noise, "Delta": 2.0}, schedule=b)
    stated = 2.0 + 1.5 * (delta**2).sum() + 2 * 1.5 * (delta / np.sqrt(b)).sum()
    assert found.value == pytest.approx(stated, rel=1e-12)
    assert found.parts["weighted_mean"] == pytest.approx(stated / 0.6, rel=1e-12)


def outcomes(h, sigma, x, delta, b):
    """E sum delta |grad F|_1 over all outcomes of two-point noise +-sigma/sqrt(b) in two coordinates."""
    states, seen = x[None, :], 0.0
    signs = np.array([[i, j] for i in (-1, 1) for j in (-1, 1)])
    for step, batch in zip(delta, b):
        gradient = h * states
        seen += step * np.abs(gradient).sum(axis=-1).mean()
        drawn = gradient[:, None, :] + signs * sigma / np.sqrt(batch)
        states = (states[:, None, :] - step * np.sign(drawn)).reshape(-1, 2)
    return seen


@pytest.mark.parametrize("seed", range(12))
def test_above_every_outcome(seed: int) -> None:
    rng = np.random.default_rng(seed)
    h, sigma, x = rng.uniform(0.2, 2, size=2), rng.uniform(0, 2, size=2), rng.normal(size=2)
    delta, b = rng.uniform(0.01, 0.5, size=6), rng.integers(1, 20, size=6)
    constants = {"delta": delta, "L_1": h.sum(), "noise": sigma, "Delta": (h * x**2).sum() / 2}
    bound = BOUND.evaluate(constants=constants, schedule=b)
    assert outcomes(h, sigma, x, delta, b) <= bound.parts["unbiased"] <= bound.value


def signed(law: list[tuple[float, float]]) -> tuple[float, float, float]:
    """|G| - E G sign(g) at G = 1 for a law of g, E g, and sqrt(E (g - G)^2)."""
    lost = 1 - sum(p * np.sign(g) for p, g in law)
    return lost, sum(p * g for p, g in law), float(np.sqrt(sum(p * (g - 1) ** 2 for p, g in law)))


def test_noise_factor_two_is_needed_where_g_is_biased() -> None:
    """g just below 0, always: E G sign(g) = -|G|, which is |G| - 2 sigma; any smaller factor fails."""
    lost, mean, sigma = signed([(1.0, -1e-9)])
    assert mean < 1 and lost == 2.0 and lost / sigma == pytest.approx(2, rel=1e-8)


def test_unbiased_gradients_need_factor_one_and_no_more() -> None:
    """g just below 0 or at 2 G: E G sign(g) = 0 = |G| - sigma. No law in a search needs more than 1."""
    lost, mean, sigma = signed([(0.5, -1e-9), (0.5, 2 + 1e-9)])
    assert mean == pytest.approx(1, abs=1e-15) and lost / sigma == pytest.approx(1, rel=1e-8)
    rng, worst = np.random.default_rng(0), 0.0
    for _ in range(4000):
        p, low = rng.uniform(0.02, 0.98), rng.uniform(-3, 1)
        lost, mean, sigma = signed([(p, low), (1 - p, (1 - p * low) / (1 - p))])
        assert mean == pytest.approx(1, abs=1e-9)
        worst = max(worst, lost / sigma)
    assert 0.95 < worst <= 1 + 1e-9


def test_half_the_noise_without_bias() -> None:
    b, delta = np.array([1, 4, 9]), np.array([0.1, 0.2, 0.3])
    found = BOUND.evaluate(constants={"delta": delta, "L_1": 3.0, "noise": 1.5, "Delta": 2.0}, schedule=b)
    assert found.value - found.parts["unbiased"] == pytest.approx(found.parts["noise"] / 2, rel=1e-12)


@pytest.mark.parametrize(
    ("change", "message"), [({"delta": 0.0}, "must be positive"), ({"noise": [-1.0]}, "must be at least 0")]
)
def test_outside_the_hypotheses(change, message) -> None:
    constants = {"delta": 0.1, "L_1": 2.0, "noise": [1.0], "Delta": 1.0}
    with pytest.raises(InputError, match=message):
        BOUND.evaluate(constants=constants | change, schedule=[1, 2])
