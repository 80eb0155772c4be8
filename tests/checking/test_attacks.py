"""False certificates that a checker could be led to accept: none assumes anything false; all are refused."""

from __future__ import annotations

from typing import Any

import pytest

from bstheory.checking.recheck import recheck_document

Case = dict[str, Any]
STEP: Case = {"depends": ["step"]}
DRAW: Case = {"depends": ["step", "draw"]}
ZERO: Case = {"name": "zero", "kind": "combine", "gap": "0", "relation": "==", "uses": []}


def document(symbols: Case, steps: list[Case], chains: Case | None = None) -> Case:
    """A derivation whose claim is the gap of its last step."""
    full = {
        name: {"sign": "real", "depends": [], "definition": None} | entry for name, entry in symbols.items()
    }
    filled = [{"relation": ">=", "why": ""} | step for step in steps]
    return {
        "format": 1,
        "slug": "test",
        "symbols": full,
        "chains": chains or {},
        "steps": filled,
        "claim": {"fact": filled[-1]["name"], "lhs": "0", "rhs": filled[-1]["gap"]},
    }


def defined(op: str, of: Any, *depends: str, sign: str = "real") -> Case:
    return {"sign": sign, "depends": list(depends), "definition": {"op": op, "of": of}}


def constant(gap: str, chain: str = "v", name: str = "same") -> list[Case]:
    """A state that never changes (it is its own next value) keeps what holds at its start."""
    return [
        {"name": f"{name}_hypothesis", "kind": "hypothesis", "gap": gap, "relation": "=="},
        {
            "name": name,
            "kind": "induction",
            "hypothesis": f"{name}_hypothesis",
            "advanced": f"{name}_hypothesis",
            "start": "zero",
            "chains": [chain],
            "gap": gap,
            "relation": "==",
        },
    ]


def chain(start: str, previous: str = "v", after: str = "v", **more: str) -> Case:
    return {"previous": previous, "next": after, "start": start, **more}


