"""Each local step of the derivation is a lemma that Coq accepts, and a tampered step is one it rejects."""

from __future__ import annotations

import copy

import pytest
import sympy as sp
from coqbridge import THEOREMS, coq_is_missing, printed_statements, run_coq
from coqcertificate import KINDS, TARGET, WHOLE_RUN, coq_file, derivations, is_local, local_lemmas, step_lemma

from bstheory.theory import library
from bstheory.theory.theorems.adam_token_half_life import derive

DOCUMENT = derive().document()
STEPS = {step["name"]: step for step in DOCUMENT["steps"]}
MODULES = "Derivation Analysis OneStep Adam"
needs_coq = pytest.mark.skipif(coq_is_missing(), reason="coqc is not installed; `make proofs` installs it")


def test_the_coq_file_is_the_derivation() -> None:
    assert TARGET.read_text() == coq_file(DOCUMENT), "run python tests/proofs/coqcertificate.py and build"


def test_every_step_is_a_lemma_a_hypothesis_or_part_of_a_theorem() -> None:
    for name, step in STEPS.items():
        assert is_local(step) + (step["kind"] == "assumption") + (name in WHOLE_RUN) == 1, name


@needs_coq
@pytest.mark.slow
def test_every_lemma_that_the_derivation_names_exists(built: str) -> None:
    names = sorted({step["lemma"] for step in DOCUMENT["steps"] if step.get("lemma")})
    answer = run_coq("".join(f"Check {name}.\n" for name in names), modules=MODULES)
    assert answer.returncode == 0, answer.stderr


@needs_coq
@pytest.mark.slow
def test_the_theorems_about_whole_runs_exist(built: str) -> None:
    assert set(printed_statements(sorted(set(WHOLE_RUN.values())))) == set(WHOLE_RUN.values())


def coq_accepts(document: dict, name: str) -> bool:
    return run_coq(step_lemma(document, name), modules="FiniteSums OneStep Steps").returncode == 0


def tampered(name: str, change) -> dict:
    document = copy.deepcopy(DOCUMENT)
    change(next(step for step in document["steps"] if step["name"] == name))
    return document


def replace_gap(old: str, new: str):
    def change(step: dict) -> None:
        assert old in step["gap"], step["gap"]
        step["gap"] = step["gap"].replace(old, new)

    return change


def halve_first_multiplier(step: dict) -> None:
    step["uses"][0][1] = f"({step['uses'][0][1]})/2"


def flip_first_multiplier(step: dict) -> None:
    step["uses"][0][1] = f"-({step['uses'][0][1]})"


def halve_first_term(step: dict) -> None:
    symbol, coefficient = next(iter(step["terms"].items()))
    step["terms"][symbol] = f"({coefficient})/2"


TAMPERED = {
    "one_step: no error term": ("one_step", replace_gap("2*R*mean_g2P2*s", "0")),
    "young_past: half the error": ("young_past", replace_gap("R*g**2*s/P**2", "R*g**2*s/P**2/2")),
    "young_present: multiplier": ("young_present", halve_first_multiplier),
    "pathwise: sign": ("pathwise", flip_first_multiplier),
    "conditional: coefficient": ("conditional", halve_first_term),
    "range_advanced: no decay": ("range_advanced", flip_first_multiplier),
    "log_step: ln y <= y - 2": ("log_step", replace_gap("- 1", "- 2")),
    "tokens_residual: half the tokens": ("tokens_residual", replace_gap("B*ln2/h", "B*ln2/(2*h)")),
    "log_sum: no residual": ("log_sum", replace_gap("B*ln2/h", "0")),
    "one_step_sum: coefficient": ("one_step_sum", halve_first_term),
    "conclusion: factor": ("conclusion", lambda step: step.update(by="Z")),
}


@needs_coq
@pytest.mark.slow
@pytest.mark.parametrize("case", TAMPERED)
def test_a_tampered_step_is_rejected(case: str, built: str) -> None:
    name, change = TAMPERED[case]
    assert coq_accepts(DOCUMENT, name)
    assert not coq_accepts(tampered(name, change), name)


@needs_coq
@pytest.mark.slow
def test_the_claim_of_the_derivation_is_the_theorem(built: str, theorem_with_bound) -> None:
    derivation = derive()
    right = derivation.closed_form(derivation.claim[2])
    names = {"R": "Rg", "d": "INR d", "F_start": "F x0", "F_star": "Fstar"}
    assert "adam_token_half_life" in THEOREMS
    assert run_coq(theorem_with_bound(right, names)).returncode == 0
    assert run_coq(theorem_with_bound(right - sp.Symbol("R"), names)).returncode != 0


# -- every theorem of the library --------------------------------------------------------------------------

# Kinds of step that no single lemma states: whole runs, hypotheses, and facts taken as trusted.
OTHER_KINDS = {
    "assumption",
    "hypothesis",
    "induction",
    "telescope",
    "tower",
    "tower_expected",
    "steps_expected",
    "exchange_mean",
    "at_end",
    "exp_series",
    # Sums over the steps of a run, and over pairs of them.
    "pairs_tower",
    "pairs_by_later",
    "pairs_across",
    "pairs_by_step",
    "relabel",
    "relabel_fact",
    # Sums over lags with momentum weights.
    "lag_induction",
    "lag_sum",
    "lag_sum_across",
}


@pytest.fixture(scope="module")
def documents() -> list[dict]:
    theorems = [library.get(slug) for slug in library.all_slugs()]
    return [theorem.document() for theorem in theorems if theorem.derive is not None]


@pytest.mark.slow
def test_every_kind_of_step_is_known(documents: list[dict]) -> None:
    kinds = {step["kind"] for d in documents for part in derivations(d) for step in part["steps"]}
    assert kinds <= KINDS.keys() | OTHER_KINDS


@needs_coq
@pytest.mark.slow
def test_coq_accepts_every_local_step_of_every_theorem(built: str, documents: list[dict]) -> None:
    lemmas = local_lemmas(documents)
    assert len(lemmas) > 500
    source = "".join(f"Module M{number}.\n{lemma}End M{number}.\n" for number, lemma in enumerate(lemmas))
    answer = run_coq(source, modules="FiniteSums OneStep Steps")
    assert answer.returncode == 0, answer.stderr
