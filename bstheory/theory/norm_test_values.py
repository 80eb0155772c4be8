"""Pieces shared by the forms of flagship 2: constants, evaluation of what was produced, batches."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import sympy as sp

from bstheory.errors import input_error
from bstheory.theory.adam_sums import at_least_zero, positive
from bstheory.theory.bound import Constants, Parameter
from bstheory.theory.derivation import Derivation

SHARED = ("alpha", "beta1", "eta", "L", "Delta", "v0", "G1", "theta", "zeta")


def vectors(constants: Constants) -> tuple[np.ndarray, np.ndarray]:
    """v0 and G1, one entry per coordinate."""
    v0, G1 = (np.atleast_1d(np.asarray(constants[name], dtype=float)) for name in ("v0", "G1"))
    if v0.ndim != 1 or G1.ndim != 1 or v0.size != G1.size:
        raise input_error(
            got=f"v0 of shape {v0.shape} and G1 of shape {G1.shape}",
            rule="both have one entry per coordinate",
            do="pass vectors of the same length",
        )
    return v0, G1


def trivial(G1: np.ndarray, L: Any, step: Any, K: Any) -> Any:
    """Without the theorem: |G_k| <= |G_1| + L (k-1) sqrt(d) times the largest step of a coordinate."""
    d = G1.size
    return math.sqrt(d) * (K * np.sqrt((G1**2).sum()) + L * math.sqrt(d) * step * K * (K - 1) / 2)


def printed_limit(beta2: Any, eta: Any) -> Any:
    """The right side of the printed condition on beta1: sqrt(beta2) - 8 (1 + eta^2)(1 - beta2)/beta2^2."""
    return np.sqrt(beta2) - 8 * (1 + np.asarray(eta) ** 2) * (1 - beta2) / beta2**2


def largest_alpha(n: Any, net: Any) -> Any:
    """The alpha at which net vanishes (0 where rho leaves nothing), to 1e-13 relative.

    net falls as alpha grows; bisection on a log scale, because reading the coefficients of the quadratic off
    at fixed points loses the linear term to rounding where the root is tiny.
    """
    shape = np.broadcast(*(np.asarray(value) for value in n.values())).shape
    low, high = np.full(shape, -150.0), np.full(shape, 100.0)
    with np.errstate(all="ignore"):
        rest = net(**(n | {"alpha": 10.0**low}))
        for _ in range(60):
            middle = (low + high) / 2
            inside = net(**(n | {"alpha": 10.0**middle})) > 0
            low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return np.where(rest > 0, 10.0**low, 0.0)


def largest_batch(*, beta1: float, eta: float, half_life: float) -> float:
    """The largest batch (tokens) that condition (C) admits under beta2 = 2^(-b/half_life).

    s (1 - y) y^2/(y^2 - beta1^2) decreases in y = sqrt(beta2) on (beta1, 1), so (C) says y >= y*, that is
    b <= 2 half_life log2(1/y*). Raises ``InputError`` outside beta1 in [0, 1), eta >= 0, half_life > 0.
    """
    from scipy import optimize

    if not (0 <= beta1 < 1 and eta >= 0 and half_life > 0):
        raise input_error(
            got=f"beta1={beta1}, eta={eta}, half_life={half_life}",
            rule="beta1 lies in [0, 1), eta is at least 0 and the half-life is positive",
            do="choose them so",
        )
    growth = 1 + eta**2

    def excess(y: float) -> float:
        return 8 * growth * (1 - y) * y**2 - (y**2 - beta1**2)

    if beta1 == 0:
        root = 1 - 1 / (8 * growth)
    else:
        root = optimize.brentq(excess, beta1, 1.0, xtol=1e-15)
    return 2 * half_life * math.log2(1 / root)


def functions(d: Derivation) -> dict[str, Any]:
    """The produced expressions of a derivation of the l1 norm."""
    assert d.claim is not None
    net, S = sp.symbols("net S")
    produced = {"net": net - d.gap("net"), "S": d.gap("S_bound") + S, "l1": d.claim[2]}
    return {name: by_name(d.closed_form(expression)) for name, expression in produced.items()}


def by_name(expression: Any) -> Any:
    """A function of keyword arguments that ignores those it does not need."""
    symbols = sorted(expression.free_symbols, key=str)
    function = sp.lambdify(symbols, expression, "numpy")
    names = [symbol.name for symbol in symbols]
    return lambda **given: function(*(given[name] for name in names))


def parameters(*more: str) -> tuple[Parameter, ...]:
    """The shared constants and, by name, ``beta2`` and ``K``."""
    every = (
        positive("alpha", "learning rate", "param"),
        Parameter(
            name="beta1",
            meaning="momentum",
            unit="1",
            rule="must lie in [0, 1)",
            accepts=lambda x: bool(np.all((np.asarray(x, float) >= 0) & (np.asarray(x, float) < 1))),
        ),
        Parameter(
            name="beta2",
            meaning="decay of the second moment",
            unit="1",
            rule="must lie in (0, 1)",
            accepts=lambda x: bool(np.all((np.asarray(x, float) > 0) & (np.asarray(x, float) < 1))),
        ),
        at_least_zero("eta", "tolerance of the norm test", "1"),
        positive("L", "smoothness", "loss/param^2"),
        positive("Delta", "at least F(w_1) - F_*", "loss"),
        Parameter(
            name="K",
            meaning="number of steps",
            unit="steps",
            rule="must be a whole number of at least 1",
            accepts=lambda x: bool(np.all((np.asarray(x, float) >= 1) & (np.asarray(x, float) % 1 == 0))),
        ),
        positive("v0", "initial second moment, one entry per coordinate", "grad^2"),
        Parameter(
            name="G1",
            meaning="gradient at w_1, one entry per coordinate",
            unit="grad",
            rule="must be finite",
            accepts=lambda x: True,
        ),
        Parameter(
            name="theta",
            meaning="weight of Young's inequality; 1/4 in theorem B",
            unit="1",
            rule="must lie in (0, 1)",
            accepts=lambda x: bool(np.all((np.asarray(x, float) > 0) & (np.asarray(x, float) < 1))),
            default=0.25,
            free=(0.0, 1.0),
        ),
        Parameter(
            name="zeta",
            meaning="weight of the Abel sum, 1 + xi = zeta q; 8 in theorem B",
            unit="1",
            rule="must exceed 1",
            accepts=lambda x: bool(np.all(np.asarray(x, float) > 1)),
            default=8.0,
            free=(1.0, math.inf),
        ),
    )
    return tuple(p for p in every if p.name in (*SHARED, *more))
