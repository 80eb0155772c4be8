"""The optimizers in plain NumPy: the specification that kernels, recursions and torch are tested against.

Each method is one function ``(x, m, v, g, c, inside) -> (x, m, v)`` on float64 arrays [..., d]; ``c`` maps
the names in :data:`bstheory.simulation.optimizers.COLUMNS` to this step's numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bstheory.problems.problem import Problem
from bstheory.simulation.optimizers import COLUMNS, Optimizer, coefficients

Array = np.ndarray
State = tuple[Array, Array, Array]


def sgd_step(x: Array, m: Array, v: Array, g: Array, c: Mapping[str, float], optimizer: Any) -> State:
    """x <- decay x - eta g."""
    return c["decay"] * x - c["learning_rate"] * g, m, v


def heavy_ball_step(x: Array, m: Array, v: Array, g: Array, c: Mapping[str, float], optimizer: Any) -> State:
    """m <- beta1 m + gain1 g; x <- decay x - eta m, or minus eta (gain1 g + beta1 m) with ``nesterov``."""
    m = c["beta1"] * m + c["gain1"] * g
    direction = c["gain1"] * g + c["beta1"] * m if optimizer.nesterov else m
    return c["decay"] * x - c["learning_rate"] * direction, m, v


def signum_step(x: Array, m: Array, v: Array, g: Array, c: Mapping[str, float], optimizer: Any) -> State:
    """m <- beta1 m + (1 - beta1) g; x <- decay x - eta sign(m), sign(0) = 0."""
    m = c["beta1"] * m + c["gain1"] * g
    return c["decay"] * x - c["learning_rate"] * np.sign(m), m, v


def adam_step(x: Array, m: Array, v: Array, g: Array, c: Mapping[str, float], optimizer: Any) -> State:
    """Both moments, both corrections, eps inside or outside the root."""
    m = c["beta1"] * m + c["gain1"] * g
    v = c["beta2"] * v + c["gain2"] * g * g
    second = c["correct2"] * v
    if optimizer.eps_placement == "inside":
        denominator = np.sqrt(second + c["eps"])
    else:
        denominator = np.sqrt(second) + c["eps"]
    return c["decay"] * x - (c["learning_rate"] * c["correct1"]) * m / denominator, m, v


def muon_step(x: Array, m: Array, v: Array, g: Array, c: Mapping[str, float], optimizer: Any) -> State:
    """m <- beta1 m + (1 - beta1) g; x <- decay x - eta U V^T, m = U S V^T."""
    m = c["beta1"] * m + c["gain1"] * g
    u, _, vt = np.linalg.svd(m.reshape(*m.shape[:-1], optimizer.rows, -1), full_matrices=False)
    return c["decay"] * x - c["learning_rate"] * (u @ vt).reshape(m.shape), m, v


def adafactor_step(x: Array, m: Array, v: Array, g: Array, c: Mapping[str, float], optimizer: Any) -> State:
    """Row averages live in v[..., :rows], column averages in m[..., :columns], as in the kernels."""
    rows, columns = optimizer.rows, x.shape[-1] // optimizer.rows
    square = g.reshape(*g.shape[:-1], rows, columns) ** 2 + c["eps"]
    m, v = m.copy(), v.copy()
    v[..., :rows] = c["beta2"] * v[..., :rows] + c["gain2"] * square.mean(axis=-1)
    m[..., :columns] = c["beta2"] * m[..., :columns] + c["gain2"] * square.mean(axis=-2)
    row, column = v[..., :rows, None], m[..., None, :columns]
    second = c["correct2"] * (row * column / row.mean(axis=-2, keepdims=True))
    u = g / np.sqrt(second).reshape(g.shape)
    if optimizer.clip_threshold is not None:
        rms = np.sqrt(np.mean(u * u, axis=-1, keepdims=True))
        u = u / np.maximum(1.0, rms / optimizer.clip_threshold)
    return c["decay"] * x - c["learning_rate"] * u, m, v


STEPS = {
    "sgd": sgd_step,
    "heavy_ball": heavy_ball_step,
    "signum": signum_step,
    "adam": adam_step,
    "muon": muon_step,
    "adafactor": adafactor_step,
}


def reference_path(
    problem: Problem, optimizer: Optimizer, batch_size: Array, noise: Array
) -> dict[str, Array]:
    """Iterates under given standardized noise.

    Args:
        problem: supplies the exact gradient and ``params["noise"]`` (sigma per coordinate).
        optimizer: the method.
        batch_size: [K] integers.
        noise: z, [K, d] (or [K, S, d]); the stochastic gradient is grad F(x) + sigma / sqrt(B) z.

    Returns:
        ``x`` [K+1, (S,) d], ``m`` and ``v`` after the last step, ``weighted_sq_gradient`` [K+1, (S)] and
        ``weight`` [K+1], both cumulative.
    """
    table, _ = coefficients(optimizer, batch_size)
    x = np.broadcast_to(problem.x0, noise.shape[1:]).astype(np.float64)
    m = np.zeros_like(x)
    v = np.full_like(x, getattr(optimizer, "v0", 0.0))
    sigma = np.asarray(problem.params["noise"])
    path, weighted, weights = [x], [np.zeros(x.shape[:-1])], [0.0]
    step = STEPS[optimizer.name]
    for k in range(len(batch_size)):
        c = dict(zip(COLUMNS, table[k]))
        exact = problem.full_gradient(x)
        weighted.append(weighted[-1] + c["weight"] * np.sum(exact * exact, axis=-1))
        weights.append(weights[-1] + c["weight"])
        x, m, v = step(x, m, v, exact + (c["noise"] * sigma) * noise[k], c, optimizer)
        path.append(x)
    return {
        "x": np.stack(path),
        "m": m,
        "v": v,
        "weighted_sq_gradient": np.stack(weighted),
        "weight": np.array(weights),
    }
