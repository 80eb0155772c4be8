"""What a claim is, and what judging it yields."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from bstheory.verdict import Verdict

if TYPE_CHECKING:  # torch is loaded only when something trains
    from bstheory.training.stacked import Outcome, Recipe

Outcomes: TypeAlias = "Mapping[Recipe, Outcome]"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """One testable statement of a claim with its verdict and numbers (plain JSON)."""

    statement: str
    verdict: Verdict
    numbers: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim of a paper, or an open point.

    Attributes:
        name: identifier on the command line.
        title: a few words.
        stated: what the paper says, with its place.
        predicted: what the theory here says beforehand, with the slug it comes from; written before the run.
        protocol: how it is measured at this scale.
        limits: what this measurement cannot say.
        recipes: the training runs it needs (claims share them).
        judge: from the outcomes to findings; claims that need no training get an empty mapping.
        measure: for claims that run something other than recipes: given a folder for what it keeps and the
            outcomes of the recipes, returns what ``judge`` gets in place of the outcomes.
    """

    name: str
    title: str
    stated: str
    predicted: str
    protocol: str
    limits: str
    recipes: Callable[[], list[Recipe]]
    judge: Callable[[Any], list[Finding]]
    measure: Callable[[Path, Any], Any] | None = None


def summary(findings: list[Finding]) -> str:
    """The claim's verdict in a table: the most serious one, ``refuted`` before ``undecided``."""
    order = (Verdict.REFUTED, Verdict.UNDECIDED, Verdict.INAPPLICABLE)
    for verdict in order:
        if any(f.verdict is verdict for f in findings):
            some = sum(f.verdict is verdict for f in findings)
            return verdict.word if some == len(findings) else f"{verdict.word} ({some} of {len(findings)})"
    return min((f.verdict.word for f in findings), default=Verdict.UNDECIDED.word)
