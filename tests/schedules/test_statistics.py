"""Estimators against their closed forms by Monte-Carlo, the vector path against the definition, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from bstheory.errors import InputError
from bstheory.schedules import statistics as stats
from bstheory.schedules.rules import published_fixed_point
from bstheory.schedules.statistics import Statistics, from_groups

DRAWS = 40_000
Z = 5.0  # standard errors; a correct estimator fails once in 1.7 million comparisons


def gaussian_groups(rng, *, groups, batch_size, gradient, sigma, draws=DRAWS):
    """Group-mean gradients [draws, J, D] with per-sample standard deviations sigma [D]."""
    per_group = batch_size // groups
    noise = rng.standard_normal((draws, groups, len(gradient))) * (sigma / math.sqrt(per_group))
    return gradient + noise


def assert_mean(samples: np.ndarray, expected: float) -> None:
    error = samples.std(ddof=1) / math.sqrt(samples.size)
    assert abs(samples.mean() - expected) <= Z * error, (samples.mean(), expected, error)


def assert_variance(samples: np.ndarray, expected: float) -> None:
    fourth = ((samples - samples.mean()) ** 4).mean()
    error = math.sqrt(max(fourth - samples.var() ** 2, 0) / samples.size)
    assert abs(samples.var(ddof=1) - expected) <= Z * error, (samples.var(ddof=1), expected, error)


GRADIENT = np.array([0.3, -0.1, 0.0, 0.2])
SIGMA = np.array([1.0, 2.0, 0.5, 1.5])
TRACE, TRACE_SQ = float((SIGMA**2).sum()), float((SIGMA**4).sum())
G_SQ, G_SIGMA_G = float(GRADIENT @ GRADIENT), float((GRADIENT**2 * SIGMA**2).sum())


@pytest.mark.parametrize(("groups", "batch_size"), [(2, 8), (4, 64), (8, 8)])
def test_worker_estimators_mean_and_variance(groups, batch_size):
    rng = np.random.default_rng(groups)
    g = gaussian_groups(rng, groups=groups, batch_size=batch_size, gradient=GRADIENT, sigma=SIGMA)
    mean_sq = (g.mean(axis=1) ** 2).sum(axis=1)
    group_sq = (g**2).sum(axis=2).mean(axis=1)
    seen = [
        Statistics(batch_size=batch_size, groups=groups, norm_sq=a, mean_group_norm_sq=b)
        for a, b in zip(mean_sq, group_sq)
    ]
    spread = np.array([s.spread for s in seen])
    noise, signal = np.array([s.noise for s in seen]), np.array([s.signal for s in seen])
    assert_mean(spread, (groups - 1) * TRACE / batch_size)  # not TRACE, as the published rule takes it
    assert_mean(noise, TRACE)
    assert_mean(signal, G_SQ)
    assert_variance(noise, 2 * TRACE_SQ / (groups - 1))
    per_group = batch_size // groups
    assert_variance(
        signal,
        2 * TRACE_SQ / batch_size**2
        + 4 * G_SIGMA_G / batch_size
        + 2 * TRACE_SQ / (groups**2 * per_group**2 * (groups - 1)),
    )
    biased = mean_sq.mean() - G_SQ
    assert abs(biased - TRACE / batch_size) <= Z * mean_sq.std() / math.sqrt(DRAWS)
    assert biased > Z * mean_sq.std() / math.sqrt(DRAWS)  # the undebiased norm is visibly too large


def test_two_batch_estimators_are_unbiased():
    rng = np.random.default_rng(3)
    small = GRADIENT + rng.standard_normal((DRAWS, 4)) * SIGMA / math.sqrt(2)
    big = GRADIENT + rng.standard_normal((DRAWS, 4)) * SIGMA / math.sqrt(32)
    signal, noise = stats.two_batch_estimates(
        small_norm_sq=(small**2).sum(axis=1), big_norm_sq=(big**2).sum(axis=1), small_batch=2, big_batch=32
    )
    assert_mean(signal, G_SQ)
    assert_mean(noise, TRACE)


def test_group_forms_estimate_per_sample_variances():
    """Inner product, orthogonal part and coordinate variances, scaled from groups to samples."""
    rng = np.random.default_rng(5)
    draws, groups, batch_size = 4000, 8, 64
    g = gaussian_groups(
        rng, groups=groups, batch_size=batch_size, gradient=50 * GRADIENT, sigma=SIGMA, draws=draws
    )
    seen = [from_groups(x, batch_size=batch_size, second_moment=np.array([1.0, 4, 9, 16])) for x in g]
    big = 50 * GRADIENT  # so large that g is known almost exactly and the forms can be compared with Sigma
    along = float((big**2 * SIGMA**2).sum())
    # First-order in noise: relative bias of order sigma^2 / (b |G|^2) = 7.5 / (64 * 350) < 1e-3
    assert np.mean([s.inner_variance for s in seen]) == pytest.approx(along, rel=0.05)
    assert np.mean([s.orthogonal_variance for s in seen]) == pytest.approx(
        TRACE - along / (big @ big), rel=0.05
    )
    assert np.mean([s.sign_noise**2 for s in seen]) == pytest.approx(SIGMA.sum() ** 2, rel=0.15)
    assert_mean(np.array([s.weighted_noise for s in seen]), float((SIGMA**2 / [1.0, 2, 3, 4]).sum()))
    assert_mean(np.array([s.noise for s in seen]), TRACE)


def test_cosine_follows_the_leading_order_formula():
    rng = np.random.default_rng(6)
    dim, sigma = 400, 1.0
    gradient = np.full(dim, 0.1)
    noise_scale = dim * sigma**2 / float(gradient @ gradient)
    for batch_size in (64, 400):
        g = gaussian_groups(
            rng, groups=4, batch_size=batch_size, gradient=gradient, sigma=np.full(dim, sigma), draws=400
        )
        cosines = [from_groups(x, batch_size=batch_size).cosine for x in g]
        assert np.mean(cosines) == pytest.approx(1 / (1 + 2 * noise_scale / batch_size), rel=0.05)


def test_spectral_forms():
    rng = np.random.default_rng(8)
    rows, columns, groups = 3, 5, 6
    g = rng.standard_normal((groups, rows * columns + 4)) + 2
    seen = from_groups(g, batch_size=12, shapes=[(rows, columns), (1, 4)])
    mean = g.mean(axis=0)
    matrix, vector = mean[:15].reshape(rows, columns), mean[15:]
    assert seen.spectral_signal == pytest.approx(np.linalg.svd(matrix)[1].sum() + np.linalg.norm(vector))
    deviation = (g - mean)[:, :15].reshape(groups, rows, columns)
    row_form = 2 * sum(d @ d.T for d in deviation) / (groups - 1)
    column_form = 2 * sum(d.T @ d for d in deviation) / (groups - 1)
    roots = [np.sqrt(np.abs(np.linalg.eigvalsh(f))).sum() for f in (row_form, column_form)]
    vector_part = math.sqrt(2 * ((g - mean)[:, 15:] ** 2).sum() / (groups - 1))
    assert seen.spectral_noise == pytest.approx(min(roots) + vector_part)
    # The nuclear norm of the noise in the mean is at most spectral_noise / sqrt(b), in expectation.
    noise = rng.standard_normal((2000, rows, columns)) / math.sqrt(12)
    identity = from_groups(
        rng.standard_normal((400, 15)) / math.sqrt(2), batch_size=800, shapes=[(rows, columns)]
    )
    nuclear = np.linalg.norm(noise, ord="nuc", axis=(1, 2)).mean()
    assert nuclear <= identity.spectral_noise / math.sqrt(12)


def test_vector_and_two_scalar_paths_agree():
    rng = np.random.default_rng(9)
    g = rng.standard_normal((6, 50)) + 0.3
    seen = from_groups(g, batch_size=24)
    mean = g.mean(axis=0)
    assert seen.spread == pytest.approx(((g - mean) ** 2).sum() / 6, rel=1e-12)
    assert seen.noise == pytest.approx(4 * g.var(axis=0, ddof=1).sum(), rel=1e-12)
    assert seen.coordinate_ratio == np.quantile(4 * g.var(axis=0, ddof=1) / mean**2, 0.9, method="higher")


def test_expected_statistics_make_the_exact_norm_test():
    from bstheory.schedules.rules import Rule

    seen = stats.expected(noise=30.0, signal=2.0, batch_size=12, groups=4)
    assert (seen.noise, seen.signal) == (pytest.approx(30.0), pytest.approx(2.0))
    exact = Rule(name="norm_test", tolerance=0.5, debias=True, initial=12, maximum=10**6)
    assert exact.update(exact.init(), seen)["proposal"] == pytest.approx(30.0 / (0.25 * 2.0))


def test_fieller_interval_covers_and_admits_ignorance():
    rng = np.random.default_rng(10)
    hits, trials = 0, 400
    for _ in range(trials):
        noise, signal = rng.exponential(8.0, 400), rng.normal(2.0, 4.0, 400)
        found = stats.noise_scale_interval(noise, signal, level=0.95, batches=20)
        hits += (not found.bounded) or found.low <= 4.0 <= found.high
    assert 0.95 - 5 * math.sqrt(0.95 * 0.05 / trials) <= hits / trials <= 1.0
    vague = stats.noise_scale_interval(rng.exponential(8.0, 400), rng.normal(0.0, 4.0, 400))
    assert not vague.bounded and vague.high == math.inf
    # Against the set itself: r is inside iff the mean of noise - r signal is within t standard errors of 0.
    noise, signal = rng.exponential(8.0, 60) + 1, rng.exponential(0.2, 60) + 2
    found = stats.noise_scale_interval(noise, signal, level=0.9, batches=4)
    for edge in (found.low, found.high):
        blocks = (noise - edge * signal).reshape(4, 15).mean(axis=1)
        t = blocks.mean() / (blocks.std(ddof=1) / 2)
        assert abs(t) == pytest.approx(scipy.stats.t.ppf(0.95, 3), rel=1e-6)
    known = stats.noise_scale_interval(np.full(40, 8.0), np.full(40, 2.0))
    assert (known.low, known.ratio, known.high) == (4.0, 4.0, 4.0)


def test_published_fixed_point_by_simulation():
    """Ratio of averages over many draws at b*: the published rule proposes b* again, the unbiased not."""
    rng = np.random.default_rng(11)
    groups, eta = 4, 0.3
    noise_scale = TRACE / G_SQ
    predicted = published_fixed_point(noise_scale=noise_scale, eta=eta, workers=groups)
    assert eta**2 * predicted * (predicted + noise_scale) == pytest.approx((groups - 1) * noise_scale)
    scale = 1000  # in units of 1/scale samples, so that b* is nearly an integer multiple of the groups
    batch_size = groups * round(predicted * scale / groups)
    g = gaussian_groups(
        rng, groups=groups, batch_size=batch_size, gradient=GRADIENT, sigma=SIGMA * math.sqrt(scale)
    )
    mean_sq = (g.mean(axis=1) ** 2).sum(axis=1)
    spread = (g**2).sum(axis=2).mean(axis=1) - mean_sq
    proposal = spread.mean() / (eta**2 * mean_sq.mean())
    spread_error = spread.std() / spread.mean() + mean_sq.std() / mean_sq.mean()
    assert proposal == pytest.approx(predicted, rel=Z * spread_error / math.sqrt(DRAWS))
    unbiased = (batch_size / (groups - 1) * spread.mean()) / scale / (eta**2 * G_SQ)
    assert unbiased > 5 * predicted


def test_fixed_point_limits():
    cap = published_fixed_point(noise_scale=1e12, eta=0.2, workers=4)
    assert cap == pytest.approx(3 / 0.2**2, rel=1e-9)  # noise dominates: (J - 1) / eta^2
    root = published_fixed_point(noise_scale=1e-6, eta=0.2, workers=4)
    assert root == pytest.approx(math.sqrt(3e-6) / 0.2, rel=1e-3)
    with pytest.raises(InputError, match="at least two workers"):
        published_fixed_point(noise_scale=1.0, eta=0.2, workers=1)


GOOD = {"batch_size": 8, "groups": 4, "norm_sq": 1.0, "mean_group_norm_sq": 2.0}
BAD = [
    ({"norm_sq": math.nan}, "norm_sq=nan in the gradient statistics"),
    ({"loss": math.inf}, "loss=inf"),
    ({"norm_sq": -1.0}, "norm_sq=-1.0"),
    ({"groups": 3}, "equal parts"),
    ({"groups": 0}, "equal parts"),
    ({"mean_group_norm_sq": 0.5}, "below |g|^2"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_bad_statistics(changes, message):
    with pytest.raises(InputError) as caught:
        Statistics(**{**GOOD, **changes})
    assert message in str(caught.value)


def test_undefined_quantities_are_refused():
    with pytest.raises(InputError, match="at least two groups"):
        Statistics(**{**GOOD, "groups": 1}).noise  # noqa: B018
    noisy = Statistics(batch_size=4, groups=4, norm_sq=1.0, mean_group_norm_sq=9.0)
    assert noisy.signal < 0
    with pytest.raises(InputError, match="dominated by noise"):
        noisy.noise_scale  # noqa: B018
    with pytest.raises(InputError, match="exactly zero"):
        from_groups(np.array([[1.0, 0], [-1, 0]]), batch_size=2)
    with pytest.raises(InputError, match="J >= 2"):
        from_groups(np.ones((1, 3)), batch_size=4)
    with pytest.raises(InputError, match="shapes of 2 coordinates"):
        from_groups(np.ones((2, 3)), batch_size=4, shapes=[(1, 2)])
    with pytest.raises(InputError, match="second_moment"):
        from_groups(np.ones((2, 3)), batch_size=4, second_moment=np.zeros(3))
    with pytest.raises(InputError, match="small_batch=4"):
        stats.two_batch_estimates(small_norm_sq=1, big_norm_sq=1, small_batch=4, big_batch=4)
    with pytest.raises(InputError, match="2 \\* batches"):
        stats.noise_scale_interval(np.ones(5), np.ones(5))
