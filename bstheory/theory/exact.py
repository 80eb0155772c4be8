"""Rigorous enclosures of the values of bounds: the produced closed form in ball arithmetic (Arb).

``Bound.evaluate`` computes in float64. Here the same right-hand side is computed from the same numbers, which
float64 holds exactly, with balls that contain every intermediate result. ``theory.exact_adam`` and
``theory.exact_others`` say for each theorem which number stands for which symbol of its derivation.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flint
import numpy as np
import sympy as sp

from bstheory.errors import input_error

PRECISION = 256  # bits
MODULES = ("bstheory.theory.exact_adam", "bstheory.theory.exact_others")
Ball = Any  # flint.arb
Known = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Enclosure:
    """An interval that contains the exact value at the given float64 constants.

    Attributes:
        lower, upper: float64, rounded outward.
        digits: the ball as decimal text, midpoint and radius.
        relative_error: at most this far is the float64 value from the exact one, relative to it.
    """

    lower: float
    upper: float
    digits: str
    relative_error: float


def enclose(
    slug: str, constants: Mapping[str, Any], batch_size: Sequence[int] | None, value: Any
) -> Enclosure:
    """Enclosure of the value of the bound ``slug``.

    Args:
        constants: every parameter, as ``Bound.evaluate`` completed them; one value each.
        batch_size: tokens of every step, or None.
        value: what float64 gave, compared with the ball.

    Raises:
        InputError: the bound's value is not a produced closed form, arrays of constants were given, or the
            ball is not finite at the precision used.
    """
    every = registered()
    if slug not in every:
        raise input_error(
            got=f"an enclosure of the value of {slug}",
            rule="its value is not the closed form that a derivation produced (it is searched, simulated, "
            "integrated, or found by a recursion)",
            do=f"these have one: {', '.join(sorted(every))}",
        )
    if np.ndim(value):
        raise input_error(
            got=f"values of shape {np.shape(value)}",
            rule="one value is enclosed at a time",
            do="give one number for each constant",
        )
    with flint.ctx.workprec(PRECISION):
        known = {name: balls(given) for name, given in constants.items()}
        batches = None if batch_size is None else [int(b) for b in batch_size]
        found = flint.arb(every[slug](known, batches))
        if not found.is_finite():
            raise input_error(
                got=f"{slug} at constants where the ball {found} is not finite",
                rule=f"the value is enclosed at {PRECISION} bits",
                do="choose constants whose value float64 can hold",
            )
        lower, upper = outward(found)
        error = abs(flint.arb(float(value)) - found) / max(abs(found), flint.arb(2) ** -1000)
        return Enclosure(lower=lower, upper=upper, digits=found.str(20), relative_error=outward(error)[1])


@functools.cache
def registered() -> dict[str, Callable[[Known, list[int] | None], Ball]]:
    """Slug to the function (balls of the constants, batch sizes) -> ball of the value."""
    found: dict[str, Any] = {}
    for module in MODULES:
        found |= importlib.import_module(module).VALUES
    return found


def balls(given: Any) -> Any:
    """A number as an exact ball, an array as a list of them."""
    array = np.asarray(given)
    if array.ndim > 1:
        raise input_error(
            got=f"a constant of shape {array.shape}",
            rule="one value is enclosed at a time",
            do="give one number, or one vector with an entry per coordinate or step",
        )
    if array.ndim == 1:
        return [balls(entry) for entry in array]
    return flint.arb(int(array)) if array.dtype.kind in "iub" else flint.arb(float(array))


def outward(ball: Ball) -> tuple[float, float]:
    """The nearest float64 numbers that have the ball between them."""
    low, high = float(ball.lower()), float(ball.upper())
    while not flint.arb(low) <= ball.lower():
        low = math.nextafter(low, -math.inf)
    while not flint.arb(high) >= ball.upper():
        high = math.nextafter(high, math.inf)
    return low, high


class Closed:
    """A produced expression as a function of balls by name; names that it does not need are ignored."""

    def __init__(self, expression: sp.Expr) -> None:
        self.expression = expression

    def __call__(self, **known: Ball) -> Ball:
        missing = {symbol.name for symbol in self.expression.free_symbols} - set(known)
        assert not missing, f"{sorted(missing)} have no value"
        return walk(self.expression, known)


def walk(expression: Any, known: Mapping[str, Ball]) -> Ball:
    """The expression in ball arithmetic."""
    if expression.is_Symbol:
        return flint.arb(known[expression.name])
    if expression.is_Rational:
        return flint.arb(int(expression.p)) / flint.arb(int(expression.q))
    parts = [walk(part, known) for part in expression.args]
    match expression.func.__name__:
        case "Add":
            return functools.reduce(lambda x, y: x + y, parts)
        case "Mul":
            return functools.reduce(lambda x, y: x * y, parts)
        case "Pow":
            base, power = parts[0], expression.args[1]
            if power.is_Integer:
                return base ** int(power)
            if power.is_Rational and power.q == 2:
                return base.sqrt() ** int(power.p)
            return base ** parts[1]
        case "log":
            return parts[0].log()
        case "exp":
            return parts[0].exp()
        case "Abs":
            return abs(parts[0])
        case "Max":
            return functools.reduce(lambda x, y: x.max(y), parts)
        case "Min":
            return functools.reduce(lambda x, y: x.min(y), parts)
    raise ValueError(f"{expression.func.__name__} is not in the language of closed forms")


def right_side(derivation: Any) -> Closed:
    """The right-hand side that a derivation produced."""
    return Closed(derivation.closed_form(derivation.claim[2]))


def left_side(derivation: Any) -> Closed:
    """The left-hand side of an identity or of a bound from below."""
    return Closed(derivation.closed_form(derivation.claim[1]))


def ln2() -> Ball:
    return flint.arb(2).log()


def one_minus_beta(batch: Any, half_life: Ball) -> Ball:
    """1 - 2^(-B/h)."""
    return -(-ln2() * batch / half_life).expm1()


def total(terms: Any) -> Ball:
    """Sum of balls."""
    return functools.reduce(lambda x, y: x + y, terms, flint.arb(0))


def largest(terms: Any) -> Ball:
    return functools.reduce(lambda x, y: x.max(y), terms)


def smallest(terms: Any) -> Ball:
    return functools.reduce(lambda x, y: x.min(y), terms)


def per_step(given: Any, batches: list[int]) -> list[Ball]:
    """One ball for every step, from one for all or one each."""
    given = given if isinstance(given, list) else [given]
    return given * len(batches) if len(given) == 1 else given


def vector(given: Any) -> list[Ball]:
    return given if isinstance(given, list) else [given]
