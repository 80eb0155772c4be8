"""Enclosures: true numbers pass, altered numbers and false inequalities do not."""

from __future__ import annotations

import json

import pytest

from bstheory.checking import enclosure, recheck_document
from bstheory.verdict import Verdict

TANH = "x*(1 + exp(-2*x))/(1 - exp(-2*x))"
CLAIMS = {
    "value": {
        "type": "value",
        "let": {"q": "3/8"},
        "expression": "erf(q) + pi*sqrt(2)/log(5) + 2**10",
        "lower": "1027164/1000",
        "upper": "1027165/1000",
    },
    "root": {
        "type": "sign_change",
        "expression": "exp(x) - 2",
        "variable": "x",
        "lower": "69/100",
        "upper": "70/100",
        "unique": True,
    },
    "slope": {
        "type": "monotone",
        "expression": "tanh(x) - x",
        "variable": "x",
        "direction": "decreasing",
        "box": {"x": ["1/10", "5"]},
    },
    "coth": {
        "type": "positive",
        "expression": f"1 + x**2/3 - {TANH}",
        "box": {"x": ["1/2", "20"]},
    },
    "plane": {
        "type": "positive",
        "expression": "x**2 + y**2 - x*y - 2*x + 11/10 + cosh(x*y) + 1/10",
        "box": {"x": ["-2", "2"], "y": ["-2", "2"]},
    },
    "finite": {
        "type": "integral",
        "expression": "sqrt(x)*exp(-x)",
        "variable": "x",
        "lower": "1",
        "upper": "2",
        "value_lower": "269/1000",
        "value_upper": "34/100",
    },
    "improper": {
        "type": "integral",
        "expression": "2/sqrt(pi)/sqrt((1 + 2*y**2/2)*(1 + 2*y**2/4)*(1 + 2*y**2/8)*(1 + y**2/8))",
        "variable": "y",
        "lower": "0",
        "upper": "oo",
        "split": "1000",
        "value_lower": "138/100",
        "value_upper": "139/100",
    },
    "gaussian": {
        "type": "integral",
        "expression": "exp(-y**2)",
        "variable": "y",
        "lower": "0",
        "upper": "oo",
        "split": "50",
        "value_lower": "886226/1000000",
        "value_upper": "886228/1000000",
    },
}


def document(**changes) -> dict:
    claims = [{"name": name, "why": "test", **claim} for name, claim in CLAIMS.items()]
    for claim in claims:
        claim.update(changes.get(claim["name"], {}))
    return json.loads(
        json.dumps(
            {"format": 1, "kind": "enclosure", "slug": "numbers", "title": "numbers", "claims": claims}
        )
    )


def test_true_claims_are_enclosed() -> None:
    report = recheck_document(document())
    assert report.valid, report.reason
    assert report.establishes == Verdict.ENCLOSED.word
    assert report.steps == len(CLAIMS) and report.rests_on == ("interval_arithmetic",)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("value", {"lower": "1027165/1000", "upper": "1027166/1000"}, "outside"),
        ("value", {"upper": "1027163/1000"}, "empty"),
        ("value", {"upper": "1/0"}, "divides by zero"),
        ("value", {"upper": "1027.165"}, "exact rational"),
        ("value", {"let": {"q": "3/7"}}, "outside"),
        ("value", {"let": {"pi": "22/7", "q": "3/8"}}, "meaning of their own"),
        ("value", {"expression": "q + unknown"}, "undeclared"),
        ("value", {"expression": "log(q - 3/8)"}, "not shown"),
        ("value", {"expression": "gamma(q)"}, "not in the language"),
        ("value", {"expression": "__import__('os')"}, "not in the language"),
        ("value", {"expression": "2**q"}, "exponents are integers"),
        ("root", {"upper": "691/1000"}, "same sign"),
        ("root", {"expression": "1/(x - 693/1000)"}, "undecided"),
        ("root", {"expression": "(x - 69/100 - 1/1000)*(x - 695/1000)*(x - 699/1000)"}, "undecided"),
        ("slope", {"direction": "increasing"}, "not increasing"),
        ("slope", {"box": {"x": ["0", "5"]}}, "undecided"),
        ("coth", {"expression": f"1 + x**2/4 - {TANH}"}, "not positive at"),
        ("coth", {"box": {"x": ["0", "20"]}}, "undecided"),
        ("plane", {"expression": "x**2 + y**2 - x*y - 2*x + 11/10"}, "not positive at"),
        ("finite", {"value_upper": "27/100"}, "not shown"),
        ("finite", {"lower": "-1"}, "not shown"),
        ("improper", {"expression": "1/sqrt(1 + y**2)"}, "tail"),
        ("improper", {"value_upper": "1385/1000"}, "not shown"),
        ("improper", {"split": "1/1000"}, "tail"),
        ("gaussian", {"expression": "exp(y**2)"}, "no tail rule"),
        ("gaussian", {"value_lower": "886227/1000000"}, "not shown"),
        ("gaussian", {"type": "guess"}, "not one of"),
        ("gaussian", {"name": "finite"}, "used twice"),
    ],
)
def test_false_or_altered_claims_are_rejected(name: str, change: dict, words: str, monkeypatch) -> None:
    monkeypatch.setattr(enclosure, "BUDGET", 2000)
    report = recheck_document(document(**{name: change}))
    assert not report.valid and words in report.reason, report.reason


def test_a_certificate_hash_that_does_not_fit_is_rejected() -> None:
    changed = document() | {"claim_hash": "0" * 64}
    assert "hashes to" in recheck_document(changed).reason
