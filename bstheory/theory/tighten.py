"""Choosing the free constants of a proof: never looser than the published choice."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from bstheory.errors import input_error


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tightening:
    """Result of :func:`tighten`.

    Attributes:
        value: the bound at the chosen constants; per unit of weight where ``also`` was used and the bound is
            on a weighted sum.
        published_value: the bound at the published ones; ``value <= published_value``.
        choice: the chosen constants; exact rationals for constants of the proof, so that the derivation can
            be repeated and checked with exactly these.
        gain: published_value / value.
    """

    value: float
    published_value: float
    choice: Mapping[str, Any]
    gain: float


def tighten(bound: Any, *, constants: Mapping[str, Any], schedule: Any, also: tuple[str, ...]) -> Tightening:
    """Minimise ``bound.evaluate`` over its free constants (and over ``also``, on a logarithmic scale).

    Args:
        constants: scalars, as for ``evaluate``; those in ``also`` give the starting point.
        also: positive constants that the user controls and wants chosen too, e.g. ``("alpha", "h")``.

    Raises:
        InputError: a name in ``also`` is not a positive constant of this bound, or nothing is free.
    """
    from scipy import optimize

    free = {p.name: p.free for p in bound.parameters if p.free is not None}
    known = {p.name for p in bound.parameters}
    for name in also:
        if name not in known or name in free or not constants.get(name, 0) > 0:
            raise input_error(
                got=f"also={name!r}",
                rule=f"{bound.slug} takes {', '.join(sorted(known - set(free)))}, each starting positive",
                do="name constants that are given and positive",
            )
    if not free and not also:
        raise input_error(
            got=f"nothing to tighten in {bound.slug}",
            rule="it has no free constant",
            do="name constants to choose with also=(...)",
        )
    published = {p.name: constants.get(p.name, p.default) for p in bound.parameters if p.name in free}
    names = [*free, *also]

    def measure(trial: Mapping[str, Any]) -> float:
        found = bound.evaluate(constants=trial, schedule=schedule)
        # A half-life changes the weights on the left too, so compare the bound on the weighted mean then.
        return float(found.parts["per_weight"] if also and "per_weight" in found.parts else found.value)

    def to_unit(name: str, x: float) -> float:
        if name in free:
            low, high = free[name]
            return math.log((x - low) / (high - x)) if math.isfinite(high) else math.log(x - low)
        return math.log(x)

    def from_unit(name: str, u: float) -> Any:
        if name not in free:
            return math.exp(u)
        low, high = free[name]
        x = low + (high - low) / (1 + math.exp(-u)) if math.isfinite(high) else low + math.exp(u)
        # A rational near the float: the derivation is repeated with exactly this number.
        return Fraction(x).limit_denominator(10**6)

    def at(point: Any) -> tuple[float, dict[str, Any]]:
        choice = {name: from_unit(name, float(u)) for name, u in zip(names, point, strict=True)}
        trial = {**constants, **{name: float(value) for name, value in choice.items()}}
        return measure(trial), choice

    def objective(point: Any) -> float:
        try:
            value = at(point)[0]
        except (ValueError, OverflowError, ZeroDivisionError):
            return math.inf
        return math.log(value) if value > 0 and math.isfinite(value) else math.inf

    start = [to_unit(name, float({**constants, **published}[name])) for name in names]
    published_value = measure({**constants, **published})
    found = optimize.minimize(
        objective, start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-10, "maxiter": 2000}
    )
    value, choice = at(found.x)
    if not value < published_value:
        value, choice = published_value, {name: {**constants, **published}[name] for name in names}
    return Tightening(
        value=value, published_value=published_value, choice=choice, gain=published_value / value
    )
