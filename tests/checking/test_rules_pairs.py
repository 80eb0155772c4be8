"""Sums over pairs of steps: what follows is accepted, misuse is not."""

from __future__ import annotations

import copy

import pytest

from bstheory.checking import recheck_document
from bstheory.theory.theorems import adam_token_half_life_momentum as momentum

DOCUMENT = momentum.BOUND.document()


def damaged(change) -> str:
    document = copy.deepcopy(DOCUMENT)
    change(document, {step["name"]: step for step in document["steps"]}, document["symbols"])
    return recheck_document(document).reason


def test_the_document_checks() -> None:
    assert recheck_document(DOCUMENT).valid


def redefine(symbols, name: str, of: str) -> None:
    symbols[name]["definition"]["of"] = of


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # A mean given the past of no step: it would pass for a number.
        (lambda d, steps, s: redefine(s, "mean_gP", "G_l/P_l"), "operator 'mean'"),
        # A schedule that may be random has no known value at a later step.
        (lambda d, steps, s: s["c"].pop("fixed"), "may be random"),
        (lambda d, steps, s: s["G_l"]["depends"].remove("draw"), ""),
        (lambda d, steps, s: redefine(s, "w_hat", "W*s_l*2"), "two sums differ"),
        (lambda d, steps, s: redefine(s, "w_hat", "W*s_l + c_l"), "two sums differ"),
        (lambda d, steps, s: redefine(s, "lag_3", "W*after*lag*s_l/om**2"), "weighted sum between"),
        (lambda d, steps, s: redefine(s, "T_across", "norm*lag_3"), "weights across"),
        (lambda d, steps, s: redefine(s, "T_mixed", "2*mixed*s_l"), ""),
        (lambda d, steps, s: redefine(s, "norm_l", "m_l**2/P_l"), ""),
        (lambda d, steps, s: steps["same_inner"]["pairs"].update(m_l="G"), "same counterpart"),
        (lambda d, steps, s: steps["same_inner"]["pairs"].pop("m_l"), "differently"),
        (lambda d, steps, s: steps["one_step_total"]["terms"].update(T_square="-om/(2*Z)"), "depends on"),
        (lambda d, steps, s: steps["second_lags"]["terms"].update(average="-2*g"), "depends on"),
        (lambda d, steps, s: steps["tower_noise"].update(right="T_cross"), "differ"),
    ],
)
def test_misuse_is_rejected(change, message) -> None:
    reason = damaged(change)
    assert reason and message in reason, reason


def test_a_claim_about_pairs_is_no_claim_about_steps() -> None:
    """Summing over j alone what holds for j <= n would count pairs that are not there."""

    def change(document, steps, symbols):
        symbols["T_noise"]["definition"]["op"] = "steps"

    assert "operator 'steps'" in damaged(change)


def test_a_hypothesis_may_not_speak_of_later_steps() -> None:
    def change(document, steps, symbols):
        steps["range_hypothesis"]["gap"] = "R**2 - v_prev + c_l"

    assert "hypothesis" in damaged(change)
