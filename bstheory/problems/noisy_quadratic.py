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
) -> Problem:
    r"""F(x) = sum_i h_i x_i^2 / 2 with stochastic gradient h_i x_i + sigma_i / sqrt(B) z_i.

    Constants, all **exact** by construction: ``L`` = max h_i (largest eigenvalue of the Hessian), ``mu`` =
    min h_i (strong convexity, and PL since ||grad||^2 = sum h_i^2 x_i^2 >= 2 mu F), ``F_star`` = 0 at x = 0,
    ``sigma_sq`` = sum sigma_i^2, ``noise`` = sigma. There is no ``R``: the gradient is unbounded.

    Args:
        spectrum: curvatures h, loss/param^2, positive, [d].
        noise: standard deviation sigma of one sample's gradient coordinate, [d] or a number.
        x0: initial point, [d] or a number.
        noise_law: law of z, see :mod:`bstheory.problems.noise`.

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
    check_noise_law(noise_law)

    def loss(x: Array) -> Array:
        return 0.5 * np.sum(h * np.square(x), axis=-1)

    def full_gradient(x: Array) -> Array:
        return h * x

    def gradient(x: Array, batch_size: int, rng: np.random.Generator) -> Array:
        scale = sigma / np.sqrt(check_batch_size(batch_size))
        return h * x + scale * standard_noise(noise_law, np.shape(x), rng)

    exact = "by construction"
    return Problem(
        name="noisy_quadratic",
        dim=dim,
        x0=start,
        constants={
            "L": Constant(value=float(h.max()), unit="loss/param^2", known=exact),
            "mu": Constant(value=float(h.min()), unit="loss/param^2", known=exact),
            "F_star": Constant(value=0.0, unit="loss", known=exact),
            "Delta": Constant(value=float(loss(start)), unit="loss", known=exact),
            "sigma_sq": Constant(value=float(np.sum(sigma**2)), unit="grad^2*samples", known=exact),
            "noise": Constant(value=sigma, unit="grad*sqrt(samples)", known=exact),
        },
        loss=loss,
        full_gradient=full_gradient,
        gradient=gradient,
        params={"kernel": "quadratic", "curvature": h, "noise": sigma, "noise_law": noise_law},
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
