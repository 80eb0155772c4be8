r"""Exact second moments of SGD and heavy ball on the noisy quadratic, under any schedule.

One coordinate F = h theta^2 / 2, gradient g = h theta + xi with E xi = 0, Var xi = c / B_k, so c = sigma^2.
With M11 = E theta^2, M12 = E theta p, M22 = E p^2 (p the momentum buffer) the moments obey closed linear
recursions, no matter the law of xi. The NumPy functions are the specification; the compiled ones do the same
arithmetic.

Multiplicative noise, Var xi = (c + s theta^2) / B_k, is closed too: c becomes c + s M11.

Reference: theory entries ``nqm_sgd`` and ``nqm_heavy_ball``; 1907.04164 for the model.
"""

from __future__ import annotations

import concurrent.futures
import itertools
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np

from bstheory.errors import input_error
from bstheory.simulation.kernel_cache import discard_stale

discard_stale(Path(__file__).resolve().parent)
Array = np.ndarray


def _checked(h: Array, c: Array, second_moment: Array, columns: dict[str, Array]) -> tuple[Array, ...]:
    h = np.atleast_1d(np.asarray(h, dtype=np.float64))
    c = np.broadcast_to(np.asarray(c, dtype=np.float64), h.shape)
    m0 = np.broadcast_to(np.asarray(second_moment, dtype=np.float64), h.shape)
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1:
        raise input_error(
            got=f"columns of lengths {lengths}",
            rule="learning_rate, beta1 and batch_size have one value per step",
            do="pass arrays of equal length",
        )
    if np.any(h <= 0) or np.any(c < 0) or np.any(m0 < 0) or np.min(columns["batch_size"]) <= 0:
        raise input_error(
            got="a curvature, noise variance, second moment or batch size of the wrong sign",
            rule="curvatures and batch sizes are positive, variances and second moments are non-negative",
            do="correct the values",
        )
    return h, c, m0


def sgd_moments(
    h: Array, c: Array, m0: Array, *, learning_rate: Array, batch_size: Array, s: float | Array = 0.0
) -> Array:
    r"""**Exact** E theta^2 before each step and after the last: M' = (1 - eta h)^2 M + eta^2 (c + s M) / B.

    Args:
        h: curvatures [d], loss/param^2. c: one sample's noise variance [d]. m0: E theta_0^2 [d].
        learning_rate: eta_k [K]. batch_size: B_k [K]. s: multiplicative noise [d] or a number.

    Returns:
        float64 [K+1, d].

    Raises:
        InputError: unequal lengths, or a value of the wrong sign.
    """
    h, c, m = _checked(h, c, m0, {"learning_rate": learning_rate, "batch_size": batch_size})
    path = np.empty((len(batch_size) + 1, len(h)))
    path[0] = m
    for k, (eta, batch) in enumerate(zip(learning_rate, batch_size)):
        m = (1.0 - eta * h) ** 2 * m + eta**2 * (c + s * m) / batch
        path[k + 1] = m
    return path


def heavy_ball_moments(
    h: Array,
    c: Array,
    m0: Array,
    *,
    learning_rate: Array,
    beta1: Array,
    batch_size: Array,
    s: float | Array = 0.0,
) -> Array:
    r"""**Exact** (M11, M12, M22) of p' = beta p + g, theta' = theta - eta p', from p = 0.

    M11' = (1-eta h)^2 M11 - 2 eta beta (1-eta h) M12 + eta^2 beta^2 M22 + eta^2 n;
    M12' = h (1-eta h) M11 + beta (1-2 eta h) M12 - eta beta^2 M22 - eta n;
    M22' = h^2 M11 + 2 h beta M12 + beta^2 M22 + n, with n = (c + s M11) / B.

    Args:
        h, c, m0, s: as in :func:`sgd_moments`. learning_rate, beta1, batch_size: [K].

    Returns:
        float64 [K+1, 3, d], in the order M11, M12, M22.
    """
    columns = {"learning_rate": learning_rate, "beta1": beta1, "batch_size": batch_size}
    h, c, m11 = _checked(h, c, m0, columns)
    m12, m22 = np.zeros_like(h), np.zeros_like(h)
    path = np.empty((len(batch_size) + 1, 3, len(h)))
    path[0] = m11, m12, m22
    for k, (eta, beta, batch) in enumerate(zip(learning_rate, beta1, batch_size)):
        n = (c + s * m11) / batch
        a = 1.0 - eta * h
        m11, m12, m22 = (
            a**2 * m11 - 2 * eta * beta * a * m12 + (eta * beta) ** 2 * m22 + eta**2 * n,
            h * a * m11 + beta * (1 - 2 * eta * h) * m12 - eta * beta**2 * m22 - eta * n,
            h**2 * m11 + 2 * h * beta * m12 + beta**2 * m22 + n,
        )
        path[k + 1] = m11, m12, m22
    return path


