"""Between the derivation in Python and the proofs in Coq.

``docs/proofs/bridge.json`` names, for each step of the derivation, the lemma that proves it and the lemma's
statement as Coq prints it. ``python tests/proofs/coqbridge.py`` writes that file anew after a proof changed;
the tests beside this module hold it to the compiled proofs. :func:`coq_term` writes a SymPy expression as a
Coq term over the real numbers, so that a formula of the derivation can be put to Coq as it stands.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import sympy as sp

PROOFS = Path(__file__).resolve().parents[2] / "docs" / "proofs"
BRIDGE = PROOFS / "bridge.json"
HEADER = """From Coq Require Import Reals Lra List.
From BSTheory Require Import {modules}.
Local Open Scope R_scope.
Import ListNotations.
"""

# Step of the derivation -> file and lemma. The lemma bears the name of the step.
STEPS = {
    "inverse_root_difference": "Analysis",
    "conditional_unbiasedness": "OneStep",
    "young_past": "Analysis",
    "young_present": "Analysis",
    "one_step": "OneStep",
    "v_hat_range": "Adam",
    "descent": "Adam",
    "log_step": "Analysis",
    "log_sum": "Analysis",
    "tokens_residual": "Adam",
    "telescope": "Adam",
}
THEOREMS = {
    "adam_token_half_life": "Adam",
    "adam_token_half_life_any_start": "Adam",
    "adam_token_half_life_expected": "Adam",
    "adam_token_half_life_lipschitz": "Smooth",
    "adam_token_half_life_first_batch": "Refined",
    "adam_token_half_life_variance_aware": "Refined",
    "adam_token_half_life_ramp_up": "Refined",
    "adam_token_half_life_bias_corrected": "BiasCorrected",
}


def coq_term(expression: sp.Expr, names: Mapping[str, str] | None = None) -> str:
    """``expression`` as a Coq term of type ``R``, fully parenthesized.

    Args:
        expression: built from symbols, rational numbers, sums, products, integer and half-integer powers,
            ``log``, ``exp`` and ``Max``.
        names: Coq terms for the symbols that are not called the same there.

    Raises:
        ValueError: for anything else; a formula is never approximated on its way to Coq.

    Example:
        >>> x = sp.Symbol("x")
        >>> coq_term(sp.log(1 + x**2) / 2, {"x": "Rg"})
        '((1 / 2) * ln ((1 + (Rg ^ 2))))'
    """
    names = names or {}

    def term(e: sp.Expr) -> str:
        if e.is_Symbol:
            return names.get(e.name, e.name)
        if e.is_Integer:
            return f"({e})" if e < 0 else str(e)
        if e.is_Rational:
            return f"({e.p} / {e.q})"
        if e.is_Add:
            return "(" + " + ".join(term(a) for a in sorted(e.args, key=sp.default_sort_key)) + ")"
        if e.is_Mul:
            return "(" + " * ".join(term(a) for a in e.args) + ")"
        if e.is_Pow and e.exp.is_Integer:
            power = term(e.base) if abs(e.exp) == 1 else f"({term(e.base)} ^ {abs(e.exp)})"
            return power if e.exp > 0 else f"(/ {power})"
        if e.is_Pow and e.exp.is_Rational and e.exp.q == 2:
            root = f"(sqrt {term(e.base)})"
            power = root if abs(e.exp.p) == 1 else f"({root} ^ {abs(e.exp.p)})"
            return power if e.exp > 0 else f"(/ {power})"
        if isinstance(e, sp.log):
            return f"ln ({term(e.args[0])})"
        if isinstance(e, sp.exp):
            return f"exp ({term(e.args[0])})"
        if isinstance(e, sp.Max) and len(e.args) == 2:
            return f"(Rmax {term(e.args[0])} {term(e.args[1])})"
        raise ValueError(f"no Coq term for {sp.srepr(e)}")

    return term(sp.sympify(expression))


def coq_relation(relation: sp.Rel, names: Mapping[str, str] | None = None) -> str:
    """An equation or inequality between SymPy expressions as a Coq proposition."""
    sign = {sp.Eq: "=", sp.Le: "<=", sp.Lt: "<", sp.Ge: ">=", sp.Gt: ">"}[type(relation)]
    return f"{coq_term(relation.lhs, names)} {sign} {coq_term(relation.rhs, names)}"


def run_coq(
    source: str, *, proofs: Path = PROOFS, modules: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Compile ``source`` against the proofs built in ``proofs``; the outcome says whether Coq accepts it."""
    names = modules or " ".join(dict.fromkeys([*STEPS.values(), *THEOREMS.values(), "FiniteSums", "Tree"]))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "Question.v"
        file.write_text(HEADER.format(modules=names) + source)
        return subprocess.run(
            ["coqc", "-q", "-Q", str(proofs), "BSTheory", str(file)],
            capture_output=True,
            text=True,
            check=False,
        )


def printed_statements(lemmas: list[str], *, proofs: Path = PROOFS) -> dict[str, str]:
    """The statement of each lemma as Coq prints it, on one line."""
    source = "Set Printing Width 100.\n" + "".join(f"Check @{lemma}.\n" for lemma in lemmas)
    answer = run_coq(source, proofs=proofs)
    if answer.returncode:
        raise RuntimeError(answer.stderr)
    blocks = re.split(r"^(\w+)\n {5}: ", answer.stdout, flags=re.MULTILINE)[1:]
    return {name: " ".join(body.split()) for name, body in zip(blocks[::2], blocks[1::2], strict=True)}


def bridge() -> dict:
    """The content of ``bridge.json`` as the compiled proofs have it."""
    statements = printed_statements([*STEPS, *THEOREMS])

    def entry(lemma: str, file: str) -> dict[str, str]:
        return {"lemma": lemma, "file": f"docs/proofs/{file}.v", "statement": statements[lemma]}

    return {
        "library": "BSTheory",
        "method": "formal proof (Coq)",
        "steps": {step: entry(step, file) for step, file in STEPS.items()},
        "theorems": {name: entry(name, file) for name, file in THEOREMS.items()},
    }


def coq_is_missing() -> bool:
    return shutil.which("coqc") is None


if __name__ == "__main__":
    BRIDGE.write_text(json.dumps(bridge(), indent=2, ensure_ascii=False) + "\n")
    print(f"wrote {BRIDGE.relative_to(PROOFS.parents[1])}")
