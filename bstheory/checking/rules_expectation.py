"""Rules for unconditional expectations ``expected`` of a step whose number is fixed in advance.

``expected(X)`` is E[X_k]: a number for every step k, not a random variable. Only what is not random moves out
of it: constants, primitive symbols marked ``fixed``, and what is defined from those alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bstheory.checking.rational import names


class ExpectationRules:
    """Mixin of :class:`bstheory.checking.recheck.Checker`."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def is_random(self, name: str) -> bool:
        """Whether a symbol may be random, judged from its definition down to the primitive symbols."""
        if name not in self.randomness:
            self.randomness[name] = self.may_be_random(name)
        return self.randomness[name]

    def may_be_random(self, name: str) -> bool:
        entry = self.symbols[name]
        definition = entry.get("definition")
        if definition is None:
            return "step" in self.depends[name] and not entry.get("fixed", False)
        if definition["op"] in ("expected", "steps", "recursion"):
            return False
        of = definition["of"]
        parts = of if isinstance(of, list) else [of]
        return any(self.is_random(used) for part in parts for used in names(self.tree(part)))

    def deterministic(self, text: str) -> None:
        from bstheory.checking.recheck_rules import Invalid

        self.trust("fixed_steps")
        random = sorted(name for name in names(self.tree(text)) if self.is_random(name))
        if random:
            raise Invalid(f"{random} in {text!r} may be random and cannot leave an expectation")

    def step_tower_expected(self, step: Mapping[str, Any]) -> Any:
        """E of what is linear in conditional means equals E of what they are means of."""
        self.trust("fixed_steps")
        return self.tower(step, "expected")

    def step_steps_expected(self, step: Mapping[str, Any]) -> Any:
        """E sum_k c_k X_k == sum_k c_k E[X_k] for fixed c_k; ``left`` holds the expectations."""
        from bstheory.checking.recheck_rules import Invalid

        self.trust("fixed_steps", "exchange")
        left, right = self.definition(step["left"], "steps"), self.definition(step["right"], "steps")
        used = names(self.tree(left))
        expected = {
            name for name in used if (self.symbols[name].get("definition") or {}).get("op") == "expected"
        }
        if not expected:
            raise Invalid(f"{left!r} contains no expectation")
        for name in used - expected:
            self.deterministic(name)
        self.linear_in(left, *sorted(expected))
        inner = self.substituted(left, {name: f"({self.definition(name, 'expected')})" for name in expected})
        self.same(inner, self.value(right), "the two sums differ")
        return self.value(f"{step['left']} - {step['right']}"), True, frozenset()

    def step_exchange_mean(self, step: Mapping[str, Any]) -> Any:
        """The conditional mean of a sum over coordinates is the sum of the conditional means."""
        self.trust("exchange", "linearity")
        total = self.definition(step["left"], "mean").strip()
        inside = self.definition(total, "coordinates")
        right = self.definition(step["right"], "coordinates")
        if any("draw" in self.depends[name] for name in names(self.tree(right))):
            from bstheory.checking.recheck_rules import Invalid

            raise Invalid(f"{right!r} depends on the draw")
        self.same(self.without_means(right), self.value(inside), "the two sums differ")
        return self.value(f"{step['left']} - {step['right']}"), True, frozenset()
