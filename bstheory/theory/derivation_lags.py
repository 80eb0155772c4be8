"""Builder steps for functions of the lag n - j; ``checking.rules_lags`` is the checker's side."""

from __future__ import annotations

from typing import Any

import sympy as sp

import bstheory.theory.derivation_pairs  # noqa: F401  the operators over pairs, which these sums belong to
from bstheory.theory.derivation import Derivation


def at_lag(d: Derivation, expression: Any, place: int) -> sp.Expr:
    """The expression at lag 0 (``place`` 0), or one lag later (``place`` 1)."""
    recursions = {sp.Symbol(n): entry.of[place] for n, entry in d.symbols.items() if entry.op == "recursion"}
    return sp.sympify(expression).subs(recursions, simultaneous=True)


def lag_induction(
    d: Derivation, name: str, gap: Any, fact: str, *, keeps: Any = 0, base: Any = 0, why: str
) -> sp.Expr:
    """``gap`` >= 0 (or == 0) at every lag; ``fact`` is gap(+1) - keeps gap, and ``base`` is gap(0)."""
    relation = "==" if base == 0 and d.steps[fact].relation == "==" else ">="
    texts = {"keeps": sp.sstr(sp.sympify(keeps)), "base": sp.sstr(sp.sympify(base))}
    return d._add(name, "lag_induction", gap, relation, why, fact=fact, **texts)


def lag_sum(d: Derivation, name: str, symbol: Any, potential: Any, fact: str, *, why: str) -> sp.Expr:
    """potential(0) - symbol >= 0; ``fact`` is potential - potential(+1) - what the symbol sums up."""
    gap = sp.expand(at_lag(d, potential, 0) - symbol)
    data = {"symbol": str(symbol), "op": d.symbols[str(symbol)].op, "potential": sp.sstr(potential)}
    return d._add(name, "lag_sum", gap, ">=", why, fact=fact, **data)


def lag_sum_across(
    d: Derivation, name: str, symbol: Any, *, most: Any, slope: Any, potential: Any, why: str, **facts: str
) -> sp.Expr:
    """potential(0) - symbol >= 0; ``facts`` are most_fact, slope_fact and potential_fact."""
    texts = {"most": sp.sstr(most), "slope": sp.sstr(slope), "potential": sp.sstr(potential)}
    gap = sp.expand(at_lag(d, potential, 0) - symbol)
    return d._add(name, "lag_sum_across", gap, ">=", why, symbol=str(symbol), **texts, **facts)
