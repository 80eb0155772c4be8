"""Optimizer steps that see the gradient as a matrix: factored second moments and spectral steps.

Coordinates are the matrix row by row. The factored method keeps its row averages in the first rows of ``v``
and its column averages in the first columns of ``m``, so it needs no further state.
"""

from __future__ import annotations

import numba
import numpy as np

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
