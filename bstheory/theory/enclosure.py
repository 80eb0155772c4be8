"""Enclosure documents: builds the claims that ``checking.enclosure`` verifies with ball arithmetic.

Numbers are computed here with mpmath and rounded outward; nothing computed here is believed by the checker.
"""

from __future__ import annotations

import fractions
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import mpmath
import sympy as sp
from scipy.integrate import quad

WORKING_DIGITS = 40


class Enclosure:
    """Builds one enclosure document.

    Args:
        slug: the theorem's name.
        title: one line.

    Example:
        >>> e = Enclosure("two", "the square root of two")
        >>> e.value("root", "sqrt(2)", digits=3, why="by computation")
        (Fraction(2827, 2000), Fraction(2829, 2000))
    """

    def __init__(self, slug: str, title: str) -> None:
        self.slug = slug
        self.title = title
        self.claims: list[dict[str, Any]] = []

    def value(
        self, name: str, expression: str, *, digits: int, why: str, let: Mapping[str, str] | None = None
    ) -> tuple[fractions.Fraction, fractions.Fraction]:
        """Enclose a constant in an interval of width 10^-digits; returns the interval."""
        with mpmath.workdps(WORKING_DIGITS):
            low, high = outward(number(expression, constants(let or {})), digits)
        self._add(name, "value", expression, why, let, lower=str(low), upper=str(high))
        return low, high

    def sign_change(
        self,
        name: str,
        expression: str,
        variable: str,
        *,
        near: float,
        digits: int,
        why: str,
        let: Mapping[str, str] | None = None,
        unique: bool = True,
    ) -> tuple[fractions.Fraction, fractions.Fraction]:
        """Enclose a root of the expression near ``near``; returns the interval."""
        with mpmath.workdps(WORKING_DIGITS):
            root = mpmath.findroot(function(expression, variable, let or {}), near)
            low, high = outward(root, digits)
        ends = {"variable": variable, "lower": str(low), "upper": str(high), "unique": unique}
        self._add(name, "sign_change", expression, why, let, **ends)
        return low, high

    def positive(
        self,
        name: str,
        expression: str,
        box: Mapping[str, Sequence[Any]],
        *,
        why: str,
        let: Mapping[str, str] | None = None,
    ) -> None:
        """Claim that the expression is positive on a box of rationals."""
        self._add(name, "positive", expression, why, let, box=ends_as_text(box))

    def monotone(
        self,
        name: str,
        expression: str,
        variable: str,
        direction: str,
        box: Mapping[str, Sequence[Any]],
        *,
        why: str,
        let: Mapping[str, str] | None = None,
    ) -> None:
        """Claim that the expression is ``increasing`` or ``decreasing`` in ``variable`` on a box."""
        more = {"variable": variable, "direction": direction, "box": ends_as_text(box)}
        self._add(name, "monotone", expression, why, let, **more)

    def integral(
        self,
        name: str,
        expression: str,
        variable: str,
        lower: Any,
        upper: Any,
        *,
        digits: int,
        why: str,
        split: Any = None,
        let: Mapping[str, str] | None = None,
    ) -> tuple[fractions.Fraction, fractions.Fraction]:
        """Enclose an integral; ``upper`` may be ``"oo"``, then the tail from ``split`` on is bounded."""
        with mpmath.workdps(WORKING_DIGITS):
            cuts = [mpmath.mpf(lower)]
            end = split if upper == "oo" else upper
            edge = mpmath.mpf(1) / 16
            while edge < end:
                cuts += [edge] if edge > cuts[0] else []
                edge *= 4
            cuts += [mpmath.mpf(end)] + ([mpmath.inf] if upper == "oo" else [])
            if digits <= 9:  # float64 is enough, and much faster where the expression is long
                f = function(expression, variable, let or {}, "scipy")
                ends = [float(cut) for cut in cuts]
                found = mpmath.mpf(sum(quad(f, a, b, epsabs=1e-13)[0] for a, b in itertools.pairwise(ends)))
            else:
                found = mpmath.quad(function(expression, variable, let or {}), cuts)
            low, high = outward(found, digits)
        ends = {"variable": variable, "lower": str(lower), "upper": str(upper)}
        if split is not None:
            ends["split"] = str(split)
        self._add(name, "integral", expression, why, let, **ends, value_lower=str(low), value_upper=str(high))
        return low, high

    def _add(self, name: str, kind: str, expression: str, why: str, let: Any, **more: Any) -> None:
        constants = {"let": {key: str(text) for key, text in let.items()}} if let else {}
        self.claims.append(
            {"name": name, "type": kind, "expression": expression, "why": why, **constants, **more}
        )

    def document(self) -> dict[str, Any]:
        """The document, plain JSON."""
        return {
            "format": 1,
            "kind": "enclosure",
            "slug": self.slug,
            "title": self.title,
            "claims": self.claims,
        }


def ends_as_text(box: Mapping[str, Sequence[Any]]) -> dict[str, list[str]]:
    return {name: [str(fractions.Fraction(end)) for end in ends] for name, ends in box.items()}


def function(expression: str, variable: str, let: Mapping[str, str], module: str = "mpmath") -> Any:
    """The expression as a numerical function of one variable, with the constants put in as numbers."""
    known = constants(let)
    f = sp.lambdify([sp.Symbol(name) for name in (variable, *known)], sp.sympify(expression), module)
    values = list(known.values()) if module == "mpmath" else [float(value) for value in known.values()]
    return lambda x: f(x, *values)


def constants(let: Mapping[str, str]) -> dict[str, Any]:
    """Numerical values of the constants, in order; later ones may use earlier ones."""
    known: dict[str, Any] = {}
    for name, text in let.items():
        known[name] = number(str(text), known)
    return known


def number(expression: str, known: Mapping[str, Any]) -> Any:
    """Numerical value of an expression in known constants."""
    f = sp.lambdify([sp.Symbol(name) for name in known], sp.sympify(expression), "mpmath")
    return mpmath.mpf(f(*known.values()))


def outward(value: Any, digits: int) -> tuple[fractions.Fraction, fractions.Fraction]:
    """An interval of width 10^-digits around ``value``, with ``value`` well inside."""
    scale = 2 * 10**digits
    middle = int(mpmath.nint(value * scale))
    assert math.isfinite(middle)
    return fractions.Fraction(middle - 1, scale), fractions.Fraction(middle + 1, scale)
