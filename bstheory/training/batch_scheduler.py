"""``BatchSizeScheduler``: the loop asks for a plan, does the step, says so, and repeats."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from bstheory.errors import input_error
from bstheory.schedules import Position, Schedule, runs
from bstheory.schedules.rules import Rule
from bstheory.schedules.statistics import Statistics
from bstheory.schedules.walk import LAST

FORMAT = 1


@dataclasses.dataclass(frozen=True, slots=True)
class BatchPlan:
    """One optimizer step: ``batch_size = micro_batch_size * accumulation * world_size`` sequences.

    Attributes:
        step: index of the step, from 0.
        samples, tokens: consumed before the step.
        batch_size: global, in sequences.
        micro_batch_size: sequences per forward pass on one rank.
        accumulation: forward passes per rank before the optimizer steps.
        world_size: ranks.
        seq_len: tokens per sequence.
    """

    step: int
    samples: int
    tokens: int
    batch_size: int
    micro_batch_size: int
    accumulation: int
    world_size: int
    seq_len: int

    @property
    def tokens_per_step(self) -> int:
        """Tokens that the step consumes over all ranks."""
        return self.batch_size * self.seq_len

    @property
    def local_batch_size(self) -> int:
        """Sequences per rank."""
        return self.micro_batch_size * self.accumulation

    def micro_batches(self, rank: int = 0) -> Iterator[range]:
        """Global sample indices of each micro-batch of ``rank``.

        Together the ranks cover ``samples ... samples + batch_size`` once, so the global batch is the same
        set of samples for every world size and every split into micro-batches.
        """
        if not 0 <= rank < self.world_size:
            raise input_error(
                got=f"rank={rank}",
                rule=f"it is in 0 ... {self.world_size - 1}",
                do="pass this process's rank",
            )
        first = self.samples + rank * self.local_batch_size
        for index in range(self.accumulation):
            start = first + index * self.micro_batch_size
            yield range(start, start + self.micro_batch_size)


class BatchSizeScheduler:
    """Steps through a batch-size schedule (open loop) or a rule (closed loop) in exact integers.

    Args:
        schedule: a ``Schedule`` of quantity ``batch_size`` with integer values, or a ``Rule``.
        num_tokens: total tokens of the run.
        seq_len: tokens per sequence.
        world_size: data-parallel ranks.
        micro_batch_size: sequences per forward pass, the same in every step; or
        max_micro_batch_size: the largest that fits, and each step uses the largest divisor of the local batch
            that does not exceed it. Pass exactly one of the two.
        last: what happens when the last batch does not fit, as in :func:`bstheory.schedules.runs`.

    Raises:
        InputError: at construction, for *every* batch size the schedule will reach (for a rule: for the one
        it
            starts with, later ones when they come up), when it is not a multiple of micro_batch_size *
            world_size, or when the last batch does not fit and ``last`` is ``raise``. Nothing is adjusted.

    Checkpoint behavior: :meth:`state_dict` holds the position, the schedule's hash and, for a rule, its
    state. World size and micro-batch size are not part of it: load it into a scheduler of another world
    size and the sequence of global batches continues unchanged.

    Example:
        >>> from bstheory import schedules
        >>> scheduler = BatchSizeScheduler(schedules.parse("0:8 128:32"), num_tokens=256, micro_batch_size=4)
        >>> sizes = []
        >>> while (plan := scheduler.plan()) is not None:
        ...     sizes.append((plan.batch_size, plan.accumulation))
        ...     scheduler.step()
        >>> sizes[14:17]
        [(8, 2), (8, 2), (32, 8)]
    """

    def __init__(
        self,
        schedule: Schedule | Rule,
        *,
        num_tokens: int,
        seq_len: int = 1,
        world_size: int = 1,
        micro_batch_size: int | None = None,
        max_micro_batch_size: int | None = None,
        last: str = "raise",
    ) -> None:
        if (micro_batch_size is None) == (max_micro_batch_size is None):
            raise input_error(
                got=f"micro_batch_size={micro_batch_size}, max_micro_batch_size={max_micro_batch_size}",
                rule="exactly one of the two is given",
                do="fix the micro-batch size, or give the largest that fits",
            )
        for name, value in (
            ("num_tokens", num_tokens),
            ("seq_len", seq_len),
            ("world_size", world_size),
            ("micro_batch_size", max_micro_batch_size if micro_batch_size is None else micro_batch_size),
        ):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise input_error(
                    got=f"{name}={value!r}", rule=f"{name} is a positive integer", do="pass one"
                )
        if last not in LAST:
            raise input_error(got=f"last={last!r}", rule=f"it is one of {', '.join(LAST)}", do="pick one")
        self.schedule = schedule
        self.num_tokens = num_tokens
        self.seq_len = seq_len
        self.world_size = world_size
        self.micro_batch_size = micro_batch_size
        self.max_micro_batch_size = max_micro_batch_size
        self.last = last
        self.position = Position()
        self.rule_state: dict[str, Any] | None = None
        self._splits: dict[int, tuple[int, int]] = {}
        self._current: BatchPlan | None = None
        if isinstance(schedule, Rule):
            self.rule_state = schedule.init()
            self._split(schedule.value(self.rule_state), step=0, samples=0)
        else:
            step = samples = 0
            for batch_size, count in self._runs():
                self._split(batch_size, step=step, samples=samples)
                step, samples = step + count, samples + batch_size * count
        self._start()

    @property
    def splits(self) -> dict[int, tuple[int, int]]:
        """Global batch size -> (micro_batch_size, accumulation): of every size that a schedule reaches, of a
        rule those so far."""
        return dict(self._splits)

    @property
    def done(self) -> bool:
        """Whether the token budget is used up."""
        return self.position.tokens >= self.num_tokens

    def plan(self) -> BatchPlan | None:
        """The plan of the next step, the same until :meth:`step` is called; ``None`` when the run is over."""
        if self._current is not None:
            return self._current
        here = self.position
        if here.tokens >= self.num_tokens:
            return None
        if self.rule_state is not None:
            self._remaining, self._batch_size = 1, self._rule_batch_size()
        elif self._remaining == 0:
            self._batch_size, self._remaining = next(self._upcoming)
        micro, accumulation = self._split(self._batch_size, step=here.step, samples=here.samples)
        self._current = BatchPlan(
            here.step,
            here.samples,
            here.tokens,
            self._batch_size,
            micro,
            accumulation,
            self.world_size,
            self.seq_len,
        )
        return self._current

    def step(self, statistics: Statistics | None = None) -> None:
        """Record that the planned step was done; a rule also needs the step's gradient statistics.

        Raises:
            InputError: the run is over, or a rule without statistics, or statistics of another batch size.
        """
        plan = self.plan()
        if plan is None:
            raise input_error(
                got="step() after the last step",
                rule=f"the run ends at {self.num_tokens} tokens",
                do="stop when plan() returns None",
            )
        if self.rule_state is not None:
            if statistics is None:
                raise input_error(
                    got="step() without statistics",
                    rule=f"the rule {self.schedule.name} needs them",
                    do="pass GradientStatistics.finish(...)",
                )
            if statistics.batch_size != plan.batch_size:
                raise input_error(
                    got=f"statistics of a batch of {statistics.batch_size}",
                    rule=f"the planned batch is {plan.batch_size}",
                    do="pass the statistics of the step that was just done",
                )
            self.rule_state = self.schedule.update(self.rule_state, statistics)
        self._remaining -= 1
        self._current = None
        self.position = self.position.after(batch_size=plan.batch_size, seq_len=self.seq_len)

    def state_dict(self) -> dict[str, Any]:
        """Plain JSON: where the run stands and which schedule it follows."""
        return {
            "format": FORMAT,
            "schedule": self.schedule.hash,
            **dataclasses.asdict(self.position),
            "rule_state": self.rule_state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state.

        Raises:
            InputError: it was saved under another schedule, rule or sequence length, or is not such a state;
                the scheduler is unchanged then.
        """
        _check_state(state, self)
        if state["schedule"] != self.schedule.hash:
            raise input_error(
                got=f"a state saved under schedule {state['schedule'][:12]}",
                rule=f"this scheduler follows {self.schedule.hash[:12]}",
                why="the position means another batch size under another schedule",
                do="build the scheduler with the saved run's schedule",
            )
        self.position = Position(step=state["step"], samples=state["samples"], tokens=state["tokens"])
        self.rule_state = None if state["rule_state"] is None else dict(state["rule_state"])
        self._start()

    def _start(self) -> None:
        self._current = None
        self._remaining = 0
        self._batch_size = 0
        self._upcoming = iter(()) if self.rule_state is not None else self._runs(self.position)

    def _runs(self, position: Position | None = None) -> Iterator[tuple[int, int]]:
        return runs(
            self.schedule,
            num_tokens=self.num_tokens,
            seq_len=self.seq_len,
            last=self.last,
            position=position,
        )

    def _rule_batch_size(self) -> int:
        wanted = self.schedule.value(self.rule_state)
        remaining = self.num_tokens - self.position.tokens
        if wanted * self.seq_len <= remaining or self.last == "overshoot":
            return wanted
        if self.last == "partial" and remaining % self.seq_len == 0:
            return remaining // self.seq_len
        raise input_error(
            got=f"{remaining} tokens left for a batch of {wanted} x {self.seq_len} tokens",
            rule="the last batch must fit exactly"
            if self.last == "raise"
            else "a partial batch holds whole sequences",
            why="a rule's batch sizes are not known in advance",
            do='pass last="overshoot", or last="partial" with num_tokens a multiple of seq_len',
        )

    def _split(self, batch_size: int, *, step: int, samples: int) -> tuple[int, int]:
        """(micro_batch_size, accumulation) for a global batch size, remembered."""
        found = self._splits.get(batch_size)
        if found is not None:
            return found
        micro = self.micro_batch_size or 1
        unit = micro * self.world_size
        if batch_size % unit:
            what = "micro_batch_size * world_size" if self.micro_batch_size else "world_size"
            size = f"{micro} * {self.world_size} = {unit}" if self.micro_batch_size else f"{unit}"
            below = f"is below {what} = {size}" if batch_size < unit else f"is no multiple of {what} = {size}"
            fewer = (samples + batch_size // unit * unit) * self.seq_len
            cut = fewer and self.last == "partial"
            cut = cut and (samples + batch_size) * self.seq_len >= self.num_tokens  # what was left at the end
            raise input_error(
                got=f"batch_size={batch_size} at step {step}, which {below}",
                rule=f"a global batch{', the last one too,' if cut else ''} is a whole multiple of {what}",
                why="ranks would see unequal batches",
                do=f"train on {fewer} tokens, which leave no such remainder"
                if cut
                else f"use schedule.rounded(multiple={unit}), fewer ranks or a smaller micro-batch",
            )
        local = batch_size // self.world_size
        if self.micro_batch_size is None:
            micro = next(m for m in range(min(local, self.max_micro_batch_size), 0, -1) if local % m == 0)
        self._splits[batch_size] = micro, local // micro
        return self._splits[batch_size]


def _check_state(state: Any, scheduler: BatchSizeScheduler) -> None:
    """Raise unless ``state`` is one that such a scheduler returns; the hash is compared by the caller."""
    present = isinstance(state, Mapping)
    if not present or state.get("format") != FORMAT:
        raise input_error(
            got=f"scheduler state of format {state.get('format') if present else state!r}",
            rule=f"this version reads format {FORMAT}",
            do="pass what state_dict() returned",
        )
    mine = scheduler.state_dict()
    counts = [state.get(name) for name in ("step", "samples", "tokens")]
    whole = all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in counts)
    if set(state) != set(mine) or not isinstance(state["schedule"], str) or not whole:
        raise input_error(
            got=f"scheduler state {dict(state)!r}",
            rule=f"it has {', '.join(mine)}, and counts are integers of at least 0",
            do="pass what state_dict() returned",
        )
    if state["schedule"] != mine["schedule"]:
        return  # another schedule: the caller's message says so
    samples, tokens = int(state["samples"]), int(state["tokens"])
    if tokens != samples * scheduler.seq_len:
        raise input_error(
            got=f"a state of {tokens} tokens in {samples} samples",
            rule=f"a sample here has {scheduler.seq_len} tokens",
            why="the position means another step at another sequence length",
            do="build the scheduler with the saved run's seq_len",
        )
    rule, saved = scheduler.schedule, state["rule_state"]
    if isinstance(rule, Rule) and isinstance(saved, Mapping) and set(saved) == set(rule.init()):
        size = saved["batch_size"]
        good = (
            isinstance(size, int)
            and (rule.minimum or 1) <= size <= rule.maximum
            and size % rule.multiple == 0
        )
    else:
        good = not isinstance(rule, Rule) and saved is None
    if not good:
        raise input_error(
            got=f"rule_state={saved!r}",
            rule="it is a state of this scheduler's rule (none for a schedule)",
            do="pass what state_dict() returned",
        )
