"""Constructors of the open-loop schedules in use: batch-size ramps, learning rates, betas and weight decay.

Each returns a :class:`Schedule`, or a pair of them where two quantities belong together. Lengths and
thresholds are in the schedule's ``unit`` (tokens by default). Single curves (``linear``, ``cosine`` ...)
are also rows of ``bstheory.schedules.curves`` and can be written as text, see
:func:`bstheory.schedules.parse`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

from bstheory.errors import input_error
from bstheory.schedules.schedule import Schedule


def curve(name: str, *, quantity: str = "batch_size", unit: str = "tokens", **params: Any) -> Schedule:
    """Any row of the table of curves by name, such as ``curve("linear", start=8, end=64, over=10**6)``."""
    return Schedule(name=name, quantity=quantity, unit=unit, params=params)


def stage_table(
    values: Sequence[float],
    fractions: Sequence[Any],
    *,
    total: int,
    quantity: str = "batch_size",
    unit: str = "tokens",
) -> Schedule:
    """Stages by share of the run, such as values (2048, 4096, 8192) at fractions ("2.5%", "2.5%", "95%").

    Args:
        values: one per stage.
        fractions: shares of ``total``, as percentages in text, decimals in text, or fractions; they add up
            to 1 and each boundary must be a whole number of units.
        total: length of the run.

    Raises:
        InputError: shares that do not add up to 1, or a boundary that is not whole (nothing is rounded).

    Example:
        >>> stage_table((384, 768, 1152), ("2.5%", "2.5%", "95%"), total=2000)([0, 50, 99, 100]).tolist()
        [384.0, 768.0, 768.0, 1152.0]
    """
    shares = [_share(piece) for piece in fractions]
    if len(shares) != len(values) or sum(shares) != 1 or min(shares) <= 0:
        raise input_error(
            got=f"{len(values)} values with shares {[str(f) for f in fractions]}",
            rule="each stage has a positive share and the shares add up to exactly 1",
            do='write them as text, such as "2.5%"',
        )
    thresholds, at = [], Fraction(0)
    for share in shares:
        if at.denominator != 1:
            raise input_error(
                got=f"a stage boundary at {float(at)} {unit}",
                rule="boundaries are whole numbers",
                do=f"choose a total that the shares divide, not {total}",
            )
        thresholds.append(int(at))
        at += share * total
    return curve("stages", quantity=quantity, unit=unit, thresholds=tuple(thresholds), values=tuple(values))


def _share(piece: Any) -> Fraction:
    text = str(piece).strip()
    try:
        return Fraction(text[:-1]) / 100 if text.endswith("%") else Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise input_error(
            got=f"share {piece!r}", rule='a share is text such as "2.5%" or "0.025"', do="rewrite it"
        ) from error


def increments(
    *, start: int, end: int, increment: int, over: int, begin: int = 0, unit: str = "tokens"
) -> Schedule:
    """The ramp of GPT-3 and Megatron: from start to end in equal increments, each kept equally long.

    B(t) = start + increment * floor((t - begin) / (over / n)), n = (end - start) / increment, held after
    ``over``.

    Reference: Brown et al. 2020, arXiv 2005.14165, appendix B (32k to 3.2M tokens over the first 4-12B).
    """
    return curve("staircase", unit=unit, start=start, end=end, increment=increment, over=over, begin=begin)


def late_switch(*, small: int, large: int, at: int, unit: str = "tokens") -> Schedule:
    """Small batches for most of the run, then one switch.

    Reference: arXiv 2602.14208 (best on hard tasks; growing throughout is best on easy ones).
    """
    return curve("stages", unit=unit, thresholds=(0, at), values=(small, large))


def sequence(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """One schedule after another; ``boundaries`` are where the second, third ... take over."""
    if not schedules:
        raise input_error(got="no schedules", rule="at least one is joined", do="pass them")
    first = schedules[0]
    return dataclasses.replace(
        first, name="join", params={"thresholds": (0, *boundaries), "schedules": tuple(schedules)}
    )


def one_cycle(
    *,
    start: float,
    middle: float,
    end: float,
    turn: int,
    total: int,
    shape: str = "cosine",
    quantity: str = "batch_size",
    unit: str = "tokens",
) -> Schedule:
    """From start to middle until ``turn``, then to end until ``total``; ``shape`` is cosine or linear."""
    if shape not in ("cosine", "linear") or not 0 < turn < total:
        raise input_error(
            got=f"shape={shape!r}, turn={turn}, total={total}",
            rule="the shape is cosine or linear and 0 < turn < total",
            do="correct it",
        )
    common = {"quantity": quantity, "unit": unit}
    down = curve(shape, start=start, end=middle, over=turn, **common)
    up = curve(shape, start=middle, end=end, over=total - turn, begin=turn, **common)
    return sequence([down, up], [turn])


def warmup_cosine(
    *, peak: float, warmup: int, total: int, final: float = 0.0, initial: float = 0.0, unit: str = "tokens"
) -> Schedule:
    """Learning rate: linear from initial to peak, cosine to final at ``total``, then constant."""
    _order(("warmup", warmup), ("total", total))
    common = {"quantity": "learning_rate", "unit": unit}
    decay = curve("cosine", start=peak, end=final, over=total - warmup, begin=warmup, **common)
    return _after_warmup(decay, peak=peak, warmup=warmup, initial=initial)


def warmup_stable_decay(
    *,
    peak: float,
    warmup: int,
    decay_begin: int,
    total: int,
    final: float = 0.0,
    initial: float = 0.0,
    power: float = 1.0,
    unit: str = "tokens",
) -> Schedule:
    """Learning rate: linear warmup, constant until ``decay_begin``, then peak + (final - peak) u^power.

    u runs from 0 to 1 between ``decay_begin`` and ``total``; power 1 is linear, 0.5 the "1 - sqrt" decay.
    """
    _order(("warmup", warmup), ("decay_begin", decay_begin + (warmup == decay_begin)), ("total", total))
    common = {"quantity": "learning_rate", "unit": unit}
    decay = curve(
        "polynomial",
        start=peak,
        end=final,
        over=total - decay_begin,
        begin=decay_begin,
        power=power,
        **common,
    )
    return _after_warmup(decay, peak=peak, warmup=warmup, initial=initial)


def _after_warmup(decay: Schedule, *, peak: float, warmup: int, initial: float) -> Schedule:
    if warmup == 0:
        return decay
    ramp = dataclasses.replace(decay, name="linear", params={"start": initial, "end": peak, "over": warmup})
    return sequence([ramp, decay], [warmup])


def _order(*named: tuple[str, int]) -> None:
    for (first, a), (second, b) in pairwise(named):
        if not 0 <= a < b:
            raise input_error(
                got=f"{first}={a}, {second}={b}", rule=f"0 <= {first} < {second}", do="put them in order"
            )


def scaled(
    schedule: Schedule,
    *,
    batch_size: Schedule,
    reference_batch_size: float,
    rule: str,
    parameter: float | None = None,
) -> Schedule:
    """A learning-rate schedule times a factor of the present batch size B, which is 1 at the reference B0.

    ===========  ================================================  =========================================
    rule         factor                                            parameter
    ===========  ================================================  =========================================
    none         1                                                 -
    sqrt         sqrt(B / B0)                                      -
    linear       B / B0                                            -
    power        (B / B0)^p                                        p
    adascale     (N/B0 + 1) / (N/B + 1)                            noise scale N, samples
    surge        2 / (sqrt(N/B) + sqrt(B/N)), by its value at B0   noise scale N, samples
    half_life    sqrt((1 - 2^(-B/h)) / (1 - 2^(-B0/h)))            half-life h of beta2, in the unit of B
    ===========  ================================================  =========================================

    AdaScale's own clock, which advances by the gain at each step, is a closed loop and not part of this
    factor.

    Reference: AdaScale arXiv 2007.05105; Surge arXiv 2405.14578; half_life docs/theorems,
    adam_token_half_life.
    """
    params = {
        "schedule": schedule,
        "batch_size": batch_size,
        "reference_batch_size": reference_batch_size,
        "rule": rule,
        "parameter": parameter,
    }
    return dataclasses.replace(schedule, name="scaled", params=params)


def beta_from_batch_size(
    *,
    half_life: float,
    batch_size: Schedule,
    seq_len: int = 1,
    floor: float | None = None,
    cap: float | None = None,
    quantity: str = "beta2",
) -> Schedule:
    """beta(t) = 2^(-B(t) seq_len / half_life), with an explicit floor and cap that the schedule shows.

    Reference: Marek et al. 2025, arXiv 2507.07101.
    """
    params = {
        "batch_size": batch_size,
        "half_life": half_life,
        "seq_len": seq_len,
        "floor": floor,
        "cap": cap,
    }
    return dataclasses.replace(batch_size, name="beta", quantity=quantity, params=params)


def weight_decay_timescale(
    *,
    learning_rate: Schedule,
    batch_size: Schedule,
    reference_learning_rate: float,
    reference_weight_decay: float,
    reference_batch_size: float,
) -> Schedule:
    """Weight decay that keeps the decay of a weight per token: (1 - lr wd)^(1/B) at its reference value.

    **Exact** for decoupled decay ``w <- (1 - lr wd) w``. The learning rate must be positive everywhere: at
    0 no weight decay has any effect, so warm up from a positive initial rate or treat that step apart.
    """
    params = {
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "reference_learning_rate": reference_learning_rate,
        "reference_weight_decay": reference_weight_decay,
        "reference_batch_size": reference_batch_size,
    }
    return dataclasses.replace(batch_size, name="timescale", quantity="weight_decay", params=params)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seesaw:
    """The pair that replaces a decaying learning rate: a rate that falls less and a batch that grows."""

    learning_rate: Schedule
    batch_size: Schedule


def seesaw(base: Schedule, *, batch_size: int, begin: int, end: int, cuts: int, factor: int = 2) -> Seesaw:
    """Where ``base`` has fallen by ``factor``^k, cut the rate by the root of ``factor``, multiply the batch.

    The k-th cut is at the first unit t in (begin, end] with base(t) <= base(begin) / factor^k. Before
    ``begin`` (the warmup) the base rate is used. Units must be tokens or samples: in steps the run would
    change its length.

    Args:
        base: learning-rate schedule, non-increasing between ``begin`` and ``end``.
        batch_size: initial batch size.
        begin, end: where the decay begins and the run ends.
        cuts: how many; every one of them must happen before ``end``.
        factor: 2 in the paper.

    Raises:
        InputError: a base that falls too little for so many cuts, that rises, or that counts steps.

    Reference: arXiv 2510.14717. lr and batch factors keep lr * sqrt(batch) of normalized SGD.
    """
    if base.quantity != "learning_rate" or base.unit == "steps" or not 0 <= begin < end or factor < 2:
        raise input_error(
            got=f"a {base.quantity} schedule over {base.unit}, begin={begin}, end={end}, factor={factor}",
            rule="the base is a learning rate over tokens or samples, begin < end, factor >= 2",
            do="correct it",
        )
    inside = [knot for knot in base.knots if begin < knot < end]
    values = [base(t) for t in (begin, *inside, end)]
    if any(b > a for a, b in pairwise(values)):
        raise input_error(
            got=f"a base that rises between {begin} and {end}",
            rule="it does not increase after begin",
            do="let begin be the end of the warmup",
        )
    peak, found = values[0], []
    for k in range(1, cuts + 1):
        goal = peak / factor**k
        if values[-1] > goal:
            raise input_error(
                got=f"{cuts} cuts of a base that falls to {values[-1]:g}",
                rule=f"cut {k} is where it reaches {goal:g}",
                do=f"ask for at most {k - 1} cuts",
            )
        low, high = (found[-1] if found else begin), end
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if base(middle) <= goal else (middle, high)
        if found and high <= found[-1]:
            raise input_error(
                got=f"cuts {k - 1} and {k} both at {high}", rule="cuts are apart", do="ask for fewer"
            )
        found.append(high)
    rates = tuple(peak / factor ** (k / 2) for k in range(cuts + 1))
    sizes = tuple(batch_size * factor**k for k in range(cuts + 1))
    stairs = curve(
        "stages",
        quantity="learning_rate",
        unit=base.unit,
        thresholds=(0, *found),
        values=rates,
    )
    learning_rate = sequence([base, stairs], [begin]) if begin > 0 else stairs
    return Seesaw(
        learning_rate=learning_rate,
        batch_size=curve("stages", unit=base.unit, thresholds=(0, *found), values=sizes),
    )
