"""Rules for powers of two: products add exponents, and the power grows with its exponent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any


class PowerRules:
    """Mixin of :class:`bstheory.checking.recheck.Checker`."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def step_power_product(self, step: Mapping[str, Any]) -> Any:
        """2^(a+b) - 2^a 2^b == 0."""
        self.trust("power_product")
        whole, first, second = (step[key] for key in ("power", "first", "second"))
        exponents = [self.definition(name, "power_of_two") for name in (whole, first, second)]
        added = self.value(f"({exponents[1]}) + ({exponents[2]})")
        self.same(self.value(exponents[0]), added, "the exponent is not the sum of the exponents")
        return self.value(f"{whole} - {first}*{second}"), True, frozenset()

    def step_power_monotone(self, step: Mapping[str, Any]) -> Any:
        """2^a - 2^b >= 0 from a - b >= 0."""
        self.trust("power_monotone")
        larger, smaller, fact = step["larger"], step["smaller"], self.fact(step["fact"])
        a, b = (self.definition(name, "power_of_two") for name in (larger, smaller))
        self.same(fact.value, self.value(f"({a}) - ({b})"), "the fact is not the difference of the exponents")
        return self.value(f"{larger} - {smaller}"), False, fact.open
