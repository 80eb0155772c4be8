"""Derivations: named steps whose results are computed, so that a right-hand side is produced and not typed.

A :class:`Derivation` is a builder. Symbols are declared with a sign, indices and, where they have one, a
definition; a step establishes ``gap >= 0`` or ``gap == 0``. Raises :class:`DerivationError` where a
step does not hold; ``checking.recheck`` checks the document again, from nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sympy as sp

INDICES = ("coordinate", "step", "later", "draw")
REMOVED = {"mean": {"draw"}, "expected": {"draw"}, "coordinates": {"coordinate"}, "steps": {"step", "draw"}}
ADDED: dict[str, set[str]] = {}
LISTS = ("max", "recursion")  # definitions of several expressions


class DerivationError(ArithmeticError):
    """A step does not hold; the message shows the step and what is left over."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SymbolEntry:
    """A declared symbol, its definition ``op``/``of`` if any; ``fixed``: varies with the step, not random."""

    name: str
    sign: str
    depends: tuple[str, ...]
    latex: str
    meaning: str
    op: str = ""
    of: Any = None
    fixed: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """One established claim. ``data`` is what the checker needs besides the claim itself."""

    name: str
    kind: str
    gap: sp.Expr
    relation: str
    why: str
    data: Mapping[str, Any]
    lemma: str = ""


