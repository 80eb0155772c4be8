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
    assert cb.steps_to_target(**arguments, target=10.0, learning_rate=0.1, beta1=0.5) == 0
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


def test_standard_errors_and_aicc_against_their_definitions() -> None:
    b = np.array([1.0, 4.0, 16.0, 64.0, 256.0])
    steps = 100 * (1 + 20 / b) * np.array([1.02, 0.97, 1.01, 1.03, 0.98])
    fit = cb.fit_hyperbola(b, steps)
    design = np.stack([1 / steps, 1 / (b * steps)], axis=1)
    solution = np.linalg.solve(design.T @ design, design.sum(axis=0))
    rest = design @ solution - 1
    covariance = rest @ rest / 3 * np.linalg.inv(design.T @ design)  # five points, two parameters
    assert fit.s_min == pytest.approx(solution[0], rel=1e-9)
    assert fit.s_min_se == pytest.approx(np.sqrt(covariance[0, 0]), rel=1e-9)
    rates = np.array([1.0, 1.9, 4.2, 7.9, 16.5, 31.0])
    law = next(x for x in cb.fit_rate_laws(4.0 ** np.arange(6), rates) if x.name == "sqrt")
    spread = np.var(np.log(rates) - np.log(2.0) * np.arange(6))
    assert law.aicc == pytest.approx(6 * np.log(spread) + 4 + 12 / 3, rel=1e-9)  # n = 6, k = 2


def test_edges_and_curvatures_of_the_default_grid() -> None:
    arguments = {"c": [0.0], "m0": [1.0], "target": 0.01, "batch_sizes": [1]}
    (top,) = cb.tuned_steps([1.0], **arguments, learning_rates=[0.1, 0.2, 0.9])
    assert top.at_edge and top.learning_rate == 0.9
    (inner,) = cb.tuned_steps([1.0], **arguments, learning_rates=[0.1, 0.9, 1.9])
    assert not inner.at_edge and inner.learning_rate == 0.9
    # Rates scale as 1 / h, so the same problem in other units takes the same steps.
    small, large = (
        cb.tuned_steps([u, u / 4], [u * u / 9, u * u], [1.0, 1.0], target=0.2 * u, batch_sizes=[64])[0]
        for u in (2.0**-40, 2.0**40)
    )
    assert small.steps == large.steps and small.learning_rate * 2.0**-40 == large.learning_rate * 2.0**40


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


GOOD = {"h": [1.0, 0.1], "c": [1.0, 0.1], "m0": [1.0, 1.0], "target": 0.01} | {
    "batch_size": 64,
    "learning_rate": 0.1,
}
INVALID = [
    (lambda: cb.fit_hyperbola([1, 2], [3, 4]), "three points"),
    (lambda: cb.fit_hyperbola([1, 2, 0], [3, 4, 5]), "positive"),
    (lambda: cb.fit_rate_laws([1, 2, 3], [1, 1, 1]), "four"),
    (lambda: cb.fit_rate_laws([1, 2, 3, 4], [1, 1, 1]), "4 batch sizes and 3 rates"),
    (lambda: cb.fit_rate_laws([1, 2, 3, 4], [1, 1, -1, 1]), "four positive"),
    (lambda: cb.fit_hyperbola([1, 2, 4], [9, np.nan, 4]), "finite"),
    (lambda: cb.fit_hyperbola([2, 2, 2], [9, 8, 4]), "different batch sizes"),
    (lambda: cb.fit_hyperbola([1, 2, 4], [1, 2, 4]), "steps fall"),
    (lambda: cb.optimal_half_life(batch_size=4, drift=0.0), "drift=0.0"),
    *(
        (lambda change=change: cb.steps_to_target(**{**GOOD, **change}), next(iter(change)) + "=")
        for change in (
            {"batch_size": np.nan},
            {"batch_size": -1},
            {"learning_rate": np.nan},
            {"learning_rate": -0.1},
            {"s": -1.0},
            {"h": [-1.0, 0.5]},
            {"h": [np.nan, 0.5]},
            {"c": [-1.0, 0.5]},
            {"m0": [np.inf, 0.5]},
            {"target": np.nan},
        )
    ),
]


@pytest.mark.parametrize("make, message", INVALID)
def test_invalid_arguments(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
