"""Builder steps for powers of two; the checker's side is ``checking.rules_powers``."""

from __future__ import annotations

from typing import Any

import sympy as sp

from bstheory.theory.derivation import Derivation, DerivationError


def power_product(d: Derivation, name: str, power: Any, first: Any, second: Any, *, why: str) -> sp.Expr:
    """2^(a+b) - 2^a 2^b == 0; all three are defined as ``power_of_two``."""
    whole, a, b = (d.symbols[str(symbol)].of for symbol in (power, first, second))
    if sp.expand(whole - a - b) != 0:
        raise DerivationError(f"{d.slug}, {name}: exponents leave {sp.factor(whole - a - b)}")
    return d._add(
        name,
        "power_product",
        power - first * second,
        "==",
        why,
        power=str(power),
        first=str(first),
        second=str(second),
    )


def power_monotone(d: Derivation, name: str, larger: Any, smaller: Any, fact: str, *, why: str) -> sp.Expr:
    """2^a - 2^b >= 0 from a - b >= 0."""
    rest = d.symbols[str(larger)].of - d.symbols[str(smaller)].of - d.gap(fact)
    if sp.expand(rest) != 0:
        raise DerivationError(f"{d.slug}, {name}: exponents leave {sp.factor(rest)}")
    return d._add(
        name,
        "power_monotone",
        larger - smaller,
        ">=",
        why,
        larger=str(larger),
        smaller=str(smaller),
        fact=fact,
    )
