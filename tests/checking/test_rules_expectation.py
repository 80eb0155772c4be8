"""Unconditional expectations: what is random stays inside, whatever a document says."""

from __future__ import annotations

import copy

import pytest

from bstheory.checking import recheck_document
from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_expectation import exchange_mean, fixed, steps_expected, tower_expected


def contraction() -> Derivation:
    """E x_k^2 <= rho^k-like factor for x_{k+1} = rho x_k + xi with a fixed factor: a small complete proof."""
    d = Derivation("contraction", "linear recursion of a second moment")
    rho = fixed(d, "rho", sign="positive")
    noise = d.symbol("noise", sign="nonnegative")
    x = d.symbol("x", depends=("step",))
    y = d.symbol("y", depends=("step", "draw"))
    xi = d.symbol("xi", depends=("step", "draw"))
    d.chain("x", previous=x, next=y, start=0)
    d.assume("update", y - rho * x - xi, relation="==", assumption="update", why="the recursion")
    mean_xi = d.define("mean_xi", "mean", xi)
    mean_xi2 = d.define("mean_xi2", "mean", xi**2)
    mean_y2 = d.define("mean_y2", "mean", y**2)
    d.assume("centred", mean_xi, relation="==", assumption="centred", why="E xi = 0")
    d.assume("second", noise - mean_xi2, assumption="second", why="E xi^2 <= noise")
    d.combine(
        "square",
        gap=y**2 - rho**2 * x**2 - 2 * rho * x * xi - xi**2,
        uses={"update": y + rho * x + xi},
        relation="==",
        why="square of the update",
    )
    d.apply(
        "mean",
        "mean",
        "square",
        {mean_y2: 1, "1": -(rho**2) * x**2, mean_xi: -2 * rho * x, mean_xi2: -1},
        why="E",
    )
    d.combine(
        "step",
        gap=rho**2 * x**2 + noise - mean_y2,
        uses={"mean": -1, "centred": -2 * rho * x, "second": 1},
        why="E",
    )
    before, after = d.define("Ex2", "expected", x**2), d.define("Ey2", "expected", y**2)
    conditional = d.define("Em", "expected", mean_y2)
    d.apply("step_expected", "expected", "step", {before: rho**2, "1": noise, conditional: -1}, why="E")
    tower_expected(d, "tower", conditional, after, {}, why="tower")
    weighted = d.define("S", "steps", rho * before)
    inside = d.define("T", "steps", rho * x**2)
    steps_expected(d, "inside", weighted, inside, why="sums")
    d.combine(
        "claim",
        gap=rho**2 * before + noise - after + weighted - inside,
        uses={"step_expected": 1, "tower": 1, "inside": 1},
        why="together",
    )
    d.conclude("claim", after, why="as claimed")
    return d


def test_accepts_what_holds() -> None:
    report = recheck_document(contraction().document())
    assert report.valid, report.reason
    assert "fixed_steps" in report.rests_on


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda doc: doc["symbols"]["rho"].pop("fixed"), "may be random"),
        (lambda doc: doc["symbols"]["xi"].update(fixed=True), "can be fixed"),
        (lambda doc: doc["symbols"]["mean_y2"].update(fixed=True), "can be fixed"),
        (lambda doc: step(doc, "tower").update(pairs={}, right="Ex2"), "the two sums differ"),
        (lambda doc: step(doc, "step_expected").update(op="mean"), "not defined as mean"),
        (lambda doc: doc["symbols"]["S"]["definition"].update(of="rho*Ex2**2"), ""),
        (lambda doc: doc["symbols"]["T"]["definition"].update(of="rho**2*x**2"), "the two sums differ"),
        (lambda doc: doc["symbols"]["Ex2"].update(sign="positive"), "does not follow"),
    ],
)
def test_rejects_misuse(edit, reason) -> None:
    document = copy.deepcopy(contraction().document())
    edit(document)
    report = recheck_document(document)
    assert not report.valid
    assert reason in report.reason


def test_random_factor_cannot_leave_an_expectation() -> None:
    """E[x^2] = x E[x] would be false: x is random."""
    d = Derivation("false", "a random factor moved out")
    x = d.symbol("x", depends=("step",))
    d.define("Ex", "expected", x)
    d.define("Ex2", "expected", x**2)
    d.combine("zero", gap=0, relation="==", why="nothing")
    d.apply("moved", "expected", "zero", {"Ex2": 1, "Ex": -x}, why="wrong")
    d.claim = ("moved", d.parse("0"), d.gap("moved"))
    report = recheck_document(d.document())
    assert not report.valid and "may be random" in report.reason


def test_mean_of_a_sum() -> None:
    """E sum_i a_i x_i = sum_i a_i E x_i, and not sum_i a_i^2 E x_i, nor with a factor that is drawn."""
    for right, valid in (("a*m", True), ("a**2*m", False), ("x*m", False), ("a*m**2", False)):
        d = Derivation("exchange", "mean of a sum")
        a = d.symbol("a", depends=("coordinate", "step"))
        x = d.symbol("x", depends=("coordinate", "step", "draw"))
        m = d.define("m", "mean", x)
        inner = d.define("inner", "coordinates", a * x)
        left = d.define("left", "mean", inner)
        good = d.define("right", "coordinates", a * m)
        exchange_mean(d, "exchange", left, good, why="finite sum")
        d.conclude("exchange", good, why="solved")
        document = d.document()
        document["symbols"]["right"]["definition"]["of"] = right
        if right == "x*m":
            document["symbols"]["right"]["depends"] = ["step", "draw"]
        assert recheck_document(document).valid == valid, right


def step(document: dict, name: str) -> dict:
    return next(s for s in document["steps"] if s["name"] == name)


def test_sign_of_an_end_value_must_follow() -> None:
    """An end value of a chain of real numbers cannot be declared nonnegative."""
    for sign, valid in (("nonnegative", True), ("real", False)):
        d = Derivation("end", "expected final state")
        state = d.symbol("state", sign=sign, depends=("step",))
        after = d.symbol("after", sign=sign, depends=("step", "draw"))
        start = d.symbol("start", sign="nonnegative")
        end = d.symbol("end", sign="nonnegative")
        d.chain("state", previous=state, next=after, start=start, end=end)
        d.combine("claim", gap=end, slack=end, why="declared")
        d.claim = ("claim", d.parse("0"), end)
        assert recheck_document(d.document()).valid == valid
