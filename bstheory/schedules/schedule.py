"""``Schedule``: a quantity (batch size, learning rate, beta ...) as a pure function of consumption."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np

from bstheory.errors import input_error
from bstheory.schedules.curves import CURVES, Numeric, Symbolic

UNITS = ("tokens", "samples", "steps")
# quantity -> (rule in words, test)
QUANTITIES = {
    "batch_size": ("a batch size is at least 1", lambda v: v >= 1),
    "learning_rate": ("a learning rate is at least 0", lambda v: v >= 0),
    "beta1": ("beta1 lies in [0, 1)", lambda v: (v >= 0) & (v < 1)),
    "beta2": ("beta2 lies in [0, 1)", lambda v: (v >= 0) & (v < 1)),
    "half_life": ("a half-life is positive", lambda v: v > 0),
    "weight_decay": ("weight decay is at least 0", lambda v: v >= 0),
}
MAX_CLOCK = 2**53  # beyond it, float64 does not hold every integer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """A quantity as a pure function of consumed tokens, samples or steps, so that resuming is free.

    The value at clock ``t`` is the value *for the step that starts* after ``t`` units have been consumed.
    Calling it with a scalar, with an array, and evaluating ``expr`` give the same number (to rounding).

    Attributes:
        name: the curve, a key of :data:`bstheory.schedules.curves.CURVES`.
        quantity: what the value is: ``batch_size`` (global, in sequences), ``learning_rate``, ``beta1``,
            ``beta2``, ``half_life`` (tokens) or ``weight_decay``.
        unit: what the clock counts: ``tokens``, ``samples`` or ``steps``.
        params: the curve's parameters; numbers, words, tuples of them, or schedules.

    Raises:
        InputError: unknown curve, quantity, unit or parameter, or a value out of the quantity's range.

    Checkpoint behavior: a schedule has no state. Store :attr:`hash` and the clock, nothing else.

    Example:
        >>> s = Schedule(name="linear", quantity="batch_size", unit="tokens",
        ...              params={"start": 8, "end": 64, "over": 1000})
        >>> s(500), s.rounded(multiple=8)(510)
        (36.0, 40.0)
    """

    name: str
    quantity: str
    unit: str
    params: Mapping[str, Any]

    def __post_init__(self) -> None:
        _choice("name", self.name, CURVES)
        _choice("quantity", self.quantity, QUANTITIES)
        _choice("unit", self.unit, UNITS)
        object.__setattr__(self, "params", MappingProxyType(_checked(self)))
        rule, holds = QUANTITIES[self.quantity]
        far = max((0, *self.knots))
        for t in sorted({0, *self.knots, min(2 * far + 1, MAX_CLOCK - 1)}):
            with np.errstate(all="ignore"):
                value = float(self.value(np.float64(t)))
            if not (math.isfinite(value) and holds(value)):
                raise input_error(
                    got=f"{self.quantity}={value:g} at {t} {self.unit} from the {self.name} schedule",
                    rule=rule,
                    do="change its parameters"
                    if self.name != "rounded"
                    else f"start above multiple={self.params['multiple']}, or round up",
                )

    @property
    def knots(self) -> tuple[int, ...]:
        """Clock values between which it is monotone; after the last it is constant."""
        return CURVES[self.name].knots(self.params)

    @property
    def flat(self) -> bool:
        """Whether it is constant between knots."""
        return CURVES[self.name].flat(self.params)

    def value(self, t: Any) -> Any:
        """The curve without checking ``t``; for inner loops."""
        return CURVES[self.name].value(t, self.params, Numeric)

    def __call__(self, tokens: Any) -> Any:
        """Value(s) at clock ``tokens`` (in :attr:`unit`): float64 of that shape, a ``float`` for a scalar.

        Raises:
            InputError: a negative or NaN clock, or one of 2^53 and more, where float64 loses integers.
        """
        t = np.asarray(tokens, dtype=np.float64)
        if not np.all((t >= 0) & (t < MAX_CLOCK)):
            raise input_error(
                got=f"{self.unit}={tokens!r}",
                rule="a clock value is at least 0 and below 2^53",
                do="pass a count of what was consumed",
            )
        if t.ndim == 0:
            return float(self.value(float(t)))
        return np.asarray(self.value(t), dtype=np.float64)

    def expr(self, t: Any = None) -> Any:
        """The same curve as a SymPy expression in ``t`` (default: a non-negative symbol of that name)."""
        import sympy

        symbol = sympy.Symbol("t", nonnegative=True) if t is None else t
        return CURVES[self.name].value(symbol, self.params, Symbolic())

    def rounded(self, *, multiple: int, mode: str = "nearest") -> Schedule:
        """The schedule rounded to multiples, visibly: the result's name is ``rounded`` and its hash differs.

        Args:
            multiple: positive integer, usually micro_batch_size * world_size.
            mode: ``nearest`` (ties go up), ``down`` or ``up``.

        Raises:
            InputError: the rounded value would be 0 somewhere.
        """
        params = {"schedule": self, "multiple": multiple, "mode": mode}
        return dataclasses.replace(self, name="rounded", params=params)

    def batch_sizes(self, *, num_tokens: int, seq_len: int = 1, last: str = "raise") -> np.ndarray:
        """The exact sequence of global batch sizes, int64 [K]; see :func:`bstheory.schedules.batch_sizes`."""
        from bstheory.schedules.walk import batch_sizes

        return batch_sizes(self, num_tokens=num_tokens, seq_len=seq_len, last=last)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; :meth:`from_dict` is its inverse."""
        params = {key: _plain(value) for key, value in self.params.items()}
        return {"name": self.name, "quantity": self.quantity, "unit": self.unit, "params": params}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Schedule:
        """Rebuild a schedule, checking everything again."""
        if not isinstance(document, Mapping) or set(document) != {"name", "quantity", "unit", "params"}:
            raise input_error(
                got=f"schedule document {document!r}",
                rule="it has exactly the keys name, quantity, unit and params",
                do="use what Schedule.to_dict wrote",
            )
        params = {key: _rich(value) for key, value in document["params"].items()}
        return cls(**{**document, "params": params})

    @property
    def hash(self) -> str:
        """Sha256 of the canonical JSON, so that equal schedules have equal hashes on every machine."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def __hash__(self) -> int:
        return hash(self.hash)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schedule) and self.to_dict() == other.to_dict()

    def __reduce__(self) -> tuple[Any, ...]:
        return Schedule.from_dict, (self.to_dict(),)


def _choice(name: str, value: Any, options: Any) -> None:
    if value not in options:
        raise input_error(got=f"{name}={value!r}", rule=f"it is one of {', '.join(options)}", do="pick one")


def _plain(value: Any) -> Any:
    if isinstance(value, Schedule):
        return value.to_dict()
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _rich(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Schedule.from_dict(value)
    return tuple(_rich(item) for item in value) if isinstance(value, list | tuple) else value


def _number(value: Any) -> float | int | None:
    """A finite real number, canonical (int when whole, so that 8 and 8.0 hash alike); else None."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        return None
    try:
        if not math.isfinite(value):
            return None
    except OverflowError:  # an integer beyond float64
        return None
    return int(value) if value == int(value) else float(value)


