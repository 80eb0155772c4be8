"""Rules for pairs of steps: a gradient drawn in step j that acts in a step n >= j, and sums over such pairs.

The index ``step`` is j, the index ``later`` is n, and a claim that depends on both holds for all j <= n <= N.
A symbol that depends on ``later`` alone is not random unless it depends on ``draw``. Operators:
``laters`` (E sum_n), ``pairs`` (E sum_n sum_{j<=n}), ``lags`` (sum_{j<=n}), ``futures`` (sum_{n>=j}),
``between`` (sum_{j<=l<n} of a step's quantity) and ``across`` (sum_{j<=l<n} over the pairs around step l).
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bstheory.checking.rational import names, parse

PAIR_OPERATORS = {
    "laters": {"later", "draw"},
    "pairs": {"step", "later", "draw"},
    "lags": {"step"},
    "futures": {"later"},
    "between": set(),
    "across": {"later"},
}


class PairRules:
    """Mixin of :class:`bstheory.checking.recheck.Checker`."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def inherit(self, op: str, inherited: set[str], removed: set[str]) -> set[str]:
        """What a defined symbol depends on; refuses operators where they make no sense."""
        from bstheory.checking.recheck_rules import Invalid

        later, step = "later" in inherited, "step" in inherited
        wrong = {
            "mean": later and not step,  # the conditional mean is that of step j
            "expected": later,
            "steps": later,
            "laters": step or "coordinate" in inherited or not later,
            "pairs": "coordinate" in inherited or not (step and later),
            "lags": not (step and later),
            "futures": not (step and later),
            "between": later or not step or "coordinate" in inherited,
            "across": not (step and later) or bool({"draw", "coordinate"} & inherited),
        }
        if wrong.get(op, False):
            raise Invalid(f"operator {op!r} over what depends on {sorted(inherited)}")
        added = {"lags": {"draw"}, "between": {"later", "draw"}}.get(op, set())
        return (inherited - removed) | added

    def unfold(self, text: str, op: str) -> str:
        """Replace the one symbol defined by ``op``, in which ``text`` is linear, by its argument."""
        from bstheory.checking.recheck_rules import Invalid

        found = [
            n for n in names(self.tree(text)) if (self.symbols[n].get("definition") or {}).get("op") == op
        ]
        if len(found) != 1:
            raise Invalid(f"{text!r} holds {len(found)} symbols defined by {op!r}, not one")
        name = found[0]
        zero = self.substituted(text, {name: "0"})
        if zero[0] != self.field.zero:
            raise Invalid(f"{text!r} does not vanish with {name!r}")
        self.linear_in(text, name)
        of = self.definition(name, op)

        class Replacer(ast.NodeTransformer):
            def visit_Name(self, node: ast.Name) -> ast.expr:
                return parse(of) if node.id == name else node

        return ast.unparse(Replacer().visit(copy.deepcopy(self.tree(text))))

    def unfolded(self, symbol: str, operators: list[str]) -> str:
        """The definition of a sum with its inner sums replaced by their arguments, outermost first."""
        text = self.definition(symbol, operators[0])
        for op in operators[1:]:
            text = self.unfold(text, op)
        return text

    def step_pairs_by_later(self, step: Mapping[str, Any]) -> Any:
        """E sum_n sum_i a (sum_{j<=n} f) == E sum_{j<=n} sum_i a f."""
        self.trust("exchange")
        left = self.unfolded(step["left"], ["laters", "coordinates", "lags"])
        right = self.unfolded(step["right"], ["pairs", "coordinates"])
        self.same(self.value(left), self.value(right), "the two sums differ")
        return self.value(f"{step['left']} - {step['right']}"), True, frozenset()

    def step_pairs_by_step(self, step: Mapping[str, Any]) -> Any:
        """E sum_j b (sum_{n>=j} f) == E sum_{j<=n} b f, with b a sum over coordinates."""
        self.trust("exchange")
        left = self.unfold(self.unfolded(step["left"], ["steps", "futures"]), "coordinates")
        right = self.unfolded(step["right"], ["pairs", "coordinates"])
        self.same(self.value(left), self.value(right), "the two sums differ")
        return self.value(f"{step['left']} - {step['right']}"), True, frozenset()

    def step_pairs_across(self, step: Mapping[str, Any]) -> Any:
        """E sum_{j<=n} kappa (sum_{j<=l<n} y_l) == E sum_l y_l (sum_{j<=l<n} kappa)."""
        self.trust("exchange")
        left, right = self.definition(step["left"], "pairs"), self.definition(step["right"], "steps")
        between, across = step["between"], step["across"]
        y, kappa = self.definition(between, "between"), self.definition(across, "across")
        self.same(self.value(left), self.value(f"({kappa})*{between}"), "not the weighted sum between")
        self.same(self.value(right), self.value(f"({y})*{across}"), "not the sum with the weights across")
        return self.value(f"{step['left']} - {step['right']}"), True, frozenset()

    def step_pairs_tower(self, step: Mapping[str, Any]) -> Any:
        """E sum_{j<=n} of means given the past of step j == E sum_{j<=n} of what they are means of."""
        from bstheory.checking.recheck_rules import Invalid

        self.trust("tower", "exchange")
        outer = self.definition(step["left"], "pairs")
        if "draw" in self.dependence(self.unfold(outer, "coordinates")):
            raise Invalid(f"{outer!r} depends on the draw")
        left = self.without_means(self.unfold(outer, "coordinates"))
        right = self.value(self.unfolded(step["right"], ["pairs", "coordinates"]))
        self.same(left, right, "the two sums differ")
        return self.value(f"{step['left']} - {step['right']}"), True, frozenset()

    def step_relabel(self, step: Mapping[str, Any]) -> Any:
        """E sum_n of a quantity == E sum_j of the same quantity: ``pairs`` names symbol at n, symbol at j."""
        from bstheory.checking.recheck_rules import Invalid

        self.trust("exchange", "relabel")
        mapping = step["pairs"]
        self.check_counterparts(mapping)
        left, right = self.definition(step["left"], "laters"), self.definition(step["right"], "steps")
        loose = {n for n in names(self.tree(left)) if "later" in self.depends[n]} - set(mapping)
        if loose:
            raise Invalid(f"{sorted(loose)} have no counterpart")
        self.same(self.substituted(left, mapping), self.value(right), "the two sums differ")
        return self.value(f"{step['left']} - {step['right']}"), True, frozenset()

    def step_relabel_fact(self, step: Mapping[str, Any]) -> Any:
        """What holds in every step j holds in every step n: ``pairs`` names symbol at n, symbol at j."""
        from bstheory.checking.recheck_rules import Invalid

        self.trust("relabel")
        mapping, fact = step["pairs"], self.closed(step["fact"])
        self.check_counterparts(mapping)
        plain = {plain: later for later, plain in mapping.items()}
        loose = {n for n in names(fact.tree) if {"step", "later"} & self.depends[n]} - set(plain)
        if loose:
            raise Invalid(f"{sorted(loose)} have no counterpart")
        return self.substituted(ast.unparse(fact.tree), plain), fact.equality, frozenset()

    def check_counterparts(self, mapping: Mapping[str, str]) -> None:
        """Each symbol at n and its counterpart at j are one sequence under two names."""
        from bstheory.checking.recheck_rules import Invalid

        if len(set(mapping.values())) != len(mapping):
            raise Invalid("two symbols have the same counterpart")
        self.counterparts |= set(mapping.items())
        for place in (0, 1):  # one counterpart in the whole document, or all primitives would be equal
            if len({pair[place] for pair in self.counterparts}) != len(self.counterparts):
                raise Invalid("a symbol has two counterparts")
        for later, plain in mapping.items():
            if self.signs[later] != self.signs[plain]:
                raise Invalid(f"{later!r} and {plain!r} have different signs")
            if "later" not in self.depends[later] or {"step", "later"} & self.depends[plain] != {"step"}:
                raise Invalid(f"{later!r} and {plain!r} are not one quantity at n and at j")
            if self.depends[later] - {"later", "draw"} != self.depends[plain] - {"step", "draw"}:
                raise Invalid(f"{later!r} and {plain!r} depend on different indices")
            if "draw" not in self.depends[later] and self.is_random(plain):
                raise Invalid(f"{plain!r} may be random and {later!r} is not")
            a, b = (self.symbols[n].get("definition") for n in (later, plain))
            if (a is None) != (b is None):
                raise Invalid(f"only one of {later!r} and {plain!r} has a definition")
            if a is not None:
                if (
                    a["op"] != b["op"]
                    or a["op"] in PAIR_OPERATORS
                    or a["op"] in ("mean", "expected", "steps")
                ):
                    raise Invalid(f"{later!r} and {plain!r} are defined differently")
                renamed = self.substituted(a["of"], mapping)
                self.same(renamed, self.value(b["of"]), f"{later!r} and {plain!r} are defined differently")
