"""The rules of the independent checker, one method a kind of step.

Each rule gets a step and returns what it establishes: the gap as a fraction, whether it is an equality, and
the induction hypotheses that are still open. A rule never trusts the step's own ``gap``, except to compare.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bstheory.checking.rational import exponent, names, sign
from bstheory.checking.rules_pairs import PAIR_OPERATORS

# Which index dependence each operator removes; coefficients that move out must be free of these.
REMOVES = {
    "mean": {"draw"},
    "expected": {"draw"},
    "coordinates": {"coordinate"},
    "steps": {"step", "draw"},
    **PAIR_OPERATORS,
}


class Invalid(ValueError):
    """A step that does not follow; the message names it and shows what is left over."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fact:
    """A checked claim: the expression, as a tree and as a fraction, and the hypotheses still open."""

    tree: ast.expr
    value: tuple[Any, Any]
    equality: bool
    open: frozenset[str]


class Rules:
    """Mixin of :class:`bstheory.checking.recheck.Checker`."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def step_assumption(self, step: Mapping[str, Any]) -> Any:
        self.trust("assumption", *step.get("by", []))
        self.rests_on.add(f"assumption: {step['assumption']}")
        return self.value(step["gap"]), step["relation"] == "==", frozenset()

    def step_hypothesis(self, step: Mapping[str, Any]) -> Any:
        """An induction hypothesis about the state before the step; to be closed by ``induction``."""
        if {"draw", "later"} & self.dependence(step["gap"]):
            raise Invalid("an induction hypothesis may not depend on the draw")
        return self.value(step["gap"]), step["relation"] == "==", frozenset([step["name"]])

    def step_definition(self, step: Mapping[str, Any]) -> Any:
        self.trust("definition")
        symbol = step["symbol"]
        definition = self.symbols[symbol]["definition"]
        power = {"root": 2, "equals": 1}[definition["op"]]
        return self.value(f"{symbol}**{power} - ({definition['of']})"), True, frozenset()

    def step_absolute_value(self, step: Mapping[str, Any]) -> Any:
        self.trust("absolute_value")
        symbol, of = step["symbol"], self.definition(step["symbol"], "absolute")
        above, below, square = f"{symbol} - ({of})", f"{symbol} + ({of})", f"{symbol}**2 - ({of})**2"
        gap = {"above": above, "below": below, "square": square}[step["form"]]
        return self.value(gap), step["form"] == "square", frozenset()

    def step_absolute_least(self, step: Mapping[str, Any]) -> Any:
        """y - |x| >= 0 from y - x >= 0 and y + x >= 0."""
        self.trust("absolute_value")
        symbol, of = step["symbol"], self.value(self.definition(step["symbol"], "absolute"))
        above, below = self.fact(step["above"]), self.fact(step["below"])
        top = self.field.add(above.value, of)
        self.same(top, self.field.add(below.value, (-of[0], of[1])), "the two facts are not y - x and y + x")
        name = self.value(symbol)
        return self.field.add(top, (-name[0], name[1])), False, above.open | below.open

    def step_maximum(self, step: Mapping[str, Any]) -> Any:
        self.trust("maximum")
        symbol, of = step["symbol"], self.definition(step["symbol"], "max")
        return self.value(f"{symbol} - ({of[step['argument']]})"), False, frozenset()

    def log_argument(self, symbol: str) -> str:
        of = self.definition(symbol, "log")
        if sign(self.tree(of), self.signs) != "positive":
            raise Invalid(f"the argument of the logarithm {symbol!r} is not visibly positive")
        return of

    def step_log_tangent(self, step: Mapping[str, Any]) -> Any:
        self.trust("log_tangent")
        return self.value(f"({self.log_argument(step['log'])}) - 1 - {step['log']}"), False, frozenset()

    def step_log_quotient(self, step: Mapping[str, Any]) -> Any:
        self.trust("log_quotient")
        whole, top, bottom = (step[key] for key in ("log", "numerator", "denominator"))
        quotient = f"({self.log_argument(top)}) / ({self.log_argument(bottom)})"
        self.same(self.value(self.log_argument(whole)), self.value(quotient), "argument is not the quotient")
        return self.value(f"{whole} - {top} + {bottom}"), True, frozenset()

    def step_log_product(self, step: Mapping[str, Any]) -> Any:
        self.trust("log_product")
        whole, first, second = (step[key] for key in ("log", "first", "second"))
        product = f"({self.log_argument(first)}) * ({self.log_argument(second)})"
        self.same(self.value(self.log_argument(whole)), self.value(product), "argument is not the product")
        return self.value(f"{whole} - {first} - {second}"), True, frozenset()

    def step_log_monotone(self, step: Mapping[str, Any]) -> Any:
        self.trust("log_monotone")
        larger, smaller, fact = step["larger"], step["smaller"], self.fact(step["fact"])
        difference = self.value(f"({self.log_argument(larger)}) - ({self.log_argument(smaller)})")
        self.same(fact.value, difference, "the fact is not the difference of the arguments")
        return self.value(f"{larger} - {smaller}"), False, fact.open

    def step_log_power_of_two(self, step: Mapping[str, Any]) -> Any:
        self.trust("log_power_of_two")
        log, two = step["log"], step["ln2"]
        if self.definition(two, "log").strip() != "2":
            raise Invalid(f"{two!r} is not the logarithm of 2")
        exponent = self.definition(self.log_argument(log).strip(), "power_of_two")
        return self.value(f"{log} - ({exponent})*{two}"), True, frozenset()

    def step_combine(self, step: Mapping[str, Any]) -> Any:
        """gap = sum multiplier * (product of fact gaps) + sum coefficient * square + slack."""
        total = (self.field.zero, self.field.one)
        equality = True
        still_open: frozenset[str] = frozenset()
        for used, multiplier in step["uses"]:
            facts = [self.fact(name) for name in used]
            if not facts:
                raise Invalid("a multiplier without a fact; use slack")
            exact = any(fact.equality for fact in facts)
            if not exact:
                self.nonnegative(multiplier, "multiplier")
                equality = False
            product = self.value(multiplier)
            for fact in facts:
                product = self.field.multiply(product, fact.value)
                still_open |= fact.open
            total = self.field.add(total, product)
        for coefficient, root in step.get("squares", []):
            self.trust("square")
            self.nonnegative(coefficient, "coefficient of a square")
            base = self.value(root)  # parsed on its own: text pasted into a product could change its meaning
            square = self.field.multiply(self.value(coefficient), self.field.multiply(base, base))
            total = self.field.add(total, square)
            equality = False
        if step.get("slack", "0") != "0":
            self.nonnegative(step["slack"], "slack")
            total = self.field.add(total, self.value(step["slack"]))
            equality = False
        return total, equality, still_open

    def step_scale(self, step: Mapping[str, Any]) -> Any:
        """A fact divided or multiplied by a visibly positive expression."""
        fact = self.fact(step["fact"])
        if sign(self.tree(step["by"]), self.signs) != "positive":
            raise Invalid(f"factor {step['by']!r} is not visibly positive")
        return self.field.multiply(fact.value, self.value(step["by"])), fact.equality, fact.open

    def step_apply(self, step: Mapping[str, Any]) -> Any:
        """Apply a positive linear operator to a fact written as sum coefficient * expression."""
        self.trust("linearity")
        op, fact = step["op"], self.closed(step["fact"])
        if op not in REMOVES or op in ("between", "across"):
            raise Invalid(f"operator {op!r} is not in the language")
        sums = {
            "steps": {"step", "draw", "coordinate", "later"},
            "laters": {"later", "draw", "coordinate", "step"},
        }
        moves = sums.get(op, REMOVES[op] | ({"coordinate"} if op == "pairs" else set()))
        before = (self.field.zero, self.field.one)
        after = (self.field.zero, self.field.one)
        for symbol, coefficient in step["terms"].items():
            # The mean of the constant 1 is 1.
            of = "1" if symbol == "1" and op in ("mean", "expected") else self.definition(symbol, op)
            if self.dependence(coefficient) & moves:
                raise Invalid(f"coefficient {coefficient!r} of {symbol!r} depends on {sorted(moves)}")
            if op == "expected":
                self.deterministic(coefficient)
            before = self.field.add(before, self.value(f"({coefficient})*({of})"))
            after = self.field.add(after, self.value(f"({coefficient})*{symbol}"))
        self.same(fact.value, before, "the terms do not add up to the fact")
        return after, fact.equality, frozenset()

    def without_means(self, text: str) -> tuple[Any, Any]:
        """Replace each conditional mean, which must occur linearly with a known factor, by its argument."""
        replace = {}
        for name in names(self.tree(text)):
            definition = self.symbols[name].get("definition") or {}
            if definition.get("op") == "mean":
                replace[name] = f"({definition['of']})"
        if replace:
            others = names(self.tree(text)) - set(replace)
            if any("draw" in self.depends[n] for n in others):
                raise Invalid(f"{text!r} mixes a conditional mean with the draw")
            self.linear_in(text, *replace)
        return self.substituted(text, replace)

    def step_tower(self, step: Mapping[str, Any]) -> Any:
        """Sums over steps of conditional means equal the sums of what they are means of."""
        return self.tower(step, "steps")

    def tower(self, step: Mapping[str, Any], op: str) -> Any:
        self.trust("tower", "exchange")
        left, right = self.definition(step["left"], op), self.definition(step["right"], op)
        replace = {}
        for conditional, plain in step.get("pairs", {}).items():
            inner = self.without_means(self.definition(conditional, "coordinates"))
            outer = self.value(self.definition(plain, "coordinates"))
            self.same(inner, outer, f"{plain!r} is not {conditional!r}")
            tree = self.tree(left)
            if any("draw" in self.depends[n] for n in names(tree)):
                raise Invalid(f"{left!r} depends on the draw")
            replace[conditional] = plain
        middle = left
        if replace:
            # Jointly: a product of two conditional means is linear in each.
            self.linear_in(left, *replace)
            self.same(self.substituted(left, replace), self.value(right), "the two sums differ")
        else:
            self.same(self.without_means(middle), self.value(right), "the two sums differ")
        return self.value(f"{step['left']} - {step['right']}"), True, frozenset()

    def linear_in(self, text: str, *symbols: str) -> None:
        """Affine jointly in ``symbols``: value at 0, 1 and 2 times them is in arithmetic progression.

        A rational function that is homogeneous of degree one without being linear has a denominator that
        vanishes at zero, which the substitution refuses.
        """
        zero = self.substituted(text, dict.fromkeys(symbols, "0"))
        once = self.value(text)
        twice = self.substituted(text, {symbol: f"(2*{symbol})" for symbol in symbols})
        first = self.field.add(once, (-zero[0], zero[1]))
        second = self.field.add(twice, (-once[0], once[1]))
        self.same(first, second, f"{text!r} is not linear in {', '.join(symbols)}")

    def step_telescope(self, step: Mapping[str, Any]) -> Any:
        self.trust("telescope")
        chain = self.chains[step["chain"]]
        difference = self.value(f"{chain['next']} - {chain['previous']}")
        self.same(self.value(self.definition(step["symbol"], "steps")), difference, "not a telescoping sum")
        return self.value(f"{step['symbol']} - ({chain['end']}) + ({chain['start']})"), True, frozenset()

    def step_at_end(self, step: Mapping[str, Any]) -> Any:
        """A fact that holds at the start and after every step holds for the final state, in expectation."""
        self.trust("at_end", "linearity")
        advanced, start, chain = (
            self.closed(step["fact"]),
            self.closed(step["start"]),
            self.chains[step["chain"]],
        )
        text = ast.unparse(advanced.tree)
        if any(self.depends[name] for name in names(advanced.tree) - {chain["next"]}):
            raise Invalid("a fact about the end may depend on the step only through the chain")
        self.linear_in(text, chain["next"])
        base = self.substituted(text, {chain["next"]: f"({chain['start']})"})
        self.same(start.value, base, "the start fact is not the same claim about the start")
        final = self.substituted(text, {chain["next"]: f"({chain['end']})"})
        return final, advanced.equality and start.equality, frozenset()

    def step_induction(self, step: Mapping[str, Any]) -> Any:
        """Close an induction hypothesis: it holds at the start, and one step preserves it."""
        self.trust("induction")
        hypothesis, advanced, start = (self.fact(step[key]) for key in ("hypothesis", "advanced", "start"))
        if hypothesis.open != {step["hypothesis"]}:
            raise Invalid(f"{step['hypothesis']!r} is not a hypothesis")
        if start.open or advanced.open - {step["hypothesis"]}:
            raise Invalid("the base or the step rests on another open hypothesis")
        if hypothesis.equality and not (advanced.equality and start.equality):
            raise Invalid(
                "an equality was assumed, but only an inequality is shown at the start or after a step"
            )
        text = ast.unparse(hypothesis.tree)
        chains = [self.chains[name] for name in step["chains"]]
        states = {chain["previous"] for chain in chains}
        loose = {n for n in names(hypothesis.tree) - states if "step" in self.depends[n]}
        if loose:
            raise Invalid(f"the hypothesis depends on the step through {sorted(loose)}, which are not chains")
        after = self.substituted(text, {chain["previous"]: chain["next"] for chain in chains})
        base = self.substituted(text, {chain["previous"]: f"({chain['start']})" for chain in chains})
        self.same(advanced.value, after, "the advanced fact is not the hypothesis one step later")
        self.same(start.value, base, "the base fact is not the hypothesis at the start")
        return hypothesis.value, hypothesis.equality, frozenset()

    def step_z3(self, step: Mapping[str, Any]) -> Any:
        """Nonlinear real arithmetic: the negation of the claim, with the facts used, has no model."""
        import z3

        self.trust("real_arithmetic")
        tree = self.tree(step["gap"])
        facts = [self.fact(name) for name in step["uses"]]
        still_open = frozenset().union(*(fact.open for fact in facts))
        variables = {name: z3.Real(name) for name in self.symbols}

        def term(node: ast.expr) -> Any:
            if isinstance(node, ast.Constant):
                return z3.RealVal(node.value)
            if isinstance(node, ast.Name):
                return variables[node.id]
            if isinstance(node, ast.UnaryOp):
                return -term(node.operand) if isinstance(node.op, ast.USub) else term(node.operand)
            assert isinstance(node, ast.BinOp)
            if isinstance(node.op, ast.Pow):
                power, base = exponent(node.right), term(node.left)
                product = z3.RealVal(1)
                for _ in range(abs(power)):
                    product = product * base
                return product if power >= 0 else 1 / product
            a, b = term(node.left), term(node.right)
            match node.op:
                case ast.Add():
                    return a + b
                case ast.Sub():
                    return a - b
                case ast.Mult():
                    return a * b
            return a / b

        solver = z3.Solver()
        solver.set("timeout", 10_000)
        solver.set("random_seed", 0)
        for name in names(tree).union(*(names(fact.tree) for fact in facts)):
            if self.signs[name] == "positive":
                solver.add(variables[name] > 0)
            elif self.signs[name] == "nonnegative":
                solver.add(variables[name] >= 0)
        for fact in facts:
            solver.add(term(fact.tree) == 0 if fact.equality else term(fact.tree) >= 0)
        goal = term(tree)
        solver.add(goal != 0 if step["relation"] == "==" else goal < 0)
        answer = solver.check()
        if answer != z3.unsat:
            model = f", e.g. {solver.model()}" if answer == z3.sat else ""
            raise Invalid(f"z3 answers {answer} to the negated claim{model}")
        return self.field.evaluate(tree), step["relation"] == "==", still_open
