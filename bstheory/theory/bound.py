"""``Bound``: a theorem as an object: statement, assumptions, derivation, value."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bstheory.errors import input_error
from bstheory.references import Reference

Constants = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Assumption:
    """A hypothesis of a theorem.

    Attributes:
        name: short identifier; ``comparison.audit`` looks it up.
        statement: the mathematics, in plain text with LaTeX where needed.
        constants: names of the constants it speaks about.
    """

    name: str
    statement: str
    constants: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parameter:
    """A constant that a bound needs: its unit, its range in words and as a predicate, and its default.

    ``default`` is None where there is no honest default; such a constant must be given. ``free`` is the open
    interval of a constant of the proof (a Young weight, say) that ``tighten`` may choose.
    """

    name: str
    meaning: str
    unit: str
    rule: str = "must be positive"
    accepts: Callable[[Any], bool] = lambda value: bool(np.all(np.asarray(value, dtype=float) > 0))
    default: Any = None
    free: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A bound's value at given constants and schedule.

    Attributes:
        value: right-hand side, in the unit of ``quantity``.
        trivial_value: what is true without any theorem, same quantity; None where nothing is known.
        parts: named pieces of the right-hand side, and derived forms (e.g. ``per_weight``).
        enclosure: a rigorous interval around the exact value, where it was asked for; see ``theory.exact``.
    """

    value: Any
    trivial_value: Any
    parts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    enclosure: Any = None

    @property
    def vacuous(self) -> Any:
        """True where the bound says no more than the trivial one; False where none is known."""
        if self.trivial_value is None:
            return np.zeros(np.shape(self.value), dtype=bool)[()]
        return np.asarray(self.value) >= np.asarray(self.trivial_value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bound:
    """One theorem.

    Attributes:
        slug: its name everywhere (module, test, docs page, experiment).
        title: one line.
        algorithm: what is iterated, in plain text.
        quantity: the measured series that the bound is about, a key of ``Run.series``.
        quantity_latex: the left-hand side.
        kind: ``"upper"``, ``"identity"``, ``"two-sided"``, ``"asymptotic"``, ``"prediction"`` or
            ``"counterexample"``.
        assumptions: the hypotheses.
        parameters: constants that ``evaluate`` takes.
        derive: builds the derivation (see ``theory.derivation``), or several of them by name; a part may
            also be a ready document, e.g. an enclosure. None where the entry is a prediction.
        value: ``(constants, batch_size int64 [K]) -> Evaluation``.
        references: sources.
        notes: limits, in sentences.
        check: for entries that no derivation establishes: returns their certificate.
        declared: the verdict word that ``bstheory check`` expects.
    """

    slug: str
    title: str
    algorithm: str
    quantity: str
    quantity_latex: str
    statement_latex: str
    kind: str
    assumptions: tuple[Assumption, ...]
    parameters: tuple[Parameter, ...]
    derive: Callable[[], Any] | None
    value: Callable[[Constants, Any], Evaluation]
    references: tuple[Reference, ...] = ()
    notes: tuple[str, ...] = ()
    check: Callable[[], Any] | None = None
    declared: str = "proved"

    def derivation(self) -> Any:
        """The derivation, built afresh; raises ``DerivationError`` where a step does not hold."""
        if self.derive is None:
            raise input_error(
                got=f"a derivation of {self.slug}",
                rule=f"it is a {self.kind}, which nothing derives",
                do="see its notes",
            )
        return self.derive()

    def document(self) -> dict[str, Any]:
        """Certificate document, plain JSON, for ``checking.recheck``."""
        derived = self.derivation()
        # Part of what the claim hash covers: what the theorem assumes, in words.
        stated = {"assumptions": [[a.name, a.statement] for a in self.assumptions]}
        if not isinstance(derived, Mapping):
            return {**derived.document(), **stated}
        parts = {
            name: part if isinstance(part, Mapping) else part.document() for name, part in derived.items()
        }
        return {
            "format": 1,
            "kind": "parts",
            "slug": self.slug,
            "title": self.title,
            "parts": parts,
            **stated,
        }

    def latex(self) -> str:
        """The statement, as LaTeX without delimiters."""
        return self.statement_latex

    def evaluate(self, *, constants: Constants, schedule: Any = None, enclose: bool = False) -> Evaluation:
        """Value of the right-hand side.

        Args:
            constants: by the names in ``parameters``; scalars, or arrays that broadcast together.
            schedule: int array [K] of batch sizes in tokens per step, or None where the theorem has none.
            enclose: also enclose the exact value rigorously with ball arithmetic; one value at a time.

        Raises:
            InputError: names missing (all listed at once), unknown, or outside their range; with
                ``enclose``, where the value is not a produced closed form.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        unknown = sorted(set(constants) - set(known))
        if unknown:
            raise input_error(
                got=f"constants {', '.join(unknown)} for {self.slug}",
                rule=f"it takes {', '.join(known)}",
                do="remove or rename them",
            )
        missing = [p for p in known.values() if p.default is None and p.name not in constants]
        if missing:
            raise input_error(
                got=f"no value for {', '.join(p.name for p in missing)}",
                rule=f"{self.slug} needs " + "; ".join(f"{p.name} ({p.meaning}, {p.unit})" for p in missing),
                do="give each one a value",
            )
        complete = {p.name: constants.get(p.name, p.default) for p in known.values()}
        for name, parameter in known.items():
            value = complete[name]
            ok = value is not None and bool(np.all(np.isfinite(np.asarray(value, dtype=float))))
            if not ok or not parameter.accepts(value):
                raise input_error(
                    got=f"{name}={value}",
                    rule=f"{name} ({parameter.meaning}) {parameter.rule}",
                    do=f"choose {name} inside the hypotheses of {self.slug}",
                )
        batches = None if schedule is None else batch_sizes(schedule)
        found = self.value(complete, batches)
        if not enclose:
            return found
        from bstheory.theory.exact import enclose as enclosed

        return dataclasses.replace(found, enclosure=enclosed(self.slug, complete, batches, found.value))

    def tighten(self, *, constants: Constants, schedule: Any = None, also: tuple[str, ...] = ()) -> Any:
        """Choose the free constants of the proof so that the bound is smallest; see ``theory.tighten``."""
        from bstheory.theory.tighten import tighten

        return tighten(self, constants=constants, schedule=schedule, also=also)

    def tokens_to(self, eps: float, *, constants: Constants, batch_size: int = 1, **options: Any) -> Any:
        """Fewest tokens at which the bound falls to ``eps`` with a constant batch; see ``theory.optimal``."""
        from bstheory.theory.optimal import tokens_to

        return tokens_to(self, eps, constants=constants, batch_size=batch_size, **options)

    def critical_batch_size(self, eps: float, *, constants: Constants, **options: Any) -> Any:
        """Constant batch that brings the bound to ``eps`` at the least cost; see ``theory.optimal``."""
        from bstheory.theory.optimal import critical_batch_size

        return critical_batch_size(self, eps, constants=constants, **options)


def batch_sizes(schedule: Any) -> np.ndarray:
    """Positive integers [K] from a sequence; raises ``InputError`` naming the first offender."""
    values = np.asarray(schedule)
    if values.ndim != 1 or values.size == 0:
        raise input_error(
            got=f"a schedule of shape {values.shape}",
            rule="batch sizes form a nonempty vector, one entry a step",
            do="pass one batch size per step, e.g. schedule.batch_sizes(num_tokens=...)",
        )
    bad = np.flatnonzero(
        ~(values.astype(float) >= 1) | (values.astype(float) != np.floor(values.astype(float)))
    )
    if bad.size:
        raise input_error(
            got=f"batch_size={values[bad[0]]} at step {int(bad[0])}",
            rule="a batch size is a whole number of at least 1",
            do="correct the schedule",
        )
    return values.astype(np.int64)
