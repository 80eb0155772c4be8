"""The curves: each is written once, evaluated by NumPy or by SymPy, so value and formula cannot drift apart.

A curve is ``value(t, p, m)``: ``t`` the clock (tokens, samples or steps consumed before the step), ``p`` its
parameters and ``m`` the arithmetic, :class:`Numeric` or :class:`Symbolic`. Between its *knots* every curve is
monotone and after the last one it is constant, so its extremes lie at 0 and at the knots: ranges are checked
there.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Branches = Sequence[Callable[[], Any]]
Params = Mapping[str, Any]


class Numeric:
    """float64 arithmetic; ``t`` may be a scalar or an array of any shape."""

    pi = math.pi
    ln2 = math.log(2.0)
    exp2 = staticmethod(np.exp2)
    expm1 = staticmethod(np.expm1)
    log1p = staticmethod(np.log1p)
    cos = staticmethod(np.cos)
    sqrt = staticmethod(np.sqrt)
    floor = staticmethod(np.floor)
    ceiling = staticmethod(np.ceil)
    minimum = staticmethod(np.minimum)
    maximum = staticmethod(np.maximum)
    number = staticmethod(float)

    @staticmethod
    def between(x: Any, a: float, b: float) -> Any:
        """x, which lies between a and b up to rounding, without that rounding."""
        return np.minimum(np.maximum(x, min(a, b)), max(a, b))

    @staticmethod
    def of(schedule: Any, t: Any) -> Any:
        return schedule.value(t)

    @staticmethod
    def stairs(t: Any, thresholds: Sequence[int], values: Sequence[float]) -> Any:
        where = np.searchsorted(thresholds, t, side="right") - 1
        return np.asarray(values, dtype=np.float64)[where]

    @staticmethod
    def select(t: Any, thresholds: Sequence[int], branches: Branches) -> Any:
        which = np.searchsorted(thresholds, t, side="right") - 1
        if np.ndim(which) == 0:
            return branches[int(which)]()
        values = [np.broadcast_to(branch(), np.shape(which)) for branch in branches]
        return np.select([which == i for i in range(len(values))], values)


class Symbolic:
    """SymPy arithmetic with exact rationals: a float means the shortest decimal that prints as it."""

    def __init__(self) -> None:
        import sympy

        self.sp = sympy
        self.pi, self.cos, self.sqrt = sympy.pi, sympy.cos, sympy.sqrt
        self.ln2 = sympy.log(2)
        self.minimum, self.maximum = sympy.Min, sympy.Max

    def number(self, value: float) -> Any:
        return self.sp.Integer(int(value)) if value == int(value) else self.sp.Rational(repr(float(value)))

    @staticmethod
    def between(x: Any, a: Any, b: Any) -> Any:
        return x

    def exp2(self, x: Any) -> Any:
        return self.sp.Integer(2) ** x

    def _inside(self, function: Any, x: Any) -> Any:
        # SymPy evaluates ceiling(Piecewise(integers) / n) as if it were an integer: round inside the pieces.
        x = self.sp.piecewise_fold(x)
        if isinstance(x, self.sp.Piecewise):
            pieces: Any = x.args
            return self.sp.Piecewise(*[(function(value), condition) for value, condition in pieces])
        return function(x)

    def floor(self, x: Any) -> Any:
        return self._inside(self.sp.floor, x)

    def ceiling(self, x: Any) -> Any:
        return self._inside(self.sp.ceiling, x)

    def expm1(self, x: Any) -> Any:
        return self.sp.exp(x) - 1

    def log1p(self, x: Any) -> Any:
        return self.sp.log(1 + x)

    @staticmethod
    def of(schedule: Any, t: Any) -> Any:
        return schedule.expr(t)

    def stairs(self, t: Any, thresholds: Sequence[int], values: Sequence[float]) -> Any:
        return self.select(t, thresholds, [lambda v=v: self.number(v) for v in values])

    def select(self, t: Any, thresholds: Sequence[int], branches: Branches) -> Any:
        pieces = [(branch(), t < end) for branch, end in zip(branches, thresholds[1:])]
        return self.sp.Piecewise(*pieces, (branches[-1](), True))


def _progress(t: Any, p: Params, m: Any) -> Any:
    """u = clip((t - begin) / over, 0, 1)."""
    return m.minimum(m.maximum((t - p["begin"]) / m.number(p["over"]), 0), 1)


def _constant(t: Any, p: Params, m: Any) -> Any:
    return m.number(p["value"]) + 0 * t


def _stages(t: Any, p: Params, m: Any) -> Any:
    return m.stairs(t, p["thresholds"], p["values"])


def _linear(t: Any, p: Params, m: Any) -> Any:
    start, end = m.number(p["start"]), m.number(p["end"])
    if all(isinstance(p[name], int) for name in ("start", "end")):
        rise = p["end"] - p["start"]
        if abs(rise) * p["over"] < 2**53:
            # One rounding only: where the ramp passes a whole number it is that number, so that rounding down
            # to a multiple does not lose a multiple there.
            elapsed = m.minimum(m.maximum(t - p["begin"], 0), p["over"])
            return start + m.number(rise) * elapsed / m.number(p["over"])
    return start + (end - start) * _progress(t, p, m)


def _polynomial(t: Any, p: Params, m: Any) -> Any:
    start, end, power = m.number(p["start"]), m.number(p["end"]), m.number(p["power"])
    u = _progress(t, p, m)
    shape = 1 - (1 - u) ** power if p["mirror"] else u**power
    return start + (end - start) * shape


def _geometric(t: Any, p: Params, m: Any) -> Any:
    start, end = m.number(p["start"]), m.number(p["end"])
    u = _progress(t, p, m)
    return m.between(start ** (1 - u) * end**u, start, end)


def _cosine(t: Any, p: Params, m: Any) -> Any:
    start, end = m.number(p["start"]), m.number(p["end"])
    return start + (end - start) * (1 - m.cos(m.pi * _progress(t, p, m))) / 2


def _exponential(t: Any, p: Params, m: Any) -> Any:
    intervals = m.minimum(m.maximum(t - p["begin"], 0), p["over"]) / m.number(p["interval"])
    if p["staircase"]:
        intervals = m.floor(intervals)
    return m.number(p["start"]) * m.number(p["factor"]) ** intervals


def _staircase(t: Any, p: Params, m: Any) -> Any:
    count = (m.number(p["end"]) - m.number(p["start"])) / m.number(p["increment"])
    elapsed = m.minimum(m.maximum(t - p["begin"], 0), p["over"])
    return m.number(p["start"]) + m.number(p["increment"]) * m.floor(elapsed * count / m.number(p["over"]))


def _join(t: Any, p: Params, m: Any) -> Any:
    branches = [lambda s=s: m.of(s, t) for s in p["schedules"]]
    return m.select(t, p["thresholds"], branches)


def _rounded(t: Any, p: Params, m: Any) -> Any:
    multiple = m.number(p["multiple"])
    ratio = m.of(p["schedule"], t) / multiple
    if p["mode"] == "nearest":
        return multiple * m.floor(ratio + m.number(0.5))
    return multiple * (m.floor(ratio) if p["mode"] == "down" else m.ceiling(ratio))


def _scaled(t: Any, p: Params, m: Any) -> Any:
    base = m.of(p["schedule"], t)
    batch, reference = m.of(p["batch_size"], t), m.number(p["reference_batch_size"])
    return base * lr_factor(batch, reference, p["rule"], p["parameter"], m)


def lr_factor(batch: Any, reference: Any, rule: str, parameter: float | None, m: Any = Numeric) -> Any:
    """Learning-rate factor of a batch-size change, 1 at the reference; see :func:`open_loop.scaled`."""
    if rule == "none":
        return 1 + 0 * batch
    if rule == "sqrt":
        return m.sqrt(batch / reference)
    if rule == "linear":
        return batch / reference
    q = m.number(parameter)
    if rule == "power":
        return (batch / reference) ** q
    if rule == "adascale":  # (noise + signal) / (noise / S + signal), all times reference / signal
        return (q / reference + 1) / (q / batch + 1)
    if rule == "surge":  # 2 / (sqrt(noise / B) + sqrt(B / noise)) over its value at the reference
        hump = lambda b: 2 / (m.sqrt(q / b) + m.sqrt(b / q))  # noqa: E731
        return hump(batch) / hump(reference)
    # "half_life": the weight sqrt(1 - 2^(-B/h)) that the token half-life theorem puts on a step
    weight = lambda b: m.sqrt(-m.expm1(-m.ln2 * b / q))  # noqa: E731
    return weight(batch) / weight(reference)


def _beta(t: Any, p: Params, m: Any) -> Any:
    tokens_per_step = m.of(p["batch_size"], t) * p["seq_len"]
    beta = m.exp2(-tokens_per_step / m.number(p["half_life"]))
    if p["floor"] is not None:
        beta = m.maximum(beta, m.number(p["floor"]))
    return beta if p["cap"] is None else m.minimum(beta, m.number(p["cap"]))


def _timescale(t: Any, p: Params, m: Any) -> Any:
    # (1 - lr * wd) ** (1 / B) is kept at its reference value; lr = 0 would need an infinite decay.
    per_step = m.number(p["reference_learning_rate"]) * m.number(p["reference_weight_decay"])
    ratio = m.of(p["batch_size"], t) / m.number(p["reference_batch_size"])
    return -m.expm1(ratio * m.log1p(-per_step)) / m.of(p["learning_rate"], t)


def _ramp_knots(p: Params) -> tuple[int, ...]:
    return (p["begin"], p["begin"] + p["over"])


def _inner_knots(p: Params) -> tuple[int, ...]:
    found: set[int] = set()
    for value in p.values():
        for item in value if isinstance(value, tuple) else (value,):
            if hasattr(item, "knots"):
                found |= set(item.knots)
    return tuple(sorted(found))


def _join_knots(p: Params) -> tuple[int, ...]:
    # Just before a boundary as well: a branch reaches its extreme where the next one takes over.
    edges = set(p["thresholds"]) | {k - 1 for k in p["thresholds"] if k > 0}
    return tuple(sorted(edges | set(_inner_knots(p))))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """One row of the table: formula, kind of every parameter (see ``schedule._checked``), knots."""

    value: Callable[[Any, Params, Any], Any]
    fields: Mapping[str, str]
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    knots: Callable[[Params], tuple[int, ...]] = lambda p: ()
    flat: Callable[[Params], bool] = lambda p: False  # constant between knots, not only after the last


_RAMP = {"start": "value", "end": "value", "over": "length", "begin": "clock"}
_BEGIN = {"begin": 0}

CURVES: dict[str, Curve] = {
    "constant": Curve(value=_constant, fields={"value": "value"}, flat=lambda p: True),
    "stages": Curve(
        value=_stages,
        fields={"thresholds": "clocks", "values": "values"},
        knots=lambda p: tuple(p["thresholds"]),
        flat=lambda p: True,
    ),
    "linear": Curve(value=_linear, fields=_RAMP, defaults=_BEGIN, knots=_ramp_knots),
    "polynomial": Curve(
        value=_polynomial,
        fields=_RAMP | {"power": "positive", "mirror": "flag"},
        defaults=_BEGIN | {"mirror": False},
        knots=_ramp_knots,
    ),
    "geometric": Curve(
        value=_geometric,
        fields=_RAMP | {"start": "positive", "end": "positive"},
        defaults=_BEGIN,
        knots=_ramp_knots,
    ),
    "cosine": Curve(value=_cosine, fields=_RAMP, defaults=_BEGIN, knots=_ramp_knots),
    "exponential": Curve(
        value=_exponential,
        fields={
            "start": "positive",
            "factor": "positive",
            "interval": "length",
            "over": "length",
            "begin": "clock",
            "staircase": "flag",
        },
        defaults=_BEGIN | {"staircase": False},
        knots=_ramp_knots,
    ),
    "staircase": Curve(
        value=_staircase,
        fields=_RAMP | {"increment": "value"},
        defaults=_BEGIN,
        knots=_ramp_knots,
    ),
    "join": Curve(value=_join, fields={"thresholds": "clocks", "schedules": "schedules"}, knots=_join_knots),
    "rounded": Curve(
        value=_rounded,
        fields={"schedule": "schedule", "multiple": "length", "mode": "nearest|down|up"},
        defaults={"mode": "nearest"},
        knots=_inner_knots,
        flat=lambda p: p["schedule"].flat,
    ),
    "scaled": Curve(
        value=_scaled,
        fields={
            "schedule": "schedule",
            "batch_size": "schedule",
            "reference_batch_size": "positive",
            "rule": "none|sqrt|linear|power|adascale|surge|half_life",
            "parameter": "positive?",
        },
        defaults={"parameter": None},
        knots=_inner_knots,
    ),
    "beta": Curve(
        value=_beta,
        fields={
            "batch_size": "schedule",
            "half_life": "positive",
            "seq_len": "length",
            "floor": "fraction?",
            "cap": "fraction?",
        },
        defaults={"seq_len": 1, "floor": None, "cap": None},
        knots=_inner_knots,
    ),
    "timescale": Curve(
        value=_timescale,
        fields={
            "learning_rate": "schedule",
            "batch_size": "schedule",
            "reference_learning_rate": "positive",
            "reference_weight_decay": "positive",
            "reference_batch_size": "positive",
        },
        knots=_inner_knots,
    ),
}
