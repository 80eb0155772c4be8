"""Noise laws inside the kernels: standardized noise of a batch mean, or the uniforms that pick a batch.

The laws are those of :mod:`bstheory.problems.noise`. ``skewed`` and ``student_t`` are exact laws of the mean
of B independent samples, drawn sample by sample (``skewed`` by geometric gaps), so their cost grows with B
and the noise depends on B.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numba.extending import overload

from bstheory.simulation.generator import _next, fill_normal32, fill_normal64, fill_signs, padded

LAWS = {"none": 0, "gaussian": 1, "two_point": 2, "skewed": 3, "student_t": 4, "sampling": 5, "asymmetric": 6}
BATCH_DEPENDENT = ("skewed", "student_t", "sampling")

_COMPILE = {"cache": True, "nogil": True, "error_model": "numpy"}


@numba.njit(**_COMPILE)
def _uniform(state, lane):
    """Uniform on (0, 1) with 53 bits, from one lane of a stream."""
    w1, a, b, c, d = _next(state[0, lane], state[1, lane], state[2, lane], state[3, lane])
    w2, a, b, c, d = _next(a, b, c, d)
    state[0, lane] = a
    state[1, lane] = b
    state[2, lane] = c
    state[3, lane] = d
    return ((w1 >> np.uint32(6)) * 134217728.0 + (w2 >> np.uint32(5)) + 0.5) * 2.0**-53


@numba.njit(**_COMPILE)
def fill_uniforms(state, z):
    """Uniforms on [0, 1), 24 bits (more than enough to pick one of a million rows evenly to 6 %)."""
    for j in range(z.shape[0]):
        w, a, b, c, d = _next(state[0, j % 16], state[1, j % 16], state[2, j % 16], state[3, j % 16])
        state[0, j % 16] = a
        state[1, j % 16] = b
        state[2, j % 16] = c
        state[3, j % 16] = d
        z[j] = np.float32(np.int32(w >> np.uint32(8))) * np.float32(2.0**-24)


@numba.njit(**_COMPILE)
def fill_asymmetric(p, state, z):
    """sqrt((1-p)/p) with probability p, else -sqrt(p/(1-p))."""
    fill_uniforms(state, z)
    odds = math.sqrt((1.0 - p) / p)
    for j in range(z.shape[0]):
        z[j] = odds if z[j] < p else -1.0 / odds


@numba.njit(**_COMPILE)
def fill_skewed(p, batch, dim, state, z):
    """(Binomial(batch, p) - batch p) / sqrt(batch p (1 - p)): mean of two-point samples, standardized."""
    log_q = math.log1p(-p)
    mean, deviation = batch * p, math.sqrt(batch * p * (1.0 - p))
    for j in range(dim):
        position, successes = 0.0, 0
        while True:
            position += math.floor(math.log(_uniform(state, j % 16)) / log_q) + 1.0
            if position > batch:
                break
            successes += 1
        z[j] = (successes - mean) / deviation


@numba.njit(**_COMPILE)
def fill_student(freedom, batch, dim, state, z):
    """Standardized mean of ``batch`` Student-t samples, by the polar method: one t a pair of uniforms."""
    scale = math.sqrt((freedom - 2.0) / batch)  # Var t = freedom / (freedom - 2)
    for j in range(dim):
        total = 0.0
        for _ in range(batch):
            square = math.expm1(-2.0 / freedom * math.log(_uniform(state, j % 16)))
            total += math.sqrt(square) * math.cos(2.0 * math.pi * _uniform(state, j % 16))
        z[j] = scale * total


def fill_noise(law, shape, batch, dim, state, z):
    """Fill ``z`` with the law's noise, in its own precision (a function of the kernels only)."""
    raise NotImplementedError("fill_noise exists only inside compiled code")


@overload(fill_noise)
def _fill_noise(law, shape, batch, dim, state, z):
    normal = fill_normal32 if z.dtype == numba.types.float32 else fill_normal64

    def fill(law, shape, batch, dim, state, z):
        width = -(-dim // 32) * 32
        if law == 1:
            normal(state, z[:width])
        elif law == 2:
            fill_signs(state, z[:width])
        elif law == 3:
            fill_skewed(shape, batch, dim, state, z)
        elif law == 4:
            fill_student(shape, batch, dim, state, z)
        elif law == 5:
            fill_uniforms(state, z[:batch])
        elif law == 6:
            fill_asymmetric(shape, state, z[:width])

    return fill


def noise_width(dim: int, largest_batch: int, law: str) -> int:
    """Length of a row of noise: padded coordinates, or as many uniforms as the largest batch."""
    return padded(max(dim, largest_batch) if law == "sampling" else dim)
