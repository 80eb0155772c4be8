"""Predictions written down before a run, and their confrontation with the runs afterwards.

Two kinds. A *contrast* says that a weighted sum of final losses of some arms exceeds that of others; it
covers "this arm beats that one" and "the gain is larger here than there". A *range* says that a number of a
run lies in an interval (memory, throughput, noise scale, beta2 ...). ``prediction.json`` carries both with
the sha256 of its own content, so a prediction that was edited after the fact does not validate.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bstheory.errors import input_error
from bstheory.files import read_json, write_json
from bstheory.run import Run, config_hash
from bstheory.verdict import Verdict

FORMAT = 1
LEVEL = 0.95


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
    """A contrast: the mean over seeds of (worse - better) is positive.

    Attributes:
        name: identifier.
        statement: what is claimed, in words.
        reason: why the theory says so.
        worse, better: each a mapping arm -> weight; the claim is that the weighted sum of final validation
            losses of ``worse`` minus that of ``better`` is above zero.
        declared: verdicts that ``bstheory check`` accepts: what the recorded study found. Where its interval
            contains zero, both ``undecided`` and ``consistent``, because another machine rounds differently.
    """

    name: str
    statement: str
    reason: str
    worse: Mapping[str, float]
    better: Mapping[str, float]
    declared: tuple[str, ...] = ("consistent",)

    @property
    def arms(self) -> set[str]:
        """All arms that it speaks of."""
        return {*self.worse, *self.better}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Range:
    """A number of one arm's runs lies in [low, high], averaged over seeds.

    Attributes:
        name, statement, reason: as in :class:`Prediction`.
        arm: whose runs.
        quantity: a key of ``Run.summary``, or the name of a series (its last value is meant).
        low, high: the predicted interval, in the quantity's unit.
    """

    name: str
    statement: str
    reason: str
    arm: str
    quantity: str
    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise input_error(
                got=f"range [{self.low}, {self.high}] in {self.name!r}",
                rule="low is at most high, and both are numbers",
                do="correct it",
            )

    @property
    def arms(self) -> set[str]:
        """The one arm."""
        return {self.arm}


class Finding(NamedTuple):
    """A prediction, what the runs say of it, and the numbers behind that."""

    prediction: Prediction | Range
    verdict: Verdict
    numbers: dict[str, Any]


def _interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and Student limits at ``LEVEL``; infinite limits from a single value."""
    from scipy.stats import t as student

    mean = float(values.mean())
    if len(values) < 2:
        return mean, -math.inf, math.inf
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    margin = float(student.ppf(0.5 + LEVEL / 2, len(values) - 1)) * error
    return mean, mean - margin, mean + margin


def judge_contrast(prediction: Prediction, final: Mapping[str, Mapping[int, float]]) -> Finding:
    """Confront a contrast with final losses ``arm -> seed -> loss``, paired over the seeds that all arms
    share.

    ``consistent`` if the two-sided Student interval at 95 % lies above zero, ``refuted`` if below,
    ``undecided`` if it contains zero, with fewer than two common seeds, or if an arm diverged;
    ``inapplicable`` if an arm is missing.
    """
    if missing := sorted(prediction.arms - set(final)):
        return Finding(prediction, Verdict.INAPPLICABLE, {"why": f"no run of {', '.join(missing)}"})
    seeds = sorted(set.intersection(*(set(final[arm]) for arm in prediction.arms)))
    losses = {arm: np.array([final[arm][seed] for seed in seeds]) for arm in sorted(prediction.arms)}
    diverged = [arm for arm, values in losses.items() if not np.isfinite(values).all()]
    numbers: dict[str, Any] = {
        "losses": {arm: values.tolist() for arm, values in losses.items() if arm not in diverged},
        "seeds": len(seeds),
        "level": LEVEL,
    }
    if diverged or len(seeds) < 2:
        numbers["why"] = f"diverged: {', '.join(diverged)}" if diverged else "needs two common seeds or more"
        return Finding(prediction, Verdict.UNDECIDED, numbers)
    effect = sum((w * losses[arm] for arm, w in prediction.worse.items()), np.zeros(len(seeds)))
    effect = effect - sum((w * losses[arm] for arm, w in prediction.better.items()), np.zeros(len(seeds)))
    mean, low, high = _interval(effect)
    numbers |= {"effect": mean, "interval": [low, high]}
    verdict = Verdict.CONSISTENT if low > 0 else Verdict.REFUTED if high < 0 else Verdict.UNDECIDED
    return Finding(prediction, verdict, numbers)


