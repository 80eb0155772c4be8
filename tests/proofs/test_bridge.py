"""The derivation's steps, the bridge file and the compiled Coq proofs say the same thing.

Statements are compared by Coq itself: a generated file states what Python says and closes it with the lemma.
Every test that expects acceptance stands beside one that expects a rejection.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import sympy as sp
from coqbridge import BRIDGE, PROOFS, THEOREMS, bridge, coq_is_missing, coq_relation, coq_term, run_coq

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(coq_is_missing(), reason="coqc is not installed; `make proofs` installs it"),
]


@pytest.fixture(scope="session", autouse=True)
def built() -> str:
    """The output of a build; a no-op for files that are already compiled."""
    done = subprocess.run(["bash", str(PROOFS / "build.sh")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def statement(lemma: str) -> str:
    recorded = json.loads(BRIDGE.read_text())
    return (recorded["steps"] | recorded["theorems"])[lemma]["statement"]


def accepted(source: str) -> bool:
    return run_coq(source).returncode == 0


# -- the bridge file ---------------------------------------------------------------------------------------


def test_the_bridge_file_is_what_coq_prints() -> None:
    assert json.loads(BRIDGE.read_text()) == bridge(), (
        "run python tests/proofs/coqbridge.py and look at the diff"
    )


def test_every_recorded_statement_is_proved_by_its_lemma() -> None:
    recorded = json.loads(BRIDGE.read_text())
    entries = [*recorded["steps"].values(), *recorded["theorems"].values()]
    answer = run_coq("".join(f"Check ({entry['lemma']} : {entry['statement']}).\n" for entry in entries))
    assert answer.returncode == 0, answer.stderr


# A wrong constant, sign, exponent or hypothesis, one at a time.
MUTATIONS = {
    "outer factor 2 -> 1": ("2 * sqrt (eps", "1 * sqrt (eps"),
    "error 2R -> R": ("(2 * Rg +", "(Rg +"),
    "no error term": ("(2 * Rg + L * alpha / 2)", "(L * alpha / 2)"),
    "second order L alpha/2 -> L alpha/4": ("L * alpha / 2", "L * alpha / 4"),
    "no token residual": (" + ln 2 * (D / h)", ""),
    "residual D/h -> D/(2h)": ("D / h", "D / (2 * h)"),
    "no dimension": ("INR d *", "1 *"),
    "logarithm without the 1": ("1 + Rg ^ 2 / eps", "Rg ^ 2 / eps"),
    "gradients unbounded": (
        "alpha h eps Rg gradF x0 zero_vec t ->",
        "alpha h eps (Rg + 1) gradF x0 zero_vec t ->",
    ),
    "objective unbounded below": ("(forall x : vec, Fstar <= F x) -> ", ""),
    "tokens unbounded": ("(forall w : path, path_of t w -> tokens w <= D) -> ", ""),
}


@pytest.fixture(scope="module")
def verdicts() -> dict[str, str]:
    """For each mutation, 'proved' or 'rejected'; all in one run of Coq.

    Coq first reads the mutated text as a proposition, so that a rejection is a rejection of the claim and not
    of its spelling.
    """
    original = statement("adam_token_half_life")
    source = f"Goal {original}.\nexact adam_token_half_life. Qed.\n"
    for old, new in MUTATIONS.values():
        assert original.count(old) == 1, (old, original)
        mutated = original.replace(old, new)
        source += f"""Check ({mutated} : Prop).
