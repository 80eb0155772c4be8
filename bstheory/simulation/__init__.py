"""Exact moment recursions, one fused Monte-Carlo engine, and reference optimizers in NumPy (the
specification).

Names load on first use; only the engines import numba.
"""

from __future__ import annotations

import importlib
from typing import Any

_LAZY = {
    "simulate": "runs",
    "simulate_rule": "closed_loop",
    "monte_carlo": "engine",
    "Paths": "engine",
    "Optimizer": "optimizers",
    "SGD": "optimizers",
    "HeavyBall": "optimizers",
    "Signum": "optimizers",
    "RMSProp": "optimizers",
    "Adam": "optimizers",
    "Adafactor": "optimizers",
    "Muon": "optimizers",
    "steps_to_target": "critical_batch",
    "tuned_steps": "critical_batch",
    "fit_hyperbola": "critical_batch",
    "fit_rate_laws": "critical_batch",
    "tuned_adam": "tuning",
    "mean_field": "predictors",
    "adiabatic": "predictors",
    "scaling_table": "predictors",
    "gaussian_functionals": "functionals",
    "claim_for": "attack",
    "coefficients": "optimizers",
    "reference_path": "reference",
    "sgd_moments": "moments",
    "heavy_ball_moments": "moments",
    "heavy_ball_stationary": "moments",
    "sgd_stationary": "moments",
    "quadratic_loss": "moments",
}

__all__ = sorted(_LAZY)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'bstheory.simulation' has no attribute {name!r}; it has {__all__}")
    value = getattr(importlib.import_module(f"bstheory.simulation.{_LAZY[name]}"), name)
    globals()[name] = value
    return value
