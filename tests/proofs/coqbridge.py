"""Between the derivation in Python and the proofs in Coq.

``docs/proofs/bridge.json`` names, for each step of the derivation, the lemma that proves it and the lemma's
statement as Coq prints it. ``python tests/proofs/coqbridge.py`` writes that file anew after a proof changed;
the tests beside this module hold it to the compiled proofs. :func:`coq_term` writes a SymPy expression as a
Coq term over the real numbers, so that a formula of the derivation can be put to Coq as it stands.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sympy as sp

PROOFS = Path(__file__).resolve().parents[2] / "docs" / "proofs"
BRIDGE = PROOFS / "bridge.json"
LABELS = PROOFS.parents[1] / "bstheory" / "checking" / "formal_proofs.json"
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
    "adam_token_half_life_theta": "Sharp",
    "adam_token_half_life_sharp": "Sharp",
    "adam_token_half_life_momentum": "Momentum",
    "adam_token_half_life_momentum_schedule": "MomentumWeights",
    "adam_norm_test": "NormTestBound",
}


def coq_term(expression: sp.Expr, names: Mapping[str, str] | None = None) -> str:
    """``expression`` as a Coq term of type ``R``.

    Args:
        expression: built from symbols, rational numbers, sums, products, integer and half-integer powers,
            ``log``, ``exp`` and ``Max``.
        names: Coq terms for the symbols that are not called the same there.

    Raises:
        ValueError: for anything else; a formula is never approximated on its way to Coq.

    Example:
        >>> x = sp.Symbol("x")
        >>> coq_term(sp.log(1 + x**2) / 2, {"x": "Rg"})
        'ln (Rg ^ 2 + 1) / 2'
    """
    names = names or {}
    # Binding strengths: sum 1, product 2, sign and function 3, power 4, atom 5.

    def wrapped(e: sp.Expr, least: int) -> str:
        text, strength = term(e)
        return text if strength >= least else f"({text})"

    def product(factors: list[sp.Expr]) -> tuple[str, int]:
        if not factors:
            return "1", 5
        if len(factors) == 1:
            return term(factors[0])
        first, *rest = factors
        return " * ".join([wrapped(first, 2), *(wrapped(f, 3) for f in rest)]), 2

    def term(e: sp.Expr) -> tuple[str, int]:
        if e.is_Symbol:
            name = names.get(e.name, e.name)
            return name, 5 if name.isidentifier() or name.startswith("(") else 3
        if e.is_Integer:
            return str(e), 5 if e >= 0 else 1
        if e.could_extract_minus_sign() and (e.is_Mul or e.is_Rational):
            return f"- {wrapped(-e, 3)}", 1
        if e.is_Add:
            first, *rest = sorted(
                e.args, key=lambda a: (a.could_extract_minus_sign(), sp.default_sort_key(a))
            )
            text = wrapped(first, 2)
            for a in rest:
                text += f" - {wrapped(-a, 2)}" if a.could_extract_minus_sign() else f" + {wrapped(a, 2)}"
            return text, 1
        if e.is_Pow and e.exp.is_Integer and e.exp > 0:
            return f"{wrapped(e.base, 5)} ^ {e.exp}", 4
        if e.is_Pow and e.exp == sp.Rational(1, 2):
            return f"sqrt {wrapped(e.base, 5)}", 3
        if e.is_Pow and e.exp.is_Rational and e.exp > 0 and e.exp.q == 2:
            return f"(sqrt {wrapped(e.base, 5)}) ^ {e.exp.p}", 4
        if e.is_Mul or e.is_Rational or (e.is_Pow and e.exp.is_Rational and e.exp < 0):
            above, below = [], []
            for factor in sp.Mul.make_args(e):
                if factor.is_Rational:
                    above += [sp.Integer(factor.p)] if factor.p != 1 else []
                    below += [sp.Integer(factor.q)] if factor.q != 1 else []
                elif factor.is_Pow and factor.exp.is_Rational and factor.exp < 0:
                    below.append(1 / factor)
                else:
                    above.append(factor)
            top, strength = product(above)
            if not below:
                return top, strength
            bottom, strength_below = product(below)
            top = top if strength >= 2 else f"({top})"
            return f"{top} / {bottom if strength_below >= 3 else f'({bottom})'}", 2
        if isinstance(e, sp.log):
            return f"ln {wrapped(e.args[0], 5)}", 3
        if isinstance(e, sp.exp):
            return f"exp {wrapped(e.args[0], 5)}", 3
        if isinstance(e, sp.Max) and len(e.args) == 2:
            return f"Rmax {wrapped(e.args[0], 5)} {wrapped(e.args[1], 5)}", 3
        raise ValueError(f"no Coq term for {sp.srepr(e)}")

    return term(sp.sympify(expression))[0]


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


# Derivations (slug and part) whose claim a theorem proves, with the theorem's names for their symbols. The
# hypotheses on both sides are matched by reading; the right sides are matched by Coq.
SAME = {"R": "Rg", "d": "INR d", "F_start": "F x0", "F_star": "Fstar"}
LAGS = {"C_A": "CA", "C_A2": "CA'", "C_2": "C2", "C_3": "C3", "D": "sum N B"}
CLAIMS = {
    ("adam_token_half_life", ""): ("adam_token_half_life", SAME),
    ("adam_token_half_life_sharp", ""): ("adam_token_half_life_sharp", SAME),
    ("adam_token_half_life_initial", "first_batch"): (
        "adam_token_half_life_first_batch",
        SAME | {"B_1": "B1"},
    ),
    ("adam_token_half_life_momentum", ""): ("adam_token_half_life_momentum", SAME | LAGS),
}

# Two spellings of one argument of sqrt or ln become one; the rest is arithmetic in a field.
SAME_ATOMS = """
Ltac same_atoms := repeat match goal with
  | |- context [sqrt ?a] => match goal with |- context [sqrt ?b] =>
      lazymatch a with b => fail | _ => replace (sqrt a) with (sqrt b) by (f_equal; field; lra) end end
  | |- context [ln ?a] => match goal with |- context [ln ?b] =>
      lazymatch a with b => fail | _ => replace (ln a) with (ln b) by (f_equal; field; lra) end end
  end.
