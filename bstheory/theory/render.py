"""A derivation for reading: in a terminal, as a stand-alone LaTeX file, as a page of the documentation.

Everything here works on the certificate document (plain JSON), so it also renders a certificate from a file.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import sympy as sp

from bstheory.trusted import TRUSTED

Document = Mapping[str, Any]

KINDS = {
    "assumption": "assumption",
    "definition": "definition",
    "combine": "exact combination",
    "apply": "positive linear operator",
    "scale": "positive factor",
    "hypothesis": "induction hypothesis",
    "induction": "induction",
    "tower": "tower property",
    "telescope": "telescoping sum",
    "at_end": "final state",
}


def parts(document: Document) -> Iterator[tuple[str, Document]]:
    """The derivations in a document, with the name of each part ('' where there is one only)."""
    if document.get("kind", "derivation") == "parts":
        yield from document["parts"].items()
    else:
        yield "", document


@functools.lru_cache(maxsize=4096)
def _read(text: str) -> sp.Expr:
    names = set(re.findall(r"[A-Za-z_]\w*", text))
    return sp.sympify(text, locals={name: sp.Symbol(name) for name in names})


OPERATORS = {
    "equals": "{}",
    "root": r"\sqrt{{{}}}",
    "log": r"\ln\left({}\right)",
    "power_of_two": "2^{{{}}}",
    "absolute": r"\left|{}\right|",
    "mean": r"E_{{k-1}}\left[{}\right]",
    "expected": r"E\left[{}\right]",
    "coordinates": r"\sum_i {}",
    "steps": r"E\sum_{{k\le K}} {}",
    "laters": r"E\sum_n {}",
    "pairs": r"E\sum_n\sum_{{j\le n}} {}",
    "lags": r"\sum_{{j\le n}} {}",
    "futures": r"\sum_{{n\ge j}} {}",
    "between": r"\sum_{{j\le l<n}} {}",
    "across": r"\sum_{{j\le l<n}} {}",
}
SUMS = ("coordinates", "steps", "laters", "pairs", "lags", "futures", "between", "across")
SHORT = 30  # a symbol without a printed name stands for itself up to this length of its definition


class _Same:
    """A document as a key of a cache: the same object, not an equal one."""

    def __init__(self, document: Document) -> None:
        self.document = document

    def __hash__(self) -> int:
        return id(self.document)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.document is other.document


def latex(document: Document, text: str) -> str:
    """An expression of the document in LaTeX, with the symbols' printed names."""
    expression = _read(text)
    same, alone = _Same(document), expression.is_Symbol
    printed = {symbol: _printed(same, symbol.name, alone) for symbol in expression.free_symbols}
    return sp.latex(expression, symbol_names=printed)


@functools.lru_cache(maxsize=8192)
def _printed(same: _Same, name: str, alone: bool) -> str:
    """A symbol in LaTeX: the name it was given, its definition where that is short, or words.

    What is a sum stands in parentheses unless it stands alone.
    """
    entry = same.document["symbols"].get(name, {})
    given, definition = entry.get("latex") or "", entry.get("definition")
    if given not in ("", name):
        # An index of several letters is a word.
        return _bracketed(re.sub(r"_\{([a-z]{3,})\}", r"_{\\mathrm{\1}}", given), alone)
    summed = definition and definition["op"] in SUMS
    proper = re.fullmatch(r"[A-Za-z](_[A-Za-z0-9]{1,2})?", name) and not (summed and name.startswith("T_"))
    if definition and definition["op"] in OPERATORS and not proper:
        body = defined_as(same.document, definition)
        if summed and length(body) <= SHORT:
            return body if alone else rf"\left[{body}\right]"
        if length(body) <= SHORT:
            return _bracketed(body, alone)
    words = name.split("_")
    if words[0] == "T" and len(words) > 1 and summed:
        return r"\Sigma_{\mathrm{" + r"\ ".join(words[1:]) + "}}"
    base, *rest = (part if len(part) < 2 or part.isdigit() else rf"\mathrm{{{part}}}" for part in words)
    return base + (f"_{{{','.join(rest)}}}" if rest else "")


