"""Predictions written down before a run, and their confrontation with the runs afterwards.

Three kinds. A *contrast* says that a weighted sum of final losses of some arms exceeds that of others; it
covers "this arm beats that one" and "the gain is larger here than there". A *range* says that a number of a
run lies in an interval (memory, throughput, noise scale, beta2 ...). A *rate ratio* says how the best
learning rate moves between two arms that were each trained at several rates. ``prediction.json`` carries
them with the sha256 of its own content, so a prediction that was edited after the fact does not validate.
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
        device: only runs on this device count (speed); None means any.
    """

    name: str
    statement: str
    reason: str
    arm: str
    quantity: str
    low: float
    high: float
    device: str | None = None

    def __post_init__(self) -> None:
        _require_order(self.low, self.high, self.name)

    @property
    def arms(self) -> set[str]:
        """The one arm."""
        return {self.arm}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RateRatio:
    """The best learning rate of ``upper`` over that of ``lower`` lies in [low, high].

    Attributes:
        name, statement, reason: as in :class:`Prediction`.
        lower, upper: names of arms. Runs called so, and runs called so with ``_lr…`` after it, are one arm
            at several rates.
        low, high: the predicted interval.
    """

    name: str
    statement: str
    reason: str
    lower: str
    upper: str
    low: float
    high: float

    def __post_init__(self) -> None:
        _require_order(self.low, self.high, self.name)

    @property
    def arms(self) -> set[str]:
        """Both arms."""
        return {self.lower, self.upper}


Statement = Prediction | Range | RateRatio


def _require_order(low: float, high: float, name: str) -> None:
    if not low <= high:
        raise input_error(
            got=f"range [{low}, {high}] in {name!r}",
            rule="low is at most high, and both are numbers",
            do="correct it",
        )


class Finding(NamedTuple):
    """A prediction, what the runs say of it, and the numbers behind that."""

    prediction: Statement
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
        # An infinite loss has diverged; one that is no number is of a run that has not finished.
        infinite = [arm for arm in diverged if np.isinf(losses[arm]).any()]
        groups = {"diverged": infinite, "unfinished": [arm for arm in diverged if arm not in infinite]}
        found = [f"{word}: {', '.join(arms)}" for word, arms in groups.items() if arms]
        numbers["why"] = "; ".join(found) or "needs two common seeds or more"
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
        where = "" if prediction.device is None else f" on {prediction.device}"
        why = f"no run of {prediction.arm}{where} has {prediction.quantity}"
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


def judge_rate_ratio(prediction: RateRatio, runs: Sequence[Run]) -> Finding:
    """Confront a ratio of best learning rates with arms trained at several rates each.

    The best rate of an arm is the one with the lowest final validation loss averaged over the seeds that all
    its rates share (a run that diverged has an infinite loss). It is known no better than the spacing of the
    grid around it, so the measured ratio is an interval: ``consistent`` if the ratio lies in the prediction,
    ``refuted`` if the interval does not touch it, else ``undecided``; ``undecided`` also where a best rate
    lies at an end of its grid, ``inapplicable`` without two rates for each arm.
    """
    best, factor, edge, table = {}, 1.0, [], {}
    for arm in (prediction.lower, prediction.upper):
        losses = _losses_by_rate([r for r in runs if r.name == arm or r.name.startswith(f"{arm}_lr")])
        if len(losses) < 2:
            why = f"{arm} was trained at {len(losses)} learning rates, and two or more are needed"
            return Finding(prediction, Verdict.INAPPLICABLE, {"why": why})
        rates = sorted(losses)
        best[arm] = min(rates, key=losses.__getitem__)
        place = rates.index(best[arm])
        if place in (0, len(rates) - 1):
            edge.append(arm)
        near = [rates[k] for k in (place - 1, place + 1) if 0 <= k < len(rates)]
        factor *= math.sqrt(max(max(r / best[arm], best[arm] / r) for r in near))
        table[arm] = {f"{rate:.6g}": losses[rate] for rate in rates if math.isfinite(losses[rate])}
    ratio = best[prediction.upper] / best[prediction.lower]
    numbers = {
        "measured": ratio,
        "predicted": [prediction.low, prediction.high],
        "interval": [ratio / factor, ratio * factor],
        "losses": table,
    }
    if edge:
        numbers["why"] = f"the best rate of {' and '.join(edge)} is at an end of its grid"
        return Finding(prediction, Verdict.UNDECIDED, numbers)
    if prediction.low <= ratio <= prediction.high:
        return Finding(prediction, Verdict.CONSISTENT, numbers)
    outside = ratio * factor < prediction.low or ratio / factor > prediction.high
    return Finding(prediction, Verdict.REFUTED if outside else Verdict.UNDECIDED, numbers)


