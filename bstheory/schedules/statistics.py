"""Gradient statistics of one step, from which every closed-loop rule computes: NumPy and plain numbers only.

A global batch of ``b`` samples is split into ``J`` groups (ranks, micro-batches, or both) of ``b / J``
samples with mean gradients ``g_j`` and overall mean ``g``. With ``V = (1/J) sum |g_j - g|^2 = (1/J) sum
|g_j|^2 - |g|^2``::

    noise   = b / (J - 1) * V            unbiased for sigma^2 = trace of the per-sample covariance
    signal  = |g|^2 - noise / b          unbiased for |G|^2, the squared norm of the true gradient
    noise_scale = noise / signal         the simple noise scale, in samples (a ratio of estimates)

so two scalars a step are enough and no vector is communicated. ``E V = (J - 1) sigma^2 / b``.

Reference: McCandlish et al. 2018, arXiv 1812.06162 (noise scale); Lau et al. 2024, arXiv 2412.21124,
equation (5), for ``V``, which that paper treats as ``sigma^2``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bstheory.errors import input_error

# V is a difference of positive numbers; rounding in float32 sums may leave it this far below zero.
_ROUNDING = 1e-5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Statistics:
    """What one step reveals about the gradient noise. All norms are of mean gradients, before clipping.

    Attributes:
        batch_size: b, samples in the global batch.
        groups: J, at least 1; with 1 the noise cannot be estimated and the rules that need it refuse.
        norm_sq: |g|^2.
        mean_group_norm_sq: (1/J) sum_j |g_j|^2.
        loss, learning_rate: of the step, for the rules that use them.
        inner_variance: per-sample Var<g_i, g>, from groups: (b/J) times the variance of <g_j, g>.
        orthogonal_variance: the same for the part of g_j orthogonal to g.
        cosine: cosine of the angle between the mean gradients of two halves of the groups.
        coordinate_ratio: a quantile over coordinates of sigma_i^2 / g_i^2.
        sign_noise, sign_signal: |sigma|_1 and |g|_1.
        spectral_noise, spectral_signal: sum over matrices of tr Sigma^(1/2) and of the nuclear norm of g.
        weighted_noise, weighted_signal: sum_i sigma_i^2 / sqrt(v_i) and sum_i g_i^2 / sqrt(v_i).

    Raises:
        InputError: a non-finite or negative number, fewer than one group, a batch that the groups do not
        divide,
            or a mean group norm below |g|^2 by more than rounding (a group gradient is missing).
    """

    batch_size: int
    groups: int
    norm_sq: float
    mean_group_norm_sq: float
    loss: float | None = None
    learning_rate: float | None = None
    inner_variance: float | None = None
    orthogonal_variance: float | None = None
    cosine: float | None = None
    coordinate_ratio: float | None = None
    sign_noise: float | None = None
    sign_signal: float | None = None
    spectral_noise: float | None = None
    spectral_signal: float | None = None
    weighted_noise: float | None = None
    weighted_signal: float | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None and not math.isfinite(value):
                raise input_error(
                    got=f"{field.name}={value} in the gradient statistics",
                    rule="every statistic is finite",
                    why="a batch size computed from it would be meaningless",
                    do="look for overflow in the loss or the gradients; skip this step's update of the rule",
                )
            signed = ("loss", "cosine")
            if value is not None and field.name not in signed and value < 0:
                raise input_error(
                    got=f"{field.name}={value}", rule="it is not negative", do="check its source"
                )
        if self.groups < 1 or self.batch_size < 1 or self.batch_size % self.groups:
            raise input_error(
                got=f"batch_size={self.batch_size} in {self.groups} groups",
                rule="the groups are equal parts of the batch",
                do="use as many groups as divide the batch",
            )
        if self.mean_group_norm_sq < self.norm_sq * (1 - _ROUNDING):
            raise input_error(
                got=f"a mean group norm {self.mean_group_norm_sq:g} below |g|^2 = {self.norm_sq:g}",
                rule="the mean of |g_j|^2 is at least |g|^2",
                why="g is the mean of the g_j",
                do="check that every group's gradient was measured, unscaled and before clipping",
            )

    @property
    def spread(self) -> float:
        """V = (1/J) sum |g_j - g|^2, **exact** by the two-scalar identity."""
        return max(self.mean_group_norm_sq - self.norm_sq, 0.0)

    @property
    def noise(self) -> float:
        """Unbiased estimate of sigma^2, the trace of the per-sample gradient covariance."""
        if self.groups < 2:
            raise input_error(
                got="gradient statistics of a single group",
                rule="the noise is estimated from at least two groups",
                do="use more ranks, or accumulate over micro-batches and measure each",
            )
        return self.batch_size / (self.groups - 1) * self.spread

    @property
    def signal(self) -> float:
        """Unbiased estimate of |G|^2; may be negative when noise dominates."""
        return self.norm_sq - self.noise / self.batch_size

    @property
    def noise_scale(self) -> float:
        """noise / signal in samples, which raises where the signal estimate is not positive.

        A ratio of two estimates from one step is biased and heavy-tailed: average both over steps
        (:func:`noise_scale_interval`) before quoting it.
        """
        if self.signal <= 0:
            raise input_error(
                got=f"a signal estimate of {self.signal:g}",
                rule="a noise scale needs a positive one",
                why="this batch is dominated by noise",
                do="average noise and signal over many steps, then divide",
            )
        return self.noise / self.signal

    def to_dict(self) -> dict[str, Any]:
        """The fields that are present, as plain JSON."""
        return {key: value for key, value in dataclasses.asdict(self).items() if value is not None}


def from_groups(
    gradients: np.ndarray,
    *,
    batch_size: int,
    second_moment: np.ndarray | None = None,
    shapes: Sequence[tuple[int, int]] | None = None,
    quantile: float = 0.9,
    loss: float | None = None,
    learning_rate: float | None = None,
) -> Statistics:
    """Every statistic from the J group-mean gradients themselves, float64 [J, D] with J >= 2.

    For simulations, small models and as the reference that the two-scalar path is tested against.

    Args:
        gradients: group means, [J, D].
        batch_size: global batch b, a multiple of J.
        second_moment: Adam's v (corrected), [D], positive; needed for the sqrt(v)-weighted test.
        shapes: the D coordinates as matrices, rows x columns, in order; needed for the spectral test.
        quantile: of sigma_i^2 / g_i^2 over coordinates. The maximum (1.0) is what the theorem asks for and is
            unusable in practice: one coordinate with g_i near 0 decides it.
        loss, learning_rate: passed through.

    Raises:
        InputError: shapes that do not fit, one group only, or a zero mean gradient.
    """
    g = np.asarray(gradients, dtype=np.float64)
    if g.ndim != 2 or g.shape[0] < 2 or batch_size % g.shape[0]:
        raise input_error(
            got=f"gradients of shape {g.shape} for batch_size={batch_size}",
            rule="they are [J, D] with J >= 2 dividing the batch",
            do="stack the group means",
        )
    groups, per_group = g.shape[0], batch_size // g.shape[0]
    mean = g.mean(axis=0)
    norm_sq = float(mean @ mean)
    if norm_sq == 0.0:
        raise input_error(
            got="a mean gradient of exactly zero",
            rule="the tests compare noise with a non-zero gradient",
            do="check that backward ran, or stop: this is a stationary point",
        )
    deviations = g - mean
    variance = per_group * (deviations**2).sum(axis=0) / (groups - 1)  # per sample and coordinate, [D]
    along = g @ mean
    orthogonal = deviations - np.outer((along - norm_sq) / norm_sq, mean)
    halves = g[: groups // 2].mean(axis=0), g[groups // 2 :].mean(axis=0)
    lengths = np.linalg.norm(halves[0]) * np.linalg.norm(halves[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(variance == 0, 0.0, variance / mean**2)
    extra: dict[str, float] = {}
    if second_moment is not None:
        v = np.asarray(second_moment, dtype=np.float64)
        if v.shape != mean.shape or not np.all(v > 0):
            raise input_error(
                got=f"second_moment of shape {v.shape}",
                rule=f"it is [{mean.size}] and positive",
                do="pass exp_avg_sq of every coordinate",
            )
        extra["weighted_noise"] = float((variance / np.sqrt(v)).sum())
        extra["weighted_signal"] = float((mean**2 / np.sqrt(v)).sum())
    if shapes is not None:
        noise, signal = _spectral(g, mean, shapes, per_group)
        extra |= {"spectral_noise": noise, "spectral_signal": signal}
    ratio = float(np.quantile(ratios, quantile, method="higher"))
    return Statistics(
        batch_size=batch_size,
        groups=groups,
        norm_sq=norm_sq,
        mean_group_norm_sq=float((g**2).sum() / groups),
        loss=loss,
        learning_rate=learning_rate,
        inner_variance=float(per_group * along.var(ddof=1)),
        orthogonal_variance=float(per_group * (orthogonal**2).sum() / (groups - 1)),
        cosine=float(halves[0] @ halves[1] / lengths) if lengths > 0 else None,
        coordinate_ratio=ratio if math.isfinite(ratio) else None,
        sign_noise=float(np.sqrt(variance).sum()),
        sign_signal=float(np.abs(mean).sum()),
        **extra,
    )


def _spectral(
    g: np.ndarray, mean: np.ndarray, shapes: Sequence[tuple[int, int]], per_group: int
) -> tuple[float, float]:
    if sum(rows * columns for rows, columns in shapes) != mean.size:
        raise input_error(
            got=f"shapes of {sum(r * c for r, c in shapes)} coordinates in total",
            rule=f"they cover the {mean.size} coordinates",
            do="list every matrix, vectors as (1, n)",
        )
    noise = signal = 0.0
    start = 0
    for rows, columns in shapes:
        block = slice(start, start + rows * columns)
        start += rows * columns
        deviation = (g[:, block] - mean[block]).reshape(-1, rows, columns)
        scale = per_group / (g.shape[0] - 1)
        forms = (
            scale * np.einsum("jab,jcb->ac", deviation, deviation),
            scale * np.einsum("jab,jac->bc", deviation, deviation),
        )
        noise += min(float(np.sqrt(np.clip(np.linalg.eigvalsh(form), 0, None)).sum()) for form in forms)
        signal += float(np.linalg.norm(mean[block].reshape(rows, columns), ord="nuc"))
    return noise, signal


def expected(*, noise: float, signal: float, batch_size: int, groups: int = 2) -> Statistics:
    """The expectations under a known noise sigma^2 and |G|^2: what the *exact* tests of the theorems use.

    With it, ``Rule(name="norm_test", debias=True)`` is the exact norm test sigma^2 / b <= theta^2 |G|^2.
    """
    norm_sq = signal + noise / batch_size
    return Statistics(
        batch_size=batch_size,
        groups=groups,
        norm_sq=norm_sq,
        mean_group_norm_sq=norm_sq + (groups - 1) / batch_size * noise,
    )


def two_batch_estimates(
    *, small_norm_sq: Any, big_norm_sq: Any, small_batch: int, big_batch: int
) -> tuple[Any, Any]:
    """(signal, noise) from squared gradient norms at two batch sizes; **unbiased** for any law.

    signal = (B |g_B|^2 - s |g_s|^2) / (B - s),  noise = (|g_s|^2 - |g_B|^2) / (1/s - 1/B).

    Reference: McCandlish et al. 2018, arXiv 1812.06162, appendix A.1.
    """
    if not 0 < small_batch < big_batch:
        raise input_error(
            got=f"small_batch={small_batch}, big_batch={big_batch}",
            rule="0 < small_batch < big_batch",
            do="pass two different batch sizes in this order",
        )
    small, big = np.asarray(small_norm_sq, dtype=np.float64), np.asarray(big_norm_sq, dtype=np.float64)
    signal = (big_batch * big - small_batch * small) / (big_batch - small_batch)
    noise = (small - big) / (1 / small_batch - 1 / big_batch)
    return signal, noise


@dataclasses.dataclass(frozen=True, kw_only=True)
class RatioInterval:
    """A confidence set for a ratio of means: an interval, or the honest answer that it is unbounded."""

    ratio: float
    low: float
    high: float
    bounded: bool
    batches: int


def noise_scale_interval(noise: Any, signal: Any, *, level: float = 0.95, batches: int = 20) -> RatioInterval:
    """Fieller confidence set for mean(noise) / mean(signal) over correlated steps, by batch means.

    The set {r : (N - r M)^2 <= q^2 (s_NN - 2 r s_NM + r^2 s_MM)} is a bounded interval iff the denominator
    differs from zero at this level; otherwise ``bounded`` is False and the limits are infinite.

    Args:
        noise, signal: per-step estimates, [K], K >= 2 * batches.
        level: confidence level; the quantile is Student's with batches - 1 degrees of freedom.
        batches: number of consecutive blocks whose means are taken as independent.

    Reference: Fieller 1954; the blocks absorb correlation between successive steps.
    """
    x, y = np.asarray(noise, dtype=np.float64), np.asarray(signal, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or batches < 2 or x.size < 2 * batches or not 0 < level < 1:
        raise input_error(
            got=f"{x.shape} and {y.shape} estimates, batches={batches}, level={level}",
            rule="two equally long series of at least 2 * batches steps, a level in (0, 1)",
            do="record more steps or use fewer batches",
        )
    from scipy.special import stdtrit

    size = x.size // batches
    means = np.stack([s[: size * batches].reshape(batches, size).mean(axis=1) for s in (x, y)])
    n, m = means.mean(axis=1)
    covariance = np.cov(means, ddof=1) / batches
    q2 = float(stdtrit(batches - 1, (1 + level) / 2)) ** 2
    a = m * m - q2 * covariance[1, 1]
    b = n * m - q2 * covariance[0, 1]
    c = n * n - q2 * covariance[0, 0]
    if a <= 0:
        ratio = float(n / m) if m != 0 else math.nan
        return RatioInterval(ratio=ratio, low=-math.inf, high=math.inf, bounded=False, batches=batches)
    root = math.sqrt(max(b * b - a * c, 0.0))
    return RatioInterval(
        ratio=float(n / m), low=(b - root) / a, high=(b + root) / a, bounded=True, batches=batches
    )
