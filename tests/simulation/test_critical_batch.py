"""Steps to target, fits and laws against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bstheory.errors import InputError
from bstheory.simulation import critical_batch as cb
from bstheory.simulation import heavy_ball_moments, sgd_moments

H = 1.0 / np.arange(1, 10_001)


def test_zhang_model_steps_at_batch_1_and_256() -> None:
    # theory.md, nqm_critical_batch: 6.38e6 steps at B = 1 and 2.65e4 at B = 256, rate tuned on a sqrt(2)
    # grid.
    small, large = cb.tuned_steps(H, H, np.ones_like(H), target=0.01, batch_sizes=[1, 256])
    assert small.steps == pytest.approx(6.38e6, rel=0.03)
    assert large.steps == pytest.approx(2.65e4, rel=0.03)
    assert not small.at_edge
    assert small.tokens <= large.tokens


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.5, 0.9]))
@settings(max_examples=40, deadline=None)
def test_steps_to_target_is_the_first_crossing(seed: int, beta1: float) -> None:
    rng = np.random.default_rng(seed)
    d, steps = 4, 400
    h, c = rng.uniform(0.1, 1, d), rng.uniform(0, 0.1, d)
    rate, batch = rng.uniform(0.02, 0.3) * (1 - beta1), int(rng.integers(1, 9))
    columns = {"learning_rate": np.full(steps, rate), "batch_size": np.full(steps, batch)}
    m0 = np.full(d, 4.0)
    path = (
        heavy_ball_moments(h, c, m0, **columns, beta1=np.full(steps, beta1))[:, 0]
        if beta1
        else sgd_moments(h, c, m0, **columns)
    )
    loss = 0.5 * np.sum(h * path, axis=1)
    target = float(loss[0] * 0.3 + loss[-1] * 0.7)
    found = cb.steps_to_target(h, c, m0, target=target, batch_size=batch, learning_rate=rate, beta1=beta1)
    first = int(np.argmax(loss <= target)) if np.any(loss <= target) else None
    if np.all(np.diff(loss[: (first or 0) + 1]) <= 0) and first is not None:
        assert found == first
        assert loss[found] <= target < loss[found - 1]


def test_unreachable_target_and_unstable_rate() -> None:
    arguments = {"h": [1.0], "c": [1.0], "m0": [1.0], "batch_size": 1}
    assert cb.steps_to_target(**arguments, target=1e-3, learning_rate=0.5) is None
    assert cb.steps_to_target(**arguments, target=1e-3, learning_rate=2.5) is None
    assert cb.steps_to_target(**arguments, target=10.0, learning_rate=0.1) == 0
    with pytest.raises(InputError, match="some learning rate"):
        cb.tuned_steps([1.0], [1.0], [1.0], target=1e-3, batch_sizes=[1], learning_rates=[0.5, 1.0])
    with pytest.raises(InputError, match="positive"):
        cb.steps_to_target(**arguments, target=0.0, learning_rate=0.1)


@given(st.floats(10, 1e6), st.floats(1, 1e5))
@settings(max_examples=60, deadline=None)
def test_hyperbola_is_recovered(s_min: float, critical: float) -> None:
    b = 2.0 ** np.arange(0, 18)
    fit = cb.fit_hyperbola(b, s_min * (1 + critical / b))
    assert fit.s_min == pytest.approx(s_min, rel=1e-5)
    assert fit.critical == pytest.approx(critical, rel=1e-5)
    assert fit.relative_rms < 1e-9
    assert fit.perfect_scaling <= max(1.0, 0.2 * (critical + 1) + 1)


def test_hyperbola_uncertainty_covers() -> None:
    b, rng, inside = 2.0 ** np.arange(0, 16), np.random.default_rng(0), 0
    for _ in range(400):
        steps = 1000 * (1 + 500 / b) * np.exp(0.05 * rng.normal(size=len(b)))
        fit = cb.fit_hyperbola(b, steps)
        inside += abs(fit.critical - 500) <= 1.96 * fit.critical_se
    assert (
        0.88 <= inside / 400 <= 0.99
    )  # 95 % nominal; 14 degrees of freedom and noise shared with the weights


@pytest.mark.parametrize("name", sorted(cb.RATE_LAWS))
def test_rate_laws_recover_themselves(name: str) -> None:
    b = 2.0 ** np.arange(0, 14)
    rates = 0.3 * cb.RATE_LAWS[name](b, 64.0) * np.exp(0.03 * np.random.default_rng(1).normal(size=len(b)))
    best = cb.fit_rate_laws(b, rates)[0]
    assert best.name == name
    if best.noise_scale is not None:
        assert best.noise_scale == pytest.approx(64.0, rel=0.15)


def test_quadratic_optimal_rate_saturates() -> None:
    # One curvature: the rate is limited by noise at small B (linear) and by stability at large B (constant).
    h = np.ones(1)
    batches = 4.0 ** np.arange(0, 8)
    rates = 2.0 ** np.arange(-16, 0.5, 0.125)
    tuned = cb.tuned_steps(h, 100 * h, h, target=0.02, batch_sizes=batches, learning_rates=rates.tolist())
    chosen = [t.learning_rate for t in tuned]
    assert cb.fit_rate_laws(batches, chosen)[0].name == "saturating"
    slope = np.log(chosen[1] / chosen[0]) / np.log(4)
    assert slope == pytest.approx(1.0, abs=0.1)


@given(st.floats(1e-7, 1e-4), st.floats(1, 100))
@settings(max_examples=60, deadline=None)
def test_optimal_half_life_laws(drift: float, batch: float) -> None:
    noisy = cb.optimal_half_life(batch_size=batch, drift=drift)
    x = np.log(2) * batch / noisy
    if x < 0.05:  # the law is the leading order in lambda B
        assert np.log(2) / noisy == pytest.approx((2 * drift**2 / batch) ** (1 / 3), rel=x + 1e-3)
        again = cb.optimal_half_life(batch_size=batch / 8, drift=drift)
        assert noisy / again == pytest.approx(2.0, rel=0.02)  # slope 1/3
    noise_scale = 1e-3 * batch
    signal = cb.optimal_half_life(batch_size=batch, drift=drift, noise_scale=noise_scale)
    if np.log(2) * batch / signal < 0.05:
        assert np.log(2) / signal == pytest.approx((drift**2 / noise_scale) ** (1 / 3), rel=0.05)


INVALID = [
    (lambda: cb.fit_hyperbola([1, 2], [3, 4]), "three points"),
    (lambda: cb.fit_hyperbola([1, 2, 0], [3, 4, 5]), "positive"),
    (lambda: cb.fit_rate_laws([1, 2, 3], [1, 1, 1]), "four"),
]


@pytest.mark.parametrize("make, message", INVALID)
def test_invalid_arguments(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