FALSE: dict[str, tuple[Case, str]] = {
    "-1 >= 0: a root whose parentheses close early": (
        document(
            {},
            [{"name": "a", "kind": "combine", "gap": "-1", "uses": [], "squares": [["1", "-1)*(1"]]}],
        ),
        "",
    ),
    "1 == 0: a symbol called 1": (
        document(
            {"1": defined("steps", "0")},
            [
                ZERO,
                {
                    "name": "a",
                    "kind": "apply",
                    "op": "steps",
                    "fact": "zero",
                    "terms": {"1": "1"},
                    "gap": "1",
                    "relation": "==",
                },
            ],
        ),
        "not names",
    ),
    "x == 1 for a free x: two spellings of one name": (
        document(
            {"fi": {}, "\ufb01": defined("equals", "1")},
            [{"name": "a", "kind": "definition", "symbol": "\ufb01", "gap": "fi - 1", "relation": "=="}],
        ),
        "not names",
    ),
    "ln 3 == ln 1 - ln 2: a comment and a line break": (
        document(
            {"a": defined("log", "1 #"), "b": defined("log", "\n+2"), "c": defined("log", "3")},
            [
                {
                    "name": "q",
                    "kind": "log_quotient",
                    "log": "c",
                    "numerator": "a",
                    "denominator": "b",
                    "gap": "c - a + b",
                    "relation": "==",
                }
            ],
        ),
        "not in the language",
    ),
    "max(1) >= 100: arguments that are no list": (
        document(
            {"m": defined("max", {"1": "100"})},
            [{"name": "a", "kind": "maximum", "symbol": "m", "argument": "1", "gap": "m - 100"}],
        ),
        "list",
    ),
    "E (E_k g)^2 == E g^2: a product of two conditional means": (
        document(
            {
                "g": {"depends": ["coordinate", "step", "draw"]},
                "m": defined("mean", "g", "coordinate", "step"),
                "c": defined("coordinates", "m", "step"),
                "e": defined("coordinates", "m", "step"),
                "p": defined("coordinates", "g", "step", "draw"),
                "left": defined("steps", "c*e"),
                "right": defined("steps", "p*p"),
            },
            [
                {
                    "name": "t",
                    "kind": "tower",
                    "left": "left",
                    "right": "right",
                    "pairs": {"c": "p", "e": "p"},
                    "gap": "left - right",
                    "relation": "==",
                }
            ],
        ),
        "not linear",
    ),
    "-1 >= 0: a positive state that starts at -1": (
        document(
            {"v": STEP | {"sign": "positive"}},
            [
                ZERO,
                *constant("v + 1"),
                {"name": "a", "kind": "combine", "gap": "-1", "uses": [[["same"], "-1"]], "slack": "v"},
            ],
            {"v": chain("-1")},
        ),
        "does not hold at its start",
    ),
    "-5 == 0: two starts of one state": (
        document(
            {"v": STEP},
            [
                ZERO,
                *constant("v"),
                *constant("v - 5", "w", "five"),
                {
                    "name": "a",
                    "kind": "combine",
                    "gap": "-5",
                    "uses": [[["five"], "1"], [["same"], "-1"]],
                    "relation": "==",
                },
            ],
            {"v": chain("0"), "w": chain("5")},
        ),
        "another chain",
    ),
    "1 == 0: one end of two states": (
        document(
            {"v": STEP, "w": STEP, "e": {}, "s": defined("steps", "v - v"), "t": defined("steps", "w - w")},
            [
                {
                    "name": "v",
                    "kind": "telescope",
                    "symbol": "s",
                    "chain": "v",
                    "gap": "s - e",
                    "relation": "==",
                },
                {
                    "name": "w",
                    "kind": "telescope",
                    "symbol": "t",
                    "chain": "w",
                    "gap": "t - e + 1",
                    "relation": "==",
                },
                ZERO,
                {
                    "name": "s",
                    "kind": "apply",
                    "op": "steps",
                    "fact": "zero",
                    "terms": {"s": "1"},
                    "gap": "s",
                    "relation": "==",
                },
                {
                    "name": "t",
                    "kind": "apply",
                    "op": "steps",
                    "fact": "zero",
                    "terms": {"t": "1"},
                    "gap": "t",
                    "relation": "==",
                },
                {
                    "name": "a",
                    "kind": "combine",
                    "gap": "1",
                    "uses": [[["w"], "1"], [["v"], "-1"], [["s"], "1"], [["t"], "-1"]],
                    "relation": "==",
                },
            ],
            {"v": chain("0", end="e"), "w": chain("1", "w", "w", end="e")},
        ),
        "another chain",
    ),
    "-1 == 0: a start defined by the end": (
        document(
            {"v": STEP, "e": {}, "s": defined("steps", "v - v")},
            [
                {
                    "name": "t",
                    "kind": "telescope",
                    "symbol": "s",
                    "chain": "v",
                    "gap": "s - e + (e + 1)",
                    "relation": "==",
                },
                ZERO,
                {
                    "name": "s",
                    "kind": "apply",
                    "op": "steps",
                    "fact": "zero",
                    "terms": {"s": "1"},
                    "gap": "s",
                    "relation": "==",
                },
                {
                    "name": "a",
                    "kind": "combine",
                    "gap": "-1",
                    "uses": [[["t"], "-1"], [["s"], "1"]],
                    "relation": "==",
                },
            ],
            {"v": chain("e + 1", end="e")},
        ),
        "end of a chain",
    ),
    "x_i == v for all i: a start with a coordinate of a state without": (
        document(
            {"v": STEP, "x": {"depends": ["coordinate"]}},
            [ZERO, *constant("v - x")],
            {"v": chain("x")},
        ),
        "depends on the coordinate",
    ),
    "a random walk stands still: a chain of conditional means": (
        document(
            {
                "s": {},
                "v": STEP,
                "w": DRAW,
                "before": defined("mean", "v", "step"),
                "after": defined("mean", "w", "step"),
                "start": defined("mean", "s"),
            },
            [
                # E_k v_{k+1} = v_k, true of every martingale
                {
                    "name": "walk",
                    "kind": "assumption",
                    "assumption": "martingale",
                    "gap": "after - v",
                    "relation": "==",
                },
                ZERO,
                {
                    "name": "known",
                    "kind": "apply",
                    "op": "mean",
                    "fact": "zero",
                    "terms": {"before": "1", "1": "-v"},
                    "gap": "before - v",
                    "relation": "==",
                },
                {"name": "h", "kind": "hypothesis", "gap": "before - start", "relation": "=="},
                {
                    "name": "next",
                    "kind": "combine",
                    "gap": "after - start",
                    "uses": [[["walk"], "1"], [["known"], "-1"], [["h"], "1"]],
                    "relation": "==",
                },
                {
                    "name": "still",
                    "kind": "induction",
                    "hypothesis": "h",
                    "advanced": "next",
                    "start": "zero",
                    "chains": ["m"],
                    "gap": "before - start",
                    "relation": "==",
                },
            ],
            {"v": chain("s", "v", "w"), "m": chain("start", "before", "after")},
        ),
        "no next value",
    ),
    "sum y == sum z for free y, z: two counterparts of one symbol": (
        document(
            {
                "x": {"depends": ["later", "draw"]},
                "y": DRAW,
                "z": DRAW,
                "sx": defined("laters", "x"),
                "sy": defined("steps", "y"),
                "sz": defined("steps", "z"),
            },
            [
                *(
                    {
                        "name": name,
                        "kind": "relabel",
                        "left": "sx",
                        "right": f"s{name}",
                        "pairs": {"x": name},
                        "gap": f"sx - s{name}",
                        "relation": "==",
                    }
                    for name in "yz"
                ),
                {
                    "name": "a",
                    "kind": "combine",
                    "gap": "sy - sz",
                    "uses": [[["z"], "1"], [["y"], "-1"]],
                    "relation": "==",
                },
            ],
        ),
        "two counterparts",
    ),
    "1 == 0: a claim beside the parts that nobody reads": (
        {
            "format": 1,
            "kind": "parts",
            "slug": "test",
            "parts": {"true": document({}, [ZERO])},
            "claim": {"fact": "zero", "lhs": "0", "rhs": "1"},
        },
        "of its own",
    ),
}


