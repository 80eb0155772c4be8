"""LaTeX to inline SVG without network, fonts or JavaScript: matplotlib's mathtext, drawn as one filled path.

The path has ``fill="currentColor"``, so a formula follows the page into dark mode and print; the LaTeX source
is its label for screen readers. MathML is not used because without an installed mathematical font browsers
neither stretch delimiters nor space operators.
"""

from __future__ import annotations

import html
import re
from typing import Any

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


class Formulas:
    """Formulas of one page, which share their glyphs: :meth:`definitions` goes into the page once.

    Example:
        >>> formulas = Formulas()
        >>> formulas.render(r"\\frac12")[:17]
        '<svg class="math"'
    """

    def __init__(self, size: float = 17.0) -> None:
        self.size = size
        self._glyphs: dict[str, str] = {}

    def svg(self, latex: str, *, display: bool = False) -> str:
        """One formula as an ``<svg>`` element set at ``size`` pixels, aligned on the baseline.

        Raises:
            ValueError: mathtext cannot parse it.
        """
        from matplotlib.font_manager import FontProperties
        from matplotlib.textpath import TextToPath

        source = f"${normalize(latex, display=display)}$"
        font = FontProperties(size=self.size, math_fontfamily="cm")
        layout = TextToPath()
        width, height, depth = layout.get_text_width_height_descent(source, font, ismath=True)
        placed, glyphs, lines = layout.get_glyphs_mathtext(font, source)
        names = {name: self._define(name, *path) for name, path in glyphs.items()}
        scale = self.size / layout.FONT_SCALE
        pieces = []
        for name, x, y, size in placed:
            k = size * scale
            pieces.append(
                f'<use href="#{names[name]}" '
                f'transform="matrix({k:.4g} 0 0 {-k:.4g} {x * scale:.2f} {height - depth - y * scale:.2f})"/>'
            )
        for corners, _ in lines:
            (left, bottom), (right, top) = corners[0], corners[2]
            pieces.append(
                f'<rect x="{left * scale:.2f}" y="{height - depth - top * scale:.2f}" '
                f'width="{(right - left) * scale:.2f}" height="{max((top - bottom) * scale, 0.7):.2f}"/>'
            )
        label = html.escape(latex, quote=True)
        return (
            f'<svg class="math" role="img" aria-label="{label}" width="{width:.1f}" height="{height:.1f}" '
            f'viewBox="0 0 {width:.2f} {height:.2f}" style="vertical-align:{-depth:.1f}px">'
            f'<g fill="currentColor">{"".join(pieces)}</g></svg>'
        )

    def render(self, latex: str, *, display: bool = False) -> str:
        """:meth:`svg`, or the escaped source in ``<code>`` where mathtext cannot parse it."""
        try:
            return self.svg(latex, display=display)
        except ValueError:
            return f'<code class="latex">{html.escape(latex)}</code>'

    def definitions(self) -> str:
        """The glyphs that the page's formulas use; place it before the first of them."""
        paths = "".join(f'<path id="{name}" d="{d}"/>' for name, d in self._glyphs.items())
        hidden = 'width="0" height="0" style="position:absolute" aria-hidden="true"'
        return f"<svg {hidden}><defs>{paths}</defs></svg>"

    def _define(self, name: str, vertices: Any, codes: Any) -> str:
        from matplotlib.path import Path

        identifier = "g-" + re.sub(r"[^A-Za-z0-9-]", "_", name)
        if identifier not in self._glyphs:
            pieces = []
            for points, code in Path(vertices, codes).iter_segments(curves=True, simplify=False):
                if code == Path.CLOSEPOLY:
                    pieces.append("Z")
                else:
                    pieces.append("MLQC"[code - 1] + " ".join(f"{value:.1f}" for value in points))
            self._glyphs[identifier] = "".join(pieces)
        return identifier


def svg(latex: str, *, display: bool = False, size: float = 17.0) -> str:
    """One formula that carries its own glyphs, for use outside a page. Raises ``ValueError`` as
    ``Formulas.svg``."""
    formulas = Formulas(size)
    drawn = formulas.svg(latex, display=display)
    head, _, rest = drawn.partition("><g")
    glyphs = formulas.definitions()
    return f"{head}>{glyphs[glyphs.index('<defs>') : -len('</svg>')]}<g{rest}"