class Derivation:
    """Builds one derivation.

    Args:
        slug: the theorem's name.
        title: one line.

    Example:
        >>> d = Derivation("young", "Young's inequality")
        >>> x, y = d.symbol("x"), d.symbol("y")
        >>> step = d.combine("young", squares=[(1, x - y)], why="a square is nonnegative")
        >>> str(sp.expand(step))
        'x**2 - 2*x*y + y**2'
    """

    def __init__(self, slug: str, title: str) -> None:
        self.slug = slug
        self.title = title
        self.symbols: dict[str, SymbolEntry] = {}
        self.chains: dict[str, dict[str, str]] = {}
        self.steps: dict[str, Step] = {}
        self.claim: tuple[str, sp.Expr, sp.Expr] | None = None

    # Symbols ---------------------------------------------------------------------------------------

    def symbol(
        self,
        name: str,
        *,
        sign: str = "real",
        depends: Iterable[str] = (),
        latex: str = "",
        meaning: str = "",
    ) -> sp.Symbol:
        """Declare a primitive symbol."""
        return self._declare(name, sign, depends, latex, meaning, "", None)

    def define(
        self,
        name: str,
        op: str,
        of: Any,
        *,
        sign: str = "real",
        latex: str = "",
        meaning: str = "",
    ) -> sp.Symbol:
        """Declare a symbol by its definition; what it depends on is computed.

        Args:
            op: ``equals``, ``root``, ``log``, ``power_of_two``, ``absolute``, ``max``, or an operator:
                ``mean``, ``coordinates``, ``steps``.
            of: the expression (a list for ``max``).
        """
        parts = list(of) if op == "max" else [of]
        inherited = {"step", "later"}
        if op != "recursion":
            inherited = set().union(*(self.dependence(part) for part in parts))
        depends = [i for i in INDICES if i in (inherited - REMOVED.get(op, set())) | ADDED.get(op, set())]
        return self._declare(name, sign, depends, latex, meaning, op, of)

    def _declare(self, name: str, sign: str, depends: Any, latex: str, meaning: str, op: str, of: Any) -> Any:
        if name in self.symbols:
            raise DerivationError(f"{self.slug}: symbol {name!r} is declared twice")
        self.symbols[name] = SymbolEntry(
            name=name,
            sign=sign,
            depends=tuple(depends),
            latex=latex or name,
            meaning=meaning,
            op=op,
            of=sp.sympify(of) if op and op not in LISTS else of,
        )
        return sp.Symbol(name)

    def dependence(self, expression: Any) -> set[str]:
        """Indices that an expression depends on."""
        found: set[str] = set()
        for symbol in sp.sympify(expression).free_symbols:
            found |= set(self.symbols[symbol.name].depends)
        return found

    def chain(self, name: str, *, previous: Any, next: Any, start: Any, end: Any = None) -> None:
        """Declare a state: its symbols before and after a step, its start, its expected end value."""
        entry = {"previous": str(previous), "next": str(next), "start": sp.sstr(start)}
        if end is not None:
            entry["end"] = str(end)
        self.chains[name] = entry

    # Steps -----------------------------------------------------------------------------------------

    def _add(
        self, name: str, kind: str, gap: Any, relation: str, why: str, lemma: str = "", **data: Any
    ) -> sp.Expr:
        if name in self.steps:
            raise DerivationError(f"{self.slug}: step {name!r} is used twice")
        gap = sp.sympify(gap)
        self.steps[name] = Step(
            name=name, kind=kind, gap=gap, relation=relation, why=why, data=data, lemma=lemma
        )
        return gap

    def gap(self, name: str) -> sp.Expr:
        """The gap of an established step."""
        return self.steps[name].gap

    def assume(
        self, name: str, gap: Any, *, relation: str = ">=", assumption: str, why: str, by: Sequence[str] = ()
    ) -> sp.Expr:
        """A hypothesis of the theorem. ``by`` names trusted facts it uses (e.g. the descent lemma)."""
        extra = {"by": list(by)} if by else {}
        return self._add(name, "assumption", gap, relation, why, assumption=assumption, **extra)

    def hypothesis(self, name: str, gap: Any, *, why: str, relation: str = ">=") -> sp.Expr:
        """An induction hypothesis, to be closed by :meth:`induction`."""
        return self._add(name, "hypothesis", gap, relation, why)

    def definition(self, symbol: Any) -> str:
        """Make a definition available as an equality; returns the step's name."""
        entry = self.symbols[str(symbol)]
        name = f"definition_of_{entry.name}"
        if name not in self.steps:
            power = {"root": 2, "equals": 1}[entry.op]
            self._add(name, "definition", symbol**power - entry.of, "==", "by definition", symbol=entry.name)
        return name

    def absolute(self, symbol: Any) -> tuple[str, str, str]:
        """Facts |x| - x >= 0, |x| + x >= 0, |x|^2 - x^2 == 0; returns their names."""
        entry = self.symbols[str(symbol)]
        gaps = {
            "above": symbol - entry.of,
            "below": symbol + entry.of,
            "square": symbol**2 - entry.of**2,
        }
        found = []
        for form, gap in gaps.items():
            name = f"absolute_{entry.name}_{form}"
            relation = "==" if form == "square" else ">="
            self._add(name, "absolute_value", gap, relation, "absolute value", symbol=entry.name, form=form)
            found.append(name)
        return found[0], found[1], found[2]

    def maximum(self, name: str, symbol: Any, argument: int, *, why: str = "a maximum") -> sp.Expr:
        """max(...) - argument >= 0."""
        entry = self.symbols[str(symbol)]
        return self._add(
            name, "maximum", symbol - entry.of[argument], ">=", why, symbol=entry.name, argument=argument
        )

    def log_tangent(self, name: str, log: Any, *, why: str, lemma: str = "") -> sp.Expr:
        """y - 1 - ln y >= 0."""
        entry = self.symbols[str(log)]
        return self._add(name, "log_tangent", entry.of - 1 - log, ">=", why, lemma, log=entry.name)

    def log_quotient(self, name: str, log: Any, numerator: Any, denominator: Any, *, why: str) -> sp.Expr:
        """ln(a/b) - ln a + ln b == 0."""
        return self._add(
            name,
            "log_quotient",
            log - numerator + denominator,
            "==",
            why,
            log=str(log),
            numerator=str(numerator),
            denominator=str(denominator),
        )

    def log_product(self, name: str, log: Any, first: Any, second: Any, *, why: str) -> sp.Expr:
        """ln(a b) - ln a - ln b == 0."""
        return self._add(
            name,
            "log_product",
            log - first - second,
            "==",
            why,
            log=str(log),
            first=str(first),
            second=str(second),
        )

    def log_monotone(self, name: str, larger: Any, smaller: Any, fact: str, *, why: str) -> sp.Expr:
        """ln a - ln b >= 0 from a - b >= 0."""
        return self._add(
            name,
            "log_monotone",
            larger - smaller,
            ">=",
            why,
            larger=str(larger),
            smaller=str(smaller),
            fact=fact,
        )

    def log_power_of_two(self, name: str, log: Any, ln2: Any, *, why: str) -> sp.Expr:
        """ln 2^x - x ln 2 == 0."""
        power = self.symbols[str(self.symbols[str(log)].of)]
        return self._add(
            name, "log_power_of_two", log - power.of * ln2, "==", why, log=str(log), ln2=str(ln2)
        )

    def combine(
        self,
        name: str,
        *,
        gap: Any = None,
        uses: Mapping[str | tuple[str, ...], Any] | None = None,
        squares: Sequence[tuple[Any, Any]] = (),
        slack: Any = 0,
        modulo: Sequence[str] = (),
        relation: str = ">=",
        why: str,
        lemma: str = "",
    ) -> sp.Expr:
        """gap = sum multiplier * (product of fact gaps) + sum coefficient * square + slack.

        Args:
            gap: the claim; None takes what the right-hand side gives.
            uses: fact name, or tuple of names for a product of gaps, to multiplier. Multipliers of
                inequalities must be visibly nonnegative.
            squares: pairs (coefficient, root).
            slack: a visibly nonnegative rest.
            modulo: equalities whose multipliers are found by polynomial division.
        """
        terms: list[tuple[tuple[str, ...], sp.Expr]] = []
        total = sp.Integer(0)
        for key, multiplier in (uses or {}).items():
            used = (key,) if isinstance(key, str) else tuple(key)
            product = sp.Mul(*(self.gap(fact) for fact in used))
            if product != 0:  # what says 0 >= 0 adds nothing
                terms.append((used, sp.sympify(multiplier)))
                total += sp.sympify(multiplier) * product
        for coefficient, root in squares:
            total += sp.sympify(coefficient) * sp.sympify(root) ** 2
        total += sp.sympify(slack)
        if gap is None:
            if modulo:
                raise DerivationError(f"{self.slug}, {name}: modulo needs a stated gap")
            gap = sp.expand(total)
        else:
            gap = sp.sympify(gap)
            terms += self._divide(name, gap - total, modulo)
        return self._add(
            name,
            "combine",
            gap,
            relation,
            why,
            lemma,
            uses=[[list(used), sp.sstr(factor)] for used, factor in terms],
            squares=[[sp.sstr(sp.sympify(c)), sp.sstr(sp.sympify(r))] for c, r in squares],
            slack=sp.sstr(sp.sympify(slack)),
        )

    def _divide(self, name: str, rest: sp.Expr, modulo: Sequence[str]) -> list[Any]:
        """Write ``rest`` as a combination of the equalities in ``modulo``, or raise with what is left."""
        numerator, denominator = sp.fraction(sp.together(rest))
        numerator = sp.expand(numerator)
        if numerator == 0:
            return []
        if not modulo:
            raise DerivationError(f"{self.slug}, {name}: left over {sp.factor(rest)}")
        relations = []
        for fact in modulo:
            top, bottom = sp.fraction(sp.together(self.gap(fact)))
            relations.append((fact, sp.expand(top), bottom))
        generators = sorted(
            set().union(numerator.free_symbols, *(top.free_symbols for _, top, _ in relations)),
            key=self._elimination_order(relations),
        )
        quotients, remainder = sp.reduced(
            numerator, [top for _, top, _ in relations], *generators, order="lex"
        )
        if sp.expand(remainder) != 0:
            raise DerivationError(
                f"{self.slug}, {name}: left over {sp.factor(remainder / denominator)} modulo {list(modulo)}"
            )
        return [
            ((fact,), quotient * bottom / denominator)
            for (fact, _, bottom), quotient in zip(relations, quotients)
            if quotient != 0
        ]

    def _elimination_order(self, relations: Any) -> Any:
        """Defined symbols first, latest declared first, so that division eliminates them."""
        order = list(self.symbols)
        defined = {name for name, entry in self.symbols.items() if entry.op}

        def key(symbol: sp.Symbol) -> tuple[int, int]:
            return (0 if symbol.name in defined else 1, -order.index(symbol.name))

        return key

    def scale(self, name: str, fact: str, by: Any, *, why: str) -> sp.Expr:
        """Multiply a fact by a visibly positive expression."""
        step = self.steps[fact]
        gap = sp.expand(step.gap * by)
        return self._add(name, "scale", gap, step.relation, why, fact=fact, by=sp.sstr(sp.sympify(by)))

    def apply(
        self, name: str, op: str, fact: str, terms: Mapping[Any, Any], *, why: str, lemma: str = ""
    ) -> sp.Expr:
        """Apply a positive linear operator to a fact written as sum coefficient * definition(symbol)."""
        step = self.steps[fact]
        total = sp.Integer(0)
        gap = sp.Integer(0)
        for symbol, coefficient in terms.items():
            if str(symbol) == "1" and op in ("mean", "expected"):  # the mean of the constant 1
                of, result = sp.Integer(1), sp.Integer(1)
            else:
                of, result = self.symbols[str(symbol)].of, sp.Symbol(str(symbol))
                if self.symbols[str(symbol)].op != op:
                    raise DerivationError(f"{self.slug}, {name}: {symbol} is not defined by {op}")
            total += sp.sympify(coefficient) * of
            gap += sp.sympify(coefficient) * result
        rest = sp.expand(total - step.gap)
        if rest != 0 and sp.simplify(rest) != 0:
            raise DerivationError(f"{self.slug}, {name}: left over {sp.factor(step.gap - total)}")
        return self._add(
            name,
            "apply",
            gap,
            step.relation,
            why,
            lemma,
            op=op,
            fact=fact,
            terms={str(symbol): sp.sstr(sp.sympify(c)) for symbol, c in terms.items()},
        )

    def tower(self, name: str, left: Any, right: Any, pairs: Mapping[Any, Any], *, why: str) -> sp.Expr:
        """Sum over steps of conditional means == sum of the random variables themselves."""
        return self._add(
            name,
            "tower",
            left - right,
            "==",
            why,
            left=str(left),
            right=str(right),
            pairs={str(a): str(b) for a, b in pairs.items()},
        )

    def telescope(self, name: str, symbol: Any, chain: str, *, why: str, lemma: str = "") -> sp.Expr:
        """sum over steps of (next - previous) == end - start."""
        entry = self.chains[chain]
        gap = symbol - sp.Symbol(entry["end"]) + self.parse(entry["start"])
        return self._add(name, "telescope", gap, "==", why, lemma, symbol=str(symbol), chain=chain)

    def at_end(self, name: str, fact: str, start: str, chain: str, *, why: str) -> sp.Expr:
        """From a fact about the state after every step and at the start to the expected final state."""
        entry = self.chains[chain]
        gap = self.gap(fact).subs(sp.Symbol(entry["next"]), sp.Symbol(entry["end"]))
        relation = "==" if self.steps[fact].relation == self.steps[start].relation == "==" else ">="
        return self._add(name, "at_end", gap, relation, why, fact=fact, start=start, chain=chain)

    def induction(
        self, name: str, hypothesis: str, advanced: str, start: str, chains: Sequence[str], *, why: str
    ) -> sp.Expr:
        """Close an induction hypothesis."""
        step = self.steps[hypothesis]
        return self._add(
            name,
            "induction",
            step.gap,
            step.relation,
            why,
            hypothesis=hypothesis,
            advanced=advanced,
            start=start,
            chains=list(chains),
        )

    def conclude(self, fact: str, left: Any, *, why: str) -> sp.Expr:
        """Solve an established fact for ``left`` and make ``left <= rhs`` the claim; returns rhs."""
        gap = sp.expand(self.gap(fact))
        coefficient = -gap.coeff(left, 1)
        if coefficient == 0 or sp.expand(gap.coeff(left, 0) - coefficient * left - gap) != 0:
            raise DerivationError(f"{self.slug}: {fact} is not linear in {left}")
        self.scale("conclusion", fact, 1 / coefficient, why=why)
        right = sp.expand(self.gap("conclusion") + left)
        self.claim = ("conclusion", sp.sympify(left), right)
        return right

    # Output ----------------------------------------------------------------------------------------

    def parse(self, text: str) -> sp.Expr:
        """Read an expression of the certificate language back."""
        return sp.sympify(text, locals={name: sp.Symbol(name) for name in self.symbols})

    def document(self) -> dict[str, Any]:
        """The certificate document, plain JSON, of what the claim rests on; see ``docs/certificates.md``."""
        from bstheory.theory.derivation_output import document

        return document(self)

    def closed_form(self, expression: Any) -> sp.Expr:
        """Replace roots, logarithms, powers and maxima by functions, for reading and for evaluation.

        What remains are primitive symbols and sums; operator symbols stay as they are.
        """
        from bstheory.theory.derivation_output import closed_form

        return closed_form(self, expression)
