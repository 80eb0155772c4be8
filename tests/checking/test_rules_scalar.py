"""The exponential-series rule and the injectivity of the logarithm: true claims pass, false ones do not."""

from __future__ import annotations

import copy
import math

import pytest
import sympy as sp

from bstheory.checking.recheck import recheck_document
from bstheory.checking.rules_scalar import factor, nonnegative_series
from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_scalar import decay, exp_series, log_injective


def series_derivation(up, down, free) -> Derivation:
    """One step: P(u) y + Q(u)/y + R(u) >= 0 for u = ln y with y = 1 + z."""
    d = Derivation("series", "a power series")
    z = d.symbol("z", sign="nonnegative")
    u = d.define("u", "log", 1 + z)
    d.combine("at_least_one", gap=(1 + z) - 1, slack=z, why="z >= 0")
    exp_series(d, "series", u, "at_least_one", up=up, down=down, free=free, why="test")
    d.claim = ("series", sp.Integer(0), d.gap("series"))
    return d


TRUE = [
    ([1], [], [-1, -1]),  # e^u >= 1 + u
    ([2], [], [-2, -2, -1]),  # e^u >= 1 + u + u^2/2
    ([sp.Rational(1, 2)], [sp.Rational(-1, 2)], [0, -1]),  # sinh u >= u
    (["-2", "1"], [], [2, 1]),  # u (e^u + 1) >= 2 (e^u - 1)
    (["1", "-1/2", "1/12"], [], ["-1", "-1/2", "-1/12"]),  # x coth x <= 1 + x^2/3
]
FALSE = [
    ([1], [], [-1, -1, "-3/5"]),
    ([1], [], [-1, "-11/10"]),
    (["-2", "99/100"], [], [2, 1]),
    (["1", "-1/2", "1/13"], [], ["-1", "-1/2", "-1/13"]),
    ([1], [2], [-3]),  # e^u + 2 e^-u - 3 falls first
    ([1, "-1/100"], [], []),  # negative for large u only
    (["-1"], [], ["1"]),
]


@pytest.mark.parametrize(("up", "down", "free"), TRUE)
def test_true_series_pass(up, down, free) -> None:
    report = recheck_document(series_derivation(up, down, free).document())
    assert report.valid, report.reason
    assert "exp_series" in report.rests_on


@pytest.mark.parametrize(("up", "down", "free"), FALSE)
def test_false_series_are_rejected(up, down, free) -> None:
    assert "coefficient" in recheck_document(series_derivation(up, down, free).document()).reason


@pytest.mark.parametrize("case", FALSE)
def test_what_is_rejected_here_is_false_somewhere(case) -> None:
    up, down, free = ([float(sp.Rational(c)) for c in terms] for terms in case)

    def gap(u: float) -> float:
        p, q, r = (sum(c * u**j for j, c in enumerate(terms)) for terms in (up, down, free))
        return p * math.exp(u) + q * math.exp(-u) + r

    assert min(gap(k / 100) for k in range(30_000)) < 0


def test_the_fact_must_say_that_y_is_at_least_one() -> None:
    document = series_derivation([1], [], [-1, -1]).document()
    document["steps"][0] |= {"gap": "z", "slack": "z"}
    good = copy.deepcopy(document)
    assert recheck_document(good).valid
    document["symbols"]["u"]["definition"]["of"] = "2 + z"
    document["steps"][1]["gap"] = document["claim"]["rhs"] = "2 + z - 1 - u"
    assert "y - 1" in recheck_document(document).reason


def test_gap_that_differs_from_the_coefficients_is_rejected() -> None:
    document = series_derivation([1], [], [-1, -1]).document()
    document["steps"][1]["free"] = ["-1"]
    assert "left over" in recheck_document(document).reason


def test_logarithms_that_agree_have_equal_arguments() -> None:
    d = Derivation("logs", "logs")
    B, h = d.symbol("B", sign="positive"), d.symbol("h", sign="positive")
    ln2 = d.define("ln2", "log", 2, sign="positive")
    p = d.define("p", "power_of_two", -B / h, sign="positive")
    q = d.define("q", "power_of_two", -B / h, sign="positive")
    log_p, log_q = d.define("log_p", "log", p), d.define("log_q", "log", q)
    d.log_power_of_two("first", log_p, ln2, why="test")
    d.log_power_of_two("second", log_q, ln2, why="test")
    d.combine("equal", gap=log_p - log_q, relation="==", uses={"first": 1, "second": -1}, why="test")
    log_injective(d, "same", "equal", log_p, log_q, why="test")
    d.claim = ("same", q, p)
    document = d.document()
    assert recheck_document(document).valid, recheck_document(document).reason
    document["steps"][2]["relation"] = ">="
    assert "equality" in recheck_document(document).reason


def test_decay_is_minus_the_logarithm() -> None:
    d = Derivation("decay", "decay")
    beta = d.symbol("beta", sign="positive")
    log_beta = d.define("log_beta", "log", beta)
    u = decay(d, beta, log_beta)
    d.claim = ("u_value", sp.Integer(0), d.gap("u_value"))
    assert sp.expand(d.gap("u_value") - u - log_beta) == 0
    assert recheck_document(d.document()).valid


def test_large_powers_are_decided_not_sampled() -> None:
    assert nonnegative_series([factor("10"), factor("0"), factor("-1/1000000")], [], []) != ""
    assert nonnegative_series([factor("1")], [factor("-1")], []) == ""


def test_an_assumed_equality_is_not_closed_by_inequalities() -> None:
    # x_0 = 1 and x_next = -x: from the hypothesis x == 0 follows x_next == 0, but x >= 0 is false.
    d = Derivation("false", "an induction that starts wrongly")
    x, x_next = d.symbol("x", depends=["step"]), d.symbol("x_next", depends=["step"])
    d.chain("x", previous=x, next=x_next, start=1)
    d.assume("turn", x_next + x, relation="==", assumption="turn", why="x_next = -x")
    d.hypothesis("before", x, relation="==", why="x = 0")
    d.combine("after", gap=x_next, relation="==", uses={"turn": 1, "before": -1}, why="test")
    d.combine("start", gap=sp.Integer(1), slack=1, why="x_0 = 1 >= 0")
    d._add(
        "all",
        "induction",
        x,
        ">=",
        "test",
        hypothesis="before",
        advanced="after",
        start="start",
        chains=["x"],
    )
    d.claim = ("all", sp.Integer(0), x)
    assert "equality was assumed" in recheck_document(d.document()).reason
