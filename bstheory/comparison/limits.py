"""Confidence limits for a mean that are valid at the sample size in hand, not only asymptotically."""

from __future__ import annotations

import numpy as np

from bstheory.errors import input_error


def mean_limits(values: np.ndarray, *, upper: float, error: float) -> tuple[float, float]:
    """Lower and upper confidence limit of the mean of a variable that lies in [0, upper].

    For a candidate mean m and a stake c in (0, 1) the capital of a gambler who bets that the mean is larger
    is ``prod_i (1 + c (X_i / m - 1))``. If m is the mean, each factor is nonnegative with expectation at most
    1, so the average K_n(m) over a fixed set of stakes has expectation at most 1 and ``P(K_n(m) >= 1/error)
    <= error`` by Markov's inequality, for every n and every law of a nonnegative variable. The lower limit is
    the largest m that this rejects; K_n decreases in m, so the rejected values are an interval. The upper
    limit is the same for ``upper - X``; only it uses the range.

    Args:
        values: float64 [n], independent draws of one variable.
        upper: an almost-sure upper bound of the variable, its unit.
        error: probability that the lower limit exceeds the mean; the same again for the upper limit.

    Returns:
        (lower, upper), each valid with probability at least ``1 - error``.

    Raises:
        InputError: a value outside [0, upper], or ``error`` outside (0, 1).

    Reference: Waudby-Smith and Ramdas 2024 (2010.09686), section 4; a mixture over constant stakes replaces
        their data-dependent bets, so that the order of the seeds does not matter.
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
    return (upper * lower_limit(scaled, error=error), upper * (1.0 - lower_limit(1.0 - scaled, error=error)))


# Large stakes suit a small spread relative to the mean, small ones a large spread; 0.95 keeps every factor
# positive.
_STAKES = 0.95 * 0.5 ** np.arange(10)


def lower_limit(x: np.ndarray, *, error: float) -> float:
    """The lower limit of :func:`mean_limits` for nonnegative values [n]; it needs no range.

    Returns:
        The largest rejected mean, valid with probability at least ``1 - error``; 0 where nothing is rejected.
    """
    target = np.log(1.0 / error) + np.log(_STAKES.size)

    def rejected(m: float) -> bool:
        wealth = np.log1p(_STAKES[:, None] * (x / m - 1.0)).sum(axis=1)
        return bool(np.logaddexp.reduce(wealth) >= target)

    low, high = 0.0, float(x.mean())
    if high <= 0.0:
        return 0.0
    for _ in range(50):
        middle = 0.5 * (low + high)
        if middle <= 0.0:
            break
        low, high = (middle, high) if rejected(middle) else (low, middle)
    return low
