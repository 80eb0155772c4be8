"""What the training loops of other libraries allow of a batch-size schedule, checked before they start.

Hugging Face's and Lightning's trainers step the optimizer when the number of micro-batches seen so far is a
multiple of the accumulation. They let a callback change the accumulation, not that counter. So a schedule can
be followed exactly if and only if, wherever the accumulation changes, the micro-batches seen until then are a
multiple of the new one. Ramps that double qualify when their stages are long enough; others need a loop of
one's own (:class:`bstheory.training.BatchSizeScheduler`).
"""

from __future__ import annotations

import dataclasses

from bstheory.errors import input_error
from bstheory.schedules import Schedule, runs
from bstheory.training.batch_scheduler import BatchSizeScheduler


@dataclasses.dataclass(frozen=True, kw_only=True)
class AccumulationPlan:
    """A run in a trainer's own counts, per rank.

    Attributes:
        first: accumulation of the first step.
        constant: whether it never changes.
        steps: optimizer steps.
        micro_batches: forward passes in all.
    """

    first: int
    constant: bool
    steps: int
    micro_batches: int


def accumulation_plan(scheduler: BatchSizeScheduler) -> AccumulationPlan:
    """Check that a trainer which counts micro-batches can follow ``scheduler``, and count for it.

    Raises:
        InputError: a closed-loop rule, a micro-batch size that may vary, or an accumulation that changes at a
            count of micro-batches which the new one does not divide.
    """
    if not isinstance(scheduler.schedule, Schedule):
        raise input_error(
            got=f"the rule {scheduler.schedule.name}",
            rule="a trainer's callback follows an open-loop schedule",
            why="the trainer does not hand out the gradients of its micro-batches, which a rule reads",
            do="use BatchSizeScheduler with GradientStatistics in a loop of your own",
        )
    micro = scheduler.micro_batch_size
    if micro is None:
        raise input_error(
            got=f"max_micro_batch_size={scheduler.max_micro_batch_size}",
            rule="a trainer's data loader has one micro-batch size",
            do="build the scheduler with micro_batch_size",
        )
    unit = micro * scheduler.world_size
    seen = step = 0
    found: list[int] = []
    for batch_size, count in runs(
        scheduler.schedule, num_tokens=scheduler.num_tokens, seq_len=scheduler.seq_len, last=scheduler.last
    ):
        accumulation = batch_size // unit
        if batch_size % unit or seen % accumulation:
            raise input_error(
                got=f"batch_size={batch_size} at step {step}, after {seen} micro-batches per rank",
                rule="the trainer steps when that count is a multiple of the accumulation, "
                f"here {accumulation}",
                why="a callback can change the accumulation but not the trainer's counter",
                do="move the threshold so that the samples before it are a multiple of the new batch size, "
                "or use BatchSizeScheduler in a loop of your own",
            )
        found.append(accumulation)
        seen += accumulation * count
        step += count
    return AccumulationPlan(first=found[0], constant=len(set(found)) == 1, steps=step, micro_batches=seen)


def require_start(scheduler: BatchSizeScheduler, step: int) -> None:
    """Raise ``InputError`` unless the schedule and a trainer at step ``step`` are both at the start."""
    if step > 0 or scheduler.position.step > 0:
        raise input_error(
            got=f"a trainer at step {step} with a schedule at step {scheduler.position.step}",
            rule="under a batch-size schedule a trainer's run starts at step 0",
            why="on resuming it skips micro-batches as if the accumulation had never changed, which is "
            "another place in the data",
            do="build a new scheduler and run without interruption, or use bstheory's trainer or a loop of "
            "your own",
        )


def require_equal(library: str, wanted: dict[str, tuple[object, object]]) -> None:
    """Raise ``InputError`` naming the first setting of ``{name: (what the trainer has, what it needs)}`` that
    differs."""
    for name, (has, needs) in wanted.items():
        if has != needs:
            raise input_error(
                got=f"{library} with {name}={has}",
                rule=f"the batch-size schedule needs {needs}",
                do=f"pass {name}={needs}, or build the schedule for the trainer's settings",
            )
