"""What a training run records, and how it becomes a :class:`bstheory.run.Run`."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bstheory.errors import InputError, input_error
from bstheory.files import atomic_write
from bstheory.run import Run
from bstheory.schedules.statistics import noise_scale_interval
from bstheory.training.checkpoints import list_checkpoints
from bstheory.training.config import TrainConfig

BLOCKS = 20  # of consecutive records, whose means count as independent
SERIES = ("loss", "batch_size", "learning_rate", "grad_norm", "beta2", "noise", "signal", "validation_loss")


class NonFiniteError(InputError):
    """A loss, gradient norm or weight stopped being a number; the last checkpoint is from before that."""


def non_finite_error(folder: Path | None, step: int, name: str, value: float) -> NonFiniteError:
    """The error that says which statistic broke at which step, and which checkpoint is from before that."""
    last = list_checkpoints(folder / "checkpoints")[-1:] if folder else []
    where = f"the last good checkpoint is {last[0].name}" if last else "no checkpoint was written before"
    message = input_error(
        got=f"{name} = {value} at step {step}",
        rule=f"training stops at the first value that is not finite ({where})",
        do="lower the learning rate, lengthen the warm-up or clip the gradient",
    )
    return NonFiniteError(str(message))


@dataclasses.dataclass
class Record:
    """One line of the run's series: means over the steps since the line before."""

    step: int
    tokens: int
    values: dict[str, float]


def crossed(before: int, after: int, every: int | None) -> bool:
    """Whether a multiple of ``every`` tokens lies in (before, after]; never where it is None."""
    return every is not None and before // every != after // every


def line(record: Record) -> str:
    """One line of ``log.jsonl``."""
    return json.dumps({"step": record.step, "tokens": record.tokens, **record.values}) + "\n"


def append_log(folder: Path, record: Record) -> None:
    """Add one line to the run's log, readable while the run goes on."""
    path = folder / "log.jsonl"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("a") as stream:
            stream.write(line(record))
    except OSError as error:
        raise input_error(
            got=f"log {str(path)!r}",
            rule=f"it cannot be written ({error.strerror})",
            do="free disk space, then resume from the last complete checkpoint",
        ) from error


def rewrite_log(folder: Path, records: Sequence[Record]) -> None:
    """The log with these records only: a resumed run does the later steps again."""
    atomic_write(folder / "log.jsonl", "".join(map(line, records)))


def finished_run(folder: Path | None) -> Run | None:
    """The run that a folder already holds to its end, as it was measured then; a killed process may leave
    half of one, which is none."""
    try:
        run = Run.load(folder) if folder is not None else None
    except InputError:
        return None
    return run if run is not None and run.summary.get("finished") else None


def _noise_scales(series: dict[str, np.ndarray]) -> dict[str, Any]:
    """Mean noise over mean signal in the first and the last third of the records, in sequences, each with its
    Fieller interval at 95 % where that is bounded, and their ratio."""
    if "noise" not in series or series["noise"].shape[1] < 3:
        return {}
    third = series["noise"].shape[1] // 3
    parts = {"noise_scale_first": slice(None, third), "noise_scale_last": slice(-third, None)}
    found: dict[str, Any] = {}
    for name, part in parts.items():
        noise, signal = (series[key][0, part] for key in ("noise", "signal"))
        measured = np.isfinite(noise) & np.isfinite(signal)
        noise, signal = noise[measured], signal[measured]
        if not noise.size or signal.mean() <= 0:
            continue
        found[name] = float(noise.mean() / signal.mean())
        blocks = min(BLOCKS, noise.size // 2)
        if blocks >= 2 and (interval := noise_scale_interval(noise, signal, batches=blocks)).bounded:
            found[f"{name}_interval"] = [interval.low, interval.high]
    if "noise_scale_last" in found and found.get("noise_scale_first", 0.0) > 0:
        found["noise_scale_growth"] = found["noise_scale_last"] / found["noise_scale_first"]
    return found


def _utilization(config: TrainConfig, provenance: dict[str, Any], summary: dict[str, Any]) -> float | None:
    """Model FLOPs utilization, all devices together; None where the peak of the device is not known, and in
    fine-tuning, where the model need not be the configuration's and some of it may be frozen."""
    from bstheory.training.throughput import flops_per_token, peak_flops

    peak = peak_flops(summary["device"], config.precision)
    if peak is None or not summary["tokens_per_second"] or "pretrained" in provenance:
        return None
    flops = summary["tokens_per_second"] * flops_per_token(config.model, config.length)
    return flops / (peak * summary["world_size"])


def run_of_records(
    records: Sequence[Record], *, config: TrainConfig, provenance: dict[str, Any], summary: dict[str, Any]
) -> Run:
    """A run with one seed; a series has NaN where a record did not measure it.

    Args:
        records: in order.
        config, provenance: together the run's configuration.
        summary: facts about the machine and the state; the validation losses and noise scales are added.
    """
    series = {
        name: np.array([[record.values.get(name, math.nan) for record in records]])
        for name in SERIES
        if any(name in record.values for record in records)
    }
    validation = [
        {"tokens": r.tokens, "loss": r.values["validation_loss"]}
        for r in records
        if "validation_loss" in r.values
    ]
    return Run(
        name=config.name,
        config={**config.to_json(), **provenance},
        seeds=(config.seed,),
        steps=np.array([record.step for record in records], dtype=np.int64),
        tokens=np.array([record.tokens for record in records], dtype=np.int64),
        series=series,
        summary={
            **summary,
            "mfu": _utilization(config, provenance, summary),
            "validation": validation,
            # Of a run that stopped early the last validation is not the final one.
            "final_validation_loss": validation[-1]["loss"] if validation and summary["finished"] else None,
            **_noise_scales(series),
        },
    )
