"""RMSProp following a wandering minimum while the noise level of every coordinate drifts.

A stationary problem, on which a half-life can be too long (v lags behind the noise level) and too short (v is
itself noisy), and which has no initial transient. Time is counted in tokens (samples):

    minimum    w_i(t+1) = w_i(t) + sqrt(WANDER) n
    gradient   g = x - w + sigma_i xi / sqrt(B),   sigma_i^2 the mean of exp(2 a_i) over the batch
    steady     a_i(t) = sin(2 pi t / PERIOD + phase_i)
    random     a_i an Ornstein-Uhlenbeck path of unit variance and correlation time PERIOD / (2 pi)
    update     v = beta2 v + (1 - beta2) g^2,  x = x - eta g / sqrt(v),  beta2 = 2^(-B / half-life)

The loss is the mean of |x - w|^2 / 2 over the second half of the run. All settings of one batch size share
their noise.
"""

from __future__ import annotations

from typing import Any

import numpy as np

DRIFTS = ("steady drift", "random-walk drift")
TOKENS = 2**16
PERIOD = 2**14
WANDER = 1e-6  # the best rate at batch size 1 is near sqrt(WANDER): a relaxation time near 1,000 tokens
BATCH_SIZES = tuple(2**k for k in range(8))
HALF_LIVES = tuple(2.0**k for k in range(3, 16))
RATE_FACTORS = tuple(2.0**k for k in range(-2, 4))  # times sqrt(WANDER B)
COORDINATES, SEEDS = 16, 24


def noise_levels(drift: str, rng: np.random.Generator) -> np.ndarray:
    """Log standard deviation per token, seed and coordinate, [T, S, D]."""
    shape = (SEEDS, COORDINATES)
    if drift == "steady drift":
        phase = rng.uniform(0, 2 * np.pi, shape)
        return np.sin(2 * np.pi * np.arange(TOKENS)[:, None, None] / PERIOD + phase)
    keep = np.exp(-2 * np.pi / PERIOD)
    kicks = rng.standard_normal((TOKENS, *shape)) * np.sqrt(1 - keep**2)
    path, now = np.empty_like(kicks), rng.standard_normal(shape)
    for t in range(TOKENS):
        now = keep * now + kicks[t]
        path[t] = now
    return path


def tracking_surface(drift: str) -> dict[str, Any]:
    """Fields of ``beyond_half_life.Surface``: losses [B, half-life, rate, seed]."""
    rng = np.random.default_rng([DRIFTS.index(drift), 0x5EED])
    variance = np.exp(2 * noise_levels(drift, rng))
    tables = []
    for batch in BATCH_SIZES:
        steps = TOKENS // batch
        sigma = np.sqrt(variance.reshape(steps, batch, SEEDS, COORDINATES).mean(axis=1) / batch)
        beta2 = 2.0 ** (-batch / np.array(HALF_LIVES))[:, None, None, None]
        eta = np.sqrt(WANDER * batch) * np.array(RATE_FACTORS)[None, :, None, None]
        error = np.zeros((len(HALF_LIVES), len(RATE_FACTORS), SEEDS, COORDINATES))  # x - w
        # v does start at its stationary mean: the run is judged in its second half only.
        v = np.broadcast_to(sigma[0] ** 2, error.shape).copy()
        total = np.zeros(error.shape[:3])
        for k in range(steps):
            noise, move = rng.standard_normal((2, SEEDS, COORDINATES))
            g = error + sigma[k] * noise
            v *= beta2
            v += (1 - beta2) * g * g
            error -= eta * g / np.sqrt(v)
            error -= np.sqrt(WANDER * batch) * move
            if k >= steps // 2:
                total += np.einsum("hrsd,hrsd->hrs", error, error)
        tables.append(total / (2 * (steps - steps // 2)))
    return {
        "batch_sizes": np.array(BATCH_SIZES),
        "half_lives": np.array(HALF_LIVES),
        "losses": np.array(tables),
    }