def _bracketed(text: str, alone: bool) -> str:
    """A sum in parentheses, unless it stands alone."""
    outside, before = text, ""
    while outside != before:
        before, outside = outside, re.sub(r"\{[^{}]*\}|\([^()]*\)|\[[^][]*\]|\|[^|]*\|", "", outside)
    return rf"\left({text}\right)" if not alone and re.search(r".[+-]", outside) else text


def defined_as(document: Document, definition: Mapping[str, Any]) -> str:
    """The right-hand side of a definition in LaTeX."""
    op, of = definition["op"], definition["of"]
    if op == "max":
        return r"\max\left(" + ", ".join(latex(document, argument) for argument in of) + r"\right)"
    if op == "recursion":
        return rf"\left\{{{latex(document, of[0])},\ k=0;\quad {latex(document, of[1])},\ k\to k+1\right\}}"
    body = latex(document, str(of))
    if op in SUMS:  # what is added up goes as far as the brackets
        body = _bracketed(body, False)
    return OPERATORS.get(op, r"\mathrm{" + op + r"}\left[{}\right]").format(body)


def length(text: str) -> int:
    """Characters of a formula, commands counted as one, without braces and spaces."""
    bare = re.sub(r"\\(?:left|right|mathrm)", "", text)
    return len(re.sub(r"\\[A-Za-z]+", "x", bare).translate(str.maketrans("", "", "{}_^ ")))


def sides(gap: str, relation: str) -> tuple[str, str, str]:
    """``gap >= 0`` as ``smaller <= larger``: terms with a minus sign go to the left."""
    expression = _read(gap)
    left, right = [], []
    for term in sp.Add.make_args(expression):
        if term.could_extract_minus_sign():
            left.append(-term)
        else:
            right.append(term)
    symbol = "=" if relation == "==" else "<="
    return sp.sstr(sp.Add(*left)), symbol, sp.sstr(sp.Add(*right))


def claim_latex(document: Document, step: Mapping[str, Any]) -> str:
    """A step's claim as an inequality in LaTeX."""
    left, symbol, right = sides(step["gap"], step["relation"])
    relation = "=" if symbol == "=" else r"\le"
    return f"{latex(document, left)} {relation} {latex(document, right)}"


def uses(step: Mapping[str, Any]) -> str:
    """Which steps a step rests on, in words."""
    found: list[str] = []
    for used, _ in step["uses"] if step["kind"] == "combine" else []:
        found += used
    if step["kind"] == "z3":
        found += step["uses"]
    for key in ("fact", "start", "hypothesis", "advanced", "most_fact", "slope_fact", "potential_fact"):
        if isinstance(step.get(key), str):
            found.append(step[key])
    return ", ".join(dict.fromkeys(found))


def _is_equality(part: Document) -> bool:
    """Whether the step that a derivation's claim repeats is an identity; the claim itself is stored as <=."""
    return any(step["name"] == part["claim"]["fact"] and step["relation"] == "==" for step in part["steps"])


def text(document: Document) -> str:
    """The derivation in plain text, step by step."""
    lines: list[str] = []
    for name, part in parts(document):
        lines += [f"{part.get('title', part['slug'])}{f' [{name}]' if name else ''}", ""]
        if part.get("kind") == "enclosure":
            lines += [f"  {claim['name']}: {claim.get('why', '')}" for claim in part["claims"]]
            lines.append("")
            continue
        for number, step in enumerate(part["steps"], start=1):
            left, symbol, right = sides(step["gap"], step["relation"])
            kind = KINDS.get(step["kind"], step["kind"].replace("_", " "))
            lines.append(f"{number:3d}. {step['name']}  ({kind})")
            lines.append(f"       {left} {symbol} {right}")
            lines.append(f"       {step['why']}" + (f"; from {uses(step)}" if uses(step) else ""))
            if step["kind"] == "combine":
                for used, multiplier in step["uses"]:
                    lines.append(f"         multiplier of {' * '.join(used)}: {multiplier}")
                for coefficient, root in step.get("squares", []):
                    lines.append(f"         square: ({coefficient}) * ({root})^2")
                if step.get("slack", "0") != "0":
                    lines.append(f"         slack: {step['slack']}")
            if step.get("lemma"):
                lines.append(f"         formal proof: lemma {step['lemma']}")
        claim = part["claim"]
        symbol = "=" if _is_equality(part) else "<="
        lines += ["", f"Therefore  {claim['lhs']} {symbol} {claim['rhs']}", ""]
        lines += [
            f"  {key}: {entry['meaning']}" for key, entry in part["symbols"].items() if entry["meaning"]
        ]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def definitions_latex(document: Document) -> list[tuple[str, str]]:
    """Defined symbols and their definitions in LaTeX, except those whose printed name says it already."""
    found = []
    for name, entry in document["symbols"].items():
        if entry["definition"]:
            left, right = latex(document, name), defined_as(document, entry["definition"])
            if not _alike(_bare(left), _bare(right)):
                found.append((left, right))
    return found


