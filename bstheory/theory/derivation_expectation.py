"""Builder steps for unconditional expectations; the checker's side is ``checking.rules_expectation``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import sympy as sp

from bstheory.theory.derivation import Derivation, DerivationError


def fixed(d: Derivation, name: str, **options: Any) -> sp.Symbol:
    """Declare a primitive symbol that may change with the step but is not random."""
    symbol = d.symbol(name, depends=options.pop("depends", ("step",)), **options)
    d.symbols[name] = dataclasses.replace(d.symbols[name], fixed=True)
    return symbol


def tower_expected(
    d: Derivation, name: str, left: Any, right: Any, pairs: Mapping[Any, Any], *, why: str
) -> sp.Expr:
    """E of conditional means == E of the random variables themselves."""
    return d._add(
        name,
        "tower_expected",
        left - right,
        "==",
        why,
        left=str(left),
        right=str(right),
        pairs={str(a): str(b) for a, b in pairs.items()},
    )


def steps_expected(d: Derivation, name: str, left: Any, right: Any, *, why: str) -> sp.Expr:
    """sum_k c_k E[X_k] == E sum_k c_k X_k; ``left`` is the sum of expectations."""
    of = d.symbols[str(left)].of
    arguments = {
        symbol: d.symbols[symbol.name].of
        for symbol in of.free_symbols
        if d.symbols[symbol.name].op == "expected"
    }
    rest = sp.simplify(of.subs(arguments, simultaneous=True) - d.symbols[str(right)].of)
    if not arguments or rest != 0:
        raise DerivationError(f"{d.slug}, {name}: left over {rest}")
    return d._add(name, "steps_expected", left - right, "==", why, left=str(left), right=str(right))


def exchange_mean(d: Derivation, name: str, left: Any, right: Any, *, why: str) -> sp.Expr:
    """E_{k-1}[sum_i X_i] == sum_i (X_i with conditional means); ``left`` is the mean of the sum."""
    of = d.symbols[str(d.symbols[str(left)].of)].of
    means = {
        s: d.symbols[s.name].of
        for s in d.symbols[str(right)].of.free_symbols
        if d.symbols[s.name].op == "mean"
    }
    rest = sp.simplify(d.symbols[str(right)].of.subs(means, simultaneous=True) - of)
    if rest != 0:
        raise DerivationError(f"{d.slug}, {name}: left over {rest}")
    return d._add(name, "exchange_mean", left - right, "==", why, left=str(left), right=str(right))
