"""Confidence limits for a mean that are valid at the sample size in hand, not only asymptotically."""

from __future__ import annotations

import numpy as np

from bstheory.errors import input_error


def mean_limits(values: np.ndarray, *, upper: float, error: float) -> tuple[float, float]:
    """Lower and upper confidence limit of the mean of a variable that lies in [0, upper].

    For a candidate mean m the capital of a gambler who bets that the mean is larger is
    ``K_n(m) = prod_i (1 + lambda_i (X_i - m))`` with ``X_i`` scaled to [0, 1] and ``lambda_i`` in [0, 1/(2m)]
    chosen from ``X_1 .. X_{i-1}``. If m is the mean, K_n is a nonnegative martingale of expectation 1, so
    ``P(K_n >= 1/error) <= error`` (Markov) for every n and every law on [0, 1]. ``lower`` is the largest m
    that this rejects. The bets, a predictable plug-in, affect the width only, never the validity.

    Args:
        values: float64 [n], independent draws of one variable.
        upper: an almost-sure upper bound of the variable, its unit.
        error: probability that the lower limit exceeds the mean; the same again for the upper limit.

    Returns:
        (lower, upper), each valid with probability at least ``1 - error``.

    Raises:
        InputError: a value outside [0, upper], or ``error`` outside (0, 1).

    Reference: Waudby-Smith and Ramdas 2024 (2010.09686), Theorem 3 and equation (26), one-sided.
    """
    values = np.asarray(values, dtype=np.float64)
    if not 0 < error < 1:
        raise input_error(
            got=f"error={error}",
            rule="an error probability lies strictly between 0 and 1",
            do="pass for example 0.01",
        )
    outside = ~((values >= 0) & (values <= upper))
    if values.ndim != 1 or values.size == 0 or upper <= 0 or outside.any():
        raise input_error(
            got=f"values with shape {values.shape} and {int(outside.sum())} entries outside [0, {upper}]",
            rule="the limit needs a nonempty vector inside the stated range",
            why="it is valid for bounded variables only",
            do="correct the range, or find out why the measurement leaves it",
        )
    scaled = values / upper
    return (upper * _lower(scaled, error), upper * (1.0 - _lower(1.0 - scaled, error)))


def _lower(x: np.ndarray, error: float) -> float:
    """Largest rejected mean for values in [0, 1]; 0 where nothing is rejected."""
    n = x.size
    index = np.arange(1, n + 1)
    # Means and variances of the past, started at 1/2 and 1/4 so that the first bet depends on no data.
    mean = (0.5 + np.cumsum(x)) / (index + 1)
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / (index + 1)
    past = np.concatenate([[0.25], variance[:-1]])
    bet = np.sqrt(2.0 * np.log(1.0 / error) / (n * past))

    def rejected(m: float) -> bool:
        # The cap 1/(2m) keeps every factor at least 1/2; each factor decreases in m, so bisection is exact.
        return bool(np.log1p(np.minimum(bet, 0.5 / m) * (x - m)).sum() >= np.log(1.0 / error))

    low, high = 0.0, float(x.mean())
    if high <= 0.0:
        return 0.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        if middle <= 0.0:
            break
        low, high = (middle, high) if rejected(middle) else (low, middle)
    return low
