"""Text to schedule: ``"64"``, ``"0:64 1M:256 4M:1024"``, ``"linear 64->1024 over 10M"``."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from bstheory.errors import InputError, input_error
from bstheory.schedules.schedule import Schedule

_SUFFIX = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_NUMBER = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(?:[eE]([+-]?\d{1,3}))?([KMBTkmbt]?)")
_RAMP = re.compile(
    r"(?P<name>linear|geometric|cosine|polynomial|staircase)\s+(?P<start>\S+?)\s*->\s*(?P<end>\S+)"
    r"\s+over\s+(?P<over>\S+)(?:\s+from\s+(?P<begin>\S+))?(?:\s+(?P<word>power|by)\s+(?P<extra>\S+))?"
)
_RULE = (
    'a schedule is a number ("64"), stages ("0:64 1M:256 4M:1024") or a ramp ("linear 64->1024 over 10M", '
    '"geometric ...", "cosine ...", "polynomial ... power 2", "staircase ... by 32", each with "from 2M" to '
    "start later); K, M, B and T mean 10^3, 10^6, 10^9 and 10^12"
)


def parse(spec: str, *, unit: str = "tokens", quantity: str = "batch_size") -> Schedule:
    """Read a schedule from text.

    Args:
        spec: a number; stages ``threshold:value ...``, blanks or commas between, the first at 0; or a ramp
            ``NAME START->END over LENGTH [from BEGIN]`` with NAME one of linear, geometric, cosine,
            polynomial (``power P`` at the end) and staircase (``by INCREMENT`` at the end).
        unit: what thresholds and lengths count: ``tokens``, ``samples`` or ``steps``.
        quantity: what the values are.

    Raises:
        InputError: with the piece that cannot be read, its place and the grammar.

    Example:
        >>> parse("0:64 1M:256 4M:1024")([0, 999_999, 1_000_000, 5e6]).tolist()
        [64.0, 64.0, 256.0, 1024.0]
    """
    if not isinstance(spec, str) or not spec.strip():
        raise input_error(got=f"schedule {spec!r}", rule=_RULE, do="write one of these")
    text = spec.strip()

    def make(name: str, **params: Any) -> Schedule:
        try:
            return Schedule(name=name, quantity=quantity, unit=unit, params=params)
        except InputError as error:
            raise InputError(f"In schedule {spec!r}: {error}") from error

    if re.match(r"[A-Za-z]", text):
        match = _RAMP.fullmatch(text)
        if not match:
            raise input_error(got=f"schedule {spec!r}, which starts with a word", rule=_RULE, do="rewrite it")
        name = match["name"]
        params: dict[str, Any] = {
            "start": _read(match["start"], spec),
            "end": _read(match["end"], spec),
            "over": _count(match["over"], spec),
            "begin": _count(match["begin"] or "0", spec),
        }
        word = {"polynomial": "power", "staircase": "by"}.get(name)
        if match["word"] != word:
            raise input_error(
                got=f"schedule {spec!r}",
                rule=f'a {name} ramp ends with "{word} NUMBER"'
                if word
                else f"a {name} ramp has no more words",
                do="add it" if word else f"remove {match['word']!r}",
            )
        if word:
            params["power" if word == "power" else "increment"] = _read(match["extra"], spec)
        return make(name, **params)
    pieces = [piece for piece in re.split(r"[\s,]+", text) if piece]
    if len(pieces) == 1 and ":" not in text:
        return make("constant", value=_read(text, spec))
    thresholds: list[int] = []
    values: list[float | int] = []
    for index, piece in enumerate(pieces, start=1):
        left, colon, right = piece.partition(":")
        if not colon:
            raise input_error(
                got=f"piece {index} {piece!r} of schedule {spec!r}",
                rule="each stage is threshold:value",
                do=f'write "{unit}:{quantity}", such as "1M:256"',
            )
        threshold = _count(left, spec)
        if thresholds and threshold <= thresholds[-1]:
            raise input_error(
                got=f"piece {index} {piece!r} after threshold {thresholds[-1]} in schedule {spec!r}",
                rule="thresholds increase",
                do="sort the stages and drop repeats",
            )
        if not thresholds and threshold != 0:
            raise input_error(
                got=f"first piece {piece!r} of schedule {spec!r}",
                rule="the first threshold is 0",
                why="the value before it would be undefined",
                do='start with "0:..."',
            )
        thresholds.append(threshold)
        values.append(_read(right, spec))
    return make("stages", thresholds=tuple(thresholds), values=tuple(values))


def _fraction(piece: str, spec: str) -> Fraction:
    match = _NUMBER.fullmatch(piece)
    if not match:
        raise input_error(got=f"{piece!r} in schedule {spec!r}", rule=_RULE, do=f"correct {piece!r}")
    return Fraction(match[1]) * Fraction(10) ** int(match[2] or 0) * _SUFFIX[match[3].upper()]


def _read(piece: str, spec: str) -> float | int:
    value = _fraction(piece, spec)
    return int(value) if value.denominator == 1 else float(value)


def _count(piece: str, spec: str) -> int:
    value = _fraction(piece, spec)
    if value.denominator != 1:
        raise input_error(
            got=f"{piece!r} = {float(value)} in schedule {spec!r}",
            rule="thresholds and lengths are whole numbers",
            do="round it yourself",
        )
    return int(value)
