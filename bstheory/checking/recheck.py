"""The independent checker: reads a certificate document and believes nothing in it.

It imports nothing from ``bstheory.theory``. Every step of the document claims ``gap >= 0`` or ``gap == 0``
for an expression ``gap``; the checker recomputes each claim from the steps it uses, by exact identities of
rational functions, by signs that can be read off, or as an instance of a fact named in ``bstheory.trusted``.
The grammar of documents is described in ``docs/certificates.md``.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bstheory.checking.formal import method
from bstheory.checking.rational import (
    ExpressionError,
    Field,
    check_defined,
    names,
    parse,
    sign,
)
from bstheory.checking.recheck_rules import REMOVES, Fact, Invalid, Rules
from bstheory.checking.rules_expectation import ExpectationRules
from bstheory.checking.rules_lags import LagRules
from bstheory.checking.rules_pairs import PAIR_OPERATORS, PairRules
from bstheory.checking.rules_powers import PowerRules
from bstheory.checking.rules_scalar import ScalarRules
from bstheory.trusted import TRUSTED

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LIMITS = (ArithmeticError, RecursionError, MemoryError)
METHODS = {
    "proved": "exact identities with decided signs",
    "enclosed": "rigorous interval arithmetic, with exact identities where there are any",
}
INDICES = {"coordinate", "step", "draw", "later"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Outcome of a recheck.

    Attributes:
        valid: whether every step follows.
        reason: the failing step and its residual, where not valid.
        rests_on: trusted facts and assumptions used.
        steps: number of steps checked.
        claim_hash: hash recomputed from the content.
        establishes: ``"proved"`` or ``"enclosed"``, the weakest kind among the parts.
        method: how, in words, with the Coq theorems that prove the same claims; see ``checking.formal``.
    """

    valid: bool
    reason: str
    rests_on: tuple[str, ...]
    steps: int
    claim_hash: str
    establishes: str = "proved"
    method: str = ""
    assumes: tuple[str, ...] = ()


def claim_hash(document: Mapping[str, Any]) -> str:
    """Sha256 of the canonical JSON of what is claimed and how: title, hypotheses, symbols, steps, claim."""
    keys = ("format", "kind", "slug", "title", "assumptions")
    keys += ("symbols", "chains", "steps", "claim", "claims", "parts")
    content = {key: document.get(key) for key in keys}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def recheck_document(document: Mapping[str, Any]) -> Report:
    """Check every step of a certificate document; never raises for a bad document, but reports it."""
    report = _report(document)
    if not report.valid:
        return report
    plain = f"{METHODS[report.establishes]}, {report.steps} steps"
    return dataclasses.replace(
        report, method=method(document, plain), assumes=tuple(dict.fromkeys(assumed(document)))
    )


def assumed(document: Mapping[str, Any]) -> Iterator[str]:
    """Each inequality or equation that is assumed, under the name of its assumption.

    A checker cannot know whether an assumption is what its name promises; a reader of these lines can.
    """
    for part in document["parts"].values() if document.get("kind") == "parts" else [document]:
        for step in part.get("steps", []):
            if step["kind"] == "assumption":
                relation = "=" if step["relation"] == "==" else step["relation"]
                yield f"{step.get('assumption', step['name'])}: {step['gap']} {relation} 0"


def _report(document: Mapping[str, Any]) -> Report:
    checker = None
    found = ""
    try:
        found = claim_hash(document)
        kind = document.get("kind", "derivation")
        if kind == "parts":
            return recheck_parts(document, found)
        if kind == "enclosure":
            from bstheory.checking.enclosure import recheck_enclosure

            return recheck_enclosure(document, found)
        if kind != "derivation":
            raise Invalid(f"kind {kind!r} is not derivation, enclosure or parts")
        checker = Checker(document)
        checker.run()
        if document.get("claim_hash", found) != found:
            raise Invalid(f"claim_hash is {document['claim_hash']}, but the content hashes to {found}")
    except (
        Invalid,
        ExpressionError,
        KeyError,
        TypeError,
        AttributeError,
        ValueError,
        IndexError,
        *LIMITS,
    ) as error:
        reason = f"missing entry {error}" if isinstance(error, KeyError) else str(error)
        where = f"step {checker.current!r}: " if checker is not None and checker.current else ""
        done = len(checker.facts) if checker is not None else 0
        return Report(valid=False, reason=where + reason, rests_on=(), steps=done, claim_hash=found)
    return Report(
        valid=True,
        reason="",
        rests_on=tuple(sorted(checker.rests_on)),
        steps=len(checker.facts),
        claim_hash=found,
    )