def judge_range(prediction: Range, values: Mapping[str, Sequence[float]]) -> Finding:
    """Confront a range with the measured values ``arm -> values`` (one a seed).

    ``consistent`` if the mean lies inside and the Student interval does not exclude the range, ``refuted`` if
    the mean lies outside and the interval (where there is one) does not touch the range, else ``undecided``.
    """
    found = np.array(values.get(prediction.arm, ()), dtype=np.float64)
    found = found[np.isfinite(found)]
    if not found.size:
        why = f"no run of {prediction.arm} has {prediction.quantity}"
        return Finding(prediction, Verdict.INAPPLICABLE, {"why": why})
    mean, low, high = _interval(found)
    numbers: dict[str, Any] = {
        "measured": mean,
        "predicted": [prediction.low, prediction.high],
        "seeds": int(found.size),
    }
    single = found.size < 2
    if not single:
        numbers["interval"] = [low, high]
    if prediction.low <= mean <= prediction.high:
        return Finding(prediction, Verdict.CONSISTENT, numbers)
    outside = single or high < prediction.low or low > prediction.high
    return Finding(prediction, Verdict.REFUTED if outside else Verdict.UNDECIDED, numbers)


def write_predictions(
    path: Path | str, *, predictions: Sequence[Prediction | Range], basis: Mapping[str, Any]
) -> str:
    """Write ``prediction.json``; returns the hash that it carries.

    Args:
        path: target.
        predictions: contrasts and ranges.
        basis: what they were derived from (theory, simulation, probe), plain JSON.
    """
    content = {
        "format": FORMAT,
        "contrasts": [dataclasses.asdict(p) for p in predictions if isinstance(p, Prediction)],
        "ranges": [dataclasses.asdict(p) for p in predictions if isinstance(p, Range)],
        "basis": dict(basis),
    }
    digest = config_hash(content)
    write_json(path, {**content, "sha256": digest})
    return digest


def read_predictions(path: Path | str) -> list[Prediction | Range]:
    """Read them back.

    Raises:
        InputError: not such a file, or its content is not what its hash says.
    """
    document = dict(read_json(path))
    digest = document.pop("sha256", None)
    if document.get("format") != FORMAT or digest != config_hash(document):
        raise input_error(
            got=f"prediction file {str(path)!r}",
            rule="its content does not have the sha256 that it carries",
            why="a prediction counts only if it was not changed afterwards",
            do="restore the committed file",
        )
    return [
        *(Prediction(**{**entry, "declared": tuple(entry["declared"])}) for entry in document["contrasts"]),
        *(Range(**entry) for entry in document["ranges"]),
    ]


def validate(runs: Sequence[Run], predictions: Sequence[Prediction | Range]) -> list[Finding]:
    """Judge every prediction against saved runs; runs of one name with different seeds are one arm.

    Raises:
        InputError: two runs with the same name and seed.
    """
    final: dict[str, dict[int, float]] = {}
    by_arm: dict[str, list[Run]] = {}
    for run in runs:
        by_arm.setdefault(run.name, []).append(run)
        losses = run.series.get("validation_loss")
        for index, seed in enumerate(run.seeds):
            if seed in final.setdefault(run.name, {}):
                raise input_error(
                    got=f"two runs of {run.name!r} with seed {seed}",
                    rule="each (arm, seed) counts once",
                    do="leave one of them out",
                )
            if losses is not None:
                final[run.name][seed] = float(losses[index, -1])
    findings = []
    for prediction in predictions:
        if isinstance(prediction, Prediction):
            findings.append(judge_contrast(prediction, final))
        else:
            values = {arm: [_quantity(r, prediction.quantity) for r in rs] for arm, rs in by_arm.items()}
            findings.append(judge_range(prediction, values))
    return findings


def _quantity(run: Run, name: str) -> float:
    if name in run.series:
        return float(np.asarray(run.series[name])[:, -1].mean())
    value = run.summary.get(name)
    return float(value) if isinstance(value, int | float) else math.nan
