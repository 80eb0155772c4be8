"""The independent checker refuses what does not follow. Each case is a small false proof."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import sympy as sp

import bstheory as bst
from bstheory.checking.mutations import sample
from bstheory.checking.recheck import claim_hash, recheck_document
from bstheory.commands import recheck
from bstheory.theory.derivation import Derivation, DerivationError
from bstheory.theory.theorems import adam_token_half_life


def document(symbols: dict[str, Any], steps: list[dict[str, Any]], claim=None, chains=None) -> dict[str, Any]:
    """A document with defaults filled in; the claim is the last step."""
    full = {
        name: {"sign": "real", "depends": [], "definition": None, "latex": "", "meaning": ""} | entry
        for name, entry in symbols.items()
    }
    filled = [{"relation": ">=", "why": ""} | step for step in steps]
    return {
        "format": 1,
        "slug": "test",
        "symbols": full,
        "chains": chains or {},
        "steps": filled,
        "claim": claim or {"fact": filled[-1]["name"], "lhs": "0", "rhs": filled[-1]["gap"]},
    }


def combine(name: str, gap: str, uses=(), squares=(), slack="0", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "kind": "combine",
        "gap": gap,
        "uses": [list(u) for u in uses],
        "squares": [list(s) for s in squares],
        "slack": slack,
        **more,
    }


def test_a_square_is_accepted_and_a_non_square_is_not() -> None:
    symbols = {"x": {}, "y": {}}
    good = document(symbols, [combine("young", "x**2 - 2*x*y + y**2", squares=[("1", "x - y")])])
    assert recheck_document(good).valid
    bad = document(symbols, [combine("young", "x**2 - 3*x*y + y**2", squares=[("1", "x - y")])])
    report = recheck_document(bad)
    assert not report.valid and "left over" in report.reason


P = {"sign": "positive"}
STEP = {"depends": ["step"]}
DRAW = {"depends": ["step", "draw"]}


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        # signs
        (document({"x": {}}, [combine("a", "x", slack="x")]), "not visibly nonnegative"),
        (document({"x": P}, [combine("a", "x - 1", slack="x - 1")]), "not visibly nonnegative"),
        (document({"x": {}}, [combine("a", "x**2", squares=[("x", "1")])]), "not visibly nonnegative"),
        (document({"x": {}}, [combine("a", "1/x**2", slack="1/x**2")]), "not visibly positive"),
        (
            document({"x": {"sign": "nonnegative"}}, [combine("a", "1/x", slack="1/x")]),
            "not visibly positive",
        ),
        # undeclared, out of the language
        (document({"x": P}, [combine("a", "z", slack="z")]), "undeclared"),
        (document({"x": P}, [combine("a", "abs(x)", slack="x")]), "not in the language"),
        (document({"x": P}, [combine("a", "x**(1/2)", slack="x")]), "exponents are integers"),
        (document({"x": P}, [combine("a", "0.5*x", slack="x")]), "not an integer"),
        (document({"x": P}, [{"name": "a", "kind": "magic", "gap": "x"}]), "not in the language"),
        # circular and missing facts
        (document({"x": {}}, [combine("a", "x", uses=[(["a"], "1")])]), "not established"),
        (document({"x": {}}, [combine("a", "x", uses=[(["b"], "1")])]), "not established"),
        (document({"x": {}}, [combine("a", "x", uses=[([], "x")])]), "without a fact"),
        # an open induction hypothesis is no theorem
        (
            document({"x": STEP}, [{"name": "h", "kind": "hypothesis", "gap": "x"}]),
            "open hypotheses",
        ),
        # definitions
        (
            document(
                {"x": {}, "r": {"sign": "nonnegative", "definition": {"op": "root", "of": "x"}}},
                [combine("a", "r", slack="r")],
            ),
            "not visibly nonnegative",
        ),
        (
            document(
                {"x": {"sign": "nonnegative"}, "r": P | {"definition": {"op": "root", "of": "x"}}},
                [combine("a", "r", slack="r")],
            ),
            "does not follow",
        ),
        (
            document(
                {"r": P | {"definition": {"op": "equals", "of": "x"}}, "x": P}, [combine("a", "r", slack="r")]
            ),
            "come later",
        ),
        (
            document(
                {"x": P, "l": P | {"definition": {"op": "log", "of": "x"}}}, [combine("a", "l", slack="l")]
            ),
            "does not follow",
        ),
        # hiding a dependence on the draw
        (
            document(
                {"g": DRAW, "q": {"depends": ["step"], "definition": {"op": "equals", "of": "g"}}},
                [combine("a", "0", relation="==")],
            ),
            "depends must be",
        ),
        # pulling a draw-dependent factor out of a conditional mean
        (
            document(
                {
                    "g": DRAW,
                    "m": {"depends": ["step"], "definition": {"op": "mean", "of": "g"}},
                },
                [
                    combine("square", "g**2", squares=[("1", "g")]),
                    {
                        "name": "a",
                        "kind": "apply",
                        "op": "mean",
                        "fact": "square",
                        "gap": "g*m",
                        "terms": {"m": "g"},
                    },
                ],
            ),
            "depends on",
        ),
        # summing a fact under an open hypothesis
        (
            document(
                {"x": STEP, "s": {"definition": {"op": "steps", "of": "x"}}},
                [
                    {"name": "h", "kind": "hypothesis", "gap": "x"},
                    {
                        "name": "a",
                        "kind": "apply",
                        "op": "steps",
                        "fact": "h",
                        "gap": "s",
                        "terms": {"s": "1"},
                    },
                ],
            ),
            "open hypotheses",
        ),
        # a sum over steps of a constant is not the constant
        (
            document(
                {"x": P, "s": {"definition": {"op": "steps", "of": "x"}}},
                [
                    combine("f", "x", slack="x"),
                    {
                        "name": "a",
                        "kind": "apply",
                        "op": "steps",
                        "fact": "f",
                        "gap": "x",
                        "terms": {"1": "x"},
                    },
                ],
            ),
            "missing entry",
        ),
        # tower with a factor that knows the draw
        (
            document(
                {
                    "g": DRAW,
                    "m": {"depends": ["step"], "definition": {"op": "mean", "of": "g"}},
                    "a": {"definition": {"op": "steps", "of": "g*m"}},
                    "b": {"definition": {"op": "steps", "of": "g*g"}},
                },
                [{"name": "t", "kind": "tower", "left": "a", "right": "b", "gap": "a - b", "relation": "=="}],
            ),
            "mixes a conditional mean with the draw",
        ),
        # tower applied to a square of a conditional mean (that is Jensen, an inequality)
        (
            document(
                {
                    "g": DRAW,
                    "m": {"depends": ["step"], "definition": {"op": "mean", "of": "g"}},
                    "a": {"definition": {"op": "steps", "of": "m**2"}},
                    "b": {"definition": {"op": "steps", "of": "g**2"}},
                },
                [{"name": "t", "kind": "tower", "left": "a", "right": "b", "gap": "a - b", "relation": "=="}],
            ),
            "not linear",
        ),
        # telescoping along a chain whose next value is something else
        (
            document(
                {
                    "v": STEP | P,
                    "w": DRAW | P,
                    "l": {"depends": ["step"], "definition": {"op": "log", "of": "v"}},
                    "m": {"depends": ["step", "draw"], "definition": {"op": "log", "of": "2*w"}},
                    "l0": {"definition": {"op": "log", "of": "1"}},
                    "le": {},
                },
                [combine("a", "0", relation="==")],
                chains={
                    "v": {"previous": "v", "next": "w", "start": "1"},
                    "l": {"previous": "l", "next": "m", "start": "l0", "end": "le"},
                },
            ),
            "defined otherwise",
        ),
        # induction whose step proves something weaker
        (
            document(
                {"v": STEP, "w": DRAW, "b": P},
                [
                    {"name": "h", "kind": "hypothesis", "gap": "b - v"},
                    {"name": "next", "kind": "assumption", "assumption": "x", "gap": "2*b - w"},
                    combine("start", "b", slack="b"),
                    {
                        "name": "i",
                        "kind": "induction",
                        "hypothesis": "h",
                        "advanced": "next",
                        "start": "start",
                        "chains": ["v"],
                        "gap": "b - v",
                    },
                ],
                chains={"v": {"previous": "v", "next": "w", "start": "0"}},
            ),
            "one step later",
        ),
        # logarithm of something not visibly positive
        (
            document(
                {"x": {}, "l": {"definition": {"op": "log", "of": "x"}}},
                [{"name": "t", "kind": "log_tangent", "log": "l", "gap": "x - 1 - l"}],
            ),
            "not visibly positive",
        ),
        (
            document(
                {"x": P, "l": {"definition": {"op": "log", "of": "x"}}},
                [{"name": "t", "kind": "log_tangent", "log": "l", "gap": "x - 2 - l"}],
            ),
            "left over",
        ),
        # an inequality sold as an equality
        (
            document({"x": P}, [combine("a", "x", slack="x", relation="==")]),
            "only an inequality follows",
        ),
        # real arithmetic that has a counter-model
        (
            document({"x": {}}, [{"name": "a", "kind": "z3", "uses": [], "gap": "x**2 - x"}]),
            "z3 answers sat",
        ),
    ],
)
def test_false_proofs_are_rejected(case: dict[str, Any], expected: str) -> None:
    report = recheck_document(case)
    assert not report.valid
    assert expected in report.reason


def test_real_arithmetic_accepts_what_is_true() -> None:
    case = document(
        {"x": {}, "y": {}}, [{"name": "a", "kind": "z3", "uses": [], "gap": "x**2 + y**2 - 2*x*y"}]
    )
    assert recheck_document(case).valid


@pytest.mark.parametrize(
    "broken", [{}, {"format": 2}, {"format": 1}, {"format": 1, "symbols": 3}, {"format": 1, "kind": "wish"}]
)
def test_malformed_documents_are_invalid_not_errors(broken: dict[str, Any]) -> None:
    assert not recheck_document(broken).valid


def test_a_stale_hash_is_invalid() -> None:
    good = document({"x": {}}, [combine("a", "x**2", squares=[("1", "x")])])
    assert recheck_document(good | {"claim_hash": claim_hash(good)}).valid
    assert "hashes to" in recheck_document(good | {"claim_hash": "0" * 64}).reason


def test_recheck_reads_certificate_files(tmp_path) -> None:
    certificate = bst.check(adam_token_half_life.BOUND)
    path = tmp_path / "certificate.json"
    path.write_text(json.dumps(certificate.to_json()))
    assert bst.recheck(path).valid
    content = certificate.to_json()
    content["evidence"] = copy.deepcopy(content["evidence"])
    content["evidence"]["steps"][0]["gap"] = "beta + 2*c - 1"
    path.write_text(json.dumps(content))
    assert not bst.recheck(path).valid
    path.write_text("{}")
    with pytest.raises(bst.InputError, match="without a derivation document"):
        bst.recheck(path)
    with pytest.raises(bst.InputError, match="cannot be read"):
        bst.recheck(tmp_path / "absent.json")


def test_the_command_reports_every_file_and_fails_if_one_does(tmp_path, capsys) -> None:
    certificate = bst.check(adam_token_half_life.BOUND).to_json()
    good, bad, absent = (tmp_path / name for name in ("good.json", "bad.json", "absent.json"))
    good.write_text(json.dumps(certificate))
    certificate["evidence"] = copy.deepcopy(certificate["evidence"])
    certificate["evidence"]["steps"][0]["gap"] = "beta + 2*c - 1"
    bad.write_text(json.dumps(certificate))
    assert recheck((good, good)) == 0
    assert "2 of 2 files hold" in capsys.readouterr().out
    assert recheck((bad, good)) == 1
    shown = capsys.readouterr().out
    assert f"{bad}\ninvalid" in shown and f"{good}\nproved" in shown
    assert f"1 of 2 files hold, all but:\n  {bad}" in shown
    assert recheck((absent, good), json="-") == 2
    found = capsys.readouterr()
    assert [entry["verdict"] for entry in json.loads(found.out)] == ["unread", "proved"]
    assert "absent.json" in found.err
    with pytest.raises(bst.InputError, match="no file"):
        recheck(())


# A survivor is a mutant whose claim is still true; each is listed with the reason.
TRUE_MUTANTS = {
    ("step zero, gap", "doubled"): "twice zero is zero",
    ("symbol F_next", "declared known before the draw"): "an extra hypothesis; the weaker theorem is true",
}


def test_mutants_of_the_flagship_are_rejected() -> None:
    survivors = [
        m
        for m in sample(adam_token_half_life.BOUND.document(), 120, seed=1)
        if recheck_document(m.document).valid
        and (m.where, m.change) not in TRUE_MUTANTS
        and m.change
        != "inequality stated as equality"  # only assumptions survive this: a stronger hypothesis
    ]
    assert survivors == []


def test_the_builder_refuses_false_steps() -> None:
    d = Derivation("test", "test")
    x, y = d.symbol("x"), d.symbol("y")
    with pytest.raises(DerivationError, match="left over"):
        d.combine("young", gap=x**2 + y**2 - 3 * x * y, squares=[(1, x - y)], why="false")
    with pytest.raises(DerivationError, match="declared twice"):
        d.symbol("x")
    d.combine("square", squares=[(1, x)], why="true")
    assert sp.expand(d.gap("square") - x**2) == 0
    with pytest.raises(DerivationError, match="concludes nothing"):
        d.document()
