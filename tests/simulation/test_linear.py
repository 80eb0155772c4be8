"""Dyadic jumps against step-by-step recursions and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bstheory.errors import InputError
from bstheory.problems import noisy_quadratic
from bstheory.simulation import HeavyBall, heavy_ball_moments, linear, reference_path


@st.composite
def staged(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    d = draw(st.integers(1, 5))
    h = rng.uniform(0.1, 1.5, d)
    stages = [
        linear.Stage(
            num_steps=int(rng.integers(0, 40)),
            learning_rate=rng.uniform(0.05, 0.8),
            batch_size=int(rng.integers(1, 50)),
            beta1=rng.uniform(0, 0.9),
        )
        for _ in range(draw(st.integers(1, 4)))
    ]
    return h, rng.uniform(0, 2, d), rng.uniform(0, 4, d), stages, rng.uniform(0, 0.2)


@given(staged())
@settings(max_examples=80, deadline=None)
def test_jumps_are_the_recursion(case) -> None:
    h, c, m0, stages, s = case
    counts = [stage.num_steps for stage in stages]
    path = (
        heavy_ball_moments(
            h,
            c,
            m0,
            learning_rate=np.repeat([x.learning_rate for x in stages], counts),
            beta1=np.repeat([x.beta1 for x in stages], counts),
            batch_size=np.repeat([float(x.batch_size) for x in stages], counts),
            s=s,
        )
        if sum(counts)
        else None
    )
    jumped = linear.moments_along(h, c, m0, stages, s=s)
    for done, moments in zip(np.cumsum(counts), jumped):
        if path is None:
            np.testing.assert_allclose(moments[:, 0], m0)
            continue
        plain = path[done]
        scale = np.sqrt(plain[0] * plain[2]) + 1e-300
        np.testing.assert_allclose(moments[:, 0], plain[0], rtol=1e-9)
        np.testing.assert_allclose(moments[:, 2], plain[2], rtol=1e-9, atol=1e-14)
        assert np.all(np.abs(moments[:, 1] - plain[1]) <= 1e-9 * scale + 1e-14)


def test_ten_million_steps_reach_the_stationary_average() -> None:
    h, c = np.array([1.0, 0.2]), np.array([0.5, 0.5])
    stage = linear.Stage(num_steps=10**7, learning_rate=0.3, batch_size=4, averaging=0.99)
    moments = linear.moments_along(h, c, np.ones(2), [stage])[-1]
    expected = linear.averaged_stationary(h, c, learning_rate=0.3, averaging=0.99, batch_size=4)
    np.testing.assert_allclose(moments[:, 5], expected, rtol=1e-8)
    assert np.all(moments[:, 5] < moments[:, 0])  # averaging helps


def test_average_against_paths() -> None:
    h, sigma, steps, paths = np.array([0.5, 1.0]), np.array([0.4, 0.2]), 40, 20000
    problem = noisy_quadratic(h, sigma)
    noise = np.random.default_rng(3).normal(size=(steps, paths, 2))
    optimizer = HeavyBall(learning_rate=0.2, beta1=0.5)
    x = reference_path(problem, optimizer, np.full(steps, 2), noise)["x"]
    average = np.broadcast_to(problem.x0, (paths, 2))
    for k in range(steps):
        average = 0.8 * average + 0.2 * x[k + 1]
    stage = linear.Stage(num_steps=steps, learning_rate=0.2, batch_size=2, beta1=0.5, averaging=0.8)
    exact = linear.moments_along(h, sigma**2, problem.x0**2, [stage])[-1][:, 5]
    seen = average**2
    z = (seen.mean(axis=0) - exact) / (seen.std(axis=0, ddof=1) / np.sqrt(paths))
    assert np.all(np.abs(z) <= 4)


INVALID = [
    (lambda: linear.Stage(num_steps=-1, learning_rate=0.1, batch_size=1), "num_steps=-1"),
    (lambda: linear.Stage(num_steps=1, learning_rate=0.0, batch_size=1), "learning_rate=0.0"),
    (lambda: linear.Stage(num_steps=1, learning_rate=0.1, batch_size=0), "batch_size=0"),
    (lambda: linear.Stage(num_steps=1, learning_rate=0.1, batch_size=1, beta1=1.0), "beta1=1.0"),
    (lambda: linear.Stage(num_steps=1, learning_rate=0.1, batch_size=1, averaging=1.0), "averaging=1.0"),
    (lambda: linear.moments_along([1.0], [1.0], [1.0], []), "at least one"),
]


@pytest.mark.parametrize("make, message", INVALID)
def test_invalid_arguments(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
