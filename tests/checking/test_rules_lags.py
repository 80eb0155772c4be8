"""Functions of the lag and their sums: what follows is accepted, misuse is not."""

from __future__ import annotations

import copy

import pytest

from bstheory.checking import recheck_document
from bstheory.theory.theorems import adam_unnormalised_momentum as momentum

DOCUMENT = momentum.adam().document()


def damaged(change) -> str:
    document = copy.deepcopy(DOCUMENT)
    change({step["name"]: step for step in document["steps"]}, document["symbols"])
    return recheck_document(document).reason


def recursion(symbols, name: str, start: str, after: str) -> None:
    symbols[name]["definition"]["of"] = [start, after]


def test_the_document_checks() -> None:
    assert recheck_document(DOCUMENT).valid


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # A function of the lag knows nothing of the step, of a draw, or of what is declared after it.
        (lambda steps, s: recursion(s, "pq", "1", "pq*S_next"), ""),
        (lambda steps, s: recursion(s, "pq", "1", "pq*g**2"), ""),
        (lambda steps, s: recursion(s, "lag", "0", "lag + fade"), "come later"),
        (lambda steps, s: recursion(s, "pq", "pq", "q*pq"), "depends on an index"),
        (lambda steps, s: s["pq"]["depends"].append("draw"), "depends on step and later"),
        (lambda steps, s: s["pq"]["depends"].remove("later"), "depends on step and later"),
        (lambda steps, s: s["pq"]["definition"].update(of="q"), "a recursion is of a list"),
        # Signs are by induction over the lag: both the start and the next value count.
        (lambda steps, s: recursion(s, "lag", "0", "lag - 1"), "sign"),
        (lambda steps, s: s["lag"].update(sign="positive"), "sign"),
        (lambda steps, s: s["pq"].update(sign="positive"), "sign"),
        # Another recursion is another function.
        (lambda steps, s: recursion(s, "pq", "1", "q*pq/2"), "left over"),
        (lambda steps, s: recursion(s, "pq", "2", "q*pq"), ""),
        (lambda steps, s: recursion(s, "after", "1", "1"), ""),
        # The potential, its facts and the sum belong together.
        (lambda steps, s: steps["sum_C_2"].update(potential="c1*pq/c"), "p - p(+1) - f"),
        (lambda steps, s: steps["sum_C_2"].update(potential="-c1*pq/(c*cq)"), "not visibly nonnegative"),
        (lambda steps, s: steps["sum_C_2"].update(potential="c1*pq*S_l/cq"), "function of the lag"),
        (lambda steps, s: steps["sum_C_2"].update(op="pairs"), "not a sum over lags"),
        (lambda steps, s: steps["sum_C_2"].update(op="lags"), "not defined as"),
        (lambda steps, s: steps["sum_C_2"].update(fact="drop_C_A"), "p - p(+1) - f"),
        (lambda steps, s: steps["sum_C_3"].update(slope="0"), "slope_fact"),
        (lambda steps, s: steps["sum_C_3"].update(slope_fact="potential_C_3"), "slope_fact"),
        (lambda steps, s: steps["sum_C_3"].update(most="pq"), "most_fact"),
        (lambda steps, s: steps["sum_C_3"].update(symbol="lag_C_2"), "not defined as"),
        # Induction over the lag needs its start and its step.
        (lambda steps, s: steps["count_of_lags"].update(keeps="beta/2"), "e(+1) - keeps e"),
        (lambda steps, s: steps["count_of_lags"].update(keeps="-beta"), "not visibly nonnegative"),
        (lambda steps, s: steps["count_of_lags"].update(base="1"), "lag 0"),
        (lambda steps, s: steps["count_of_lags"].update(relation="=="), "only an inequality"),
        (lambda steps, s: steps["count_of_lags"].update(gap="lag - Om2"), ""),
        # What holds at step j is said of step n only through counterparts.
        (lambda steps, s: steps["top_l"].update(pairs={}), "no counterpart"),
        (lambda steps, s: steps["top_l"].update(pairs={"s_l": "S_next"}), ""),
        (lambda steps, s: s["S_next"].pop("fixed"), "may be random"),
    ],
)
def test_misuse_is_rejected(change, message) -> None:
    reason = damaged(change)
    assert reason and message in reason, reason


def test_a_false_sum_cannot_be_shown() -> None:
    """sum_{k} q^k <= 1/2 fails at q = 1/2; no potential of the language starts below the first term."""

    def change(steps, symbols):
        steps["sum_C_2"].update(potential="c1*pq/(2*c*cq)", gap="c1/(2*c*cq) - lag_C_2")
        steps["C_2"].update(gap="c1/(2*c*cq) - lag_C_2")

    assert "p - p(+1) - f" in damaged(change)


def test_a_definition_by_itself_ends() -> None:
    """A state that starts at a function of the lag is refused; following its definition does not go on for ever."""
    document = copy.deepcopy(DOCUMENT)
    document["chains"]["S"]["start"] = "pq"
    assert "start value may not depend on the step" in recheck_document(document).reason
