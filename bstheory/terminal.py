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
OptionalTokens = Annotated[int | None, arg(metavar="COUNT", help_behavior_hint="")]
OptionalText = Annotated[str | None, arg(metavar="TEXT", help_behavior_hint="")]
OptionalSchedule = Annotated[str | None, arg(metavar="SPEC", help_behavior_hint="")]
OptionalFolder = Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")]
OptionalFile = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")]
OptionalPlace = Annotated[str | None, arg(metavar="PATH", help_behavior_hint="")]
OptionalDevice = Annotated[Literal["cpu", "cuda"] | None, arg(metavar="{cpu,cuda}", help_behavior_hint="")]
JsonFile = Annotated[str | None, arg(metavar="FILE", help_behavior_hint="")]
Count = Annotated[str, arg(metavar="COUNT")]
Schedule = Annotated[str, arg(metavar="SPEC")]
Folder = Annotated[str, arg(metavar="DIR")]
File = Annotated[str, arg(metavar="FILE")]
ConfigFile = Annotated[str, Positional, arg(metavar="CONFIG")]
Model = Annotated[str, Positional, arg(metavar="MODEL")]
TextFile = Annotated[str, Positional, arg(metavar="FILE")]
TextFiles = Annotated[tuple[str, ...], Positional, arg(metavar="[FILE ...]", help_behavior_hint="")]
RunFolders = Annotated[tuple[str, ...], Positional, arg(metavar="RUN ...")]
Slug = Annotated[str, Positional, arg(metavar="SLUG")]
Slugs = Annotated[tuple[str, ...], Positional, arg(metavar="[SLUG ...]", help_behavior_hint="")]

_quiet = False


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