def quadratic_loss(h: Array, m11: Array) -> Array:
    """Expected loss sum_i h_i E theta_i^2 / 2 from second moments [..., d]."""
    return 0.5 * np.sum(np.asarray(h) * np.asarray(m11), axis=-1)


def sgd_stationary(h: Array, c: Array, *, learning_rate: float, batch_size: int) -> Array:
    """**Exact** lim E theta^2 = eta c / (B h (2 - eta h)); stable iff 0 < eta h < 2."""
    h, c = np.asarray(h, dtype=np.float64), np.asarray(c, dtype=np.float64)
    if np.any(learning_rate * h >= 2) or learning_rate <= 0:
        raise input_error(
            got=f"learning_rate={learning_rate} with largest curvature {h.max()}",
            rule="SGD is stable iff 0 < learning_rate * h < 2",
            do=f"choose learning_rate below {2 / h.max():.6g}",
        )
    return learning_rate * c / (batch_size * h * (2.0 - learning_rate * h))


def heavy_ball_stationary(
    h: Array, c: Array, *, learning_rate: float, beta1: float, batch_size: int, s: float | Array = 0.0
) -> Array:
    """**Exact** stationary (M11, M12, M22) [3, d], Omega = 2 (1 + beta) - eta h, with multiplicative noise s.

    Stable iff 0 < eta h < 2 (1 + beta), 0 <= beta < 1, and B h (1 - beta) Omega > eta s (1 + beta).
    """
    h = np.atleast_1d(np.asarray(h, dtype=np.float64))
    c = np.broadcast_to(np.asarray(c, dtype=np.float64), h.shape)
    omega = 2.0 * (1.0 + beta1) - learning_rate * h
    denominator = batch_size * h * (1.0 - beta1) * omega - learning_rate * np.asarray(s) * (1.0 + beta1)
    if learning_rate <= 0 or not 0 <= beta1 < 1 or np.any(omega <= 0) or np.any(denominator <= 0):
        raise input_error(
            got=f"learning_rate={learning_rate}, beta1={beta1}, largest curvature {h.max()}",
            rule="heavy ball is stable iff 0 < eta h < 2 (1 + beta1) and the batch is not too small",
            do="lower learning_rate or raise batch_size",
        )
    m11 = learning_rate * c * (1.0 + beta1) / denominator
    n = (c + s * m11) / batch_size
    return np.stack([m11, -learning_rate * n / ((1.0 - beta1) * omega), 2.0 * n / ((1.0 - beta1) * omega)])


BLOCK = 512  # coordinates that go through all steps together: their moments stay in the first-level cache


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _sgd_kernel(h, c, s, m, learning_rate, batch_size):
    for start in range(0, h.shape[0], BLOCK):
        stop = min(start + BLOCK, h.shape[0])
        hb, cb, sb, mb = h[start:stop], c[start:stop], s[start:stop], m[start:stop]
        for k in range(learning_rate.shape[0]):
            eta = learning_rate[k]
            factor = eta * eta / batch_size[k]
            for i in range(hb.shape[0]):
                a = 1.0 - eta * hb[i]
                mb[i] = a * a * mb[i] + factor * (cb[i] + sb[i] * mb[i])