@pytest.mark.parametrize("name", FALSE)
def test_false_derivations_are_refused(name: str) -> None:
    case, reason = FALSE[name]
    report = recheck_document(case)
    assert not report.valid
    assert reason in report.reason


@pytest.mark.parametrize(
    "claim",
    [
        {"type": "value", "expression": "log(-1)**0", "lower": "1", "upper": "1"},
        {
            "type": "monotone",
            "expression": "log(x)",
            "variable": "x",
            "direction": "decreasing",
            "box": {"x": ["-2", "-1"]},
        },
        {
            "type": "integral",
            "expression": "sqrt(x)",
            "variable": "x",
            "lower": "-1",
            "upper": "1",
            "value_lower": "66/100",
            "value_upper": "67/100",
        },
        {
            "type": "integral",
            "expression": "log(x)",
            "variable": "x",
            "lower": "-2",
            "upper": "-1",
            "value_lower": "38/100",
            "value_upper": "39/100",
        },
    ],
    ids=lambda claim: claim["expression"],
)
def test_enclosures_of_what_is_not_defined_are_refused(claim: Case) -> None:
    case = {"format": 1, "kind": "enclosure", "slug": "t", "claims": [{"name": "a", "why": ""} | claim]}
    assert not recheck_document(case).valid


def test_numbers_out_of_reach_are_invalid_and_no_crash() -> None:
    symbols = {"y": {"sign": "positive"}, "l": defined("log", "y")}
    fact = {"name": "f", "kind": "assumption", "assumption": "large", "gap": "y - 1"}
    series = {"name": "a", "kind": "exp_series", "log": "l", "fact": "f", "gap": "0"}
    lists: Case = {"up": ["1/0"], "down": [], "free": []}
    assert not recheck_document(document(symbols, [fact, series | lists])).valid


