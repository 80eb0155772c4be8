"""Docstrings are plain text with Google sections; reStructuredText would read ``|g|`` and ``F_*`` as markup.

Literal blocks, code spans and roles are left alone; bars, stars and trailing underscores are escaped.
"""

from __future__ import annotations

import re
from typing import Any

_CODE = re.compile(r"(``.*?``|:[a-z:]+:`[^`]*`|`[^`]+`|\*\*?[A-Za-z][^*]*[\w.]\*\*?(?![\w*]))")


def escaped(text: str) -> str:
    """One line of prose."""
    pieces = _CODE.split(text)
    for index in range(0, len(pieces), 2):
        piece = re.sub(r"(?<!\\)\|", r"\\|", pieces[index])
        piece = re.sub(r"(?<!\\)\*", r"\\*", piece)
        piece = re.sub(r"(?<=\w)_(?=\W|$)", r"\\_", piece)
        pieces[index] = piece
    return "".join(pieces)


def process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Sphinx's ``autodoc-process-docstring`` event, after napoleon has made fields of the sections."""
    literal: int | None = None  # indentation of the paragraph that opened a literal block
    for index, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if literal is not None:
            if not line.strip() or indent > literal:
                continue
            literal = None
        if line.rstrip().endswith("::") or line.lstrip().startswith(".. math"):
            literal = indent
        if not line.lstrip().startswith((">>>", "...", "..")):
            lines[index] = escaped(line)


def setup(app: Any) -> dict[str, Any]:
    """Run after napoleon (priority 500)."""
    app.connect("autodoc-process-docstring", process, priority=900)
    return {"parallel_read_safe": True}
