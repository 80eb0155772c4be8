"""LaTeX to inline SVG."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from bstheory.reports.formula import normalize, render, svg


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


def test_svg_is_one_labelled_path_inside_its_box() -> None:
    root = ElementTree.fromstring(
        svg(r"\mathbb E\sum_{k\le K}\frac{g_k^2}{\sqrt{\varepsilon+v_k}} \le 2", display=True)
    )
    assert root.get("aria-label", "").startswith(r"\mathbb E")
    _, _, width, height = map(float, root.get("viewBox", "").split())
    (path,) = list(root)
    numbers = [float(x) for x in __import__("re").findall(r"-?\d+\.\d+", path.get("d", ""))]
    xs, ys = numbers[0::2], numbers[1::2]
    # mathtext's box is the advance box: italics may lean out of it by a fraction of an em.
    assert -3 < min(xs) < max(xs) < width + 3
    assert -3 < min(ys) < max(ys) < height + 3


def test_what_mathtext_cannot_parse_is_shown_as_source_and_escaped() -> None:
    assert render(r"\begin{aligned}a<b\end{aligned}") == (
        r'<code class="latex">\begin{aligned}a&lt;b\end{aligned}</code>'
    )
