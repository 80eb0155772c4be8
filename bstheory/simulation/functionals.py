r"""Exact expectations of 1/sqrt(v), m/sqrt(v) and m^2/v under independent Gaussian gradients, by quadrature.

v = sum w_t g_t^2, m = sum a_t g_t, g_t ~ N(mu, s_t). With q_t(y) = 1 + 2 y^2 w_t s_t and
L(y) = prod q_t^{-1/2} exp(-y^2 w_t mu^2 / q_t),

    E v^{-1/2}   = 2/sqrt(pi) int L dy,
    E m/sqrt(v)  = 2/sqrt(pi) int L sum_t a_t mu / q_t dy,
    E m^2 / v    = int_0^inf 2 y L [(sum a_t mu / q_t)^2 + sum a_t^2 s_t / q_t] dy.

With eps inside the root, sqrt(v + eps), the integrands gain exp(-eps y^2). The integrals are taken over ln y
by the trapezoidal rule, which converges geometrically for these analytic, two-sidedly decaying integrands;
the returned error estimate is the difference from half the points.

Reference: theory entry ``gaussian_adam_functionals``.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from bstheory.errors import input_error

Array = np.ndarray
NODES = 801  # over 60 e-folds of y around (E v)^{-1/2}: a spacing of 0.075


@dataclasses.dataclass(frozen=True, kw_only=True)
class Functionals:
    """The three expectations, their slope in mu, and an error estimate.

    Attributes:
        inverse_root: E v^{-1/2}; +inf for a single term without eps.
        direction: E m / sqrt(v).
        square: E m^2 / v.
        slope: d/dmu E m / sqrt(v) at mu = 0 (of the same weights and variances), 1/grad.
        error: largest absolute change of the finite results when every second node is left out.
    """

    inverse_root: float
    direction: float
    square: float
    slope: float
    error: float


def gaussian_functionals(w: Array, a: Array, s: Array, *, mu: float = 0.0, eps: float = 0.0) -> Functionals:
    """Evaluate the functionals.

    Args:
        w: weights of g_t^2 in v, positive, [T]. a: weights of g_t in m, [T].
        s: variances of g_t, positive, [T]. mu: common mean. eps: >= 0, inside the root.

    Raises:
        InputError: shapes that differ, or a weight or variance that is not positive.
    """
    w, a, s = (np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in (w, a, s))
    if not w.shape == a.shape == s.shape or np.any(w <= 0) or np.any(s <= 0) or eps < 0:
        raise input_error(
            got=f"w, a, s of shapes {w.shape}, {a.shape}, {s.shape}, eps={eps}",
            rule="they are vectors of one length, w and s positive, eps non-negative",
            do="drop the terms of weight zero",
        )
    scale = 1.0 / np.sqrt(np.sum(w * (s + mu**2)) + eps)
    log_y = np.linspace(-30.0, 30.0, NODES)
    y = scale * np.exp(log_y)
    step = log_y[1] - log_y[0]
    q = 1.0 + 2.0 * np.square(y)[:, None] * (w * s)  # [nodes, T]
    ratio = np.square(y)[:, None] * w / q
    log_l = -0.5 * np.sum(np.log(q), axis=1) - mu**2 * np.sum(ratio, axis=1) - eps * np.square(y)
    kernel = np.exp(log_l)
    signal = np.sum(a / q, axis=1)
    plain = 2.0 / np.sqrt(np.pi) * kernel * y
    integrands = {
        "inverse_root": plain,
        "direction": plain * mu * signal,
        "slope": 2.0 / np.sqrt(np.pi) * y * signal * np.exp(-0.5 * np.sum(np.log(q), axis=1) - eps * y**2),
        "square": 2.0 * y**2 * kernel * ((mu * signal) ** 2 + np.sum(a**2 * s / q, axis=1)),
    }
    values = {name: step * float(np.sum(f)) for name, f in integrands.items()}
    half = {name: 2.0 * step * float(np.sum(f[::2])) for name, f in integrands.items()}
    if len(w) == 1 and eps == 0.0:
        values["inverse_root"] = half["inverse_root"] = np.inf
    errors = [abs(values[n] - half[n]) for n in values if np.isfinite(values[n])]
    return Functionals(error=max(errors), **values)