def _bare(text: str) -> str:
    """A formula without what only sets it: spaces, sizes of brackets, braces."""
    plain = (
        re.sub(r"\\(?:left|right|mathrm|mathbb|big|Big|,|;| )", "", text).replace("[", "(").replace("]", ")")
    )
    return re.sub(r"[{}\s()|]", "", re.sub(r"E_\{[a-z]-1\}", "E", plain))


def _alike(left: str, right: str) -> bool:
    """Whether two bare formulas say the same; the order of sums and products does not matter."""
    ordered = any(sign in left + right for sign in ("-", "/", "frac", "_", "^"))
    return left == right or (not ordered and sorted(left) == sorted(right)) or _terms(left) == _terms(right)


def _terms(bare: str) -> list[str]:
    """The terms of a sum inside one function, in a fixed order."""
    head, _, rest = bare.partition("ln") if "ln" in bare else bare.partition("sqrt")
    return [head, *sorted(rest.split("+"))]


WIDTH = 80  # characters of a formula, commands counted as one, that fit on a line

PREAMBLE = r"""\documentclass{article}
\usepackage{amsmath,amssymb,graphicx}
\usepackage[margin=2.5cm]{geometry}
\allowdisplaybreaks
\raggedright
% A formula that is still wider than the line is scaled down to it.
\newsavebox{\fitbox}
\newcommand{\fit}[1]{\sbox{\fitbox}{$\displaystyle #1$}%
  \ifdim\wd\fitbox>\linewidth\resizebox{\linewidth}{!}{\usebox{\fitbox}}\else\usebox{\fitbox}\fi}
\begin{document}
"""


def broken(document: Document, expression: str, start: str = "") -> list[str]:
    """A sum in LaTeX as lines that are broken between its terms; ``start`` opens the first one."""
    lines, current = [], start
    for number, term in enumerate(_read(expression).as_ordered_terms()):
        minus = term.could_extract_minus_sign()
        sign = "- " if minus else "+ " if number else ""
        piece = sign + latex(document, sp.sstr(-term if minus else term))
        if current not in ("", start) and length(current + piece) > WIDTH:
            lines.append(current)
            current = r"\qquad " + piece
        else:
            current += piece
    return [*lines, current]


def display(document: Document, left: str, relation: str, right: str) -> str:
    """An inequality as a display whose lines fit the page."""
    first, last = broken(document, left), broken(document, right, relation + " ")
    lines = [f"{first[0]} {last[0]}"] if len(first) == len(last) == 1 else first + last
    if len(lines) == 1 and len(re.sub(r"\\[A-Za-z]+|[{}_^ ]", "", lines[0])) > WIDTH:
        lines = first + last
    return r"\begin{align*}" + r" \\".join(rf"&\fit{{{line}}}" for line in lines) + r"\end{align*}"


def latex_file(document: Document) -> str:
    """A stand-alone LaTeX article with every step."""
    body: list[str] = []
    for name, part in parts(document):
        title = part.get("title", part["slug"])
        body.append(rf"\section*{{{_plain(title)}{f' ({_plain(name)})' if name else ''}}}")
        if part.get("kind") == "enclosure":
            rows = "\n".join(
                rf"\item \texttt{{{_plain(c['name'])}}}: {_plain(c.get('why', ''))}" for c in part["claims"]
            )
            body.append(rf"\begin{{itemize}}{rows}\end{{itemize}}")
            continue
        rows = "\n".join(rf"\item \fit{{{left} = {right}}}" for left, right in definitions_latex(part))
        if rows:
            body.append(rf"\paragraph{{Symbols}}\begin{{itemize}}{rows}\end{{itemize}}")
        body.append(r"\begin{enumerate}")
        for step in part["steps"]:
            rests = f" From {_plain(uses(step))}." if uses(step) else ""
            body.append(rf"\item \texttt{{{_plain(step['name'])}}}: {_plain(step['why'])}.{rests}")
            left, symbol, right = sides(step["gap"], step["relation"])
            body.append(display(part, left, "=" if symbol == "=" else r"\le", right))
        body.append(r"\end{enumerate}")
        claim = part["claim"]
        symbol = "=" if _is_equality(part) else r"\le"
        body.append(r"\paragraph{Conclusion}" + display(part, claim["lhs"], symbol, claim["rhs"]))
    return PREAMBLE + "\n".join(body) + "\n\\end{document}\n"


