"""Comparisons as a table to paste: LaTeX (booktabs) or Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from bstheory.comparison import Comparison
from bstheory.errors import input_error, suggestion

COLUMNS = ("theorem", "run", "verdict", "n", "measured", "limits", "bound", "trivial", "measured / bound")
FORMATS = ("latex", "markdown")


def table(seen: Sequence[Comparison], *, form: str = "latex") -> str:
    """One row a comparison: verdict, sample size, mean, confidence limits, bound, trivial bound and ratio.

    Args:
        seen: what ``compare`` or ``compare_exact`` returned.
        form: ``latex`` (a ``tabular`` that needs ``booktabs``) or ``markdown``.

    Raises:
        InputError: another form.

    Example:
        >>> table([], form="markdown").splitlines()[0]
        '| theorem | run | verdict | n | measured | limits | bound | trivial | measured / bound |'
    """
    if form not in FORMATS:
        raise input_error(
            got=f"form={form!r}",
            rule=f"the forms are {', '.join(FORMATS)}",
            do=f"{suggestion(form, FORMATS)}pass one of them",
        )
    rows = [_cells(one, form) for one in seen]
    if form == "markdown":
        rule = ["---"] * 3 + ["---:"] * (len(COLUMNS) - 3)
        return "\n".join("| " + " | ".join(cells) + " |" for cells in (COLUMNS, rule, *rows)) + "\n"
    body = "\n".join(" & ".join(cells) + r" \\" for cells in rows)
    head = " & ".join(_escape(name) for name in COLUMNS) + r" \\"
    return (
        f"\\begin{{tabular}}{{lll{'r' * (len(COLUMNS) - 3)}}}\n\\toprule\n{head}\n\\midrule\n"
        f"{body}\n\\bottomrule\n\\end{{tabular}}\n"
    )


def _cells(seen: Comparison, form: str) -> list[str]:
    def text(value: str) -> str:
        return _escape(value) if form == "latex" else value.replace("|", r"\|")

    def number(value: float | None) -> str:
        if value is None:
            return "--" if form == "latex" else "–"
        mantissa, _, exponent = f"{value:.4g}".partition("e")
        if form == "latex" and exponent:
            return rf"${mantissa}\cdot10^{{{int(exponent)}}}$"
        return f"{value:.4g}"

    low, high = seen.interval or (None, None)
    dash = "--" if form == "latex" else "–"
    limits = dash if seen.interval is None else f"{number(low)} {dash} {number(high)}"
    return [
        text(seen.slug),
        text(seen.run),
        seen.verdict.word,
        str(seen.num_seeds),
        number(seen.measured),
        limits,
        number(seen.value),
        number(seen.trivial_value),
        number(seen.ratio),
    ]


def _escape(text: str) -> str:
    return "".join("\\" + c if c in "&%$#_{}" else c for c in text)
