"""bstheory: theory and simulation of training with changing batch sizes.

Names are loaded on first use, so ``import bstheory`` imports neither torch, sympy nor numba.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# name -> (module, attribute or None for the module itself)
_LAZY: dict[str, tuple[str, str | None]] = {
    "beta_from_half_life": ("bstheory.half_life", "beta_from_half_life"),
    "half_life_from_beta": ("bstheory.half_life", "half_life_from_beta"),
    "transfer_beta": ("bstheory.half_life", "transfer_beta"),
    "schedules": ("bstheory.schedules", None),
    "theorems": ("bstheory.theory.library", None),
    "problems": ("bstheory.problems", None),
    "check": ("bstheory.checking", "check"),
    "recheck": ("bstheory.checking", "recheck"),
    "optimal_batch_schedule": ("bstheory.theory.optimal", "optimal_batch_schedule"),
    "simulation": ("bstheory.simulation", None),
    "simulate": ("bstheory.simulation", "simulate"),
    "compare": ("bstheory.comparison", "compare"),
    "audit": ("bstheory.comparison", "audit"),
    "plot": ("bstheory.reports", "plot"),
    "Run": ("bstheory.run", "Run"),
    "Verdict": ("bstheory.verdict", "Verdict"),
    "weakest": ("bstheory.verdict", "weakest"),
    "InputError": ("bstheory.errors", "InputError"),
    "cite": ("bstheory.references", "cite"),
}

__all__ = [*sorted(_LAZY), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(
            f"module 'bstheory' has no attribute {name!r}; public names: {', '.join(__all__)}"
        )
    module_name, attribute = _LAZY[name]
    module = importlib.import_module(module_name)
    value = module if attribute is None else getattr(module, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
