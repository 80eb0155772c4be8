"""Figures of comparisons and studies: labelled axes with units, colour-blind-safe, readable in grey.

Colours are Okabe and Ito's; lines differ in style and markers as well.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bstheory.comparison import Comparison
from bstheory.comparison.compare import counted
from bstheory.files import atomic_write
from bstheory.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#777777"
# How an embedded figure follows the page's light or dark theme.
THEME = {"#000000": "var(--ink)", BLUE: "var(--blue)", ORANGE: "var(--orange)", GREEN: "var(--green)"}
THEME |= {PURPLE: "var(--purple)", GREY: "var(--grey)"}
STYLE = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.grid": True,
    "axes.grid.which": "major",
    "grid.color": GREY,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "figure.constrained_layout.use": True,
}


def figure(width: float, height: float) -> Figure:
    """An empty figure in inches, without pyplot, so that nothing global changes; a notebook shows it."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    class Shown(Figure):
        def _repr_png_(self) -> bytes:
            buffer = io.BytesIO()
            self.savefig(buffer, format="png", dpi=120)
            return buffer.getvalue()

    with mpl.rc_context(STYLE):
        return Shown(figsize=(width, height), layout="constrained")


def plot(seen: Comparison | Sequence[Comparison], titles: Sequence[str] = ()) -> Figure:
    """Bound, measurement with its confidence limits, and trivial bound over tokens, one panel a comparison.

    Args:
        seen: what ``compare`` or ``compare_exact`` returned; one that has curves.
        titles: one a panel; the run's name by default.

    Returns:
        A matplotlib figure; ``save_figure`` or ``figure.savefig`` writes it.

    Raises:
        InputError: a comparison without curves (its assumptions failed the audit).
    """
    import matplotlib as mpl

    from bstheory.errors import input_error

    several = [seen] if isinstance(seen, Comparison) else list(seen)
    for one in several:
        if not one.curves:
            raise input_error(
                got=f"a comparison of {one.slug} with {one.run} that is {one.verdict.word}",
                rule="there are curves only where the assumptions passed their audit",
                do=f"see its reason: {one.reason}",
            )
    columns = min(2, len(several))
    rows = -(-len(several) // columns)
    with mpl.rc_context(STYLE):
        drawn = figure(3.7 * columns + 0.5, 2.7 * rows + 0.5)
        axes = drawn.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for index, one in enumerate(several):
            panel = axes[index // columns][index % columns]
            _comparison(panel, one)
            panel.set_title(titles[index] if titles else one.run)
            if index // columns == rows - 1:
                panel.set_xlabel("tokens")
            if index % columns == 0:
                panel.set_ylabel(_LABELS.get(one.quantity, one.quantity))
        for index in range(len(several), rows * columns):
            axes[index // columns][index % columns].set_visible(False)
        handles, names = axes[0][0].get_legend_handles_labels()
        drawn.legend(handles, names, loc="outside lower center", ncols=len(names))
    return drawn


_TRAINING_LABELS = {
    "loss": "training loss (nats/token)",
    "validation_loss": "validation loss (nats/token)",
    "batch_size": "batch size (sequences)",
    "learning_rate": "learning rate (1)",
    "beta2": "beta2 (1)",
    "grad_norm": "gradient norm (nats/param)",
    "noise": "noise of one sequence (nats²/param²)",
    "signal": "|mean gradient|² (nats²/param²)",
}
_LABELS = {
    "weighted_sq_gradient": "weighted sum of |grad F|² (grad²)",
    "loss": "expected loss",
}


def _comparison(panel: Axes, seen: Comparison) -> None:
    curves = seen.curves
    exact = seen.kind == "identity"
    dot = "_" if len(curves["tokens"]) == 1 else ""  # a run of adaptive batches is compared at its end only
    panel.set_xscale("log")
    panel.set_yscale("log")
    lower = np.where(curves["lower"] > 0, curves["lower"], np.nan)
    if not exact:
        panel.plot(curves["tokens"], curves["trivial"], f"{dot}:", color=GREY, label="trivial bound")
    panel.plot(
        curves["tokens"],
        curves["bound"],
        f"{dot}-",
        color=ORANGE,
        label="exact recursion" if exact else "bound",
    )
    panel.fill_between(
        curves["tokens"],
        lower,
        curves["upper"],
        color=BLUE,
        alpha=0.2,
        linewidth=0,
        label=f"confidence limits, {seen.level:.0%} together",
    )
    if dot:
        panel.vlines(curves["tokens"], lower, curves["upper"], color=BLUE, alpha=0.4, linewidth=3)
    every = max(1, len(curves["tokens"]) // 16)
    panel.plot(
        curves["tokens"],
        curves["measured"],
        "--o",
        color=BLUE,
        markersize=3,
        markevery=every,
        label="measured mean",
    )


def plot_study(runs: Sequence[Run]) -> Figure:
    """Final validation loss over batch size for the arms of the tiny-LM study, every seed shown."""
    import matplotlib as mpl

    half_life, fixed = ("adam_half_life", "adam_anchor"), ("adam_fixed", "adam_anchor")
    families = {
        "Adam, half-life fixed in tokens": (BLUE, "-", "o", half_life, False),
        "Adam, beta2 fixed": (ORANGE, "--", "s", fixed, False),
        "half-life, twice the rate": (BLUE, "-.", "x", half_life, True),
        "beta2 fixed, twice the rate": (ORANGE, ":", "+", fixed, True),
        "plain SGD": (GREEN, ":", "^", ("sgd",), False),
    }
    with mpl.rc_context(STYLE):
        drawn = figure(6.2, 3.9)
        panel = drawn.subplots()
        for label, (color, line, marker, prefixes, doubled) in families.items():
            chosen = [r for r in runs if r.name.startswith(prefixes) and r.name.endswith("_x2") == doubled]
            chosen.sort(key=lambda r: r.config["batch_size"])
            if not chosen:
                continue
            sizes = [run.config["batch_size"] for run in chosen]
            final = [np.asarray(run.series["validation_loss"])[:, -1] for run in chosen]
            means = [values.mean() for values in final]
            panel.plot(sizes, means, line, color=color, marker=marker, markersize=5, label=label)
            for size, values in zip(sizes, final):
                panel.plot([size] * len(values), values, marker, color=color, markersize=3.5, alpha=0.6)
        sizes = sorted({run.config["batch_size"] for run in runs})
        panel.set_xscale("log", base=2)
        panel.set_xticks(sizes, [str(size) for size in sizes])
        panel.set_xlabel("batch size (sequences)")
        panel.set_ylabel("validation loss (nats/byte)")
        panel.set_title(
            f"{runs[0].config['tokens']:,} tokens an arm, {counted(len(runs[0].seeds), 'seed')}, all shown"
        )
        panel.legend()
    return drawn


def axis_label(quantity: str, runs: Sequence[Run]) -> str:
    """What an axis with this series of these runs is called: a loss is an expectation in a simulation only,
    and in a training run one of batches."""
    trained = [run.config.get("model") is not None for run in runs]
    if all(trained):
        return _TRAINING_LABELS.get(quantity, quantity.replace("_", " "))
    return quantity.replace("_", " ") if any(trained) else _LABELS.get(quantity, quantity.replace("_", " "))


def plot_run(run: Run, quantities: Sequence[str] = ()) -> Figure:
    """Series of any run over tokens: every seed thin, their mean thick."""
    import matplotlib as mpl

    names = list(quantities) or [n for n in run.series if n != "weight"]
    with mpl.rc_context(STYLE):
        drawn = figure(5.6, 2.4 * len(names) + 0.6)
        axes = drawn.subplots(len(names), 1, squeeze=False, sharex=True)[:, 0]
        for panel, name in zip(axes, names):
            values = np.asarray(run.series[name], dtype=np.float64)
            shown = np.where(np.isfinite(values), values, np.nan)
            at = np.isfinite(shown).any(axis=0)
            # A series measured now and then is drawn as points, joined: NaN between them would leave gaps.
            sparse = not at.all()
            tokens, shown = (run.tokens[at], shown[:, at]) if sparse and at.any() else (run.tokens, shown)
            marker = "o" if sparse or len(tokens) == 1 else ""
            many = len(run.seeds) > 1
            for path in shown[:32] if many else ():
                panel.plot(tokens, path, color=GREY, linewidth=0.5, alpha=0.5)
            panel.plot(
                tokens,
                shown.mean(axis=0),
                color=BLUE,
                marker=marker,
                markersize=4,
                drawstyle="steps-pre" if name in ("batch_size", "beta2") and not sparse else "default",
                label=f"mean of {counted(len(run.seeds), 'seed')}" if many else f"seed {run.seeds[0]}",
            )
            panel.set_ylabel(axis_label(name, [run]))
            if at.any() and np.nanmin(shown) > 0 and np.nanmax(shown) > 20 * np.nanmin(shown):
                panel.set_yscale("log")
        axes[0].legend()
        axes[-1].set_xlabel("tokens")
    return drawn


def plot_overview(runs: Sequence[Run], quantity: str) -> Figure:
    """One series of several runs, of each the mean over its seeds; from nine runs on, shades instead of
    separate colours."""
    import matplotlib as mpl

    colors, lines = (BLUE, ORANGE, GREEN, PURPLE), ("-", "--", ":", "-.")
    with mpl.rc_context(STYLE):
        drawn = figure(6.4, 4.0)
        panel = drawn.subplots()
        positive = True
        for index, run in enumerate(runs):
            values = np.asarray(run.series[quantity], dtype=np.float64).mean(axis=0)
            at = np.isfinite(values)
            tokens, values = run.tokens[at], values[at]
            positive = positive and len(values) > 0 and bool(values.min() > 0)
            style = {"color": colors[index % 4], "linestyle": lines[(index // 4 + index) % 4]}
            if len(runs) > 8:
                style = {"color": BLUE, "alpha": 0.2 + 0.8 * (index / (len(runs) - 1))}
            if len(values) < 2 or not at.all():
                style |= {"marker": "o", "markersize": 4}
            panel.plot(tokens, values, label=run.name if len(runs) <= 8 else None, **style)
        if positive:
            panel.set_yscale("log")
        panel.set_xlabel("tokens")
        panel.set_ylabel(axis_label(quantity, runs))
        if len(runs) <= 8:
            panel.legend()
    return drawn


def save_figure(drawn: Figure, folder: Path, name: str) -> str:
    """Write ``name.png`` (200 dpi) and ``name.svg`` into ``folder``; return the SVG to embed in a page."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE | {"svg.hashsalt": name}):
        for suffix, options in (("png", {"dpi": 200}), ("svg", {"metadata": {"Date": None}})):
            buffer = io.BytesIO()
            drawn.savefig(buffer, format=suffix, **options)
            atomic_write(folder / f"{name}.{suffix}", buffer.getvalue())
            drawn.set_layout_engine("none")  # the first drawing has placed everything
    return embeddable(buffer.getvalue().decode(), name)


def embeddable(svg: str, name: str) -> str:
    """Inline form of matplotlib's SVG: own ids, no background, theme colours instead of fixed ones."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    # The first patches are the backgrounds of the figure and of each axes.
    svg = re.sub(r"fill: #ffffff", "fill: none", svg)
    for fixed, variable in THEME.items():
        svg = svg.replace(fixed, variable)

    svg = re.sub(r"<text\b", '<text fill="var(--ink)"', svg)
    width, height = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', svg).groups()  # type: ignore[union-attr]
    return svg.replace(
        f'width="{width}pt" height="{height}pt"',
        f'style="width:100%;max-width:{float(width) * 4 / 3:.0f}px" role="img"',
    )


def table_of(seen: Comparison, points: int = 8) -> list[Mapping[str, Any]]:
    """A few rows of a comparison's curves, evenly spread, for the table beside a figure."""
    count = len(seen.curves["tokens"])
    chosen = np.unique(np.linspace(0, count - 1, points).round().astype(int))
    names = ("tokens", "steps", "measured", "lower", "upper", "bound", "trivial")
    return [{name: float(seen.curves[name][k]) for name in names} for k in chosen]
