"""Gradient passes of the fused kernels: exact, with additive noise, and of finite sums by sampling.

A problem travels as ``model = (curvature [d], sigma [d], growth [d or 0], data [n, d], labels [n])``:

- separable: ``quadratic`` uses curvature, ``cosine_sum`` and ``pseudo_huber`` nothing;
- ``rotated_quadratic``: data is the orthogonal Q of Q diag(curvature) Q^T, and noise is added in that basis;
- finite sums, ``logistic`` and ``phase_retrieval``: rows of data and their labels.

Where growth is not empty the noise is multiplicative, of variance (sigma^2 + growth x^2) / B.
"""

from __future__ import annotations

import math

import numba
import numpy as np

PROBLEMS = {
    "quadratic": 0,
    "cosine_sum": 1,
    "pseudo_huber": 2,
    "rotated_quadratic": 3,
    "logistic": 4,
    "phase_retrieval": 5,
}
QUADRATIC, ROTATED, LOGISTIC, PHASE = 0, 3, 4, 5
SAMPLING = 5  # the noise law under which a batch is drawn from the rows of data

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


@numba.njit(**_REASSOCIATE)
def _dot(a, b):
    total = 0.0
    for i in range(a.shape[0]):
        total += np.float64(a[i]) * np.float64(b[i])
    return total


@numba.njit(**_COMPILE)
def _slope(problem, activation, label):
    """Derivative of one sample's loss with respect to a.x."""
    if problem == LOGISTIC:
        return -label / (1.0 + math.exp(min(label * activation, 700.0)))
    return (activation * activation - label) * activation


@numba.njit(**_COMPILE)
def _add_row(row, factor, out):
    for i in range(out.shape[0]):
        out[i] += factor * row[i]


@numba.njit(**_COMPILE)
def _add_rotated(Q, values, scale, z, out):
    """out += Q (values * scale * z), column by column."""
    for j in range(out.shape[0]):
        coefficient = values[j] * scale * z[j]
        for i in range(out.shape[0]):
            out[i] += Q[i, j] * coefficient


@numba.njit(**_COMPILE)
def sampled_gradient(problem, x, data, labels, uniforms, batch, out):
    """Mean gradient of ``batch`` rows drawn with replacement; ``uniforms`` in [0, 1) pick the rows."""
    out[:] = 0
    for j in range(batch):
        row = min(np.int64(uniforms[j] * data.shape[0]), data.shape[0] - 1)
        slope = _slope(problem, _dot(data[row], x), labels[row])
        _add_row(data[row], slope / batch, out)


@numba.njit(**_CONTRACT)
def exact_gradient(problem, x, model, out):
    """Exact gradient, [d]."""
    curvature, _sigma, _growth, data, labels = model
    if problem == ROTATED:
        out[:] = 0
        for j in range(x.shape[0]):
            along = 0.0
            for i in range(x.shape[0]):
                along += np.float64(data[i, j]) * np.float64(x[i])
            for i in range(x.shape[0]):
                out[i] += data[i, j] * (curvature[j] * along)
    elif problem >= LOGISTIC:
        out[:] = 0
        for row in range(data.shape[0]):
            slope = _slope(problem, _dot(data[row], x), labels[row])
            _add_row(data[row], slope / data.shape[0], out)
    elif problem == 0:
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
def add_noise(problem, x, model, scale, z, gradient):
    """gradient += noise of standard deviation sigma * scale (multiplicative, or rotated), in place."""
    _curvature, sigma, growth, data, _labels = model
    if problem == ROTATED:
        _add_rotated(data, sigma, scale, z, gradient)
    elif growth.shape[0] > 0:
        for i in range(gradient.shape[0]):
            spread = np.sqrt(sigma[i] * sigma[i] + growth[i] * x[i] * x[i])
            gradient[i] += (spread * scale) * z[i]
    else:
        for i in range(gradient.shape[0]):
            gradient[i] += (sigma[i] * scale) * z[i]


@numba.njit(**_CONTRACT)
def noisy_quadratic_gradient(x, curvature, sigma, scale, z, out):
    """The two passes above in one, for the most common problem."""
    for i in range(x.shape[0]):
        out[i] = curvature[i] * x[i] + (sigma[i] * scale) * z[i]