def _checked(schedule: Schedule) -> dict[str, Any]:
    """Complete and canonical parameters of ``schedule``; every rule about a parameter's kind is here."""
    curve = CURVES[schedule.name]
    given = {**curve.defaults, **schedule.params}
    if set(given) != set(curve.fields):
        missing, extra = set(curve.fields) - set(given), set(given) - set(curve.fields)
        raise input_error(
            got=f"parameters {sorted(schedule.params)} for a {schedule.name} schedule",
            rule=f"they are {', '.join(curve.fields)}"
            + (f"; missing {', '.join(sorted(missing))}" if missing else "")
            + (f"; unknown {', '.join(sorted(extra))}" if extra else ""),
            do="pass exactly these",
        )
    params = {
        key: _checked_field(schedule, key, kind, given[key]) for key, kind in sorted(curve.fields.items())
    }
    if schedule.name in ("stages", "join"):
        other = params["values" if schedule.name == "stages" else "schedules"]
        if len(other) != len(params["thresholds"]):
            raise input_error(
                got=f"{len(params['thresholds'])} thresholds for {len(other)} values",
                rule="each stage has one threshold and one value",
                do="make the lists equally long",
            )
    if schedule.name == "staircase":
        count = (params["end"] - params["start"]) / params["increment"] if params["increment"] else -1
        if count < 1 or count != int(count):
            raise input_error(
                got=f"start={params['start']}, end={params['end']}, increment={params['increment']}",
                rule="a whole number of increments, at least one, leads from start to end",
                do="change the increment",
            )
    if schedule.name == "scaled":
        needs = params["rule"] in ("power", "adascale", "surge", "half_life")
        if needs != (params["parameter"] is not None):
            raise input_error(
                got=f"rule={params['rule']!r} with parameter={params['parameter']!r}",
                rule="power takes an exponent, adascale and surge a noise scale, half_life a half-life; "
                "none, sqrt and linear take no parameter",
                do="pass the parameter that the rule needs, and only then",
            )
    decay = params.get("reference_learning_rate", 0) * params.get("reference_weight_decay", 0)
    if decay >= 1:
        raise input_error(
            got=f"lr * wd = {decay:g}",
            rule="the decay per step lr * wd is below 1",
            do="use a smaller one",
        )
    floor, cap = params.get("floor"), params.get("cap")
    if floor is not None and cap is not None and floor > cap:
        raise input_error(
            got=f"floor={floor}, cap={cap}", rule="the floor is at most the cap", do="swap them"
        )
    return params


def _checked_field(schedule: Schedule, key: str, kind: str, value: Any) -> Any:
    def bad(rule: str) -> Exception:
        return input_error(
            got=f"{key}={value!r} in a {schedule.name} schedule", rule=f"{key} is {rule}", do="correct it"
        )

    if kind.endswith("?"):
        return None if value is None else _checked_field(schedule, key, kind[:-1], value)
    if kind == "flag":
        if not isinstance(value, bool):
            raise bad("True or False")
        return value
    if kind == "schedule":
        if not isinstance(value, Schedule) or value.unit != schedule.unit:
            raise bad(f"a Schedule over {schedule.unit}")
        return value
    if "|" in kind:
        if value not in kind.split("|"):
            raise bad(f"one of {kind.replace('|', ', ')}")
        return value
    if kind in ("clocks", "values", "schedules"):
        if isinstance(value, str) or not hasattr(value, "__len__") or len(value) == 0:
            raise bad("a non-empty list")
        items = tuple(
            _checked_field(schedule, key, {"clocks": "clock"}.get(kind, kind[:-1]), v) for v in value
        )
        if kind == "clocks" and (items[0] != 0 or any(b <= a for a, b in pairwise(items))):
            raise bad("strictly increasing and starts at 0")
        return items
    number = _number(value)
    if number is None:
        raise bad("a finite number")
    if kind in ("clock", "length"):
        if not isinstance(number, int) or not (number >= (kind == "length")) or number >= MAX_CLOCK:
            raise bad(f"an integer of at least {int(kind == 'length')} and below 2^53")
    elif kind == "positive" and number <= 0:
        raise bad("positive")
    elif kind == "fraction" and not 0 <= number < 1:
        raise bad("in [0, 1)")
    return number