Goal {mutated}.
first [exact adam_token_half_life; idtac "proved" | idtac "rejected"]. Abort.
"""
    answer = run_coq(source)
    assert answer.returncode == 0, answer.stderr
    words = [line for line in answer.stdout.splitlines() if line in ("proved", "rejected")]
    return dict(zip(MUTATIONS, words, strict=True))


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_changed_constant_is_rejected(mutation: str, verdicts: dict[str, str]) -> None:
    assert verdicts[mutation] == "rejected"


def test_a_file_with_a_changed_constant_does_not_compile() -> None:
    true = statement("adam_token_half_life")
    theorem = "Theorem t : {}. Proof. exact adam_token_half_life. Qed.\n"
    assert accepted(theorem.format(true))
    assert not accepted(theorem.format(true.replace("2 * Rg", "Rg")))


# -- formulas written by SymPy -----------------------------------------------------------------------------

alpha, eps, R, L, D, h, Delta, d = sp.symbols("alpha eps R L D h Delta d", positive=True)
c, u, g, r, G, P, Q = sp.symbols("c u g r G P Q", positive=True)
NAMES = {"R": "Rg", "Delta": "(F x0 - Fstar)", "d": "INR d"}

# Two spellings of one argument of sqrt or ln become one; the rest is arithmetic in a field.
TACTICS = """
Ltac same_atoms := repeat match goal with
  | |- context [sqrt ?a] => match goal with |- context [sqrt ?b] =>
      lazymatch a with b => fail | _ => replace (sqrt a) with (sqrt b) by (f_equal; field; lra) end end
  | |- context [ln ?a] => match goal with |- context [ln ?b] =>
      lazymatch a with b => fail | _ => replace (ln a) with (ln b) by (f_equal; field; lra) end end
  end.
Ltac positive := repeat first [assumption | apply pow_lt | apply Rplus_lt_0_compat | apply Rmult_lt_0_compat].
Ltac positive_roots := repeat match goal with
  | |- context [sqrt ?a] => lazymatch goal with _ : 0 < sqrt a |- _ => fail | _ =>
      assert (0 < sqrt a) by (apply sqrt_lt_R0; positive) end
  end.
"""


def theorem_with_bound(bound: sp.Expr) -> str:
    """The flagship with ``bound`` for its right side, proved from the theorem if the two are equal."""
    hypotheses, _ = statement("adam_token_half_life").rsplit(" <= ", 1)
    return f"""{TACTICS}
Theorem t : {hypotheses} <= {coq_term(bound, NAMES)}.
Proof.
  intros.
  eapply Rle_trans; [apply (adam_token_half_life d h alpha eps Rg L D F gradF Fstar x0 t); assumption |].
  right. same_atoms. field. lra.
Qed.
"""


def test_the_bound_of_the_derivation_is_the_bound_of_the_theorem() -> None:
    residual = sp.log(1 + R**2 / eps) + sp.log(2) * D / h
    bound = 2 * sp.sqrt(eps + R**2) * (Delta / alpha + d * (2 * R + L * alpha / 2) * residual)
    assert accepted(theorem_with_bound(bound))
    assert accepted(theorem_with_bound(sp.expand(bound)))
    for wrong in (
        bound / 2,
        bound.subs(sp.log(2), sp.Integer(1) / 2),
        bound.subs(d, 1),
        bound - 2 * sp.sqrt(eps + R**2) * d * R * sp.log(2) * D / h,
    ):
        assert not accepted(theorem_with_bound(wrong))


def scalar_claim(claim: sp.Rel, hypotheses: list[sp.Rel], lemma: str) -> str:
    """``claim`` for all positive values of its symbols under ``hypotheses``, by ``lemma``."""
    symbols = sorted({s.name for e in [claim, *hypotheses] for s in e.free_symbols})
    positive = "".join(f"0 < {s} -> " for s in symbols)
    assumed = "".join(f"{coq_relation(e)} -> " for e in hypotheses)
    return f"""{TACTICS}