def _losses_by_rate(runs: Sequence[Run]) -> dict[float, float]:
    """Peak learning rate -> mean final validation loss over the seeds that every rate has."""
    found: dict[float, dict[int, float]] = {}
    for run in runs:
        rates, losses = run.series.get("learning_rate"), run.series.get("validation_loss")
        if rates is None or losses is None or not losses.shape[1] or run.summary.get("finished") is False:
            continue
        peak = float(np.nanmax(rates))
        for index, seed in enumerate(run.seeds):
            last = float(losses[index, -1])
            found.setdefault(peak, {})[seed] = last if math.isfinite(last) else math.inf
    if not found:
        return {}
    seeds = set.intersection(*map(set, found.values()))
    return {rate: float(np.mean([by[s] for s in seeds])) for rate, by in found.items()} if seeds else {}


def write_predictions(path: Path | str, *, predictions: Sequence[Statement], basis: Mapping[str, Any]) -> str:
    """Write ``prediction.json``; returns the hash that it carries.

    Args:
        path: target.
        predictions: of the three kinds.
        basis: what they were derived from (theory, simulation, probe), plain JSON.
    """
    content = {
        "format": FORMAT,
        "contrasts": [dataclasses.asdict(p) for p in predictions if isinstance(p, Prediction)],
        "ranges": [dataclasses.asdict(p) for p in predictions if isinstance(p, Range)],
        "rate_ratios": [dataclasses.asdict(p) for p in predictions if isinstance(p, RateRatio)],
        "basis": dict(basis),
    }
    digest = config_hash(content)
    write_json(path, {**content, "sha256": digest})
    return digest


def read_predictions(path: Path | str) -> list[Statement]:
    """Read them back.

    Raises:
        InputError: not such a file, or its content is not what its hash says.
    """
    found = read_json(path)
    document = dict(found) if isinstance(found, dict) else {}
    digest = document.pop("sha256", None)
    if document.get("format") != FORMAT or digest != config_hash(document):
        raise input_error(
            got=f"prediction file {str(path)!r}",
            rule="its content does not have the sha256 that it carries",
            why="a prediction counts only if it was not changed afterwards",
            do="restore the committed file",
        )
    try:
        return [
            *(
                Prediction(**{**entry, "declared": tuple(entry["declared"])})
                for entry in document["contrasts"]
            ),
            *(Range(**entry) for entry in document["ranges"]),
            *(RateRatio(**entry) for entry in document.get("rate_ratios", ())),
        ]
    except (TypeError, KeyError) as error:
        raise input_error(
            got=f"prediction file {str(path)!r} with an entry that is no prediction ({error})",
            rule="it has contrasts, ranges and rate_ratios with the fields of their kinds",
            do="write it with bstheory predict",
        ) from error


def validate(runs: Sequence[Run], predictions: Sequence[Statement]) -> list[Finding]:
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
            if losses is not None and losses.shape[1]:
                unfinished = run.summary.get("finished") is False
                final[run.name][seed] = math.nan if unfinished else float(losses[index, -1])
    findings = []
    for prediction in predictions:
        if isinstance(prediction, Prediction):
            findings.append(judge_contrast(prediction, final))
        elif isinstance(prediction, RateRatio):
            findings.append(judge_rate_ratio(prediction, runs))
        else:
            values = {
                arm: [
                    _quantity(r, prediction.quantity)
                    for r in rs
                    if prediction.device in (None, r.summary.get("device"))
                    and r.summary.get("finished") is not False
                ]
                for arm, rs in by_arm.items()
            }
            findings.append(judge_range(prediction, values))
    return findings


def _quantity(run: Run, name: str) -> float:
    if name in run.series and len(run.steps):
        return float(np.asarray(run.series[name])[:, -1].mean())
    value = run.summary.get(name)
    return float(value) if isinstance(value, int | float) else math.nan
