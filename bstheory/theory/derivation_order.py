"""Builder steps about absolute values; the checker's side is in ``checking.recheck_rules``."""

from __future__ import annotations

from typing import Any

import sympy as sp

from bstheory.theory.derivation import Derivation, DerivationError


def absolute_least(d: Derivation, name: str, symbol: Any, above: str, below: str, *, why: str) -> sp.Expr:
    """y - |x| >= 0 from the facts ``above`` (y - x >= 0) and ``below`` (y + x >= 0)."""
    of = d.symbols[str(symbol)].of
    top = d.gap(above) + of
    if sp.simplify(top - d.gap(below) + of) != 0:
        raise DerivationError(f"{d.slug}, {name}: {above} and {below} are not y - x and y + x")
    return d._add(
        name,
        "absolute_least",
        sp.expand(top - symbol),
        ">=",
        why,
        symbol=str(symbol),
        above=above,
        below=below,
    )
