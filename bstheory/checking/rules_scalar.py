"""Rules about functions of one real variable: the exponential series, and logarithms that agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import flint

from bstheory.checking.recheck_rules import Invalid

FROM = 64  # from this power on, coefficients are decided for all powers at once
DEGREE = 16


def factor(text: str) -> flint.fmpq:
    """An exact rational from "p/q" or "p"."""
    top, _, bottom = str(text).partition("/")
    return flint.fmpq(int(top), int(bottom or 1))


def nonnegative_series(up: list[Any], down: list[Any], free: list[Any]) -> str:
    """'' when sum_j (up_j u^j e^u + down_j u^j e^-u + free_j u^j) has no negative Taylor coefficient.

    The coefficient of u^m times m! is sum_j (up_j + (-1)^(m-j) down_j) m(m-1)...(m-j+1) + free_m m!. The
    first ones are computed; from ``FROM`` on they are a polynomial in m for each parity of m, which is
    nonnegative when all its coefficients about m = FROM (or FROM + 1) are.
    """
    if max(len(up), len(down), len(free)) > DEGREE:
        return f"polynomials of degree at least {DEGREE}"
    longest = max(len(up), len(down))
    a, b = ([*terms, *[flint.fmpq(0)] * (longest - len(terms))] for terms in (up, down))
    factorial = flint.fmpz(1)
    for m in range(FROM):
        factorial *= max(m, 1)
        total = free[m] * factorial if m < len(free) else flint.fmpq(0)
        falling = flint.fmpz(1)
        for j in range(min(longest, m + 1)):
            total += (a[j] + (-1) ** (m - j) * b[j]) * falling
            falling *= m - j
        if total < 0:
            return f"the coefficient of u^{m} is {total}/{m}!"
    for start in (FROM, FROM + 1):
        rest, falling = flint.fmpq_poly([0]), flint.fmpq_poly([1])
        for j in range(longest):
            rest += falling * (a[j] + (-1) ** (start - j) * b[j])
            falling *= flint.fmpq_poly([start - j, 1])
        if any(coefficient < 0 for coefficient in rest.coeffs()):
            return f"the coefficients of u^m for large m are not visibly nonnegative: {rest}"
    return ""


class ScalarRules:
    """Mixin of :class:`bstheory.checking.recheck.Checker`."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def step_exp_series(self, step: Mapping[str, Any]) -> Any:
        """P(u) e^u + Q(u) e^-u + R(u) >= 0 for u = ln y >= 0, by the signs of the Taylor coefficients."""
        self.trust("exp_series")
        log, fact = step["log"], self.fact(step["fact"])
        y = self.log_argument(log)
        self.same(fact.value, self.value(f"({y}) - 1"), "the fact is not y - 1 >= 0")
        up, down, free = ([factor(t) for t in step[key]] for key in ("up", "down", "free"))
        bad = nonnegative_series(up, down, free)
        if bad:
            raise Invalid(bad)
        terms = [
            f"({text})*{log}**{j}*({around})"
            for key, around in (("up", y), ("down", f"1/({y})"), ("free", "1"))
            for j, text in enumerate(step[key])
        ]
        return self.value(" + ".join(terms) or "0"), False, fact.open

    def step_log_injective(self, step: Mapping[str, Any]) -> Any:
        """a - b == 0 from ln a - ln b == 0."""
        self.trust("log_monotone")
        first, second, fact = step["first"], step["second"], self.fact(step["fact"])
        if not fact.equality:
            raise Invalid("an equality of logarithms is needed")
        self.same(fact.value, self.value(f"{first} - {second}"), "the fact is not the difference of the logs")
        difference = f"({self.log_argument(first)}) - ({self.log_argument(second)})"
        return self.value(difference), True, fact.open

    def step_antisymmetry(self, step: Mapping[str, Any]) -> Any:
        """a - b == 0 from a - b >= 0 and b - a >= 0."""
        above, below = self.fact(step["above"]), self.fact(step["below"])
        negated = (-below.value[0], below.value[1])
        self.same(above.value, negated, "the two facts are not opposite inequalities")
        return above.value, True, above.open | below.open
