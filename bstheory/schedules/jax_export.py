"""Schedules as plain functions of JAX arrays: for ``jit``, ``vmap`` and ``grad``, and for optax.

The curves are those of :mod:`bstheory.schedules.curves`, evaluated by ``jax.numpy``: a third arithmetic
beside NumPy and SymPy, so a formula is still written once. JAX is imported on first use (extra ``[jax]``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bstheory.errors import input_error
from bstheory.schedules.curves import CURVES, Branches, Numeric
from bstheory.schedules.schedule import Schedule
from bstheory.schedules.walk import batch_sizes


class JaxNumeric:
    """The operations that curves use, in ``jax.numpy``; its precision is JAX's (32 bits unless enabled)."""

    pi = Numeric.pi
    ln2 = Numeric.ln2
    number = float

    def __init__(self) -> None:
        import jax.numpy as jnp

        self.np = jnp
        self.exp2, self.expm1, self.log1p = jnp.exp2, jnp.expm1, jnp.log1p
        self.cos, self.sqrt, self.floor, self.ceiling = jnp.cos, jnp.sqrt, jnp.floor, jnp.ceil
        self.minimum, self.maximum = jnp.minimum, jnp.maximum

    def between(self, x: Any, a: float, b: float) -> Any:
        return self.np.clip(x, min(a, b), max(a, b))

    def of(self, schedule: Schedule, t: Any) -> Any:
        return CURVES[schedule.name].value(t, schedule.params, self)

    def _stage(self, t: Any, thresholds: Sequence[int]) -> Any:
        return self.np.searchsorted(self.np.asarray(thresholds, dtype=t.dtype), t, side="right") - 1

    def stairs(self, t: Any, thresholds: Sequence[int], values: Sequence[float]) -> Any:
        return self.np.asarray(values, dtype=float)[self._stage(t, thresholds)]

    def select(self, t: Any, thresholds: Sequence[int], branches: Branches) -> Any:
        which = self._stage(t, thresholds)
        values = [self.np.broadcast_to(branch(), which.shape) for branch in branches]
        return self.np.select([which == i for i in range(len(values))], values)


def jax_schedule(schedule: Schedule) -> Callable[[Any], Any]:
    """The schedule as a function of its clock, traceable by JAX.

    Args:
        schedule: any open-loop schedule.

    Returns:
        ``f(clock)``: ``clock`` counts ``schedule.unit``, a scalar or an array, integer or float; the result
        has its shape and JAX's float type. A negative clock gives the value at 0: a traced function cannot
        raise.

    With 32-bit floats the value has a relative error of about 1e-6, and 1 - beta an *absolute* error of 6e-8;
    integer clocks are compared with thresholds exactly.

    Raises:
        InputError: while tracing, a knot of the schedule that the clock's integer type cannot hold.

    Example:
        >>> from bstheory import schedules
        >>> rate = schedules.parse("cosine 0.001->0 over 100", unit="steps", quantity="learning_rate")
        >>> f = jax_schedule(rate)  # doctest: +SKIP
        >>> float(f(50))  # doctest: +SKIP
        0.0005
    """
    arithmetic = JaxNumeric()
    furthest = max((0, *schedule.knots))

    def value(clock: Any) -> Any:
        t = arithmetic.np.asarray(clock)
        if np.issubdtype(t.dtype, np.integer) and furthest > np.iinfo(t.dtype).max:
            raise input_error(
                got=f"a clock of type {t.dtype} for a schedule that changes at {furthest:,} {schedule.unit}",
                rule="the clock's type holds every place where the schedule changes",
                do="enable 64-bit types (jax_enable_x64) or pass a float clock",
            )
        return arithmetic.of(schedule, arithmetic.np.maximum(t, 0))

    return value


def optax_schedule(
    schedule: Schedule, *, batch_size: Schedule, num_tokens: int, seq_len: int = 1, last: str = "raise"
) -> Callable[[Any], Any]:
    """A schedule over tokens or samples as a function of optax's step count, under a batch-size schedule.

    Every step's tokens are known in advance, so the result is a table of exact values, one a step::

        f(k) = schedule(sum_{j < k} batch_size_j * seq_len)

    Args:
        schedule: of a learning rate, a beta, a weight decay ... in any unit.
        batch_size: the run's batch-size schedule (``schedules.parse("512")`` for a constant one).
        num_tokens, seq_len, last: of the run, as for :func:`bstheory.schedules.batch_sizes`.

    Returns:
        ``f(count)``, traceable; after the last step it keeps its last value, as optax's schedules do. The
        values are float64 ones rounded to JAX's float type. optax divides its averages by 1 - beta^count with
        the current beta, so with a changing beta its bias correction is not exact at the start of a run.

    Raises:
        InputError: as :func:`bstheory.schedules.batch_sizes`.
    """
    import jax.numpy as jnp

    sizes = batch_sizes(batch_size, num_tokens=num_tokens, seq_len=seq_len, last=last)
    samples = np.concatenate([[0], np.cumsum(sizes[:-1])])
    clock = {"steps": np.arange(len(sizes)), "samples": samples, "tokens": samples * seq_len}[schedule.unit]
    table = jnp.asarray(schedule(clock), dtype=float)

    def value(count: Any) -> Any:
        return table[jnp.clip(count, 0, len(sizes) - 1)]

    return value


__all__ = ["JaxNumeric", "jax_schedule", "optax_schedule"]
