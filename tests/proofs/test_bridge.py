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
from coqbridge import (
    BRIDGE,
    CLAIMS,
    LABELS,
    PROOFS,
    THEOREMS,
    bridge,
    coq_is_missing,
    coq_term,
    derived,
    labels,
    run_coq,
    with_bound,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(coq_is_missing(), reason="coqc is not installed; `make proofs` installs it"),
]


@pytest.fixture(scope="module", autouse=True)
def proofs(built: str) -> None:
    """The tests below ask the compiled proofs."""


def accepted(source: str) -> bool:
    return run_coq(source).returncode == 0


# -- the bridge file ---------------------------------------------------------------------------------------


def test_the_bridge_file_is_what_coq_prints() -> None:
    assert json.loads(BRIDGE.read_text()) == bridge(), (
        "run python tests/proofs/coqbridge.py and look at the diff"
    )


def test_the_labels_are_claims_that_coq_accepts() -> None:
    """Made anew: the right side of each labelled derivation is put to Coq again."""
    assert json.loads(LABELS.read_text()) == labels(json.loads(BRIDGE.read_text()))


@pytest.mark.parametrize("claim", CLAIMS, ids="-".join)
def test_no_label_for_another_right_side(claim: tuple[str, str], statement) -> None:
    theorem, names = CLAIMS[claim]
    derivation = derived(*claim)
    bound = derivation.closed_form(derivation.claim[2])
    assert accepted(with_bound(theorem, statement(theorem), bound, names))
    for wrong in (bound / 2, bound + sp.Symbol("L"), bound.subs(sp.Symbol("alpha"), 2 * sp.Symbol("alpha"))):
        assert not accepted(with_bound(theorem, statement(theorem), wrong, names))


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
def verdicts(proofs: None, statement) -> dict[str, str]:
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


def test_a_file_with_a_changed_constant_does_not_compile(statement) -> None:
    true = statement("adam_token_half_life")
    theorem = "Theorem t : {}. Proof. exact adam_token_half_life. Qed.\n"
    assert accepted(theorem.format(true))
    assert not accepted(theorem.format(true.replace("2 * Rg", "Rg")))


# -- formulas written by SymPy -----------------------------------------------------------------------------

alpha, eps, R, L, D, h, Delta, d = sp.symbols("alpha eps R L D h Delta d", positive=True)
NAMES = {"R": "Rg", "Delta": "(F x0 - Fstar)", "d": "INR d"}


def test_the_bound_in_sympy_is_the_bound_of_the_theorem(theorem_with_bound) -> None:
    residual = sp.log(1 + R**2 / eps) + sp.log(2) * D / h
    bound = 2 * sp.sqrt(eps + R**2) * (Delta / alpha + d * (2 * R + L * alpha / 2) * residual)
    assert accepted(theorem_with_bound(bound, NAMES))
    assert accepted(theorem_with_bound(sp.expand(bound), NAMES))
    for wrong in (
        bound / 2,
        bound.subs(sp.log(2), sp.Integer(1) / 2),
        bound.subs(d, 1),
        bound - 2 * sp.sqrt(eps + R**2) * d * R * sp.log(2) * D / h,
    ):
        assert not accepted(theorem_with_bound(wrong, NAMES))


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


def test_a_changed_constant_in_a_source_makes_the_build_fail(tmp_path: Path) -> None:
    copy = tmp_path / "proofs"
    shutil.copytree(PROOFS, copy)
    source = copy / "Adam.v"
    constant = "INR d * (2 * Rg + L * alpha / 2)"
    assert source.read_text().count(constant) == 1
    source.write_text(source.read_text().replace(constant, "INR d * (Rg + L * alpha / 2)"))
    done = subprocess.run(["bash", str(copy / "build.sh")], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert 'File "./Adam.v"' in done.stderr
