"""Optional places where a run's series also go while it runs: TensorBoard, trackio, Weights & Biases.

The run's own record is ``log.jsonl`` and ``metrics.parquet``; these are for watching. Each is an extra of its
own and is imported only when asked for. The axis is *tokens consumed*, so that runs with different batch
sizes lie over each other; the optimizer step is one of the series.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bstheory.errors import input_error
from bstheory.training.records import Record

SINKS = ("tensorboard", "trackio", "wandb")
Observer = Callable[[Record], None]


def require_sinks(names: Sequence[str]) -> None:
    """Check before any work that every sink is known, named once and installed.

    Raises:
        InputError: one is not; the message names the extra that brings it.
    """
    for name in names:
        if name not in SINKS or list(names).count(name) > 1:
            raise input_error(
                got=f"log_to={tuple(names)}", rule=f"each is one of {', '.join(SINKS)}, once", do="correct it"
            )
        if importlib.util.find_spec(name) is None:
            raise input_error(
                got=f"log_to={name!r}",
                rule=f"the package {name} is not installed",
                do=f"run pip install 'bstheory[{name}]', or leave it out: log.jsonl has the same series",
            )


def _values(record: Record) -> dict[str, float]:
    return {k: v for k, v in record.values.items() if math.isfinite(v)} | {"step": float(record.step)}


@contextlib.contextmanager
def _tensorboard(folder: Path, name: str, config: Mapping[str, Any], tokens: int) -> Iterator[Observer]:
    from torch.utils.tensorboard import SummaryWriter

    # What a killed run wrote after the checkpoint that it resumes from is hidden, not drawn twice.
    writer = SummaryWriter(str(folder / "tensorboard"), purge_step=tokens + 1 if tokens else None)

    def observe(record: Record) -> None:
        for key, value in _values(record).items():
            writer.add_scalar(key, value, record.tokens)

    try:
        if not tokens:
            writer.add_text(name, f"```json\n{json.dumps(config, indent=2)}\n```", 0)
        yield observe
    finally:
        writer.close()


@contextlib.contextmanager
def _tracker(
    module: str, folder: Path, name: str, config: Mapping[str, Any], tokens: int
) -> Iterator[Observer]:
    """wandb and trackio share their interface."""
    tracker = importlib.import_module(module)
    options: dict[str, Any] = {"project": "bstheory", "name": name, "config": dict(config)}
    if module == "wandb":
        options |= {"dir": str(folder), "id": f"{name}-{folder.resolve().name}"[:128]}
    tracker.init(**options, resume="allow" if tokens else "never")
    try:
        yield lambda record: tracker.log(_values(record), step=record.tokens)
    finally:
        tracker.finish()


@contextlib.contextmanager
def open_sinks(
    names: Sequence[str], *, folder: Path, name: str, config: Mapping[str, Any], tokens: int = 0
) -> Iterator[Observer | None]:
    """An observer for :meth:`bstheory.training.trainer.Trainer.run` that writes each record to every sink.

    Args:
        names: of :data:`SINKS`; none gives None.
        folder: of the run; TensorBoard's events go to its folder ``tensorboard``.
        name: of the run.
        config: its configuration, stored beside the series; plain JSON.
        tokens: where a resumed run goes on; 0 is a new run.

    Raises:
        InputError: as :func:`require_sinks`.
    """
    require_sinks(names)
    with contextlib.ExitStack() as stack:
        observers = [
            stack.enter_context(
                _tensorboard(folder, name, config, tokens)
                if sink == "tensorboard"
                else _tracker(sink, folder, name, config, tokens)
            )
            for sink in names
        ]

        def observe(record: Record) -> None:
            for one in observers:
                one(record)

        yield observe if observers else None
