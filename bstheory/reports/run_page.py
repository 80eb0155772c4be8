"""A page about any saved runs: series, side-by-side comparison, and what the theorems say about each."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from bstheory.comparison import Comparison, compare
from bstheory.errors import InputError, input_error
from bstheory.files import atomic_write
from bstheory.reports.check_page import TEMPLATES, render_template
from bstheory.reports.plots import axis_label, plot_overview, plot_run, save_figure
from bstheory.run import Run
from bstheory.verdict import Verdict


def find_runs(places: Sequence[Path]) -> list[Path]:
    """Run folders among ``places`` and below them, in order.

    Raises:
        InputError: a place that holds none.
    """
    found: list[Path] = []
    for place in places:
        here = sorted(path.parent for path in place.rglob("run.json")) if place.is_dir() else []
        if not here:
            raise input_error(
                got=f"{str(place)!r}",
                rule="a run is a folder with run.json and metrics.parquet, or a folder of such folders",
                do="pass the folder that Run.save or a command wrote",
            )
        found += here
    return list(dict.fromkeys(found))


def _told_apart(runs: Sequence[Run], folders: Sequence[Path]) -> list[Run]:
    """Runs that share a name carry their folder's as well."""
    names = [run.name for run in runs]
    return [
        dataclasses.replace(run, name=f"{run.name} ({folder.name})") if names.count(run.name) > 1 else run
        for run, folder in zip(runs, folders, strict=True)
    ]


def write_run_page(folders: Sequence[Path], out: Path, *, title: str = "") -> Path:
    """Write ``index.html`` and ``figures/`` into ``out`` for the runs in ``folders``.

    Args:
        folders: run folders.
        out: made if needed.
        title: heading; by default the name of the run, or the number of runs.

    Returns:
        The page.

    Raises:
        InputError: a damaged run, or a folder that cannot be written.
    """
    runs = _told_apart([Run.load(folder) for folder in folders], folders)
    values = {
        "title": title or (runs[0].name if len(runs) == 1 else f"{len(runs)} runs"),
        "lead": "Every number here is read from the runs' own files.",
        "runs": [_run(number, run, out) for number, run in enumerate(runs, start=1)],
        "overview": _overview(runs, out),
        "environment": dict(runs[0].environment),
        "style": Markup((TEMPLATES / "style.css").read_text()),
        "glyphs": "",
    }
    return atomic_write(out / "index.html", render_template("runs.html", values))


def theorem_verdicts(run: Run) -> list[Comparison]:
    """Every theorem that bounds a series of this run, confronted with it; those about another algorithm left
    out.

    A theorem whose assumptions on the *problem* fail is listed as ``inapplicable`` with the reason; one about
    another update rule is not listed.
    """
    from bstheory.theory.library import all_slugs, get

    if "problem" not in run.config or "algorithm" not in run.config or len(run.seeds) < 2:
        return []
    found = []
    for slug in all_slugs():
        bound = get(slug)
        if bound.quantity not in run.series or not bound.assumptions:
            continue
        try:
            seen = compare(bound, run)
        except InputError:
            continue  # a constant that this run does not record
        same_algorithm = any(item.reason.startswith("name = ") for item in seen.audit) and not any(
            "the run's algorithm has" in item.reason for item in seen.audit
        )
        if same_algorithm or seen.verdict not in (Verdict.INAPPLICABLE, Verdict.UNDECIDED):
            found.append(seen)
    return found


def _run(number: int, run: Run, out: Path) -> dict[str, Any]:
    file = f"{number:03d}-{re.sub(r'[^A-Za-z0-9_-]+', '-', run.name)}"
    return {
        "name": run.name,
        "seeds": len(run.seeds),
        "steps": int(run.steps[-1]),
        "tokens": int(run.tokens[-1]),
        "unfinished": int(run.config.get("tokens", 0)) if run.summary.get("finished") is False else 0,
        "hash": run.hash,
        "commit": run.commit,
        "file": file,
        "figure": Markup(save_figure(plot_run(run), out / "figures", file)),
        "verdicts": theorem_verdicts(run),
        "summary": [
            (key.replace("_", " "), _measured(value) or _text(_short(value)))
            for key, value in run.summary.items()
            if value not in ([], {}, None, "")
        ],
        "config": list(_flat(run.config)),
    }


def _overview(runs: Sequence[Run], out: Path) -> dict[str, Any] | None:
    """The runs on common axes, where they share a series."""
    shared = [name for name in runs[0].series if all(name in run.series for run in runs)]
    if len(runs) < 2 or not shared:
        return None
    quantity = next((name for name in ("validation_loss", "loss") if name in shared), shared[0])
    rows = []
    for run in runs:
        values = np.asarray(run.series[quantity], dtype=np.float64)
        measured = np.flatnonzero(np.isfinite(values).any(axis=0))
        final = values[:, measured[-1] if len(measured) else -1]
        count = len(final)
        error = None
        if count > 1 and np.isfinite(final).all():
            error = float(final.std(ddof=1) / np.sqrt(count))
        rows.append(
            {
                "name": run.name,
                "seeds": count,
                "steps": int(run.steps[-1]),
                "tokens": int(run.tokens[-1]),
                "final": float(final.mean()),
                "error": error,
            }
        )
    figure = Markup(save_figure(plot_overview(runs, quantity), out / "figures", "overview"))
    return {
        "figure": figure,
        "quantity": axis_label(quantity, runs),
        "rows": rows,
        "errors": any(row["error"] is not None for row in rows),
        "several_seeds": any(row["seeds"] > 1 for row in rows),
    }


def _flat(config: Mapping[str, Any], prefix: str = "") -> Any:
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(value)


def _measured(value: Any) -> str:
    """A list of {tokens, loss} in words, or empty."""
    if not isinstance(value, list) or not all(
        isinstance(v, Mapping) and set(v) == {"tokens", "loss"} for v in value
    ):
        return ""
    return "; ".join(f"{v['loss']:.4f} at {v['tokens']:,} tokens" for v in value)


def _short(value: Any) -> Any:
    """Floats to six digits, wherever they stand; the run's own file keeps all of them."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _short(entry) for key, entry in value.items()}
    return [_short(entry) for entry in value] if isinstance(value, list | tuple) else value


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:300]}… ({len(text)} characters)"
