"""A quadratic whose axes are not the coordinates: where coordinatewise methods lose their advantage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bstheory.errors import input_error
from bstheory.problems.noise import check_batch_size, check_noise_law, standard_noise, vector
from bstheory.problems.noisy_quadratic import _point
from bstheory.problems.problem import Array, Constant, Problem


def rotated_quadratic(
    spectrum: Sequence[float] | Array,
    noise: float | Sequence[float] | Array,
    *,
    x0: float | Sequence[float] | Array = 1.0,
    rotation_seed: int = 0,
    noise_law: str = "gaussian",
) -> Problem:
    r"""F(x) = x^T H x / 2, H = Q diag(h) Q^T with a random orthogonal Q; noise Q (sigma / sqrt(B) z).

    In the basis of Q this is :func:`.noisy_quadratic`, so SGD and heavy ball have the same expected loss as
    there (with x0 rotated), while sign and Adam-type methods do not. Constants, **exact** by construction:
    ``L`` = max h, ``mu`` = min h, ``F_star`` = 0, ``sigma_sq`` = sum sigma^2 (Q preserves lengths),
    ``Delta``.

    Args:
        spectrum: curvatures h > 0, [d]. noise: sigma per axis of Q, [d] or a number.
        x0: initial point in the coordinates, [d] or a number.
        rotation_seed: of Q, the orthogonal factor of a Gaussian matrix, Haar distributed.
        noise_law: ``none``, ``gaussian`` or ``two_point``.

    Raises:
        InputError: as :func:`.noisy_quadratic`.

    Reference: 1907.04164 for the model.
    """
    h = np.asarray(spectrum, dtype=np.float64)
    if h.ndim != 1 or h.size == 0:
        raise input_error(
            got=f"spectrum of shape {h.shape}", rule="it is a vector of curvatures", do="pass at least one"
        )
    dim = h.shape[0]
    h, sigma, start = vector("spectrum", h, dim, positive=True), vector("noise", noise, dim), _point(x0, dim)
    check_noise_law(noise_law)
    q, r = np.linalg.qr(np.random.default_rng(rotation_seed).standard_normal((dim, dim)))
    q = q * np.sign(np.diag(r))  # unique signs make it Haar distributed

    def loss(x: Array) -> Array:
        return 0.5 * np.sum(h * np.square(x @ q), axis=-1)

    def full_gradient(x: Array) -> Array:
        return (h * (x @ q)) @ q.T

    def gradient(x: Array, batch_size: int, rng: np.random.Generator) -> Array:
        scale = sigma / np.sqrt(check_batch_size(batch_size))
        return full_gradient(x) + (scale * standard_noise(noise_law, np.shape(x), rng)) @ q.T

    exact = "by construction"
    return Problem(
        name="rotated_quadratic",
        dim=dim,
        x0=start,
        constants={
            "L": Constant(value=float(h.max()), unit="loss/param^2", known=exact),
            "mu": Constant(value=float(h.min()), unit="loss/param^2", known=exact),
            "F_star": Constant(value=0.0, unit="loss", known=exact),
            "Delta": Constant(value=float(loss(start)), unit="loss", known=exact),
            "sigma_sq": Constant(value=float(np.sum(sigma**2)), unit="grad^2*samples", known=exact),
        },
        loss=loss,
        full_gradient=full_gradient,
        gradient=gradient,
        params={
            "kernel": "rotated_quadratic",
            "curvature": h,
            "noise": sigma,
            "noise_law": noise_law,
            "data": q,
        },
    )
