"""Stepping through a batch-size schedule: exact integers, no step skipped, nothing cut silently."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from bstheory.errors import input_error
from bstheory.schedules.schedule import Schedule

LAST = ("raise", "partial", "overshoot")
_LONGEST_GUESS = 65536


@dataclasses.dataclass(frozen=True, kw_only=True)
class Position:
    """What has been consumed so far, in exact integers of all three units."""

    step: int = 0
    samples: int = 0
    tokens: int = 0

    def clock(self, unit: str) -> int:
        """The count that a schedule over ``unit`` is evaluated at."""
        return {"tokens": self.tokens, "samples": self.samples, "steps": self.step}[unit]

    def after(self, *, batch_size: int, seq_len: int, steps: int = 1) -> Position:
        """The position ``steps`` steps of this size later."""
        samples = batch_size * steps
        return Position(
            step=self.step + steps,
            samples=self.samples + samples,
            tokens=self.tokens + samples * seq_len,
        )


def runs(
    schedule: Schedule,
    *,
    num_tokens: int,
    seq_len: int = 1,
    last: str = "raise",
    position: Position | None = None,
) -> Iterator[tuple[int, int]]:
    """Run lengths ``(batch_size, steps)`` from ``position`` until ``num_tokens`` tokens have been consumed.

    Step k uses B_k = schedule(consumed before it), so the sequence is defined one step at a time. Where
    the schedule is not known to be constant, the guess that the size stays for the next n steps is checked
    for all n at once and kept as far as it is true: exact always, and fast when changes are rare.

    Args:
        schedule: quantity ``batch_size``; its values must be integers (use ``rounded``).
        num_tokens: total tokens, counted from 0, not from ``position``.
        seq_len: tokens per sequence.
        last: what to do when the last batch does not fit: ``raise``; ``partial`` takes the smaller batch that
            ends exactly at ``num_tokens``; ``overshoot`` takes it whole.
        position: where to start, for resuming.

    Raises:
        InputError: a non-integer batch size, a last batch that does not fit (``raise``), a remainder that is
            not a whole number of sequences (``partial``), or a bad argument.
    """
    _check(schedule, num_tokens, seq_len, last)
    here = position or Position()
    knots = schedule.knots
    guess = 1
    while here.tokens < num_tokens:
        clock = here.clock(schedule.unit)
        next_knot = next((knot for knot in knots if knot > clock), None)
        batch = _integer(schedule, float(schedule.value(float(clock))), clock)
        tokens_per_step = batch * seq_len
        whole = (num_tokens - here.tokens) // tokens_per_step
        if whole == 0:
            batch = _last(schedule, batch, num_tokens - here.tokens, seq_len, last)
            yield batch, 1
            return
        stride = here.after(batch_size=batch, seq_len=seq_len).clock(schedule.unit) - clock
        if next_knot is None:
            count = whole
        elif schedule.flat:
            count = min(whole, -((clock - next_knot) // stride))  # ceiling: steps that start before the knot
        else:
            count = min(guess, whole)
            values = np.asarray(schedule.value(clock + stride * np.arange(count, dtype=np.float64)))
            differs = values != batch
            count = int(np.argmax(differs)) if differs.any() else count
            guess = min(2 * guess, _LONGEST_GUESS) if count == guess else max(count, 1)
        yield batch, count
        here = here.after(batch_size=batch, seq_len=seq_len, steps=count)


def batch_sizes(schedule: Schedule, *, num_tokens: int, seq_len: int = 1, last: str = "raise") -> np.ndarray:
    """The exact sequence of global batch sizes until ``num_tokens`` are consumed, int64 [K].

    ``batch_sizes(...).cumsum() * seq_len`` is the exact token count after each step. Arguments and errors are
    those of :func:`runs`.

    Example:
        >>> from bstheory import schedules
        >>> schedules.parse("0:2 4:4").batch_sizes(num_tokens=12)
        array([2, 2, 4, 4])
        >>> schedules.parse("0:2 3:4").batch_sizes(num_tokens=9, last="partial")
        array([2, 2, 4, 1])
    """
    pairs = list(runs(schedule, num_tokens=num_tokens, seq_len=seq_len, last=last))
    sizes, counts = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return np.repeat(sizes, counts)


def _check(schedule: Any, num_tokens: Any, seq_len: Any, last: Any) -> None:
    if not isinstance(schedule, Schedule) or schedule.quantity != "batch_size":
        raise input_error(
            got=f"{getattr(schedule, 'quantity', type(schedule).__name__)}",
            rule="steps are counted along a batch_size schedule",
            do="pass the batch-size schedule",
        )
    for name, value, least in (("num_tokens", num_tokens, 0), ("seq_len", seq_len, 1)):
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not whole or value < least:
            raise input_error(
                got=f"{name}={value!r}", rule=f"{name} is an integer of at least {least}", do="pass one"
            )
    if last not in LAST:
        raise input_error(got=f"last={last!r}", rule=f"it is one of {', '.join(LAST)}", do="pick one")


def _integer(schedule: Schedule, value: float, clock: int) -> int:
    if value != int(value) or value < 1:
        raise input_error(
            got=f"batch_size={value:g} at {clock} {schedule.unit}",
            rule="a batch holds a whole number of sequences, at least one",
            why="rounding it silently would be another schedule",
            do='use schedule.rounded(multiple=...), --round-to of bstheory plan, or a "staircase ... by N"',
        )
    return int(value)


def _last(schedule: Schedule, batch: int, remaining: int, seq_len: int, last: str) -> int:
    if last == "overshoot":
        return batch
    if last == "raise":
        raise input_error(
            got=f"{remaining} tokens left for a batch of {batch} x {seq_len} = {batch * seq_len} tokens",
            rule="the last batch must fit exactly",
            why="a cut or an extra batch is another schedule",
            do='pass last="partial" or last="overshoot", or change num_tokens',
        )
    if remaining % seq_len:
        raise input_error(
            got=f"{remaining} tokens left with seq_len={seq_len}",
            rule="a partial batch holds whole sequences",
            do="make num_tokens a multiple of seq_len",
        )
    return remaining // seq_len