def recheck_parts(document: Mapping[str, Any], found: str) -> Report:
    """Several documents under one slug: all must check."""
    if document["format"] != 1:
        raise Invalid(f"format {document['format']!r} is not 1")
    unread = {"symbols", "chains", "steps", "claim", "claims"} & set(document)
    if unread:
        raise Invalid(f"a document of parts has no {', '.join(sorted(unread))} of its own")
    reports = {name: _report(part) for name, part in document["parts"].items()}
    bad = [f"part {name}: {report.reason}" for name, report in reports.items() if not report.valid]
    if document.get("claim_hash", found) != found:
        bad.append(f"claim_hash is {document['claim_hash']}, but the content hashes to {found}")
    kinds = {report.establishes for report in reports.values()}
    return Report(
        valid=bool(reports) and not bad,
        reason="; ".join(bad) if reports else "no parts",
        rests_on=tuple(sorted({fact for report in reports.values() for fact in report.rests_on})),
        steps=sum(report.steps for report in reports.values()),
        claim_hash=found,
        establishes="enclosed" if "enclosed" in kinds else "proved",
    )


class Checker(Rules, ExpectationRules, PowerRules, ScalarRules, PairRules, LagRules):
    """Walks through a document once. State: the facts established so far."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        if document["format"] != 1:
            raise Invalid(f"format {document['format']!r} is not 1")
        self.document = document
        self.symbols: Mapping[str, Any] = document["symbols"]
        self.chains: Mapping[str, Any] = document.get("chains", {})
        self.current = ""
        strange = [name for name in self.symbols if not NAME.fullmatch(name)]
        if strange:
            raise Invalid(f"{strange} are not names of symbols")
        self.field = Field(sorted(self.symbols))
        self.signs = {name: entry["sign"] for name, entry in self.symbols.items()}
        self.depends = {name: set(entry["depends"]) for name, entry in self.symbols.items()}
        self.facts: dict[str, Fact] = {}
        self.rests_on: set[str] = set()
        self.counterparts: set[tuple[str, str]] = set()
        self.randomness: dict[str, bool] = {}
        self.trees: dict[str, ast.expr] = {}
        self.rules: dict[str, Callable[[Mapping[str, Any]], tuple[tuple[Any, Any], bool, frozenset[str]]]] = {
            name.removeprefix("step_"): getattr(self, name) for name in dir(self) if name.startswith("step_")
        }
        self.check_symbols()
        self.check_chains()

    # Expressions -----------------------------------------------------------------------------------

    def tree(self, text: str) -> ast.expr:
        """The expression, checked; nobody may change what is returned, it is kept for the next use."""
        if text in self.trees:
            return self.trees[text]
        parsed = parse(text)
        unknown = names(parsed) - set(self.symbols)
        if unknown:
            raise Invalid(f"undeclared symbols {sorted(unknown)} in {text!r}")
        check_defined(parsed, self.signs)
        self.trees[text] = parsed
        return parsed

    def value(self, text: str) -> tuple[Any, Any]:
        return self.field.evaluate(self.tree(text))

    def same(self, a: tuple[Any, Any], b: tuple[Any, Any], what: str) -> None:
        difference = self.field.add(a, (-b[0], b[1]))
        if difference[0] != self.field.zero:
            raise Invalid(f"{what}: left over ({difference[0]})/({difference[1]})")

    def dependence(self, text: str) -> set[str]:
        return set().union(*(self.depends[name] for name in names(self.tree(text))), set())

    def nonnegative(self, text: str, what: str) -> None:
        if sign(self.tree(text), self.signs) == "unknown":
            raise Invalid(f"{what} {text!r} is not visibly nonnegative")

    def substituted(self, text: str, replace: Mapping[str, str]) -> tuple[Any, Any]:
        """Value of ``text`` after replacing symbols by expressions."""

        class Replacer(ast.NodeTransformer):
            def visit_Name(self, node: ast.Name) -> ast.expr:
                return parse(replace[node.id]) if node.id in replace else node

        return self.field.evaluate(Replacer().visit(copy.deepcopy(self.tree(text))))

    def definition(self, symbol: str, op: str) -> Any:
        found = self.symbols[symbol].get("definition") or {}
        if found.get("op") != op:
            raise Invalid(f"symbol {symbol!r} is not defined as {op}")
        return found["of"]

    # Symbols ---------------------------------------------------------------------------------------

    def check_symbols(self) -> None:
        """Signs and index dependence of defined symbols must follow from their definitions."""
        order = list(self.symbols)
        for position, name in enumerate(order):
            entry = self.symbols[name]
            self.current = f"symbol {name}"
            if entry["sign"] not in ("positive", "nonnegative", "real"):
                raise Invalid(f"sign {entry['sign']!r} is unknown")
            if not self.depends[name] <= INDICES or (
                "draw" in self.depends[name] and not {"step", "later"} & self.depends[name]
            ):
                raise Invalid("depends lists coordinate, step, later, draw, and draw implies step or later")
            if entry.get("fixed") and (entry.get("definition") or "draw" in self.depends[name]):
                raise Invalid("only a symbol without definition, known before the draw, can be fixed")
            if entry.get("definition") is None:
                continue
            op, of = entry["definition"]["op"], entry["definition"]["of"]
            if op == "recursion":
                self.check_recursion(name, of, set(order[:position]))
                continue
            if op == "max" and not (isinstance(of, list) and of):
                raise Invalid("a maximum is of a list of expressions")
            parts = list(of) if op == "max" else [of]
            used = set().union(*(names(self.tree(part)) for part in parts))
            later = used - set(order[:position])
            if later:
                raise Invalid(f"defined by symbols that come later: {sorted(later)}")
            inherited = set().union(*(self.dependence(part) for part in parts))
            if op == "steps" and "coordinate" in inherited:
                raise Invalid("a sum over steps may not have a free coordinate")
            needed = self.inherit(op, inherited, REMOVES.get(op, set()))
            if self.depends[name] != needed:
                raise Invalid(f"depends must be {sorted(needed)}")
            if op == "root" and sign(self.tree(of), self.signs) == "unknown":
                raise Invalid(f"a root of {of!r}, which is not visibly nonnegative")
            if not self.sign_follows(entry["sign"], op, parts):
                raise Invalid(f"sign {entry['sign']!r} does not follow from its definition")
        self.current = ""

    def sign_follows(self, claimed: str, op: str, parts: list[str]) -> bool:
        if claimed == "real":
            return op in {"equals", "root", "log", "power_of_two", "absolute", "max", *REMOVES}
        found = [sign(self.tree(part), self.signs) for part in parts]
        known = {
            "equals": found[0],
            "root": "positive" if found[0] == "positive" else "nonnegative",
            "power_of_two": "positive",
            "absolute": "positive" if found[0] == "positive" else "nonnegative",
            "max": next((s for s in ("positive", "nonnegative") if s in found), "unknown"),
            "mean": found[0],
            "expected": found[0],
            "coordinates": found[0],
            # The number of steps may be zero, so a sum over steps is only nonnegative.
            "steps": "nonnegative" if found[0] == "positive" else found[0],
            **dict.fromkeys(PAIR_OPERATORS, "nonnegative" if found[0] == "positive" else found[0]),
            "log": self.log_sign(parts[0]),
        }[op]
        return known == "positive" or known == claimed

    @staticmethod
    def log_sign(text: str) -> str:
        return "positive" if text.strip().isdigit() and int(text) >= 2 else "unknown"

    def check_chains(self) -> None:
        """A chain is a state that a step advances: its value before, after, at the start and at the end.

        A chain between symbols without definition says what the iteration is. A chain between defined
        symbols must follow from those: the same definition, one step later.
        """
        ends: set[str] = {chain["end"] for chain in self.chains.values() if "end" in chain}
        seen: set[str] = set()
        for name, chain in self.chains.items():
            self.current = f"chain {name}"
            before, after = chain["previous"], chain["next"]
            if "later" in self.depends[before] | self.depends[after]:
                raise Invalid("a state is that of one step, not of a pair of steps")
            # Two chains of one state, or one end of two, would say two things about the same number.
            twice = seen & {before, chain.get("end")}
            if twice:
                raise Invalid(f"{sorted(twice)} already belong to another chain")
            seen |= {before, chain.get("end", before)}
            if self.primitives(chain["start"]) & ends:
                raise Invalid("the start may not be defined by the end of a chain")
            coordinate = self.depends[before] & {"coordinate"}
            if self.depends[after] & {"coordinate"} != coordinate:
                raise Invalid("a state and the next one both depend on the coordinate, or neither does")
            for key in ("start", "end"):
                if key in chain and not self.dependence(chain[key]) & {"coordinate"} <= coordinate:
                    raise Invalid(f"the {key} value depends on the coordinate, but the state does not")
            if self.symbols[before].get("fixed") and self.is_random(after):
                raise Invalid("a fixed state cannot be followed by one that may be random")
            if "draw" in self.depends[before] or "step" not in self.depends[before] & self.depends[after]:
                raise Invalid("the previous value depends on the step but not on its draw")
            for key in ("start", "end"):
                if key in chain and self.dependence(chain[key]) & {"step", "draw"}:
                    raise Invalid(f"the {key} value may not depend on the step")
            if "end" in chain and self.symbols[chain["end"]].get("definition"):
                raise Invalid("the end value has no other definition")
            if "end" in chain and self.signs[chain["end"]] != "real":
                found = [self.signs[after], sign(self.tree(chain["start"]), self.signs)]
                allowed = (
                    ("positive", "nonnegative")
                    if self.signs[chain["end"]] == "nonnegative"
                    else ("positive",)
                )
                if not all(one in allowed for one in found):
                    raise Invalid("the sign of the end value must follow from the states'")
            definition = self.symbols[before].get("definition")
            if definition is None:
                if self.symbols[after].get("definition") is not None:
                    raise Invalid("a defined symbol cannot follow one without definition")
                first = sign(self.tree(chain["start"]), self.signs)
                if self.signs[before] not in ("real", first) and first != "positive":
                    raise Invalid("the sign of the state does not hold at its start")
                continue
            self.follows(definition, chain)
        self.current = ""

    def follows(self, definition: Mapping[str, Any], chain: Mapping[str, str]) -> None:
        op, of = definition["op"], definition["of"]
        if op in ("mean", "steps", *PAIR_OPERATORS):
            # The next value of a mean is not yet drawn; the next value of a sum runs over other steps.
            raise Invalid(f"a state defined by {op!r} has no next value of the same form")
        moving = {n for n in names(self.tree(of)) if "step" in self.depends[n]}
        states = {c["previous"]: c for c in self.chains.values() if c["previous"] in moving}
        if moving - set(states):
            raise Invalid(f"{sorted(moving - set(states))} change with the step and are not chains")
        advanced = self.substituted(of, {n: c["next"] for n, c in states.items()})
        initial = self.substituted(of, {n: f"({c['start']})" for n, c in states.items()})
        self.same(
            self.value(self.definition(chain["next"], op)), advanced, "the next value is defined otherwise"
        )
        self.same(self.value(self.definition(chain["start"], op)), initial, "the start is defined otherwise")

    def primitives(self, text: str) -> set[str]:
        """Symbols without definition that the expression comes down to."""
        waiting, seen, found = names(self.tree(text)), set(), set()
        while waiting:
            name = waiting.pop()
            seen.add(name)
            definition = self.symbols[name].get("definition")
            if definition is None:
                found.add(name)
                continue
            of = definition["of"]
            for part in of if isinstance(of, list) else [of]:
                waiting |= names(self.tree(part)) - seen
        return found

    # Steps -----------------------------------------------------------------------------------------

    def run(self) -> None:
        for step in self.document["steps"]:
            self.take(step)
        self.conclude()

    def take(self, step: Mapping[str, Any]) -> None:
        """Check one step in the state that the steps before it left, and add its fact."""
        self.current = step["name"]
        if step["name"] in self.facts:
            raise Invalid("the name is used twice")
        if step["kind"] not in self.rules:
            raise Invalid(f"kind {step['kind']!r} is not in the language")
        if step["relation"] not in (">=", "=="):
            raise Invalid(f"relation {step['relation']!r} is neither >= nor ==")
        tree = self.tree(step["gap"])
        stated = self.field.evaluate(tree)
        value, equality, still_open = self.rules[step["kind"]](step)
        self.same(stated, value, "the stated gap is not what the step gives")
        if step["relation"] == "==" and not equality:
            raise Invalid("only an inequality follows, but an equality is stated")
        self.facts[step["name"]] = Fact(
            tree=tree, value=stated, equality=step["relation"] == "==", open=still_open
        )

    def conclude(self) -> None:
        """The claim is the fact that it names, and nothing is left open."""
        claim = self.document["claim"]
        self.current = "claim"
        final = self.fact(claim["fact"])
        if final.open:
            raise Invalid(f"the claim still rests on open hypotheses {sorted(final.open)}")
        right = self.value(claim["rhs"])
        left = self.value(claim["lhs"])
        self.same(final.value, self.field.add(right, (-left[0], left[1])), "rhs - lhs is not the final gap")
        self.current = ""

    def fact(self, name: str) -> Fact:
        if name not in self.facts:
            raise Invalid(f"uses {name!r}, which is not established before it")
        return self.facts[name]

    def closed(self, name: str) -> Fact:
        fact = self.fact(name)
        if fact.open:
            raise Invalid(f"{name!r} still rests on open hypotheses {sorted(fact.open)}")
        return fact

    def trust(self, *facts: str) -> None:
        unknown = set(facts) - set(TRUSTED)
        if unknown:
            raise Invalid(f"{sorted(unknown)} are not in the trusted base")
        self.rests_on.update(facts)
