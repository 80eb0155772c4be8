"""Optimizer steps that see the gradient as a matrix: factored second moments and spectral steps.

Coordinates are the matrix row by row. The factored method keeps its row averages in the first rows of ``v``
and its column averages in the first columns of ``m``, so it needs no further state.
"""

from __future__ import annotations

import numba
import numpy as np
from numba.extending import overload

from bstheory.simulation.optimizers import INDEX

_RATE, _BETA1, _GAIN1, _BETA2, _GAIN2, _DECAY, _CORRECT2, _EPS = (
    INDEX[name] for name in ("learning_rate", "beta1", "gain1", "beta2", "gain2", "decay", "correct2", "eps")
)
_COMPILE = {"cache": True, "nogil": True, "error_model": "numpy"}


@numba.njit(**_COMPILE)
def adafactor_update(x, m, v, g, rate, decay, beta2, gain2, correct2, eps, rows, clip):
    """R, C <- averages of g^2 + eps over columns and rows; x <- decay x - rate u / max(1, rms(u) / clip)."""
    columns = x.shape[0] // rows
    total = 0.0
    for i in range(rows):
        mean = 0.0
        for j in range(columns):
            value = np.float64(g[i * columns + j])
            mean += value * value + eps
        v[i] = beta2 * v[i] + gain2 * (mean / columns)
        total += v[i]
    for j in range(columns):
        mean = 0.0
        for i in range(rows):
            value = np.float64(g[i * columns + j])
            mean += value * value + eps
        m[j] = beta2 * m[j] + gain2 * (mean / rows)
    average = total / rows
    square = 0.0
    for i in range(rows):
        for j in range(columns):
            k = i * columns + j
            g[k] = g[k] / np.sqrt(correct2 * (v[i] * m[j] / average))
            square += np.float64(g[k]) * np.float64(g[k])
    rms = np.sqrt(square / x.shape[0])
    shrink = rate / max(1.0, rms / clip) if clip > 0 else rate
    for k in range(x.shape[0]):
        x[k] = decay * x[k] - shrink * g[k]


@numba.njit(**_COMPILE)
def muon_update(x, m, g, rate, decay, beta1, gain1, rows):
    """m <- beta1 m + gain1 g; x <- decay x - rate U V^T, the exact polar factor of m."""
    for i in range(x.shape[0]):
        m[i] = beta1 * m[i] + gain1 * g[i]
    u, _, vt = np.linalg.svd(m.copy().reshape(rows, -1), full_matrices=False)
    step = (u @ vt).ravel()
    for i in range(x.shape[0]):
        x[i] = decay * x[i] - rate * step[i]


@numba.njit(**_COMPILE)
def nuclear_norm(g, rows):
    """Sum of the singular values of g as a matrix with ``rows`` rows."""
    _, s, _ = np.linalg.svd(g.copy().reshape(rows, -1), full_matrices=False)
    return np.float64(s.sum())


def matrix_step(optimizer, options, x, m, v, g, c):
    """Step of a matrix method; nothing where ``options`` has no matrix (a function of the kernels only)."""
    raise NotImplementedError("matrix_step exists only inside compiled code")


def matrix_norm(options, g):
    """Nuclear norm of g, or 0 where ``options`` has no matrix (a function of the kernels only)."""
    raise NotImplementedError("matrix_norm exists only inside compiled code")


@overload(matrix_step)
def _matrix_step(optimizer, options, x, m, v, g, c):
    if len(options) == 1:
        return lambda optimizer, options, x, m, v, g, c: None

    def step(optimizer, options, x, m, v, g, c):
        if optimizer == 7:
            muon_update(x, m, g, c[_RATE], c[_DECAY], c[_BETA1], c[_GAIN1], options[1])
        else:
            adafactor_update(
                x,
                m,
                v,
                g,
                c[_RATE],
                c[_DECAY],
                c[_BETA2],
                c[_GAIN2],
                c[_CORRECT2],
                c[_EPS],
                options[1],
                options[2],
            )

    return step


@overload(matrix_norm)
def _matrix_norm(options, g):
    if len(options) == 1:
        return lambda options, g: 0.0
    return lambda options, g: nuclear_norm(g, options[1])