Goal forall {" ".join(symbols)} : R, {positive}{assumed}{coq_relation(claim)}.
Proof. intros. {lemma} Qed.
"""


def young(lemma: str, hypotheses: str) -> str:
    return f"""
  assert (T := {lemma} c r G g P Q {hypotheses}).
  rewrite Rabs_pos_eq in T by (apply Rmult_le_pos; lra).
  match type of T with ?a <= ?b => replace a with (b - (b - a)) in T by ring end.
  match type of T with ?b - (?b - ?a) <= _ => match goal with |- ?x <= ?y =>
    replace x with a by (field; lra); replace y with b by (field; lra); lra end end."""


def test_the_inverse_root_difference_of_the_derivation() -> None:
    v, vt = u + c * g**2, u + c * r**2
    P_, Q_ = sp.sqrt(eps + v), sp.sqrt(eps + vt)
    lemma = """
  assert (T := inverse_root_difference eps c u g r ltac:(lra) ltac:(lra) ltac:(lra)). cbv zeta in T.
  apply Rminus_diag_uniq. apply Rminus_diag_eq in T. rewrite <- T.
  same_atoms. positive_roots. field. repeat split; lra."""
    right = c * (r**2 - g**2) / (P_ * Q_ * (P_ + Q_))
    assert accepted(scalar_claim(sp.Eq(1 / P_ - 1 / Q_, right, evaluate=False), [], lemma))
    assert not accepted(scalar_claim(sp.Eq(1 / P_ - 1 / Q_, 2 * right, evaluate=False), [], lemma))


def test_the_two_young_steps_of_the_derivation() -> None:
    past = c * G * g * r**2 / (P * Q**2)
    present = c * G * g**3 / (P**2 * Q)
    error = sp.sqrt(c) * r * g**2 / P**2
    quarter = G**2 / (4 * Q)
    known, drawn = c * r**2 <= Q**2, c * g**2 <= P**2
    by_past = young("young_past", "ltac:(lra) ltac:(lra) ltac:(lra) ltac:(lra) ltac:(lra)")
    by_present = young("young_present", "ltac:(lra) ltac:(lra) ltac:(lra) ltac:(lra) ltac:(lra) ltac:(lra)")
    assert accepted(scalar_claim(past <= quarter + error, [known], by_past))
    assert accepted(scalar_claim(present <= quarter * g**2 / r**2 + error, [known, drawn], by_present))
    assert not accepted(scalar_claim(past <= quarter + error / 2, [known], by_past))
    assert not accepted(scalar_claim(present <= quarter * g**2 / r**2, [known, drawn], by_present))


def test_an_expression_without_a_coq_term_is_refused() -> None:
    with pytest.raises(ValueError, match="no Coq term"):
        coq_term(sp.sin(alpha))
    with pytest.raises(ValueError, match="no Coq term"):
        coq_term(sp.Float("0.1") * alpha)


# -- the audit ---------------------------------------------------------------------------------------------


def test_the_audit_names_the_theorems_and_only_coqs_own_axioms(built: str) -> None:
    audit = (PROOFS / "Audit.v").read_text()
    assert "Print Assumptions adam_token_half_life.\n" in audit
    assert all(re.search(rf"\b{theorem}[,).]", audit) for theorem in THEOREMS)
    used = set(built.rsplit("axioms used: ", 1)[1].split())
    assert used <= {
        "ClassicalDedekindReals.sig_forall_dec",
        "ClassicalDedekindReals.sig_not_dec",
        "FunctionalExtensionality.functional_extensionality_dep",
        "Classical_Prop.classic",
    }


def build_with(folder: Path, name: str, text: str) -> subprocess.CompletedProcess[str]:
    """Build a copy of the proofs with ``text`` at the end of ``name``, or alone in the audit."""
    copy = folder / "proofs"
    shutil.copytree(PROOFS, copy)
    with (copy / name).open("w" if name == "Audit.v" else "a") as file:
        file.write(text)
    return subprocess.run(["bash", str(copy / "build.sh")], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("Adam.v", "\nAxiom gift : 0 = 1.\n", "declares an axiom"),
        ("Adam.v", "\nLemma gift : 0 = 1.\nProof. Admitted.\n", "admits a proof"),
        ("Adam.v", "\nUnset Guard Checking.\n", "switches a check off"),
        (
            "Audit.v",
            "\nFrom Coq Require Import ProofIrrelevance.\nPrint Assumptions proof_irrelevance.\n",
            "is not an axiom of the classical reals",
        ),
    ],
)
def test_the_build_rejects_a_hole(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    done = build_with(tmp_path, name, text)
    assert done.returncode != 0
    assert complaint in done.stdout


def test_the_build_rejects_a_source_it_does_not_compile(tmp_path: Path) -> None:
    done = build_with(tmp_path, "Stray.v", "Definition stray := 0.\n")
    assert done.returncode != 0
    assert "Stray.v is not built" in done.stdout
