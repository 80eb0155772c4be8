"""``{command-help}``: what ``bstheory --help`` and every sub-command's ``--help`` print at build time."""

from __future__ import annotations

import contextlib
import io
import os
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective


def help_text(name: str) -> str:
    """The output of ``bstheory NAME --help``, 84 columns wide and without colours."""
    from bstheory.cli import main

    before = {key: os.environ.get(key) for key in ("COLUMNS", "NO_COLOR", "PYTHON_TYRO_ANSI_CODES")}
    os.environ.update(COLUMNS="84", NO_COLOR="1", PYTHON_TYRO_ANSI_CODES="False")
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            main([name, "--help"])
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
    return out.getvalue().rstrip()


class CommandHelp(SphinxDirective):
    """One section for the program and one for each sub-command."""

    def run(self) -> list[nodes.Node]:
        """Literal blocks under headings."""
        from bstheory.cli import COMMANDS, usage

        found: list[nodes.Node] = [nodes.literal_block(usage(), usage(), language="text")]
        for name, command in COMMANDS.items():
            title = f"bstheory {name}"
            section = nodes.section(ids=[nodes.make_id(title)], names=[title])
            section += nodes.title(title, title)
            section += nodes.paragraph(
                command.summary, f"{command.summary[:1].upper()}{command.summary[1:]}."
            )
            text = help_text(name)
            section += nodes.literal_block(text, text, language="text")
            found.append(section)
        return found


def setup(app: Any) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True}
