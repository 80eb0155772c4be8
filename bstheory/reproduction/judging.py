"""What the judges of the tiny-LM claims share: margins, tuned arms, families of corrected tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bstheory.reproduction.arms import BATCH_SIZES, Tuned, grid, tuned
from bstheory.reproduction.claim import Finding, Outcomes
from bstheory.reproduction.statistics import difference, holm, superiority
from bstheory.training.stacked import Recipe
from bstheory.verdict import Verdict

SMALL, LARGE = BATCH_SIZES[0], BATCH_SIZES[-1]
MARGIN = 0.03  # nats per byte: what counts as a match; about one per cent of the losses reached
ALPHA = 0.05
NO_TRAINING = "no training run"
GRID = (
    "seven learning rates (factors of two) and four seeds for every arm; a seed's loss is taken at the rate "
    "that is best for the other seeds; paired Student tests over seeds, Holm over the statements of a claim"
)


def arm_grid(pairs: Sequence[tuple[str, int]]) -> list[Recipe]:
    return [recipe for name, b in pairs for recipe in grid(name, b)]


def at(outcomes: Outcomes, name: str, batch_size: int, **more: object) -> Tuned:
    """An arm tuned at a batch size."""
    return tuned(outcomes, grid(name, batch_size, **more))  # type: ignore[arg-type]


def larger(statements: dict[str, tuple[np.ndarray, dict[str, object]]]) -> list[Finding]:
    """One superiority test a statement (per-seed differences above zero), Holm-corrected together."""
    found = {text: difference(values) for text, (values, _) in statements.items()}
    levels = holm({text: d.p_above for text, d in found.items()}, alpha=ALPHA)
    result = []
    for text, d in found.items():
        verdict = superiority(d, alpha=levels[text]) if levels[text] else superiority(d, alpha=0.0)
        if verdict is Verdict.UNDECIDED and 1 - d.p_above <= ALPHA / len(found):
            verdict = Verdict.REFUTED
        numbers = {"difference": d.to_json(), "tested_at": levels[text], **statements[text][1]}
        result.append(Finding(statement=text, verdict=verdict, numbers=numbers))
    return result


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
