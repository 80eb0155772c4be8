"""Builder steps about functions of one real variable; see ``checking.rules_scalar``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sympy as sp

from bstheory.theory.derivation import Derivation, DerivationError


def exp_series(
    d: Derivation,
    name: str,
    log: Any,
    fact: str,
    *,
    up: Sequence[Any] = (),
    down: Sequence[Any] = (),
    free: Sequence[Any] = (),
    why: str,
) -> sp.Expr:
    """P(u) y + Q(u)/y + R(u) >= 0 for u = ln y, y >= 1, because no Taylor coefficient in u is negative.

    Args:
        log: the symbol u, defined as a logarithm of y.
        fact: name of the step y - 1 >= 0.
        up, down, free: coefficients of P, Q and R, constant term first, rational.
    """
    y = d.symbols[str(log)].of
    gap = sp.Integer(0)
    lists = {}
    for key, coefficients, around in (("up", up, y), ("down", down, 1 / y), ("free", free, sp.Integer(1))):
        numbers = [sp.Rational(c) for c in coefficients]
        lists[key] = [str(c) for c in numbers]
        gap += sum((c * log**j * around for j, c in enumerate(numbers)), sp.Integer(0))
    return d._add(name, "exp_series", gap, ">=", why, log=str(log), fact=fact, **lists)


def log_injective(d: Derivation, name: str, fact: str, first: Any, second: Any, *, why: str) -> sp.Expr:
    """a - b == 0 from the step ln a - ln b == 0."""
    if sp.expand(d.gap(fact) - (first - second)) != 0:
        raise DerivationError(f"{d.slug}, {name}: {fact} is not {first} - {second}")
    gap = d.symbols[str(first)].of - d.symbols[str(second)].of
    return d._add(name, "log_injective", gap, "==", why, first=str(first), second=str(second), fact=fact)


def log_of_one(d: Derivation) -> sp.Symbol:
    """The symbol ln 1, after the step ``log_of_one``: ln 1 == 0."""
    one = sp.Symbol("log_one")
    if "log_one" not in d.symbols:
        d.define("log_one", "log", 1, latex=r"\ln 1")
        d.log_quotient("log_of_one", one, one, one, why="ln(1/1) = ln 1 - ln 1")
    return one


def decay(d: Derivation, beta: Any, log_beta: Any, *, name: str = "u") -> sp.Symbol:
    """The symbol u = ln(1/beta), after the step ``<name>_value``: u + ln beta == 0."""
    one = log_of_one(d)
    u = d.define(name, "log", 1 / beta, latex=r"\ln(1/\beta)", meaning="decay of one step")
    d.log_quotient(f"{name}_split", u, one, log_beta, why="logarithm of a quotient")
    d.combine(
        f"{name}_value",
        gap=u + log_beta,
        relation="==",
        uses={f"{name}_split": 1, "log_of_one": 1},
        why="ln(1/beta) = -ln beta",
    )
    return u
