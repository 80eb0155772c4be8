r"""Exact second moments of every linear method, with dyadic jumps over constant stretches.

On one coordinate h theta^2 / 2 with noise variance (c + s theta^2) / B a linear method moves a state vector y
= (theta, p, average) by y' = A y + u xi, so its second moments M = E y y^T obey M' = A M A^T + n u u^T with
n = (c + s M11) / B: an affine map of the distinct entries of M. A stretch of constant settings is one power
of that map, taken by repeated squaring: 10^7 steps cost 24 products.

**Exact** up to rounding; a power of n steps carries a relative rounding error of about n * 2e-16.

Reference: theory entries ``nqm_sgd``, ``nqm_heavy_ball``, ``nqm_ema``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from bstheory.errors import input_error

Array = np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """A stretch of ``num_steps`` steps with constant settings.

    Attributes:
        num_steps: >= 0.
        learning_rate: eta > 0.
        batch_size: B >= 1.
        beta1: heavy-ball momentum in [0, 1).
        averaging: gamma of the iterate average a' = gamma a + (1 - gamma) theta', in [0, 1); ``None`` for
        none.
    """

    num_steps: int
    learning_rate: float
    batch_size: float
    beta1: float = 0.0
    averaging: float | None = None

    def __post_init__(self) -> None:
        rules = (
            (self.num_steps >= 0, "num_steps", self.num_steps, "is at least 0"),
            (self.learning_rate > 0, "learning_rate", self.learning_rate, "is positive"),
            (self.batch_size > 0, "batch_size", self.batch_size, "is positive"),
            (0 <= self.beta1 < 1, "beta1", self.beta1, "lies in [0, 1)"),
            (
                self.averaging is None or 0 <= self.averaging < 1,
                "averaging",
                self.averaging,
                "lies in [0, 1)",
            ),
        )
        for good, name, value, rule in rules:
            if not good:
                raise input_error(got=f"{name}={value!r}", rule=f"{name} {rule}", do=f"correct {name}")


def transition(h: Array, stage: Stage) -> tuple[Array, Array]:
    """``(A [d, n, n], u [d, n])`` of the state (theta, p) or (theta, p, average)."""
    h = np.atleast_1d(np.asarray(h, dtype=np.float64))
    eta, beta, gamma = stage.learning_rate, stage.beta1, stage.averaging
    size = 2 if gamma is None else 3
    A = np.zeros((len(h), size, size))
    u = np.zeros((len(h), size))
    A[:, 0, 0], A[:, 0, 1] = 1.0 - eta * h, -eta * beta
    A[:, 1, 0], A[:, 1, 1] = h, beta
    u[:, 0], u[:, 1] = -eta, 1.0
    if gamma is not None:
        A[:, 2] = (1.0 - gamma) * A[:, 0]
        A[:, 2, 2] += gamma
        u[:, 2] = (1.0 - gamma) * u[:, 0]
    return A, u


def moment_map(h: Array, c: Array, stage: Stage, s: float | Array = 0.0) -> Array:
    """Augmented affine map [d, q+1, q+1] on (the q = n (n+1) / 2 distinct entries of M, 1)."""
    A, u = transition(h, stage)
    d, n = u.shape
    rows, columns = np.triu_indices(n)
    q = len(rows)
    T = np.zeros((d, q + 1, q + 1))
    for k, (i, j) in enumerate(zip(rows, columns)):
        for l, (a, b) in enumerate(zip(rows, columns)):
            T[:, k, l] = A[:, i, a] * A[:, j, b] + (A[:, i, b] * A[:, j, a] if a != b else 0.0)
        T[:, k, 0] += u[:, i] * u[:, j] * np.asarray(s) / stage.batch_size
        T[:, k, q] = u[:, i] * u[:, j] * np.asarray(c) / stage.batch_size
    T[:, q, q] = 1.0
    return T


def start(m0: Array, dim: int, stage: Stage) -> Array:
    """Moments [d, q+1] of (theta, p = 0, average = theta) from E theta_0^2."""
    n = 2 if stage.averaging is None else 3
    rows, columns = np.triu_indices(n)
    moments = np.zeros((dim, len(rows) + 1))
    both = [k for k, (i, j) in enumerate(zip(rows, columns)) if i != 1 and j != 1]
    moments[:, both] = np.broadcast_to(np.asarray(m0, dtype=np.float64), (dim,))[:, None]
    moments[:, -1] = 1.0
    return moments


def moments_along(
    h: Array, c: Array, m0: Array, stages: Iterable[Stage], *, s: float | Array = 0.0
) -> list[Array]:
    """**Exact** second moments after each stage.

    Args:
        h, c, m0: curvatures, one-sample noise variances, initial second moments, [d].
        stages: all with averaging, or all without.
        s: multiplicative noise, variance (c + s theta^2) / B.

    Returns:
        One array [d, q] per stage, entries of M in the order of ``numpy.triu_indices``: M11, M12(, M13), M22,
        ...

    Example:
        >>> one = Stage(num_steps=1, learning_rate=0.5, batch_size=1)
        >>> moments_along([1.0], [0.0], [4.0], [one, one])[-1][0, 0]
        np.float64(0.25)
    """
    stages = list(stages)
    h = np.atleast_1d(np.asarray(h, dtype=np.float64))
    if not stages or len({stage.averaging is None for stage in stages}) != 1:
        raise input_error(
            got=f"{len(stages)} stages",
            rule="there is at least one, and all or none of them average the iterates",
            do="correct the list",
        )
    moments = start(m0, len(h), stages[0])
    out = []
    for stage in stages:
        T, left = moment_map(h, c, stage, s), int(stage.num_steps)
        while left:
            if left & 1:
                moments = np.einsum("dij,dj->di", T, moments)
            left >>= 1
            if left:
                T = T @ T
        out.append(moments[:, :-1])
    return out


def averaged_stationary(
    h: Array, c: Array, *, learning_rate: float, averaging: float, batch_size: int
) -> Array:
    """**Exact** stationary variance of the averaged iterate of SGD, [d].

    eta c / (B h (2 - eta h)) * (1 - g) / (1 + g) * (1 + g (1 - eta h)) / (1 - g (1 - eta h)), g = averaging.
    """
    h, c = np.asarray(h, dtype=np.float64), np.asarray(c, dtype=np.float64)
    a, g = 1.0 - learning_rate * h, averaging
    plain = learning_rate * c / (batch_size * h * (2.0 - learning_rate * h))
    return plain * (1.0 - g) / (1.0 + g) * (1.0 + g * a) / (1.0 - g * a)
