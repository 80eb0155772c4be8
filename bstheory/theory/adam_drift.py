"""Stationary drift of Adam under independent gradients of a finite law, by quadrature (not rigorous).

g_n are batch means of B draws of one coordinate's gradient, independent of the past (frozen parameters);
v = sum_k w_k g_{n-k}^2 and m = sum_k a_k g_{n-k}, w_k = (1 - beta2) beta2^k, a_k = (1 - beta1) beta1^k:

    E m/sqrt(v) = (2/sqrt(pi)) int_0^oo [sum_k a_k E g e^(-y^2 w_k g^2)/E e^(-y^2 w_k g^2)]
                  prod_k E e^(-y^2 w_k g^2) dy.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from bstheory.errors import input_error

Array = np.ndarray
PANELS = (0.0, 0.25, 0.75, 1.5, 3.0, 6.0, 12.0, 24.0, 48.0)
NODES = 16
TAIL = 36.0  # beta2^k below e^-36 cannot be seen in float64


def batch_mean_law(values: Array, probabilities: Array, batch_size: int) -> tuple[Array, Array]:
    """Law of the mean of B independent draws of a two-point law.

    Args:
        values, probabilities: [2].

    Returns:
        values [B+1] and their probabilities [B+1].
    """
    if np.shape(values) != (2,) or batch_size < 1:
        raise input_error(
            got=f"{np.size(values)} values and batch_size={batch_size}",
            rule="the law has two points and a batch at least one sample",
            do="pass two values and a positive batch_size",
        )
    j = np.arange(batch_size + 1)
    logs = [math.lgamma(batch_size + 1) - math.lgamma(i + 1) - math.lgamma(batch_size - i + 1) for i in j]
    logs = np.array(logs) + j * np.log(probabilities[0]) + (batch_size - j) * np.log(probabilities[1])
    return (values[0] * j + values[1] * (batch_size - j)) / batch_size, np.exp(logs)


def stationary_drift(values: Array, probabilities: Array, *, beta1: float, beta2: float) -> float:
    """E m/sqrt(v) in the stationary state; g = 0 must not have probability one.

    Args:
        values, probabilities: law of one step's gradient, [P].
        beta1: in [0, 1). beta2: in (0, 1).
    """
    decay = -math.log(beta2)
    k = np.arange(math.ceil(TAIL / decay) + 1)
    w = -math.expm1(-decay) * np.exp(-decay * k)
    a = (1 - beta1) * beta1**k if beta1 > 0 else (k == 0).astype(float)
    unit, weights = np.polynomial.legendre.leggauss(NODES)
    second = float((probabilities * values**2).sum())
    total = 0.0
    for low, high in itertools.pairwise(PANELS):
        y = ((high - low) * unit + high + low) / (2 * math.sqrt(second))
        s = np.outer(y**2, w)
        mean, tilted = np.zeros_like(s), np.zeros_like(s)
        for value, probability in zip(values, probabilities):
            term = probability * np.exp(-s * value**2)
            mean += term
            tilted += value * term
        inner = (tilted / mean) @ a * np.exp(np.log(mean).sum(axis=1))
        total += float(inner @ weights) * (high - low) / (2 * math.sqrt(second))
    return 2 / math.sqrt(math.pi) * total


def moments(values: Array, probabilities: Array) -> tuple[float, float, float]:
    """Mean, variance and third central moment of a finite law."""
    mean = float((probabilities * values).sum())
    central = values - mean
    return mean, float((probabilities * central**2).sum()), float((probabilities * central**3).sum())


def threshold_half_life(
    values: Array, probabilities: Array, *, batch_size: int, t1: float, low: float, high: float
) -> float:
    """Half-life of v, in samples, at which the drift of a two-point law changes sign, to four digits.

    Args:
        values, probabilities: one sample's law, [2], of positive mean.
        t1: half-life of m in samples; 0 for no momentum.
        low, high: where to look; the drift is negative at ``low`` and positive at ``high``.

    Raises:
        InputError: the drift has one sign between ``low`` and ``high``.
    """
    from scipy import optimize

    law = batch_mean_law(values, probabilities, batch_size)
    beta1 = 2.0 ** (-batch_size / t1) if t1 > 0 else 0.0

    def drift(log_half_life: float) -> float:
        return stationary_drift(*law, beta1=beta1, beta2=2.0 ** (-batch_size / math.exp(log_half_life)))

    ends = drift(math.log(low)), drift(math.log(high))
    if ends[0] * ends[1] > 0:
        raise input_error(
            got=f"drifts {ends[0]:.3g} and {ends[1]:.3g} at half-lives {low:g} and {high:g}",
            rule="the drift changes sign between them",
            do="widen the interval",
        )
    return math.exp(optimize.brentq(drift, math.log(low), math.log(high), xtol=1e-5))
