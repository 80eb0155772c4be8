"""Rules for functions of the lag n - j of a pair of steps j <= n, and for sums of them.

A symbol defined by ``recursion`` of [start, next] is a function of the lag k = n - j alone: ``start`` at
k = 0, and ``next``, an expression in symbols of the same kind at lag k (itself included), at k + 1. Below,
``e(+1)`` is an expression with each such symbol replaced by its ``next``, and ``e(0)`` by its ``start``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bstheory.checking.rational import names, sign

Fraction = tuple[Any, Any]


class LagRules:
    """Mixin of :class:`bstheory.checking.recheck.Checker`."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def check_recursion(self, name: str, of: Any, before: set[str]) -> None:
        """``start`` is a constant, ``next`` of constants and functions of the lag declared by now."""
        from bstheory.checking.recheck_rules import Invalid

        if not (isinstance(of, list) and len(of) == 2):
            raise Invalid("a recursion is of a list: the value at lag 0, and the value one lag later")
        if self.depends[name] != {"step", "later"}:
            raise Invalid("a function of the lag depends on step and later")
        start, after = (self.tree(text) for text in of)
        later = (names(start) | names(after)) - before - {name}
        if later:
            raise Invalid(f"defined by symbols that come later: {sorted(later)}")
        if any(self.depends[used] for used in names(start)):
            raise Invalid("the value at lag 0 depends on an index")
        self.lag_only(of[1])
        claimed, found = self.signs[name], {sign(start, self.signs), sign(after, self.signs)}
        # By induction over the lag: ``next`` may use the sign that is claimed.
        allowed = {"positive": {"positive"}, "nonnegative": {"positive", "nonnegative"}}
        if claimed != "real" and not found <= allowed[claimed]:
            raise Invalid(f"sign {claimed!r} does not follow from its definition")

    def lag_only(self, *texts: str) -> None:
        """Raise unless the expressions hold nothing but constants and functions of the lag."""
        from bstheory.checking.recheck_rules import Invalid

        for text in texts:
            for used in names(self.tree(text)):
                if self.depends[used] and not self.is_recursion(used):
                    raise Invalid(f"{used!r} in {text!r} is neither constant nor a function of the lag")

    def is_recursion(self, name: str) -> bool:
        return (self.symbols[name].get("definition") or {}).get("op") == "recursion"

    def at_lag(self, text: str, place: int) -> Fraction:
        """e(0) for ``place`` 0, e(+1) for ``place`` 1."""
        used = (name for name in names(self.tree(text)) if self.is_recursion(name))
        return self.substituted(text, {n: f"({self.symbols[n]['definition']['of'][place]})" for n in used})

    def drop(self, text: str) -> Fraction:
        """e - e(+1)."""
        after = self.at_lag(text, 1)
        return self.field.add(self.value(text), (-after[0], after[1]))

    def minus(self, x: Fraction, y: Fraction) -> Fraction:
        return self.field.add(x, (-y[0], y[1]))

    def step_lag_induction(self, step: Mapping[str, Any]) -> Any:
        """e >= 0 at every lag, from e(0) = ``base`` >= 0 and the fact e(+1) - ``keeps`` e >= 0.

        An equality follows from ``base`` 0 and a fact that is one.
        """
        self.trust("induction")
        gap, keeps, base = step["gap"], step["keeps"], step["base"]
        self.lag_only(gap)
        self.nonnegative(keeps, "multiplier")
        self.nonnegative(base, "value at lag 0")
        fact, kept = self.closed(step["fact"]), self.value(f"({keeps})*({gap})")
        self.same(fact.value, self.minus(self.at_lag(gap, 1), kept), "the fact is not e(+1) - keeps e")
        start = self.at_lag(gap, 0)
        self.same(start, self.value(base), "the value at lag 0 is another")
        return self.value(gap), fact.equality and start[0] == self.field.zero, frozenset()

    def step_lag_sum(self, step: Mapping[str, Any]) -> Any:
        """p(0) - sum f >= 0 for a sum over n >= j or over j <= n, from the fact p - p(+1) - f >= 0, p >= 0.

        The sum is at most p(0) - p(last lag + 1).
        """
        from bstheory.checking.recheck_rules import Invalid

        self.trust("telescope")
        if step["op"] not in ("futures", "lags"):
            raise Invalid(f"operator {step['op']!r} is not a sum over lags")
        of, potential = self.definition(step["symbol"], step["op"]), step["potential"]
        self.lag_only(potential)
        self.nonnegative(potential, "potential")
        difference = self.minus(self.drop(potential), self.value(of))
        self.same(self.closed(step["fact"]).value, difference, "the fact is not p - p(+1) - f")
        return self.minus(self.at_lag(potential, 0), self.value(step["symbol"])), False, frozenset()

    def step_lag_sum_across(self, step: Mapping[str, Any]) -> Any:
        """p(0) - sum of f over all pairs j <= l < n >= 0, for every l.

        Facts, for every pair: most - f >= 0, s - s(+1) - most(+1) >= 0, p - p(+1) - s >= 0; and s, p >= 0.
        Over n first: sum_{n>l} f <= s(l - j), as n - j >= 1; then over j: sum_{j<=l} s(l - j) <= p(0).
        """
        self.trust("telescope")
        of = self.definition(step["symbol"], "across")
        most, slope, potential = step["most"], step["slope"], step["potential"]
        self.lag_only(most, slope, potential)
        self.nonnegative(slope, "slope")
        self.nonnegative(potential, "potential")
        claims = {
            "most_fact": self.minus(self.value(most), self.value(of)),
            "slope_fact": self.minus(self.drop(slope), self.at_lag(most, 1)),
            "potential_fact": self.minus(self.drop(potential), self.value(slope)),
        }
        for key, claim in claims.items():
            self.same(self.closed(step[key]).value, claim, f"{key} is another claim")
        return self.minus(self.at_lag(potential, 0), self.value(step["symbol"])), False, frozenset()
