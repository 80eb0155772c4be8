"""The short sub-commands about one theorem or one saved file. Heavy imports are inside the functions."""

from __future__ import annotations

import json as json_module
import sys
from typing import Any

from tyro.conf import Positional

Words = Positional[tuple[str, ...]]


def emit(document: Any, target: str) -> None:
    """Write JSON to ``target``: a path, or ``-`` for stdout."""
    text = json_module.dumps(document, indent=2, allow_nan=False, ensure_ascii=False)
    if target == "-":
        sys.stdout.write(text + "\n")
        return
    from bstheory.files import write_json

    write_json(target, document)


def cite(slug: Words = (), *, json: str | None = None) -> int:
    """Print BibTeX of the papers that theorems rest on.

    Args:
        slug: theorems; all known papers when none is given.
        json: also write {key: bibtex} to this file, or - for stdout instead of the text.
    """
    from bstheory import references

    chosen = references.known()
    if slug:
        from bstheory.theory.library import get

        chosen = list(dict.fromkeys(reference for name in slug for reference in get(name).references))
    if json is not None:
        emit({reference.key: reference.bibtex() for reference in chosen}, json)
    if json != "-":
        print(references.cite(*chosen))
    return 0
