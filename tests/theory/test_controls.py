"""Controls: six false statements that the checks must notice, and the conditional lemmas fuzzed.

Distributions are rational with finite support; expectations are finite sums of balls (Arb, 160 bits), so a
violation is certain when it is reported. BSTHEORY_FUZZ_CASES sets the number of cases (default 200 a lemma);
the slow profile takes 100000. ``experiments/lemma_fuzz`` holds the lemmas and a recorded campaign.
"""

from __future__ import annotations

import copy
import json
import math
import os
import random
import runpy
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import bstheory as bst
from bstheory.checking import recheck_document
from bstheory.checking.semantics import Evaluator
from tests.theory.adam_trees import adam_tree

CASES = int(os.environ.get("BSTHEORY_FUZZ_CASES", "200"))
FOLDER = Path(__file__).resolve().parents[2] / "experiments" / "lemma_fuzz"
fuzz = runpy.run_path(str(FOLDER / "lemmas.py"))
LEMMAS, PLANTED, ball, tally = (fuzz[name] for name in ("LEMMAS", "PLANTED", "ball", "tally"))


@pytest.mark.parametrize("name", LEMMAS)
def test_conditional_lemmas_hold_on_random_finite_distributions(name) -> None:
    found = tally(LEMMAS[name], random.Random(0), CASES)
    assert found == {"cases": CASES, "violated": 0, "held": CASES, "undecided": 0}


@pytest.mark.parametrize("name", LEMMAS)
def test_a_false_twin_of_each_lemma_is_refuted(name) -> None:
    assert tally(LEMMAS[name], random.Random(0), 1500, PLANTED[name])["violated"] > 0


def test_the_campaign_holds_a_hundred_thousand_cases_of_each_lemma() -> None:
    """What is committed is complete, violated nowhere, and noticed every false twin; a chunk repeats exactly."""
    document = json.loads((FOLDER / "results.json").read_text())
    for name in LEMMAS:
        lemma, planted = (document["totals"][f"{name} {form}"] for form in ("lemma", "planted"))
        assert lemma["cases"] == lemma["held"] >= 100_000 and planted["violated"] > 0
    job, seed = "tracking planted 0", document["settings"]["seed"]
    again = tally(
        LEMMAS["tracking"], random.Random(f"{job} {seed}"), document["settings"]["chunk"], PLANTED["tracking"]
    )
    assert document["chunks"][job] == again | {"seconds": document["chunks"][job]["seconds"]}


@pytest.mark.slow
@pytest.mark.parametrize("name", LEMMAS)
def test_conditional_lemmas_hold_in_many_cases(name) -> None:
    # A hundred thousand in the nightly profile.
    cases = 100_000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 10_000
    assert tally(LEMMAS[name], random.Random(1), cases)["violated"] == 0


def test_1_the_one_step_lemma_without_its_error_is_refuted() -> None:
    assert tally(LEMMAS["one_step"], random.Random(0), 200, Fraction(0))["violated"] > 0


def test_2_the_log_sum_without_the_decay_is_refuted() -> None:
    """g = 0: the left side vanishes, and ln(eps + v) falls."""
    document = copy.deepcopy(bst.theorems.adam_token_half_life.document())
    step = next(s for s in document["steps"] if s["name"] == "log_sum")
    step["gap"] = "log_next - log_prev - c*g**2/P**2"
    assert "log_sum" in recheck_document(document).reason
    eps, beta, v = ball(Fraction(1, 100)), ball(Fraction(1, 2)), ball(1)
    assert (eps + beta * v).log() - (eps + v).log() < 0
    constants, nodes, _ = adam_tree(random.Random(0), "first_batch")
    assert "log_sum" in {x.step for x in Evaluator(document, constants, nodes, 2).violations()}


def test_3_bias_correction_by_the_current_beta_is_refuted_after_a_ramp() -> None:
    """Constant input 1: v/(1 - 2^(-D/h)) is 1 exactly, v/(1 - beta^step) is not, in either direction."""
    for batches, direction in (([1, 1, 4], 1), ([4, 4, 1], -1)):
        betas = {1: Fraction(1, 2), 4: Fraction(1, 16)}  # h = 1
        v = Fraction(0)
        for b in batches:
            v = betas[b] * v + 1 - betas[b]
        assert v == 1 - Fraction(1, 2 ** sum(batches))
        wrong = 1 - betas[batches[-1]] ** len(batches)
        assert (wrong - v) * direction > 0


def test_4_the_relative_variance_of_v_is_not_free_of_the_batch() -> None:
    """Noise alone, stationary, exact: CV^2 = 2 (1 - beta)/(1 + beta) grows almost like the batch."""
    spread = [2 * (1 - 2 ** (-b / 1000)) / (1 + 2 ** (-b / 1000)) for b in (1, 64)]
    assert spread[1] / spread[0] == pytest.approx(64, rel=0.01)
    rng = np.random.default_rng(0)
    for b, expected in zip(
        (16, 256), [2 * math.tanh(math.log(2) * b / 2000) for b in (16, 256)], strict=True
    ):
        beta, v = 2 ** (-b / 1000), np.full(4000, 1.0)
        for _ in range(int(4000 / b) + 1):
            v = beta * v + (1 - beta) * rng.standard_normal(v.size) ** 2
        assert v.var() / v.mean() ** 2 == pytest.approx(expected, rel=0.25)


def test_5_no_certificate_allows_a_batch_chosen_after_its_gradient() -> None:
    """The verdict on a run with such batches, inapplicable, is tested with the comparison."""
    document = copy.deepcopy(bst.theorems.adam_token_half_life.document())
    document["symbols"]["B"]["depends"] = ["step", "draw"]
    assert not recheck_document(document).valid


def test_6_a_large_start_with_the_old_outer_root_is_refuted() -> None:
    document = copy.deepcopy(bst.theorems.adam_token_half_life_initial.document()["parts"]["any_start"])
    document["symbols"]["Z"]["definition"]["of"] = "R**2 + eps"
    next(s for s in document["steps"] if s["name"] == "definition_of_Z")["gap"] = "Z**2 - R**2 - eps"
    assert "root_order" in recheck_document(document).reason
    constants, nodes, _ = adam_tree(random.Random(3), "any_start", v0=400.0, noise=0.0)
    assert "root_order" in {v.step for v in Evaluator(document, constants, nodes, 2).violations()}
