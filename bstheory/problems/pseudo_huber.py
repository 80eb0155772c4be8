"""A convex function with bounded gradients and linear tails, where bounds on gradients are tightest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bstheory.problems.cosine import bounded_problem
from bstheory.problems.problem import Array, Problem


def pseudo_huber(
    dim: int,
    noise_scale: float,
    x0: float | Sequence[float] | Array = 2.0,
    *,
    noise_law: str = "two_point",
    noise_shape: float | None = None,
) -> Problem:
    r"""F(x) = sum_i (sqrt(1 + x_i^2) - 1) with stochastic gradient x_i / sqrt(1 + x_i^2) + sigma / sqrt(B)
    z_i.

    **Proofs of the published constants** (sigma = ``noise_scale``), as for :func:`.cosine_sum` unless said:

    - ``F_star`` = 0, **exact**: sqrt(1 + t^2) >= 1, with equality at t = 0.
    - ``L`` = 1, **exact**: the second derivative (1 + t^2)^(-3/2) lies in (0, 1] and is 1 at t = 0.
    - ``G_inf`` = 1, an **upper** bound (approached as |t| grows): |t| < sqrt(1 + t^2).
    - ``R`` as there, an **upper** bound, for bounded noise laws.

    In the tails the gradient stays near 1 while the loss falls linearly, so a method that moves by a bounded
    step makes the slowest progress that the descent lemma allows.

    Args, Raises: as :func:`.cosine_sum`.

    Example:
        >>> float(pseudo_huber(dim=1, noise_scale=0.0, x0=0.75, noise_law="none").value("Delta"))
        0.25
    """

    def loss(x: Array) -> Array:
        square = np.square(np.asarray(x))
        return np.sum(square / (1.0 + np.sqrt(1.0 + square)), axis=-1)  # no cancellation at small x

    def full_gradient(x: Array) -> Array:
        return x / np.sqrt(1.0 + np.square(x))

    return bounded_problem(
        name="pseudo_huber",
        loss=loss,
        full_gradient=full_gradient,
        dim=dim,
        noise_scale=noise_scale,
        x0=x0,
        noise_law=noise_law,
        noise_shape=noise_shape,
    )
