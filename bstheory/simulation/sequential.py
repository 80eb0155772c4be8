r"""A sequential test that a mean is at most 1, valid at any stopping time and for any law on [0, infinity].

For independent X_1, X_2, ... >= 0 with E X_i <= 1 and predictable bets 0 <= b_i < 1, the wealth
W_n = prod_i (1 + b_i (X_i - 1)) is a nonnegative supermartingale, so P(sup_n W_n >= 1/alpha) <= alpha
(Ville). The test rejects when the wealth first reaches 1/alpha. No bound on X, no variance, no sample size
has to be known.

Several candidates, tested one after another on fresh samples, share one error: candidate j = 1, 2, ... gets
alpha / (j (j+1)), whose sum over all j is alpha.

Reference: Ville 1939; Waudby-Smith and Ramdas 2024 (2010.09686) for betting strategies.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from bstheory.errors import input_error

Array = np.ndarray
HUGE = 1e100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sequential:
    """Outcome of one test.

    Attributes:
        rejected: the wealth reached 1/alpha, so "E X <= 1" is rejected at level alpha.
        log_wealth: largest log W_n seen; exp of minus it is an anytime-valid p-value.
        num_samples: samples used.
        mean, standard_error: of the samples used (descriptive; after a rejection the mean is biased upwards).
        alpha: level of this test.
    """

    rejected: bool
    log_wealth: float
    num_samples: int
    mean: float
    standard_error: float
    alpha: float


def share(alpha: float, candidate: int) -> float:
    """Level of the ``candidate``-th test, counted from 1: alpha / (j (j + 1))."""
    return alpha / (candidate * (candidate + 1))


def mean_at_most_one(
    draw: Callable[[int, int], Array], *, alpha: float, max_samples: int, first: int = 64
) -> Sequential:
    """Test E X <= 1 on samples ``draw(start, stop)``, asked for in doubling blocks.

    Bets follow b = (mean - 1) / (variance + (mean - 1)^2), estimated from the samples before, cut to [0,
    0.9]; the first few bets are 0.1, so that a clear violation is seen early.

    Args:
        draw: returns independent samples number start..stop-1, each >= 0, possibly +inf.
        alpha: in (0, 1). max_samples: at least 2. first: size of the first block.

    Raises:
        InputError: alpha outside (0, 1), or a negative or NaN sample.
    """
    if not 0 < alpha < 1 or max_samples < 2:
        raise input_error(
            got=f"alpha={alpha}, max_samples={max_samples}",
            rule="alpha lies in (0, 1) and there are at least 2 samples",
            do="correct them",
        )
    log_wealth, best, count, total, square, plain = 0.0, 0.0, 0, 0.0, 0.0, 0.0
    threshold = -math.log(alpha)
    block = max(2, first)
    while count < max_samples and best < threshold:
        samples = np.asarray(draw(count, min(count + block, max_samples)), dtype=np.float64)
        if np.any(np.isnan(samples)) or np.any(samples < 0):
            raise input_error(
                got=f"samples from {np.min(samples)}",
                rule="the betting test needs samples in [0, inf]",
                do="pass a nonnegative quantity",
            )
        for x in samples:
            if count < 4:
                bet = 0.1
            else:
                excess = total / count - 1.0
                variance = max(square / count - total / count * (total / count), 1e-12)
                bet = min(max(excess / (variance + excess * excess), 0.0), 0.9)
            if math.isinf(x):
                log_wealth = math.inf if bet > 0 else log_wealth
            else:
                log_wealth += math.log1p(bet * (x - 1.0))
            # Any predictable bet is valid, so what it is estimated from may be cut; squares stay finite.
            seen = min(float(x), HUGE)
            total += seen
            square += seen * seen
            plain += float(x)
            count += 1
            best = max(best, log_wealth)
            if best >= threshold:
                break
        block *= 2
    mean, spread = plain / count, math.inf
    if plain == total:  # nothing was cut
        spread = math.sqrt(max(square / count - mean * mean, 0.0) / max(count - 1, 1))
    return Sequential(
        rejected=best >= threshold,
        log_wealth=best,
        num_samples=count,
        mean=mean,
        standard_error=spread,
        alpha=alpha,
    )
