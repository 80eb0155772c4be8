"""Every constant a problem publishes, checked against the functions it publishes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bstheory.errors import InputError
from bstheory.problems import (
    cosine_sum,
    logistic,
    noisy_quadratic,
    phase_retrieval,
    pseudo_huber,
    rotated_quadratic,
)
from bstheory.problems.problem import Problem

ROWS = np.random.default_rng(9).normal(size=(30, 3))
PROBLEMS = [
    noisy_quadratic([2.0, 0.5, 0.1], [0.3, 0.2, 0.1], x0=[1.0, -2.0, 0.5]),
    noisy_quadratic([1.0, 3.0], 0.7, noise_law="two_point"),
    cosine_sum(dim=5, noise_scale=0.5),
    cosine_sum(dim=3, noise_scale=0.25, noise_law="gaussian"),
    cosine_sum(dim=2, noise_scale=0.0, noise_law="none"),
    pseudo_huber(dim=3, noise_scale=0.5, x0=[3.0, -1.0, 0.1]),
    noisy_quadratic([1.0, 0.5], 0.7, noise_law="skewed", noise_shape=0.1),
    cosine_sum(dim=3, noise_scale=0.4, noise_law="asymmetric", noise_shape=0.1),
    noisy_quadratic([1.0, 0.5], 0.7, noise_law="student_t", noise_shape=9.0),
    noisy_quadratic([1.0, 0.5], 0.7, noise_growth=[0.3, 0.0]),
    rotated_quadratic([2.0, 0.5, 0.1], [0.3, 0.2, 0.1], x0=[1.0, -2.0, 0.5]),
    logistic(ROWS, np.sign(ROWS @ [1.0, -1.0, 0.5] + 0.3), x0=[0.1, 0.2, -0.3]),
    phase_retrieval(dim=3, samples=20),
]


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
class TestConstants:
    def test_gradient_is_the_derivative_of_the_loss(self, problem: Problem) -> None:
        rng = np.random.default_rng(0)
        for _ in range(5):
            x = rng.normal(size=problem.dim)
            step = 1e-6
            numeric = [
                (problem.loss(x + step * e) - problem.loss(x - step * e)) / (2 * step)
                for e in np.eye(problem.dim)
            ]
            # central difference: step^2 / 6 times the third derivative, plus rounding 1e-16 / step
            np.testing.assert_allclose(problem.full_gradient(x), numeric, atol=1e-8)

    def test_smoothness_and_lower_bound(self, problem: Problem) -> None:
        rng = np.random.default_rng(1)
        x, y = rng.normal(scale=3, size=(2, 2000, problem.dim))
        change = np.linalg.norm(problem.full_gradient(x) - problem.full_gradient(y), axis=-1)
        if "L" in problem.constants:
            assert np.all(change <= problem.value("L") * np.linalg.norm(x - y, axis=-1) * (1 + 1e-12))
        assert np.all(problem.loss(x) >= problem.value("F_star"))

    def test_noise_is_unbiased_with_the_published_variance(self, problem: Problem) -> None:
        rng, batch, draws = np.random.default_rng(2), 4, 40_000
        x = problem.x0
        noise = np.array([problem.gradient(x, batch, rng) for _ in range(draws)]) - problem.full_gradient(x)
        assert np.all(np.abs(noise.mean(axis=0)) <= 5 * noise.std(axis=0) / np.sqrt(draws) + 1e-15)
        square = np.sum(noise**2, axis=1)
        slack = 5 * square.std() / np.sqrt(draws) + 1e-15
        if "noise_growth" in problem.constants:
            grown = problem.value("noise") ** 2 + problem.value("noise_growth") * x**2
            assert abs(square.mean() - np.sum(grown) / batch) <= slack
        elif "sigma_sq" in problem.constants:
            total = problem.value("sigma_sq") / batch
            exact = problem.constants["sigma_sq"].known == "by construction"  # else it is an upper bound
            assert (abs(square.mean() - total) if exact else square.mean() - total) <= slack

    def test_bounded_gradients_where_claimed(self, problem: Problem) -> None:
        if "R" not in problem.constants:
            pytest.skip("this problem publishes no R")
        rng = np.random.default_rng(3)
        for batch in (1, 3):
            for _ in range(2000):
                x = rng.uniform(-10, 10, size=problem.dim)
                assert np.max(np.abs(problem.gradient(x, batch, rng))) <= problem.value("R")

    def test_initial_gap(self, problem: Problem) -> None:
        gap = problem.loss(problem.x0) - problem.value("F_star")
        assert problem.value("Delta") == pytest.approx(gap, rel=1e-14)


def test_gaussian_cosine_publishes_no_bound() -> None:
    assert "R" not in cosine_sum(dim=2, noise_scale=1.0, noise_law="gaussian").constants


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=8), st.floats(0, 10))
@settings(max_examples=50, deadline=None)
def test_quadratic_constants_for_drawn_spectra(spectrum: list[float], noise: float) -> None:
    problem = noisy_quadratic(spectrum, noise)
    assert problem.value("L") == max(spectrum)
    assert problem.value("mu") == min(spectrum)
    assert problem.value("sigma_sq") == pytest.approx(len(spectrum) * noise**2)
    x = np.linspace(-1, 1, len(spectrum))
    gradient = problem.full_gradient(x)
    assert np.sum(gradient**2) >= 2 * problem.value("mu") * problem.loss(x) * (1 - 1e-12)


INVALID = [
    (lambda: noisy_quadratic([], 0.1), "at least one"),
    (lambda: noisy_quadratic([1.0, -1.0], 0.1), "positive"),
    (lambda: noisy_quadratic([1.0], -0.1), "non-negative"),
    (lambda: noisy_quadratic([1.0, 1.0], [0.1, 0.1, 0.1]), "2 coordinates"),
    (lambda: noisy_quadratic([1.0], 0.1, noise_law="cauchy"), "cauchy"),
    (lambda: noisy_quadratic([1.0], 0.1, x0=float("nan")), "finite point"),
    (lambda: noisy_quadratic([1.0], 0.1, noise_law="skewed"), "noise_shape=None"),
    (lambda: noisy_quadratic([1.0], 0.1, noise_law="student_t", noise_shape=2.0), "exceeds 2"),
    (lambda: noisy_quadratic([1.0], 0.1, noise_shape=2.0), "no shape"),
    (lambda: noisy_quadratic([1.0], 0.1, noise_growth=-1.0), "non-negative"),
    (lambda: rotated_quadratic([], 0.1), "at least one"),
    (lambda: logistic(ROWS, np.zeros(30)), r"\+1 or -1"),
    (lambda: logistic(ROWS, np.ones(3)), "labels of shape"),
    (lambda: phase_retrieval(dim=5, samples=3), "samples=3"),
    (lambda: cosine_sum(dim=0, noise_scale=0.1), "dim=0"),
    (lambda: cosine_sum(dim=2, noise_scale=float("inf")), "finite"),
    (lambda: cosine_sum(dim=2, noise_scale=0.1, noise_law="student"), "student"),
    (
        lambda: cosine_sum(dim=1, noise_scale=0.1).gradient(np.zeros(1), 0, np.random.default_rng(0)),
        "batch_size=0",
    ),
]


@pytest.mark.parametrize("make, message", INVALID)
def test_invalid_arguments(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
