"""What the judges of the tiny-LM claims share: margins, tuned arms, families of corrected tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from bstheory.reproduction.arms import BATCH_SIZES, Tuned, grid, tuned
from bstheory.reproduction.claim import Finding, Outcomes
from bstheory.reproduction.statistics import Difference, difference, holm, p_within
from bstheory.training.stacked import Recipe
from bstheory.verdict import Verdict

SMALL, LARGE = BATCH_SIZES[0], BATCH_SIZES[-1]
MARGIN = 0.03  # nats per byte: what counts as a match; about one per cent of the losses reached
ALPHA = 0.05
NO_TRAINING = "no training run"
GRID = (
    "seven learning rates (factors of two) and four seeds for every arm; a seed's loss is taken at the rate "
    "that is best for the other seeds; paired Student tests over seeds, two one-sided ones for a match, Holm "
    "over the statements of a claim"
)


def arm_grid(pairs: Sequence[tuple[str, int]]) -> list[Recipe]:
    return [recipe for name, b in pairs for recipe in grid(name, b)]


def at(outcomes: Outcomes, name: str, batch_size: int, **more: object) -> Tuned:
    """An arm tuned at a batch size."""
    return tuned(outcomes, grid(name, batch_size, **more))  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Test:
    """What decides a statement.

    Attributes:
        values: paired differences, one a seed.
        margin: None for "the mean is above zero", else for "the mean is within the margin of zero".
        numbers: further numbers of the finding.
    """

    values: Sequence[float] | np.ndarray
    margin: float | None = None
    numbers: Mapping[str, object] = dataclasses.field(default_factory=dict)

    def p_values(self, found: Difference) -> tuple[float, float]:
        """For the statement, and against it."""
        if self.margin is None:
            return found.p_above, 1 - found.p_above
        return p_within(found, margin=self.margin)


def family(statements: Mapping[str, Test]) -> list[Finding]:
    """One finding a statement: all statements of a claim are one family.

    Holm keeps at ``ALPHA`` the chance that any statement is wrongly called consistent, and, separately, that
    any is wrongly called refuted.
    """
    found = {text: difference(test.values) for text, test in statements.items()}
    p = {text: test.p_values(found[text]) for text, test in statements.items()}
    confirm = holm({text: for_it for text, (for_it, _) in p.items()}, alpha=ALPHA)
    refute = holm({text: against for text, (_, against) in p.items()}, alpha=ALPHA)
    result = []
    for text, test in statements.items():
        verdict = Verdict.UNDECIDED
        # A level of zero means that an earlier step of the procedure has stopped it.
        if confirm[text] and p[text][0] <= confirm[text]:
            verdict = Verdict.CONSISTENT
        elif refute[text] and p[text][1] <= refute[text]:
            verdict = Verdict.REFUTED
        numbers = {"difference": found[text].to_json(), "tested_at": confirm[text], **test.numbers}
        if test.margin is not None:
            numbers |= {
                "margin": test.margin,
                "p_within": p[text][0],
                "p_outside": p[text][1],
                "margin_with_power_0.8": found[text].resolvable(),
            }
        result.append(Finding(statement=text, verdict=verdict, numbers=numbers))
    return result


def larger(statements: Mapping[str, tuple[np.ndarray, Mapping[str, object]]]) -> list[Finding]:
    """:func:`family` of superiority tests only: per-seed differences above zero."""
    return family({text: Test(values=v, numbers=n) for text, (v, n) in statements.items()})


def means(**arms: Tuned) -> dict[str, object]:
    """Mean losses and the usual warnings, for the numbers of a finding."""
    return {
        name: {
            "loss": float(np.mean(t.losses)),
            "learning_rate": float(np.median(t.rates)),
            "on_edge": t.on_edge,
        }
        for name, t in arms.items()
    }
