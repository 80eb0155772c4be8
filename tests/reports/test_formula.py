"""LaTeX to inline SVG."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from bstheory.reports.formula import Formulas, normalize, svg


@pytest.mark.parametrize(
    ("latex", "expected"),
    [
        (r"\frac12", r"\frac{1}{2}"),
        (r"\tfrac L\alpha", r"\frac{L}{\alpha}"),
        (r"\sqrt2", r"\sqrt{2}"),
        (r"\frac{\frac12}{x_{k}}", r"\frac{\frac{1}{2}}{x_{k}}"),
        (r"a\le b\left(c\right)", r"a\leq b\left(c\right)"),
        (r"\Big\{a\Big\}", r"\left\{a\right\}"),
        (r"\big(a\big)", r"\left(a\right)"),
        (r"\mathbb E\sum_k", r"\mathbb{E}\;\sum_k"),
        (r"\sqrt[3]{x}", r"\sqrt[3]{x}"),
    ],
)
def test_normalize(latex: str, expected: str) -> None:
    assert normalize(latex) == expected


def test_display_fractions_are_large_only_at_the_top() -> None:
    assert (
        normalize(r"\frac{\frac12}3 + x^{\frac12}", display=True)
        == r"\dfrac{\frac{1}{2}}{3} + x^{\frac{1}{2}}"
    )


def test_svg_is_labelled_and_stays_in_its_box() -> None:
    latex = r"\mathbb E\sum_{k\le K}\frac{g_k^2}{\sqrt{\varepsilon+v_k}} \le 2"
    root = ElementTree.fromstring(svg(latex, display=True))
    assert root.get("aria-label") == latex
    _, _, width, height = map(float, root.get("viewBox", "").split())
    defined = {path.get("id") for path in root.iter("path")}
    placed = list(root.iter("use"))
    assert placed and {use.get("href", "")[1:] for use in placed} == defined
    for use in placed:
        *_, x, y = map(float, use.get("transform", "")[len("matrix(") : -1].split())
        assert 0 <= x <= width and 0 <= y <= height
    bars = list(root.iter("rect"))
    assert len(bars) == 2  # the fraction and the root
    for bar in bars:
        x, y, w, h = (float(bar.get(key, "")) for key in ("x", "y", "width", "height"))
        assert x >= 0 and x + w <= width + 0.1 and y >= 0 and y + h <= height + 0.1 and h > 0


def test_formulas_of_a_page_share_their_glyphs() -> None:
    formulas = Formulas()
    first = formulas.render(r"\alpha+\beta")
    size = len(formulas.definitions())
    assert formulas.render(r"\beta+\alpha+\beta") != first
    assert len(formulas.definitions()) == size
    formulas.render("x")
    assert len(formulas.definitions()) > size


def test_what_mathtext_cannot_parse_is_shown_as_source_and_escaped() -> None:
    assert Formulas().render(r"\begin{aligned}a<b\end{aligned}") == (
        r'<code class="latex">\begin{aligned}a&lt;b\end{aligned}</code>'
    )