"""


def with_bound(theorem: str, recorded: str, bound: sp.Expr, names: Mapping[str, str]) -> str:
    """Coq source: ``theorem`` with another right side, proved from it if the two are equal."""
    hypotheses, _ = recorded.rsplit(" <= ", 1)
    binders = re.findall(r"\(([\w' ]+) : ", recorded.removeprefix("forall ").split("), ", 1)[0])
    arguments = " ".join(binders)
    return f"""{SAME_ATOMS}
Theorem restated : {hypotheses} <= {coq_term(bound, names)}.
Proof.
  intros. eapply Rle_trans; [apply ({theorem} {arguments}); assumption |].
  right. same_atoms. field. repeat split; lra.
Qed.
"""


def derived(slug: str, part: str) -> Any:
    """The derivation of a slug, or of a part of it."""
    from bstheory.theory import library

    found = library.get(slug).derivation()
    return found[part] if part else found


def claimed(slug: str, part: str) -> Mapping[str, Any]:
    """The document that a certificate holds: with the theorem's title and assumptions in words."""
    from bstheory.theory import library

    document = library.get(slug).document()
    return document["parts"][part] if part else document


def labels(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """The content of ``formal_proofs.json``; raises where Coq does not accept a derivation's right side."""
    from bstheory.checking.formal import statement_hash

    found: dict[str, Any] = {}
    for (slug, part), (theorem, names) in CLAIMS.items():
        derivation, entry = derived(slug, part), recorded["theorems"][theorem]
        bound = derivation.closed_form(derivation.claim[2])
        answer = run_coq(with_bound(theorem, entry["statement"], bound, names))
        if answer.returncode:
            raise RuntimeError(f"{slug} {part}: not the right side of {theorem}\n{answer.stderr}")
        found.setdefault(slug, {})[part] = {
            "theorem": theorem,
            "file": entry["file"],
            "coq_statement_sha256": hashlib.sha256(entry["statement"].encode()).hexdigest(),
            "statement_sha256": statement_hash(claimed(slug, part)),
        }
    return {"theorems": found}


def coq_is_missing() -> bool:
    return shutil.which("coqc") is None


if __name__ == "__main__":
    proved = bridge()
    LABELS.write_text(json.dumps(labels(proved), indent=2) + "\n")
    BRIDGE.write_text(json.dumps(proved, indent=2, ensure_ascii=False) + "\n")
    print(f"wrote {BRIDGE.relative_to(PROOFS.parents[1])}")
