"""LaTeX to inline SVG without network, fonts or JavaScript: matplotlib's mathtext, drawn as one filled path.

The path has ``fill="currentColor"``, so a formula follows the page into dark mode and print; the LaTeX source
is its label for screen readers. MathML is not used because without an installed mathematical font browsers
neither stretch delimiters nor space operators.
"""

from __future__ import annotations

import functools
import html
import re

# mathtext knows one spelling of each; these are the synonyms that the theorems use.
_SYNONYMS = (
    (r"\\[tdc]frac(?![a-zA-Z])", r"\\frac"),
    (r"\\lVert(?![a-zA-Z])|\\rVert(?![a-zA-Z])", r"\\|"),
    (r"\\lvert(?![a-zA-Z])|\\rvert(?![a-zA-Z])", r"|"),
    (r"\\[bB]igg?l?\s*(\\[{|]|[(\[])", r"\\left\1"),
    (r"\\[bB]igg?r?\s*(\\[}|]|[)\]])", r"\\right\1"),
    (r"\\le(?![a-zA-Z])", r"\\leq"),
    (r"\\ge(?![a-zA-Z])", r"\\geq"),
    (r"\\operatorname\{E\}", r"\\mathbb{E}"),
    (r"\\(?:limits|displaystyle|nonumber)(?![a-zA-Z])", r""),
    (r"\\qquad", r"\\quad\\quad"),
)

# Commands whose arguments LaTeX lets stand without braces.
_ARITY = {"frac": 2, "sqrt": 1, "mathbb": 1, "mathcal": 1, "mathrm": 1, "tilde": 1, "hat": 1, "bar": 1}
_COMMAND = re.compile(rf"\\({'|'.join(_ARITY)})(?![a-zA-Z])")
_TOKEN = re.compile(r"\s*(\{|\\[a-zA-Z]+|[^\\\s{])")


def normalize(latex: str, *, display: bool = False) -> str:
    """Rewrite LaTeX into mathtext's dialect: arguments in braces, one name for each symbol.

    ``display`` sets fractions that stand on their own at full size, as LaTeX does outside running text.
    """
    text = latex.strip().strip("$").replace("\n", " ")
    for pattern, replacement in _SYNONYMS:
        text = re.sub(pattern, replacement, text)
    # mathtext leaves no gap between a letter and a large operator.
    return _brace_arguments(text, display).replace(r"\mathbb{E}\sum", r"\mathbb{E}\;\sum")


def _brace_arguments(text: str, display: bool) -> str:
    out, position = "", 0
    while (found := _COMMAND.search(text, position)) is not None:
        name = found.group(1)
        outside = _depth(text, found.start()) == 0
        command = "\\dfrac" if name == "frac" and display and outside else found.group()
        out += text[position : found.start()] + command
        position = found.end()
        if text[position : position + 1] == "[":  # the degree of a root
            continue
        for _ in range(_ARITY[name]):
            token = _TOKEN.match(text, position)
            if token is None:
                break
            if token.group(1) == "{":
                end = _closing(text, token.start(1))
                out += "{" + _brace_arguments(text[token.start(1) + 1 : end], False) + "}"
                position = end + 1
            else:
                out += "{" + token.group(1) + "}"
                position = token.end()
    return out + text[position:]


def _depth(text: str, end: int) -> int:
    bare = re.sub(r"\\[{}]", "", text[:end])
    return bare.count("{") - bare.count("}")


def _closing(text: str, start: int) -> int:
    depth = 0
    for index in range(start, len(text)):
        escaped = index > 0 and text[index - 1] == "\\"
        depth += (text[index] == "{" and not escaped) - (text[index] == "}" and not escaped)
        if depth == 0:
            return index
    return len(text)


@functools.cache
def svg(latex: str, *, display: bool = False, size: float = 17.0) -> str:
    """One formula as an ``<svg>`` element whose text is set at ``size`` pixels, aligned on the baseline.

    Raises:
        ValueError: mathtext cannot parse it.
    """
    from matplotlib.font_manager import FontProperties
    from matplotlib.mathtext import MathTextParser
    from matplotlib.textpath import TextPath

    source = f"${normalize(latex, display=display)}$"
    font = FontProperties(size=size, math_fontfamily="cm")
    width, height, depth, *_ = MathTextParser("path").parse(source, dpi=72, prop=font)
    path = TextPath((0, 0), source, prop=font)
    pieces = []
    for vertices, code in path.iter_segments(curves=True, simplify=False):
        points = " ".join(f"{x:.2f} {height - y:.2f}" for x, y in vertices.reshape(-1, 2))
        pieces.append("Z" if code == 79 else "MLQC"[code - 1] + points)
    total = height + depth
    label = html.escape(latex, quote=True)
    return (
        f'<svg class="math" role="img" aria-label="{label}" width="{width:.1f}" height="{total:.1f}" '
        f'viewBox="0 0 {width:.2f} {total:.2f}" style="vertical-align:{-depth:.1f}px">'
        f'<path fill="currentColor" d="{"".join(pieces)}"/></svg>'
    )


def render(latex: str, *, display: bool = False, size: float = 17.0) -> str:
    """:func:`svg`, or the escaped source in ``<code>`` where mathtext cannot parse it."""
    try:
        return svg(latex, display=display, size=size)
    except ValueError:
        return f'<code class="latex">{html.escape(latex)}</code>'
