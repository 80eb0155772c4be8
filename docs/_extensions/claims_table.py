"""``{claims} small-batch``: a paper's claims with the verdicts in ``experiments/``, read at build time.

No number on the page is typed: statement, prediction and limits come from ``bstheory.reproduction``, verdicts
and differences from ``experiments/<paper>/<claim>/results.json``. A claim without results says so.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from bstheory.files import read_json
from bstheory.reproduction.command import claims
from bstheory.theory.library import all_slugs

ROOT = Path(__file__).resolve().parents[2]


def escaped(text: str) -> str:
    """Prose that Markdown must not read as markup; code spans stay."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(p if p.startswith("`") else re.sub(r"([\\|*_<>\[\]])", r"\\\1", p) for p in parts)


def linked(text: str, prefix: str = "../theorems/") -> str:
    """:func:`escaped`, and every theorem's name links to its page."""
    slugs = set(all_slugs())
    return re.sub(
        r"`(\w+)`",
        lambda m: f"[{m[0]}]({prefix}{m[1]}.md)" if m[1] in slugs else m[0],
        escaped(text),
    )


def difference(numbers: dict[str, Any]) -> str:
    """The measured difference with its interval, where the finding has one."""
    d = numbers.get("difference")
    if not d:
        return ""
    low, high = d["interval"]
    mean, low, high = (f"{x:.3g}" if isinstance(x, float) else str(x) for x in (d["mean"], low, high))
    return f"{mean} [{low}, {high}], n = {d['n']}"


def paper_markdown(paper: str, root: Path = ROOT) -> str:
    """The sections of one paper's page."""
    lines = ["| claim | verdict at CPU scale |", "|-|-|"]
    sections: list[str] = []
    for claim in claims(paper):
        folder = Path("experiments") / paper.replace("-", "_") / claim.name.replace("-", "_")
        path = root / folder / "results.json"
        result = read_json(path) if path.exists() else None
        verdict = result["summary"] if result else "not run"
        lines.append(f"| `{claim.name}`: {escaped(claim.title)} | {verdict} |")
        theorems = [s for s in dict.fromkeys(re.findall(r"`(\w+)`", claim.predicted)) if s in all_slugs()]
        addressed = ", ".join(linked(f"`{slug}`") for slug in theorems) or "no theorem; measured only"
        sections += [
            "",
            f"### {claim.name}: {escaped(claim.title)}",
            "",
            f"**Stated.** {escaped(claim.stated)}.",
            "",
            f"**Predicted here, before the run.** {linked(claim.predicted)}.",
            "",
            f"**Addressed by.** {addressed}. Run it again: `bstheory reproduce {paper} {claim.name}`.",
            "",
        ]
        if result is None:
            sections += ["**Verdict.** Not run yet: nothing is claimed.", ""]
            continue
        sections += [
            f"**Verdict.** *{verdict}*, after {result['training_runs']} training runs; all numbers are in "
            f"[{folder.as_posix()}](../{folder.as_posix()}/README.md).",
            "",
            "| statement | verdict | mean difference [95 % interval] |",
            "|-|-|-|",
        ]
        for finding in result["findings"]:
            shown = difference(finding["numbers"])
            sections.append(f"| {escaped(finding['statement'])} | {finding['verdict']} | {shown} |")
        sections += ["", f"**Limits.** {escaped(claim.limits)}.", ""]
    return "\n".join([*lines, *sections]) + "\n"


class Claims(SphinxDirective):
    """The directive; its one argument is the paper's key."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Parse the generated Markdown where the directive stands."""
        paper = self.arguments[0]
        folder = ROOT / "experiments" / paper.replace("-", "_")
        for path in folder.glob("*/results.json"):
            self.env.note_dependency(str(path))
        # Text without a heading would end up behind the sections.
        text = f"### Verdicts\n\n{paper_markdown(paper)}"
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def setup(app: Any) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("claims", Claims)
    return {"parallel_read_safe": True}


__all__ = ["Claims", "paper_markdown", "setup"]
