"""Laws of the batch-mean noise that the problems and the fused kernels share.

Every law is given for one coordinate of the *mean over B samples*, as ``sigma / sqrt(B) * z`` with E z = 0
and E z^2 = 1:

- ``gaussian``: z ~ N(0, 1). The exact law of a mean of B Gaussian samples.
- ``two_point``: z = +1 or -1 with probability 1/2. NOT the law of a mean of B two-point samples (that one is
  binomial); it is one more law of variance sigma^2 / B, bounded by sigma / sqrt(B), which is what the
  theorems with bounded gradients need.
- ``skewed``: the exact law of a mean of B samples that are sqrt((1-p)/p) with probability p =
  ``noise_shape``, else -sqrt(p/(1-p)). Skewness (1-2p) / sqrt(p (1-p) B).
- ``student_t``: the exact law of a mean of B Student-t samples with ``noise_shape`` > 2 degrees of freedom,
  scaled to variance 1. Heavy tails: moments of order ``noise_shape`` and above are infinite.
- ``asymmetric``: z = sqrt((1-p)/p) with probability p = ``noise_shape``, else -sqrt(p/(1-p)), whatever B.
  Like ``two_point`` a law of the batch mean itself: theorems that assume only the variance sigma^2 / B must
  hold for it, and it is what an adversary would choose.
- ``none``: z = 0.
"""

from __future__ import annotations

import numpy as np

from bstheory.errors import input_error

NOISE_LAWS = ("none", "gaussian", "two_point", "asymmetric", "skewed", "student_t")


def check_noise_law(law: str, shape: float | None = None) -> str:
    """``law`` itself, after checking that there is such a law and that its shape is in range."""
    if law not in NOISE_LAWS:
        raise input_error(
            got=f"noise_law={law!r}", rule=f"the laws are {', '.join(NOISE_LAWS)}", do="pass one of these"
        )
    unit = ("lies in (0, 1)", 0.0, 1.0)
    rules = {"skewed": unit, "asymmetric": unit, "student_t": ("exceeds 2", 2.0, np.inf)}
    if law in rules:
        rule, low, high = rules[law]
        if shape is None or not low < shape < high:
            raise input_error(
                got=f"noise_shape={shape!r}", rule=f"for {law} it {rule}", do="pass noise_shape"
            )
    elif shape is not None:
        raise input_error(
            got=f"noise_shape={shape!r} with noise_law={law!r}", rule="this law has no shape", do="remove it"
        )
    return law


def standard_noise(
    law: str,
    size: tuple[int, ...],
    rng: np.random.Generator,
    *,
    batch_size: int = 1,
    shape: float | None = None,
) -> np.ndarray:
    """Draw ``z`` of the given size, float64, with mean 0 and variance 1 (0 for ``none``)."""
    check_noise_law(law, shape)
    if law == "gaussian":
        return rng.standard_normal(size)
    if law == "two_point":
        return 1.0 - 2.0 * rng.integers(0, 2, size=size)
    number = float(shape or 0.0)
    if law == "asymmetric":
        odds = np.sqrt((1.0 - number) / number)
        return np.where(rng.random(size) < number, odds, -1.0 / odds)
    if law == "skewed":
        mean = batch_size * number
        return (rng.binomial(batch_size, number, size=size) - mean) / np.sqrt(mean * (1.0 - number))
    if law == "student_t":
        total = rng.standard_t(number, size=(batch_size, *size)).sum(axis=0)
        return total * np.sqrt((number - 2.0) / (number * batch_size))
    return np.zeros(size)


def check_batch_size(batch_size: int) -> int:
    """``batch_size`` as an int of at least 1."""
    if int(batch_size) != batch_size or batch_size < 1:
        raise input_error(
            got=f"batch_size={batch_size!r}",
            rule="a batch is a whole number of at least 1 sample",
            do="pass an integer >= 1",
        )
    return int(batch_size)


def vector(name: str, value: object, dim: int, *, positive: bool = False) -> np.ndarray:
    """``value`` broadcast to float64 ``[dim]``, checked to be finite and non-negative (or positive)."""
    array = np.asarray(value, dtype=np.float64)
    if array.ndim > 1 or (array.ndim == 1 and array.shape[0] != dim):
        raise input_error(
            got=f"{name} of shape {array.shape}",
            rule=f"it is a number or a vector of the {dim} coordinates",
            do="pass one value per coordinate",
        )
    if not np.all(np.isfinite(array)) or np.any(array <= 0 if positive else array < 0):
        raise input_error(
            got=f"{name} with smallest value {array.min()!r}",
            rule=f"its values are finite and {'positive' if positive else 'non-negative'}",
            do="correct the values",
        )
    return np.broadcast_to(array, (dim,)).copy()


def largest_noise(law: str, shape: float | None) -> float:
    """Almost-sure bound on |z|; infinite where there is none."""
    check_noise_law(law, shape)
    if law == "asymmetric":
        odds = np.sqrt((1.0 - float(shape or 0.0)) / float(shape or 0.0))
        return float(max(odds, 1.0 / odds))
    return {"none": 0.0, "two_point": 1.0}.get(law, np.inf)