def _plain(value: str) -> str:
    """Escape text for LaTeX."""
    table = {"\\": r"\textbackslash{}", "^": r"\^{}", "~": r"\~{}"} | {c: "\\" + c for c in "&%$#_{}"}
    escaped = "".join(table.get(c, c) for c in value)
    for character, command in (("<", r"$<$"), (">", r"$>$"), ("|", r"$|$")):
        escaped = escaped.replace(character, command)
    return escaped


def markdown(bound: Any, certificate: Any) -> str:
    """The documentation page of a theorem; generated, never edited."""
    document = certificate.evidence
    lines = [
        f"# {bound.title}",
        "",
        f"<!-- generated by `make theorems`; edit bstheory/theory/theorems/{bound.slug}.py instead -->",
        "",
        f"`{bound.slug}`: **{bound.kind}**. Verdict: **{certificate.verdict.word}** "
        f"({certificate.verdict.value}). Method: {certificate.method}.",
        "",
    ]
    if bound.statement_latex:
        lines += ["$$", bound.statement_latex, "$$", ""]
    lines += [f"**Algorithm.** {bound.algorithm}", ""]
    if bound.assumptions:
        lines += ["**Assumptions**", ""]
        lines += [f"- `{a.name}`: {a.statement}" for a in bound.assumptions] + [""]
    if bound.parameters:
        lines += ["**Constants**", "", "| name | meaning | unit | rule |", "|-|-|-|-|"]
        lines += [f"| `{p.name}` | {p.meaning} | {p.unit} | {p.rule} |" for p in bound.parameters] + [""]
    if bound.notes:
        lines += ["**Limits**", ""] + [f"- {note}" for note in bound.notes] + [""]
    if "format" in document and document.get("kind", "derivation") in ("derivation", "parts", "enclosure"):
        for name, part in parts(document):
            lines += _markdown_steps(name, part)
    trusted = [fact for fact in certificate.rests_on if fact in TRUSTED and fact != "assumption"]
    if trusted:
        lines += ["## Trusted facts used", ""]
        lines += [f"- `{fact}`: {TRUSTED[fact].statement} ({TRUSTED[fact].source})" for fact in trusted] + [
            ""
        ]
    if bound.references:
        lines += ["## References", ""]
        for r in bound.references:
            where = f", arXiv {r.arxiv}" if r.arxiv else ""
            lines.append(f"- {r.authors} ({r.year}). *{r.title}*{where}.")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _markdown_steps(name: str, part: Document) -> list[str]:
    if part.get("kind") == "enclosure":
        rows = [f"- `{claim['name']}`: {claim.get('why', '')}" for claim in part["claims"]]
        return [f"## Enclosures{f': {name}' if name else ''}", "", *rows, ""]
    lines = [f"## Derivation{f': {name}' if name else ''}", ""]
    for number, step in enumerate(part["steps"], start=1):
        rests = f" From {', '.join(f'`{u}`' for u in uses(step).split(', '))}." if uses(step) else ""
        lemma = f" Formal proof: `{step['lemma']}`." if step.get("lemma") else ""
        lines += [f"{number}. `{step['name']}`: {step['why']}.{rests}{lemma}", ""]
        lines += ["   $$", f"   {claim_latex(part, step)}", "   $$", ""]
    claim = part["claim"]
    lines += [
        "Therefore",
        "",
        "$$",
        f"{latex(part, claim['lhs'])} {'=' if _is_equality(part) else chr(92) + 'le'} "
        f"{latex(part, claim['rhs'])}",
        "$$",
        "",
    ]
    return lines
