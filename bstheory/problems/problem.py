"""The type every objective has: a function, its stochastic gradient, and how each constant is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Array = np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Constant:
    """A number that a theorem may use, and how it is known.

    Attributes:
        value: the number (or a float64 vector for per-coordinate constants).
        unit: e.g. ``"loss/param^2"``.
        known: ``"proved"`` (docstring has the proof), ``"by construction"``, or ``"measured"``.
    """

    value: Any
    unit: str
    known: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """An objective with a stochastic gradient oracle; one sample is one token here.

    Attributes:
        name: short identifier, also used by the simulator to select a fused kernel.
        dim: number of coordinates d.
        x0: initial point, float64 [d].
        constants: by the theorems' names: ``L`` (smoothness), ``F_star`` (lower bound of the loss), ``R``
            (almost-sure bound on each gradient coordinate; absent when there is none), ``sigma_sq``
            (E|g - grad|^2 of one sample), ``noise`` (per-coordinate standard deviation of one sample [d]) ...
        loss: exact loss, ``x [..., d] -> [...]``.
        full_gradient: exact gradient, ``x [..., d] -> [..., d]``.
        gradient: mean of ``batch_size`` sampled gradients, ``(x [d], batch_size, rng) -> [d]``.
        params: what the fused kernels need (curvatures, noise law ...), JSON-able or arrays.
    """

    name: str
    dim: int
    x0: Array
    constants: Mapping[str, Constant]
    loss: Callable[[Array], Array]
    full_gradient: Callable[[Array], Array]
    gradient: Callable[[Array, int, np.random.Generator], Array]
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def value(self, name: str) -> Any:
        """The number called ``name``; raises ``KeyError`` that lists what there is."""
        if name not in self.constants:
            raise KeyError(f"problem {self.name!r} publishes no {name!r}; it has {sorted(self.constants)}")
        return self.constants[name].value