def test_roots_and_logarithms_may_start_at_zero() -> None:
    root = {"expression": "sqrt(1 - x**2)", "lower": "-1", "upper": "1"}
    log = {"expression": "log(x)", "lower": "1", "upper": "2"}
    bounds = ("157/100", "158/100"), ("38/100", "39/100")
    claims = [
        {"name": c["expression"], "type": "integral", "variable": "x", "value_lower": a, "value_upper": b} | c
        for c, (a, b) in zip((root, log), bounds, strict=True)
    ]
    report = recheck_document({"format": 1, "kind": "enclosure", "slug": "t", "claims": claims})
    assert report.valid, report.reason


MANY = {f"x{i}": {} for i in range(24)}
SUM = " + ".join(MANY)
HEAVY: dict[str, tuple[Case, str]] = {
    "powers of powers": (
        document({"x": {}}, [{**ZERO, "gap": "((x**50)**50)**50 - ((x**50)**50)**50"}]),
        "degree",
    ),
    "a power of a power, shifted, so that common factors are sought": (
        document({"x": {}, "y": {}}, [{**ZERO, "gap": "((x**9 + y)**60)**60 - 1"}]),
        "degree",
    ),
    "a power of a long sum": (document(MANY, [{**ZERO, "gap": f"({SUM})**64"}]), "number of terms"),
    "numbers of many digits": (document({}, [{**ZERO, "gap": "(((9**64)**64)**64)**64"}]), "bits"),
    "a product of many sums": (
        document(MANY, [{**ZERO, "gap": "*".join([f"({SUM})"] * 40)}]),
        "number of terms",
    ),
}


@pytest.mark.parametrize("name", HEAVY)
def test_more_work_than_a_certificate_needs_is_invalid_and_does_not_hang(name: str) -> None:
    case, message = HEAVY[name]
    report = recheck_document(case)
    assert not report.valid and message in report.reason
    assert len(report.reason) < 500


def test_all_work_of_a_document_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step is within the limits, all of them together are not."""
    step = {"kind": "combine", "gap": "0", "relation": "==", "uses": [[["zero"], "(x + y + z)**20"]]}
    steps = [ZERO, *({"name": f"a{i}", **step} for i in range(50))]
    case = document({"x": {}, "y": {}, "z": {}}, steps)
    assert recheck_document(case).valid
    monkeypatch.setattr("bstheory.checking.rational.MAX_WORK", 5_000)
    report = recheck_document(case)
    assert not report.valid and "step 'a" in report.reason and "work in products of terms" in report.reason


def test_definitions_that_branch_are_followed_once() -> None:
    """Each of 60 levels uses both symbols of the level below: 2^60 paths, 120 symbols."""
    symbols: Case = {"a0": {}, "b0": {}}
    for i in range(1, 61):
        symbols[f"a{i}"] = defined("equals", f"a{i - 1} + b{i - 1}")
        symbols[f"b{i}"] = defined("equals", f"a{i - 1} - b{i - 1}")
    symbols |= {"v": STEP, "w": STEP, "mean": defined("expected", "a60*v", "step")}
    steps = [
        ZERO,
        {
            "name": "moved",
            "kind": "apply",
            "op": "expected",
            "fact": "zero",
            "terms": {"mean": "b60 - b60"},
            "gap": "0",
            "relation": "==",
        },
    ]
    assert recheck_document(document(symbols, steps, {"v": chain("a60", after="w")})).valid
