"""Builder steps for pairs of steps; ``checking.rules_pairs`` is the checker's side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sympy as sp

from bstheory.theory.derivation import ADDED, REMOVED, Derivation

# What the operators over pairs add to and remove from the indices of their argument.
REMOVED.update(
    laters={"later", "draw"},
    pairs={"step", "later", "draw"},
    lags={"step"},
    futures={"later"},
    across={"later"},
)
ADDED.update(lags={"draw"}, between={"later", "draw"})


def equal_sums(
    d: Derivation, name: str, kind: str, left: Any, right: Any, *, why: str, **data: Any
) -> sp.Expr:
    """left - right == 0 for two sums over pairs; ``kind`` is one of the rules of ``checking.rules_pairs``."""
    return d._add(name, kind, left - right, "==", why, left=str(left), right=str(right), **data)


def relabel(
    d: Derivation, name: str, left: Any, right: Any, pairs: Mapping[Any, Any], *, why: str
) -> sp.Expr:
    """E sum over n of a quantity == E sum over j of the same quantity."""
    named = {str(later): str(plain) for later, plain in pairs.items()}
    return equal_sums(d, name, "relabel", left, right, why=why, pairs=named)


def relabel_fact(d: Derivation, name: str, fact: str, pairs: Mapping[Any, Any], *, why: str) -> sp.Expr:
    """A fact about every step j, said of every step n."""
    named = {str(later): str(plain) for later, plain in pairs.items()}
    gap = d.gap(fact).subs({sp.Symbol(plain): sp.Symbol(later) for later, plain in named.items()})
    return d._add(name, "relabel_fact", gap, d.steps[fact].relation, why, fact=fact, pairs=named)
