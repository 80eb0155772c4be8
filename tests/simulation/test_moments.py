"""Exact recursions against closed forms, against the compiled form, and against Monte-Carlo."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bstheory.errors import InputError
from bstheory.problems import noisy_quadratic
from bstheory.simulation import (
    SGD,
    HeavyBall,
    heavy_ball_moments,
    heavy_ball_stationary,
    monte_carlo,
    quadratic_loss,
    sgd_moments,
    sgd_stationary,
)
from bstheory.simulation.moments import final_moments


@st.composite
def cases(draw):
    d, steps = draw(st.integers(1, 6)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    h = rng.uniform(0.05, 2.0, d)
    return {
        "h": h,
        "c": rng.uniform(0.0, 2.0, d),
        "m0": rng.uniform(0.0, 4.0, d),
        "learning_rate": rng.uniform(0.01, 0.9, steps) / h.max(),
        "beta1": rng.uniform(0.0, 0.95, steps),
        "batch_size": rng.integers(1, 65, steps),
        "s": rng.uniform(0.0, 0.1),
    }


@given(cases())
@settings(max_examples=60, deadline=None)
def test_compiled_is_the_specification(case) -> None:
    beta1 = case.pop("beta1")
    np.testing.assert_allclose(final_moments(**case), sgd_moments(**case)[-1], rtol=1e-12)
    compiled = final_moments(**case, beta1=beta1)
    np.testing.assert_array_equal(final_moments(**case, beta1=beta1, threads=3), compiled)
    plain = heavy_ball_moments(**case, beta1=beta1)[-1]
    scale = np.sqrt(plain[0] * plain[2])
    np.testing.assert_allclose(compiled[[0, 2]], plain[[0, 2]], rtol=1e-10)
    assert np.all(np.abs(compiled[1] - plain[1]) <= 1e-10 * scale)


@given(cases(), st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_a_run_in_two_parts_is_the_run(case, cut: int) -> None:
    steps = ("learning_rate", "beta1", "batch_size")
    assume(0 < cut < len(case["beta1"]))
    first = final_moments(**case | {name: case[name][:cut] for name in steps})
    rest = case | {name: case[name][cut:] for name in steps} | {"m0": first[0]}
    whole = final_moments(**case)
    continued = final_moments(**rest, state=(first[1], first[2]))
    scale = np.sqrt(whole[0] * whole[2])
    assert np.all(np.abs(continued - whole) <= 1e-10 * np.stack([whole[0], scale, whole[2]]))


@given(cases())
@settings(max_examples=60, deadline=None)
def test_heavy_ball_without_momentum_is_sgd_and_moments_are_a_covariance(case) -> None:
    beta1 = case.pop("beta1")
    path = heavy_ball_moments(**case, beta1=0 * beta1)
    np.testing.assert_allclose(path[:, 0], sgd_moments(**case), rtol=1e-12)
    m11, m12, m22 = np.moveaxis(heavy_ball_moments(**case, beta1=beta1), 1, 0)
    assert np.all(m12**2 <= m11 * m22 * (1 + 1e-9) + 1e-15)


def test_closed_form_and_stationary_limits() -> None:
    h, c, m0, eta, batch = np.array([1.0, 0.3]), np.array([0.5, 2.0]), np.array([3.0, 1.0]), 0.4, 4
    steps = 300
    constant = {"learning_rate": np.full(steps, eta), "batch_size": np.full(steps, batch)}
    path = sgd_moments(h, c, m0, **constant)
    stationary = sgd_stationary(h, c, learning_rate=eta, batch_size=batch)
    decay = (1 - eta * h) ** (2 * np.arange(steps + 1)[:, None])
    np.testing.assert_allclose(path, decay * m0 + (1 - decay) * stationary, rtol=1e-12)
    for s in (0.0, 0.3):
        long = heavy_ball_moments(h, c, m0, **constant, beta1=np.full(steps, 0.8), s=s)[-1]
        limit = heavy_ball_stationary(h, c, learning_rate=eta, beta1=0.8, batch_size=batch, s=s)
        np.testing.assert_allclose(long, limit, rtol=1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_monte_carlo_agrees_at_four_sigma(seed: int) -> None:
    rng = np.random.default_rng(seed)
    d, steps, paths = 5, 60, 3000
    h, sigma = rng.uniform(0.1, 1.5, d), rng.uniform(0.1, 1.0, d)
    batches = rng.integers(1, 17, steps)
    beta = rng.uniform(0.0, 0.9)
    optimizer = HeavyBall(learning_rate=0.2, beta1=beta) if seed % 2 else SGD(learning_rate=0.5)
    law = ("gaussian", "two_point")[seed % 4 // 2]
    problem = noisy_quadratic(h, sigma, noise_law=law)
    seen = monte_carlo(
        problem, [optimizer], [batches], seeds=range(seed * paths, (seed + 1) * paths), sums=False
    )
    loss = seen.series["loss"][0, :, -1]
    exact = (
        heavy_ball_moments(
            h, sigma**2, problem.x0**2, learning_rate=np.full(steps, 0.2), beta1=np.full(steps, beta),
            batch_size=batches,
        )[-1, 0]
        if seed % 2
        else sgd_moments(h, sigma**2, problem.x0**2, learning_rate=np.full(steps, 0.5),
        batch_size=batches)[-1]
    )  # fmt: skip
    z = (loss.mean() - quadratic_loss(h, exact)) / (loss.std(ddof=1) / np.sqrt(paths))
    assert abs(z) <= 4
    # a noise variance wrong by a fifth would be seen
    wrong = (loss.mean() - quadratic_loss(h, 1.2 * exact)) / (loss.std(ddof=1) / np.sqrt(paths))
    assert abs(wrong) > 4


def test_two_hundred_drawn_cases_agree_at_four_sigma() -> None:
    rng, paths, worst = np.random.default_rng(2024), 600, 0.0
    for case in range(200):
        d, steps = int(rng.integers(1, 5)), int(rng.integers(5, 40))
        h, sigma = rng.uniform(0.1, 1.0, d), rng.uniform(0.1, 1.0, d)
        batches, s = rng.integers(1, 17, steps), float(rng.choice([0.0, 0.2]))
        beta = float(rng.choice([0.0, rng.uniform(0.1, 0.9)]))
        rates = rng.uniform(0.02, 0.5, steps) * (1 - beta)
        law = str(rng.choice(["gaussian", "two_point"]))
        problem = noisy_quadratic(h, sigma, noise_law=law, noise_growth=s, x0=rng.uniform(-2, 2, d))
        optimizer = HeavyBall(learning_rate=1.0, beta1=beta) if beta else SGD(learning_rate=1.0)
        seen = monte_carlo(
            problem,
            [optimizer],
            [batches],
            seeds=range(case * paths, (case + 1) * paths),
            sums=False,
            along=[{"learning_rate": rates}],
        )
        loss = seen.series["loss"][0, :, -1]
        exact = heavy_ball_moments(
            h,
            sigma**2,
            problem.x0**2,
            learning_rate=rates,
            beta1=np.full(steps, beta),
            batch_size=batches,
            s=s,
        )[-1, 0]
        worst = max(worst, abs(loss.mean() - quadratic_loss(h, exact)) / (loss.std(ddof=1) / np.sqrt(paths)))
    assert worst <= 4


INVALID = [
    (lambda: sgd_moments([1.0], [1.0], [1.0], learning_rate=[0.1], batch_size=[1, 2]), "lengths"),
    (lambda: sgd_moments([-1.0], [1.0], [1.0], learning_rate=[0.1], batch_size=[1]), "wrong sign"),
    (lambda: sgd_moments([1.0], [1.0], [1.0], learning_rate=[0.1], batch_size=[0]), "wrong sign"),
    (lambda: sgd_moments([1.0], [1.0], [-1.0], learning_rate=[0.1], batch_size=[1]), "wrong sign"),
    (lambda: sgd_moments([1.0], [-1.0], [1.0], learning_rate=[0.1], batch_size=[1]), "wrong sign"),
    (lambda: sgd_stationary([1.0], [1.0], learning_rate=2.0, batch_size=1), "stable iff"),
    (lambda: heavy_ball_stationary([1.0], [1.0], learning_rate=5.0, beta1=0.9, batch_size=1), "stable iff"),
    (
        lambda: heavy_ball_stationary([1.0], 1.0, learning_rate=0.1, beta1=0.9, batch_size=1, s=50.0),
        "stable iff",
    ),
]


@pytest.mark.parametrize("make, message", INVALID)
def test_invalid_arguments(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