@numba.njit(inline="always", error_model="numpy", fastmath={"contract"})
def _heavy_ball_step(h, c, s, m11, m12, m22, eta, beta, inverse):
    """One coordinate, one step: p' = beta p + g, then theta' = theta - eta p'."""
    n = (c + s * m11) * inverse
    cross = h * m11 + beta * m12  # E theta p'
    square = h * (cross + beta * m12) + (beta * beta * m22 + n)  # E p'^2
    after = cross - eta * square  # E theta' p'
    return m11 - eta * (cross + after), after, square


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _heavy_ball_kernel(h, c, s, m11, m12, m22, learning_rate, beta1, batch_size):
    steps = learning_rate.shape[0]
    even = steps - steps % 2
    for start in range(0, h.shape[0], BLOCK):
        stop = min(start + BLOCK, h.shape[0])
        hb, cb, sb = h[start:stop], c[start:stop], s[start:stop]
        a11, a12, a22 = m11[start:stop], m12[start:stop], m22[start:stop]
        for k in range(0, even, 2):  # two steps a pass: half the loads and stores
            eta, beta, inverse = learning_rate[k], beta1[k], 1.0 / batch_size[k]
            eta2, beta2, inverse2 = learning_rate[k + 1], beta1[k + 1], 1.0 / batch_size[k + 1]
            for i in range(hb.shape[0]):
                x, y, z = _heavy_ball_step(hb[i], cb[i], sb[i], a11[i], a12[i], a22[i], eta, beta, inverse)
                x, y, z = _heavy_ball_step(hb[i], cb[i], sb[i], x, y, z, eta2, beta2, inverse2)
                a11[i], a12[i], a22[i] = x, y, z
        for k in range(even, steps):
            eta, beta, inverse = learning_rate[k], beta1[k], 1.0 / batch_size[k]
            for i in range(hb.shape[0]):
                a11[i], a12[i], a22[i] = _heavy_ball_step(
                    hb[i], cb[i], sb[i], a11[i], a12[i], a22[i], eta, beta, inverse
                )


def final_moments(
    h: Array,
    c: Array,
    m0: Array,
    *,
    learning_rate: Array,
    batch_size: Array,
    beta1: Array | None = None,
    s: float | Array = 0.0,
    state: tuple[Array, Array] | None = None,
    threads: int = 1,
) -> Array:
    """The compiled recursions: moments after the last step only, memory independent of the number of steps.

    Args:
        h, c, m0, learning_rate, batch_size, s: as in :func:`sgd_moments`.
        beta1: [K] for heavy ball, ``None`` for SGD.
        state: ``(M12, M22)`` to continue a heavy-ball run from; zeros when absent.
        threads: coordinates are split over them; the result does not depend on it.

    Returns:
        [d] for SGD (M11), [3, d] for heavy ball.
    """
    columns = {"learning_rate": learning_rate, "batch_size": batch_size}
    if beta1 is not None:
        columns["beta1"] = beta1
    h, c, m = _checked(h, c, m0, columns)
    c, m11 = np.ascontiguousarray(c), np.array(m)
    s = np.ascontiguousarray(np.broadcast_to(np.asarray(s, dtype=np.float64), h.shape))
    floats = [np.ascontiguousarray(v, dtype=np.float64) for v in (learning_rate, batch_size)]
    edges = np.linspace(0, len(h), max(1, threads) + 1).astype(int)
    parts = [slice(a, b) for a, b in itertools.pairwise(edges)]

    def split(work: Callable[[slice], None]) -> None:
        if len(parts) == 1:
            return work(parts[0])
        with concurrent.futures.ThreadPoolExecutor(len(parts)) as pool:
            list(pool.map(work, parts))

    if beta1 is None:
        split(lambda p: _sgd_kernel(h[p], c[p], s[p], m11[p], floats[0], floats[1]))
        return m11
    m12, m22 = (np.zeros_like(h), np.zeros_like(h)) if state is None else (np.array(a) for a in state)
    betas = np.ascontiguousarray(beta1, dtype=np.float64)
    split(lambda p: _heavy_ball_kernel(h[p], c[p], s[p], m11[p], m12[p], m22[p], floats[0], betas, floats[1]))
    return np.stack([m11, m12, m22])
