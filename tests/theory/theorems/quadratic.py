"""Exact expectations of SGD on a noisy quadratic, the yardstick for every SGD bound."""

from __future__ import annotations

import numpy as np

from bstheory.simulation.moments import sgd_moments


def draw_quadratic(rng: np.random.Generator, d: int = 3) -> dict[str, np.ndarray]:
    """Curvatures h, one sample's noise variances c and squared start values m0, all [d]."""
    return {
        "h": rng.uniform(0.2, 2.0, size=d),
        "c": rng.uniform(0.0, 3.0, size=d),
        "m0": rng.uniform(0.0, 4.0, size=d),
    }


def exact(problem: dict[str, np.ndarray], eta: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
    """E|grad F|^2 and E(F - F_*) before each step and after the last, [K+1]."""
    path = sgd_moments(**problem, learning_rate=eta, batch_size=b)
    h = problem["h"]
    return {"sq_gradient": (h**2 * path).sum(axis=-1), "loss": (h * path).sum(axis=-1) / 2}
