"""Noisy quadratic model: independent coordinates, constant curvature, additive gradient noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bstheory.errors import input_error
from bstheory.problems.noise import check_batch_size, check_noise_law, standard_noise, vector
from bstheory.problems.problem import Array, Constant, Problem


def noisy_quadratic(
    spectrum: Sequence[float] | Array,
    noise: float | Sequence[float] | Array,
    *,
    x0: float | Sequence[float] | Array = 1.0,
    noise_law: str = "gaussian",
    noise_shape: float | None = None,
    noise_growth: float | Sequence[float] | Array = 0.0,
) -> Problem:
    r"""F(x) = sum_i h_i x_i^2 / 2 with stochastic gradient h_i x_i + sigma_i / sqrt(B) z_i.

    Constants, all **exact** by construction: ``L`` = max h_i (largest eigenvalue of the Hessian), ``L_1`` =
    sum h_i (sum of the coordinates' smoothness), ``mu`` = min h_i (strong convexity, and PL since ||grad||^2
    = sum h_i^2 x_i^2 >= 2 mu F), ``F_star`` = 0 at x = 0, ``sigma_sq`` = sum sigma_i^2, ``noise`` = sigma.
    There is no ``R``: the gradient is unbounded.

    Args:
        spectrum: curvatures h, loss/param^2, positive, [d].
        noise: standard deviation sigma of one sample's gradient coordinate, [d] or a number.
        x0: initial point, [d] or a number.
        noise_law, noise_shape: law of z, see :mod:`bstheory.problems.noise`.
        noise_growth: s >= 0, [d] or a number; multiplicative noise of variance (sigma_i^2 + s_i x_i^2) / B.
            Where it is positive the noise is unbounded over space: ``sigma_sq`` is then not published,
            ``noise_growth`` is.

    Raises:
        InputError: a curvature is not positive, a shape differs from [d], or the law is unknown.

    Example:
        >>> noisy_quadratic([1.0, 0.5], 0.1).value("L")
        1.0

    Reference: Zhang et al. 2019 (1907.04164), section 3.
    """
    h = np.asarray(spectrum, dtype=np.float64)
    if h.ndim != 1 or h.size == 0:
        raise input_error(
            got=f"spectrum of shape {h.shape}", rule="it is a vector of curvatures", do="pass at least one"
        )
    dim = h.shape[0]
    h = vector("spectrum", h, dim, positive=True)
    sigma = vector("noise", noise, dim)
    start = _point(x0, dim)
    growth = vector("noise_growth", noise_growth, dim)
    check_noise_law(noise_law, noise_shape)

    def loss(x: Array) -> Array:
        return 0.5 * np.sum(h * np.square(x), axis=-1)

    def full_gradient(x: Array) -> Array:
        return h * x

    def gradient(x: Array, batch_size: int, rng: np.random.Generator) -> Array:
        z = standard_noise(
            noise_law, np.shape(x), rng, batch_size=check_batch_size(batch_size), shape=noise_shape
        )
        return h * x + np.sqrt((sigma**2 + growth * np.square(x)) / batch_size) * z

    exact = "by construction"
    constants = {
        "L": Constant(value=float(h.max()), unit="loss/param^2", known=exact),
        "L_1": Constant(value=float(h.sum()), unit="loss/param^2", known=exact),
        "mu": Constant(value=float(h.min()), unit="loss/param^2", known=exact),
        "F_star": Constant(value=0.0, unit="loss", known=exact),
        "Delta": Constant(value=float(loss(start)), unit="loss", known=exact),
        "noise": Constant(value=sigma, unit="grad*sqrt(samples)", known=exact),
    }
    params = {"kernel": "quadratic", "curvature": h, "noise": sigma, "noise_law": noise_law}
    if noise_shape is not None:
        params["noise_shape"] = float(noise_shape)
    if np.any(growth > 0):
        params["noise_growth"] = growth
        constants["noise_growth"] = Constant(value=growth, unit="loss^2/param^4*samples", known=exact)
    else:
        total = float(np.sum(sigma**2))
        constants["sigma_sq"] = Constant(value=total, unit="grad^2*samples", known=exact)
    return Problem(
        name="noisy_quadratic",
        dim=dim,
        x0=start,
        constants=constants,
        loss=loss,
        full_gradient=full_gradient,
        gradient=gradient,
        params=params,
    )


def _point(x0: object, dim: int) -> Array:
    start = np.asarray(x0, dtype=np.float64)
    if start.ndim > 1 or (start.ndim == 1 and start.shape[0] != dim) or not np.all(np.isfinite(start)):
        raise input_error(
            got=f"x0 of shape {start.shape}",
            rule=f"it is a finite point of {dim} coordinates",
            do="correct x0",
        )
    return np.broadcast_to(start, (dim,)).copy()
