"""What leaves a derivation: its certificate document, and closed forms of its expressions."""

from __future__ import annotations

from typing import Any

import sympy as sp

from bstheory.theory.derivation import LISTS, Derivation, DerivationError
from bstheory.theory.pruning import needed

FORMAT = 1


def document(d: Derivation) -> dict[str, Any]:
    """The certificate document, plain JSON, of what the claim rests on; see ``docs/certificates.md``."""
    if d.claim is None:
        raise DerivationError(f"{d.slug}: the derivation concludes nothing")
    needed_steps, needed_symbols = needed(d)
    symbols = {}
    for entry in d.symbols.values():
        if entry.name not in needed_symbols:
            continue
        definition = None
        if entry.op:
            of = [sp.sstr(sp.sympify(p)) for p in entry.of] if entry.op in LISTS else sp.sstr(entry.of)
            definition = {"op": entry.op, "of": of}
        symbols[entry.name] = {
            "sign": entry.sign,
            "depends": list(entry.depends),
            "definition": definition,
            "latex": entry.latex,
            "meaning": entry.meaning,
            **({"fixed": True} if entry.fixed else {}),
        }
    steps = [
        {
            "name": step.name,
            "kind": step.kind,
            "gap": sp.sstr(step.gap),
            "relation": step.relation,
            "why": step.why,
            **({"lemma": step.lemma} if step.lemma else {}),
            **step.data,
        }
        for step in d.steps.values()
        if step.name in needed_steps
    ]
    fact, left, right = d.claim
    return {
        "format": FORMAT,
        "slug": d.slug,
        "title": d.title,
        "symbols": symbols,
        "chains": d.chains,
        "steps": steps,
        "claim": {"fact": fact, "lhs": sp.sstr(left), "rhs": sp.sstr(right)},
    }


def closed_form(d: Derivation, expression: Any) -> sp.Expr:
    """Replace roots, logarithms, powers and maxima by functions, for reading and for evaluation.

    What remains are primitive symbols and sums; operator symbols stay as they are.
    """
    result = sp.sympify(expression)
    functions = {
        "root": sp.sqrt,
        "log": sp.log,
        "equals": lambda x: x,
        "power_of_two": lambda x: 2**x,
        "absolute": sp.Abs,
    }
    for name in reversed(list(d.symbols)):
        entry = d.symbols[name]
        if entry.op in functions:
            result = result.subs(sp.Symbol(name), functions[entry.op](entry.of))
        elif entry.op == "max":
            result = result.subs(sp.Symbol(name), sp.Max(*entry.of))
    return result
