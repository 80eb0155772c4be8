"""Fused Monte-Carlo: noise, gradient, statistics and optimizer step of every coordinate without leaving the
cache.

One call advances C configurations x S seeds by a chunk of steps. State is ``[C, S, d]``; coefficients of the
chunk are ``[C, n, len(COLUMNS)]``; nothing grows with the total number of steps. Work is split over seeds,
each of which owns its random stream, so results do not depend on the number of threads. Kernels release the
GIL.

Each pass is a short loop over contiguous coordinates that LLVM vectorizes; the vectors of one configuration
(a few KB at d = 1000) stay in the first-level cache between passes.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numba.extending import overload

from bstheory.simulation.generator import fill_normal32, fill_normal64, fill_signs
from bstheory.simulation.optimizers import COLUMNS, INDEX

PROBLEMS = {"quadratic": 0, "cosine_sum": 1, "pseudo_huber": 2}
OPTIMIZERS = {"sgd": 0, "heavy_ball": 1, "nesterov": 2, "signum": 3, "rmsprop": 4, "adam": 5}
LAWS = {"none": 0, "gaussian": 1, "two_point": 2}
SUMS = ("weighted_sq_gradient", "weighted_l1_gradient")  # accumulated along the path in float64

_RATE, _BETA1, _GAIN1, _BETA2, _GAIN2, _DECAY, _CORRECT1, _CORRECT2, _EPS, _NOISE, _WEIGHT = range(
    len(COLUMNS)
)
assert [INDEX[name] for name in ("learning_rate", "decay", "weight")] == [_RATE, _DECAY, _WEIGHT]

_COMPILE = {"cache": True, "nogil": True, "error_model": "numpy"}
_CONTRACT = _COMPILE | {"fastmath": {"contract"}}  # fused multiply-add: changes the last bit, never the order
_REASSOCIATE = _COMPILE | {"fastmath": {"contract", "reassoc"}}  # for sums over coordinates

_PI_HIGH, _PI_MIDDLE, _PI_LOW = 3.14159265160560607910, 1.98418714791870343e-9, 1.14423774522196636802e-17


@numba.njit(inline="always", **_CONTRACT)
def _sine(t):
    """sin t to rounding for |t| up to about 1e8: three-part reduction by pi, then the odd Taylor polynomial.

    The remainder after r^21 is at most (pi/2)^23 / 23! < 1.3e-18 on |r| <= pi/2.
    """
    turns = math.floor(t * 0.31830988618379067154 + 0.5)
    r = ((t - turns * _PI_HIGH) - turns * _PI_MIDDLE) - turns * _PI_LOW
    sign = 1.0 - 2.0 * (turns - 2.0 * math.floor(0.5 * turns))
    q = r * r
    p = -1 / 1307674368000 + q * (
        1 / 355687428096000 + q * (-1 / 121645100408832000 + q / 51090942171709440000.0)
    )
    p = 1 / 362880 + q * (-1 / 39916800 + q * (1 / 6227020800 + q * p))
    p = -1 / 6 + q * (1 / 120 + q * (-1 / 5040 + q * p))
    return sign * (r + r * q * p)


@numba.njit(**_CONTRACT)
def exact_gradient(problem, x, curvature, out):
    """Exact gradient of the separable problems, [d]."""
    if problem == 0:
        for i in range(x.shape[0]):
            out[i] = curvature[i] * x[i]
    elif problem == 1:
        for i in range(x.shape[0]):
            out[i] = _sine(np.float64(x[i]))
    else:
        for i in range(x.shape[0]):
            out[i] = x[i] / np.sqrt(1 + x[i] * x[i])


@numba.njit(**_REASSOCIATE)
def norms(gradient):
    """``(sum g_i^2, sum |g_i|)`` in float64."""
    square, absolute = 0.0, 0.0
    for i in range(gradient.shape[0]):
        g = np.float64(gradient[i])
        square += g * g
        absolute += abs(g)
    return square, absolute


@numba.njit(**_CONTRACT)
def add_noise(gradient, sigma, scale, z):
    """gradient += sigma * scale * z, in place."""
    for i in range(gradient.shape[0]):
        gradient[i] += (sigma[i] * scale) * z[i]


@numba.njit(**_CONTRACT)
def noisy_quadratic_gradient(x, curvature, sigma, scale, z, out):
    """The two passes above in one, for the most common problem."""
    for i in range(x.shape[0]):
        out[i] = curvature[i] * x[i] + (sigma[i] * scale) * z[i]


@numba.njit(**_COMPILE)
def escaped(x, limit):
    """True when a coordinate is NaN or larger than ``limit`` in absolute value."""
    bad = np.int32(0)
    for i in range(x.shape[0]):
        bad |= np.int32(0) if abs(x[i]) <= limit else np.int32(1)
    return bad != 0


@numba.njit(**_CONTRACT)
def sgd_update(x, g, c):
    rate, decay = c[_RATE], c[_DECAY]
    for i in range(x.shape[0]):
        x[i] = decay * x[i] - rate * g[i]


@numba.njit(**_CONTRACT)
def heavy_ball_update(x, m, g, c):
    rate, decay, beta, gain = c[_RATE], c[_DECAY], c[_BETA1], c[_GAIN1]
    for i in range(x.shape[0]):
        m[i] = beta * m[i] + gain * g[i]
        x[i] = decay * x[i] - rate * m[i]


@numba.njit(**_CONTRACT)
def nesterov_update(x, m, g, c):
    rate, decay, beta, gain = c[_RATE], c[_DECAY], c[_BETA1], c[_GAIN1]
    for i in range(x.shape[0]):
        m[i] = beta * m[i] + gain * g[i]
        x[i] = decay * x[i] - rate * (gain * g[i] + beta * m[i])


@numba.njit(**_CONTRACT)
def signum_update(x, m, g, c):
    rate, decay, beta, gain = c[_RATE], c[_DECAY], c[_BETA1], c[_GAIN1]
    for i in range(x.shape[0]):
        m[i] = beta * m[i] + gain * g[i]
        up = rate if m[i] > 0 else rate * 0
        down = rate if m[i] < 0 else rate * 0
        x[i] = decay * x[i] - (up - down)


@numba.njit(**_CONTRACT)
def rmsprop_update(x, v, g, c, inside):
    rate, decay = c[_RATE] * c[_CORRECT1], c[_DECAY]
    beta2, gain2, correct2, eps = c[_BETA2], c[_GAIN2], c[_CORRECT2], c[_EPS]
    if inside:
        for i in range(x.shape[0]):
            v[i] = beta2 * v[i] + gain2 * (g[i] * g[i])
            x[i] = decay * x[i] - rate * g[i] / np.sqrt(correct2 * v[i] + eps)
    else:
        for i in range(x.shape[0]):
            v[i] = beta2 * v[i] + gain2 * (g[i] * g[i])
            x[i] = decay * x[i] - rate * g[i] / (np.sqrt(correct2 * v[i]) + eps)


@numba.njit(**_CONTRACT)
def adam_update(x, m, v, g, c, inside):
    rate, decay, beta1, gain1 = c[_RATE] * c[_CORRECT1], c[_DECAY], c[_BETA1], c[_GAIN1]
    beta2, gain2, correct2, eps = c[_BETA2], c[_GAIN2], c[_CORRECT2], c[_EPS]
    if inside:
        for i in range(x.shape[0]):
            m[i] = beta1 * m[i] + gain1 * g[i]
            v[i] = beta2 * v[i] + gain2 * (g[i] * g[i])
            x[i] = decay * x[i] - rate * m[i] / np.sqrt(correct2 * v[i] + eps)
    else:
        for i in range(x.shape[0]):
            m[i] = beta1 * m[i] + gain1 * g[i]
            v[i] = beta2 * v[i] + gain2 * (g[i] * g[i])
            x[i] = decay * x[i] - rate * m[i] / (np.sqrt(correct2 * v[i]) + eps)


@numba.njit(**_COMPILE)
def advance_one(
    problem, optimizer, inside, x, m, v, table, curvature, sigma, z, buffer, sums, want_sums, limit, check
):
    """Advance one path by ``len(table)`` steps under given noise.

    Args:
        x, m, v: state, [d], updated in place.
        table: coefficients [n, len(COLUMNS)].
        z: standardized noise [n, at least d].
        buffer: scratch [d].
        sums: float64 [len(SUMS)], incremented when ``want_sums``.
        check: stop at the first step after which the path has escaped ``limit``.

    Returns:
        Steps completed before the path escaped; ``len(table)`` when it did not, or was not checked.
    """
    for k in range(table.shape[0]):
        c = table[k]
        if problem == 0 and not want_sums:
            noisy_quadratic_gradient(x, curvature, sigma, c[_NOISE], z[k], buffer)
        else:
            exact_gradient(problem, x, curvature, buffer)
            if want_sums:
                square, absolute = norms(buffer)
                sums[0] += c[_WEIGHT] * square
                sums[1] += c[_WEIGHT] * absolute
            add_noise(buffer, sigma, c[_NOISE], z[k])
        if optimizer == 5:
            adam_update(x, m, v, buffer, c, inside)
        elif optimizer == 4:
            rmsprop_update(x, v, buffer, c, inside)
        elif optimizer == 3:
            signum_update(x, m, buffer, c)
        elif optimizer == 2:
            nesterov_update(x, m, buffer, c)
        elif optimizer == 1:
            heavy_ball_update(x, m, buffer, c)
        else:
            sgd_update(x, buffer, c)
        if check and escaped(x, limit):
            return k
    return table.shape[0]


def fill_noise(law, state, z):
    """Fill ``z`` with standardized noise of the law, in its own precision (a kernel-side function)."""
    raise NotImplementedError("fill_noise exists only inside compiled code")


@overload(fill_noise)
def _fill_noise(law, state, z):
    normal = fill_normal32 if z.dtype == numba.types.float32 else fill_normal64

    def fill(law, state, z):
        if law == 1:
            normal(state, z)
        elif law == 2:
            fill_signs(state, z)

    return fill


@numba.njit(**_COMPILE)
def advance(
    problem, optimizer, inside, law, shared, first, last, step, x, m, v, table, curvature, sigma, streams,
    sums, want_sums, diverged, limit, z, scratch,
):  # fmt: skip
    """Advance seeds ``first..last`` of every configuration by the chunk in ``table`` [C, n, columns].

    ``z`` [tile, padded d] and ``scratch`` [4, d] are workspace; ``streams`` is [C or 1, S, 4, 16];
    ``diverged`` [C, S] holds -1, or the step (counted from 1) after which the path had escaped. Escapes are
    looked for at the end of each tile of steps; a tile that ends outside is replayed with a check at every
    step.
    """
    configurations, steps = table.shape[0], table.shape[1]
    tile = z.shape[0]
    for s in range(first, last):
        for start in range(0, steps, tile):
            stop = min(start + tile, steps)
            for c in range(configurations):
                if c == 0 or not shared:
                    for k in range(stop - start):
                        fill_noise(law, streams[0 if shared else c, s], z[k])
                if diverged[c, s] >= 0:
                    continue
                scratch[1], scratch[2], scratch[3] = x[c, s], m[c, s], v[c, s]
                before = sums[c, s].copy()
                coefficients = table[c, start:stop]
                advance_one(
                    problem, optimizer, inside, x[c, s], m[c, s], v[c, s], coefficients, curvature, sigma, z,
                    scratch[0], sums[c, s], want_sums, limit, False,
                )  # fmt: skip
                if escaped(x[c, s], limit):
                    x[c, s], m[c, s], v[c, s] = scratch[1], scratch[2], scratch[3]
                    sums[c, s] = before
                    done = advance_one(
                        problem, optimizer, inside, x[c, s], m[c, s], v[c, s], coefficients, curvature, sigma,
                        z, scratch[0], sums[c, s], want_sums, limit, True,
                    )  # fmt: skip
                    diverged[c, s] = step + start + done + 1
