"""Noise laws and non-separable problems in the kernels, against NumPy and against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bstheory.errors import InputError
from bstheory.problems import logistic, noisy_quadratic, phase_retrieval, rotated_quadratic
from bstheory.simulation import (
    SGD,
    Adam,
    HeavyBall,
    heavy_ball_moments,
    laws,
    monte_carlo,
    quadratic_loss,
    sgd_moments,
)
from bstheory.simulation.generator import seed_stream
from bstheory.simulation.linear import Stage, moments_along

STEPS = 20


def draws(law: str, shape: float, batch: int, count: int) -> np.ndarray:
    problem = noisy_quadratic(np.full(count, 1e-9), 1.0, x0=0.0, noise_law=law, noise_shape=shape)
    # One SGD step of rate 1 from 0 along a flat quadratic lands at -sigma / sqrt(B) z.
    paths = monte_carlo(problem, [SGD(learning_rate=1.0)], [np.array([batch])], seeds=[3], sums=False)
    return -np.sqrt(batch) * paths.x[0, 0]


@pytest.mark.parametrize("batch", [1, 7, 200])
def test_skewed_noise_is_an_exact_binomial_mean(batch: int) -> None:
    p, count = 0.05, 40_000
    z = draws("skewed", p, batch, count)
    successes = np.rint(z * np.sqrt(batch * p * (1 - p)) + batch * p).astype(int)
    np.testing.assert_allclose(z, (successes - batch * p) / np.sqrt(batch * p * (1 - p)), atol=1e-9)
    law = stats.binom(batch, p)
    expected = law.pmf(np.arange(batch + 1)) * count
    seen = np.bincount(successes, minlength=batch + 1)
    big = expected >= 10
    observed = np.append(seen[big], seen[~big].sum())
    wanted = np.append(expected[big], expected[~big].sum())
    keep = wanted > 0
    assert stats.chisquare(observed[keep], wanted[keep]).pvalue > 1e-4


@pytest.mark.parametrize("batch", [1, 5])
def test_student_noise_is_an_exact_mean(batch: int) -> None:
    freedom, count = 5.0, 40_000
    z = draws("student_t", freedom, batch, count)
    rng = np.random.default_rng(0)
    direct = rng.standard_t(freedom, size=(batch, count)).sum(axis=0) * np.sqrt(
        (freedom - 2) / (freedom * batch)
    )
    assert stats.ks_2samp(z, direct).pvalue > 1e-4
    if batch == 1:
        assert stats.kstest(z / np.sqrt((freedom - 2) / freedom), stats.t(freedom).cdf).pvalue > 1e-4
        assert stats.kstest(z, "norm").pvalue < 1e-4  # and it is not Gaussian


def test_asymmetric_noise_has_two_values_whatever_the_batch() -> None:
    for batch in (1, 50):
        z = draws("asymmetric", 0.2, batch, 40_000)
        np.testing.assert_allclose(np.unique(np.round(z, 9)), [-0.5, 2.0])
        assert abs(np.mean(z > 0) - 0.2) <= 4 * np.sqrt(0.16 / 40_000)


@pytest.mark.parametrize(
    "law, shape", [("skewed", 0.1), ("asymmetric", 0.3), ("student_t", 6.0), ("gaussian", None)]
)
@pytest.mark.parametrize("growth", [0.0, 0.4])
def test_moments_hold_for_every_law_and_for_multiplicative_noise(law: str, shape, growth: float) -> None:
    h, sigma, paths = np.array([1.0, 0.3, 0.1]), np.array([0.5, 0.2, 0.4]), 4000
    batches = np.array([1, 3, 2, 5] * 5)
    problem = noisy_quadratic(h, sigma, noise_law=law, noise_shape=shape, noise_growth=growth)
    seen = monte_carlo(problem, [SGD(learning_rate=0.5)], [batches], seeds=range(paths), sums=False)
    exact = sgd_moments(
        h, sigma**2, problem.x0**2, learning_rate=np.full(STEPS, 0.5), batch_size=batches, s=growth
    )[-1]
    loss = seen.series["loss"][0, :, -1]
    assert abs(loss.mean() - quadratic_loss(h, exact)) <= 4 * loss.std(ddof=1) / np.sqrt(paths)


def test_rotated_quadratic_is_the_diagonal_one_for_sgd_and_not_for_adam() -> None:
    h, sigma = np.array([1.0, 0.1, 0.01]), np.array([0.3, 0.1, 0.02])
    problem = rotated_quadratic(h, sigma, x0=[1.0, -1.0, 0.5])
    q = problem.params["data"]
    np.testing.assert_allclose(q @ q.T, np.eye(3), atol=1e-14)
    seeds, batches = range(3000), np.full(STEPS, 2)
    seen = monte_carlo(problem, [SGD(learning_rate=0.5)], [batches], seeds=seeds)
    m0 = (problem.x0 @ q) ** 2
    stage = Stage(num_steps=STEPS, learning_rate=0.5, batch_size=2)
    exact = moments_along(h, sigma**2, m0, [stage])[-1][:, 0]
    loss = seen.series["loss"][0, :, -1]
    assert abs(loss.mean() - quadratic_loss(h, exact)) <= 4 * loss.std(ddof=1) / np.sqrt(len(seeds))
    diagonal = noisy_quadratic(h, sigma, x0=problem.x0 @ q)
    adam = [Adam(learning_rate=0.05, beta1=0.9, beta2=0.9)]
    turned = monte_carlo(problem, adam, [batches], seeds=seeds).series["loss"][0, :, -1]
    straight = monte_carlo(diagonal, adam, [batches], seeds=seeds).series["loss"][0, :, -1]
    assert stats.ttest_ind(turned, straight, equal_var=False).pvalue < 1e-6


def finite_sums():
    rows = np.random.default_rng(1).normal(size=(50, 4))
    yield logistic(rows, np.sign(rows @ np.ones(4) + 0.5), x0=0.3)
    yield phase_retrieval(dim=4, samples=40)


@pytest.mark.parametrize("problem", finite_sums(), ids=lambda p: p.name)
def test_sampled_batches_have_the_mean_and_covariance_of_sampling(problem) -> None:
    a, x, batch, count = problem.params["data"], problem.x0, 3, 20_000
    step = 1e-3
    seen = monte_carlo(problem, [SGD(learning_rate=step)], [np.array([batch])], seeds=range(count))
    gradients = (x - seen.x[0]) / step
    mean = problem.full_gradient(x)
    error = gradients.std(axis=0, ddof=1) / np.sqrt(count)
    assert np.all(np.abs(gradients.mean(axis=0) - mean) <= 4.5 * error)
    each_row = np.array([_row_gradient(problem, i) for i in range(len(a))])
    np.testing.assert_allclose(each_row.mean(axis=0), mean, rtol=1e-10)
    sigma = np.cov(each_row.T, bias=True) / batch
    np.testing.assert_allclose(np.cov(gradients.T), sigma, atol=0.08 * np.abs(sigma).max())
    expected = np.sum(problem.full_gradient(x) ** 2) * step
    np.testing.assert_allclose(seen.series["weighted_sq_gradient"][0, :, -1], expected, rtol=1e-12)


def _row_gradient(problem, i: int) -> np.ndarray:
    class Only:
        def integers(self, low: int, high: int, size: int) -> np.ndarray:
            return np.full(size, i)

    return problem.gradient(problem.x0, 1, Only())


def test_finite_sums_are_trained() -> None:
    for problem in finite_sums():
        run = monte_carlo(problem, [SGD(learning_rate=0.05)], [np.full(400, 4)], seeds=range(20))
        loss = run.series["loss"][0]  # a path of phase retrieval may rest near its saddle for long
        assert np.median(loss[:, -1]) < 0.7 * loss[0, 0]


def test_batch_dependent_noise_is_shared_only_between_equal_schedules() -> None:
    problem = noisy_quadratic([1.0], 0.1, noise_law="skewed", noise_shape=0.2)
    pair, schedules = [SGD(learning_rate=0.1)] * 2, [np.array([1, 2]), np.array([2, 1])]
    with pytest.raises(InputError, match="shared_noise=False"):
        monte_carlo(problem, pair, schedules, seeds=[0])
    apart = monte_carlo(problem, pair, schedules, seeds=[0], shared_noise=False)
    assert apart.x.shape == (2, 1, 1)


def test_uniforms_are_uniform() -> None:
    state, out = np.empty((4, 16), np.uint32), np.empty(1 << 17)
    seed_stream(state, np.uint64(1), np.uint64(0))
    laws.fill_uniforms(state, out)
    assert out.min() >= 0 and out.max() < 1
    assert stats.kstest(out, "uniform").pvalue > 1e-4


def test_heavy_ball_moments_with_heavy_tails() -> None:
    h, sigma, paths = np.array([0.8, 0.2]), np.array([0.5, 0.3]), 4000
    problem = noisy_quadratic(h, sigma, noise_law="student_t", noise_shape=7.0)
    batches = np.full(STEPS, 2)
    seen = monte_carlo(problem, [HeavyBall(learning_rate=0.2, beta1=0.7)], [batches], seeds=range(paths))
    exact = heavy_ball_moments(
        h,
        sigma**2,
        problem.x0**2,
        learning_rate=np.full(STEPS, 0.2),
        beta1=np.full(STEPS, 0.7),
        batch_size=batches,
    )[-1, 0]
    loss = seen.series["loss"][0, :, -1]
    assert abs(loss.mean() - quadratic_loss(h, exact)) <= 4 * loss.std(ddof=1) / np.sqrt(paths)
