"""What the sub-commands share: option types with readable placeholders, JSON output, quiet and verbose."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

# Without these, --help would print {None}|INT as the placeholder and "(default: None)" after the text.
OptionalInt = Annotated[int | None, arg(metavar="INT", help_behavior_hint="")]
OptionalInts = Annotated[tuple[int, ...] | None, arg(metavar="INT ...", help_behavior_hint="")]
OptionalFloat = Annotated[float | None, arg(metavar="FLOAT", help_behavior_hint="")]
OptionalCount = Annotated[str | None, arg(metavar="COUNT", help_behavior_hint="")]
OptionalText = Annotated[str | None, arg(metavar="TEXT", help_behavior_hint="")]
OptionalSchedule = Annotated[str | None, arg(metavar="SPEC", help_behavior_hint="")]
OptionalFolder = Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")]
OptionalFile = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")]
OptionalPlace = Annotated[str | None, arg(metavar="PATH", help_behavior_hint="")]
OptionalDevice = Annotated[Literal["cpu", "cuda"] | None, arg(metavar="{cpu,cuda}", help_behavior_hint="")]
JsonFile = Annotated[str | None, arg(metavar="[FILE]", help_behavior_hint="")]
Count = Annotated[str, arg(metavar="COUNT")]
Schedule = Annotated[str, arg(metavar="SPEC")]
Folder = Annotated[str, arg(metavar="DIR")]
File = Annotated[str, arg(metavar="FILE")]
ConfigFile = Annotated[str, Positional, arg(metavar="CONFIG")]
Model = Annotated[str, Positional, arg(metavar="MODEL")]
TextFile = Annotated[str, Positional, arg(metavar="FILE")]
TextFiles = Annotated[tuple[str, ...], Positional, arg(metavar="[FILE ...]", help_behavior_hint="")]
RunFolders = Annotated[tuple[str, ...], Positional, arg(metavar="RUN ...", help_behavior_hint="")]
Slug = Annotated[str, Positional, arg(metavar="SLUG")]
Slugs = Annotated[tuple[str, ...], Positional, arg(metavar="[SLUG ...]", help_behavior_hint="")]

_quiet = False


def count(text: str | int) -> int:
    """``500k``, ``2.5M``, ``1B`` or a plain number as an integer; raises ``InputError`` for anything else.

    Example:
        >>> count("2.5M")
        2500000
    """
    from fractions import Fraction

    from bstheory.errors import input_error

    word = str(text).strip().replace("_", "").replace(",", "")
    factor = {"k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}.get(word[-1:].lower(), 1)
    try:
        value = Fraction(word[:-1] if factor > 1 else word) * factor
    except (ValueError, ZeroDivisionError):
        value = Fraction(1, 2)
    if value.denominator != 1 or not 1 <= value < 10**18:
        raise input_error(
            got=f"count {str(text)[:40]!r}",
            rule="a count is a positive integer below 10^18, with K, M, B or T for thousands to trillions",
            do="write for example 500k or 2.5M",
        )
    return int(value)


def set_quiet(value: bool) -> None:
    """Whether progress is left out; set by ``-q`` in front of or after any sub-command's options."""
    global _quiet
    _quiet = value


def quiet() -> bool:
    """Whether the user asked for no progress."""
    return _quiet


def emit(document: Any, target: str) -> None:
    """Write JSON to ``target``: a path, or ``-`` for stdout."""
    if target == "-":
        sys.stdout.write(json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n")
        return
    from bstheory.files import write_json

    write_json(target, document)
