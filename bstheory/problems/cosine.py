"""A smooth non-convex function whose stochastic gradients are bounded: the flagship theorem applies to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bstheory.errors import input_error
from bstheory.problems.noise import check_batch_size, largest_noise, standard_noise
from bstheory.problems.noisy_quadratic import _point
from bstheory.problems.problem import Array, Constant, Problem


def cosine_sum(
    dim: int,
    noise_scale: float,
    x0: float | Sequence[float] | Array = 2.0,
    *,
    noise_law: str = "two_point",
    noise_shape: float | None = None,
) -> Problem:
    r"""F(x) = sum_i (1 - cos x_i) with stochastic gradient sin x_i + sigma / sqrt(B) z_i, z_i = +1 or -1.

    **Proofs of the published constants** (sigma = ``noise_scale``):

    - ``L_1`` = d, **exact**: each coordinate function has smoothness 1.
    - ``F_star`` = 0, **exact**: 1 - cos t >= 0 for all t, with equality at t = 0.
    - ``L`` = 1, **exact**: the Hessian is diag(cos x_i), whose spectral norm is max |cos x_i| <= 1; by the
      mean value theorem the gradient is 1-Lipschitz, and at x = 0 no smaller constant works.
    - ``R`` = 1 + sigma, an **upper** bound of every coordinate of every stochastic gradient, almost surely:
      |sin x_i + sigma / sqrt(B) z_i| <= |sin x_i| + sigma / sqrt(B) <= 1 + sigma because |z_i| = 1, B >= 1.
      With ``noise_law="asymmetric"``, R = 1 + sigma max(sqrt((1-p)/p), sqrt(p/(1-p))), by the same argument
      with that bound of |z_i|. With the other laws the gradient is unbounded and no ``R`` is published.
    - ``G_inf`` = 1, an **upper** bound of |sin x_i|; hence the trivial bound d G_inf^2 = d on ||grad F||^2.
    - ``sigma_sq`` = d sigma^2, **exact**: E z_i^2 = 1 in each of d coordinates, for one sample; and
      E||g - grad F||^2 = sigma_sq / B for a batch of B.
    - ``sigma``, per coordinate.
    - E z_i = 0 makes the gradient unbiased.
    - ``Delta`` = F(x0) - 0.

    The noise law is that of :mod:`bstheory.problems.noise`: the batch mean itself is two-point,
    +-sigma/sqrt(B).

    Args:
        dim: number of coordinates d, at least 1.
        noise_scale: sigma >= 0, standard deviation of one sample's gradient coordinate.
        x0: initial point, [d] or a number.
        noise_law, noise_shape: ``two_point`` (bounded, the theorem's) or another of that module.

    Raises:
        InputError: ``dim`` < 1, ``noise_scale`` negative or not finite, an unknown law.

    Example:
        >>> cosine_sum(dim=4, noise_scale=0.5).value("R")
        1.5

    Reference: 2003.02395 for the assumptions (bounded gradients, smoothness).
    """

    def loss(x: Array) -> Array:
        return np.sum(2.0 * np.square(np.sin(0.5 * np.asarray(x))), axis=-1)  # 1 - cos t, no cancellation

    def full_gradient(x: Array) -> Array:
        return np.sin(x)

    return bounded_problem(
        name="cosine_sum",
        loss=loss,
        full_gradient=full_gradient,
        dim=dim,
        noise_scale=noise_scale,
        x0=x0,
        noise_law=noise_law,
        noise_shape=noise_shape,
    )


def bounded_problem(
    *,
    name: str,
    loss: Callable[[Array], Array],
    full_gradient: Callable[[Array], Array],
    dim: int,
    noise_scale: float,
    x0: float | Sequence[float] | Array,
    noise_law: str,
    noise_shape: float | None = None,
) -> Problem:
    """Assemble a separable problem with F_* = 0, L = 1, |gradient coordinate| <= 1, proved by its maker."""
    if int(dim) != dim or dim < 1:
        raise input_error(
            got=f"dim={dim!r}", rule="a problem has at least one coordinate", do="pass dim >= 1"
        )
    dim = int(dim)
    sigma = float(noise_scale)
    if not (np.isfinite(sigma) and sigma >= 0):
        raise input_error(
            got=f"noise_scale={noise_scale!r}",
            rule="a standard deviation is finite and non-negative",
            do="pass 0 or more",
        )
    largest = largest_noise(noise_law, noise_shape)
    start = _point(x0, dim)

    def gradient(x: Array, batch_size: int, rng: np.random.Generator) -> Array:
        scale = sigma / np.sqrt(check_batch_size(batch_size))
        return full_gradient(x) + scale * standard_noise(
            noise_law, np.shape(x), rng, batch_size=batch_size, shape=noise_shape
        )

    constants = {
        "L": Constant(value=1.0, unit="loss/param^2", known="proved"),
        "L_1": Constant(value=float(dim), unit="loss/param^2", known="proved"),
        "F_star": Constant(value=0.0, unit="loss", known="proved"),
        "Delta": Constant(value=float(loss(start)), unit="loss", known="by construction"),
        "G_inf": Constant(value=1.0, unit="grad", known="proved"),
        "sigma": Constant(value=sigma, unit="grad*sqrt(samples)", known="by construction"),
        "sigma_sq": Constant(value=dim * sigma**2, unit="grad^2*samples", known="by construction"),
        "noise": Constant(value=np.full(dim, sigma), unit="grad*sqrt(samples)", known="by construction"),
    }
    if np.isfinite(largest):
        constants["R"] = Constant(value=1.0 + sigma * largest, unit="grad", known="proved")
    params = {"kernel": name, "noise": np.full(dim, sigma), "noise_law": noise_law}
    if noise_shape is not None:
        params["noise_shape"] = float(noise_shape)
    return Problem(
        name=name,
        dim=dim,
        x0=start,
        constants=constants,
        loss=loss,
        full_gradient=full_gradient,
        gradient=gradient,
        params=params,
    )
