"""The page of ``bstheory check``: one self-contained HTML file, its figures as PNG and SVG beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

import bstheory
from bstheory.files import atomic_write, write_json
from bstheory.reports.formula import Formulas
from bstheory.reports.plots import plot, plot_study, save_figure, table_of
from bstheory.run import commit, environment
from bstheory.verdict import Verdict

TEMPLATES = Path(__file__).resolve().parent / "templates"


def write_check_page(result: Any, folder: Path | str) -> Path:
    """Write ``index.html``, ``results.json``, ``certificates/`` and ``figures/`` into ``folder``.

    Args:
        result: what ``run_check`` returned.
        folder: made if needed.

    Returns:
        The page.

    Raises:
        InputError: the folder cannot be written.
    """
    folder = Path(folder)
    formulas = Formulas()
    links = result.links
    derived = [link for link in links if link.part == "derivation"]
    # Parsing a formula takes tens of milliseconds: of many derivations only the first is drawn in full.
    theorems = [_theorem(link, links, folder, formulas, draw=link is derived[0]) for link in derived]
    values = {
        "derivations": result.derivations(),
        "simulations": result.simulations(),
        "schedules": list(dict.fromkeys(name for row in result.simulations().values() for name in row)),
        "others": result.others(),
        "summary": {
            "good": sum(link.as_declared for link in links),
            "count": len(links),
            "mode": "Quick: smaller samples, the theorems with a simulation"
            if result.settings.quick
            else "Full",
            "commit": commit(),
            "version": bstheory.__version__,
        },
        "vocabulary": list(dict.fromkeys(link.verdict for link in sorted(links, key=_strength))),
        "theorems": theorems,
        "exact": _exact([link for link in links if link.part == "exact recursion"], folder),
        "controls": [link for link in links if link.part == "control"],
        "study": _study([link for link in links if link.part == "language model"], result.studies, folder),
        "environment": dict(environment()) | ({"commit": commit()} if commit() else {}),
        "style": Markup((TEMPLATES / "style.css").read_text()),
    }
    # Last, when every formula of the page has been drawn.
    values["glyphs"] = Markup(formulas.definitions())
    write_json(folder / "results.json", result.to_json())
    return atomic_write(folder / "index.html", render_template("check.html", values))


def render_template(name: str, values: Mapping[str, Any]) -> str:
    """A page from a template of this package; a value it needs and does not get is an error."""
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return page.from_string((TEMPLATES / name).read_text()).render(values)


def _strength(link: Any) -> int:
    return list(Verdict).index(link.verdict)


def _theorem(
    link: Any, links: Sequence[Any], folder: Path, formulas: Formulas, *, draw: bool
) -> dict[str, Any]:
    from bstheory.theory.library import get

    bound, certificate = get(link.slug), link.detail
    write_json(folder / "certificates" / f"{link.slug}.json", certificate.to_json())
    simulations = [other for other in links if other.part == "simulation" and other.slug == link.slug]
    # Adaptive batches are compared at the end only: a row of the table, no curve.
    drawn = [other for other in simulations if len(other.detail.curves.get("tokens", ())) > 1]
    figure, caption = Markup(""), ""
    if drawn:
        titles = [other.name.replace("->", " to ") for other in drawn]
        shown = plot([other.detail for other in drawn], titles=titles)
        figure = Markup(save_figure(shown, folder / "figures", link.slug))
        caption = (
            "Left-hand side of the theorem over tokens: its bound, the mean over seeds with confidence "
            "limits, and the trivial bound, on logarithmic axes."
        )
    statements = {assumption.name: assumption.statement for assumption in bound.assumptions}
    return {
        "slug": link.slug,
        "title": bound.title,
        "algorithm": bound.algorithm,
        "statement": Markup(formulas.render(bound.statement_latex, display=True))
        if bound.statement_latex
        else "",
        "certificate": certificate,
        "assumptions": bound.assumptions,
        "audit": [
            row | {"statement": statements.get(row["name"], "the run measured what the theorem bounds")}
            for row in _audits(simulations)
        ],
        "simulations": simulations,
        "tables": [table_of(other.detail) if other.detail.curves else [] for other in simulations],
        "figure": figure,
        "caption": caption,
        "settings": _settings(simulations),
        "notes": bound.notes,
        "parts": _parts(certificate.evidence, formulas, draw=draw),
        "rests_on": ", ".join(certificate.rests_on),
        "references": "; ".join(
            f"{r.authors} ({r.year}), {r.title}" + (f", arXiv {r.arxiv}" if r.arxiv else "")
            for r in bound.references
        ),
    }


def _audits(simulations: Sequence[Any]) -> list[dict[str, str]]:
    """Each assumption's outcome; where the runs differ, one row for each, with the schedules it is about."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for link in simulations:
        for item in link.detail.audit:
            found.setdefault((item.assumption, item.outcome, item.reason), []).append(_schedule(link))
    rows = []
    for (name, outcome, reason), schedules in sorted(found.items(), key=lambda entry: entry[0][0]):
        about = "" if len(schedules) == len(simulations) else f"{', '.join(schedules)}: "
        rows.append({"name": name, "outcome": outcome, "reason": about + reason})
    return rows


def _settings(simulations: Sequence[Any]) -> list[dict[str, str]]:
    """How the limits were computed and at which constants, once for the schedules that share both."""
    found: dict[tuple[str, str], list[str]] = {}
    for link in simulations:
        constants = ", ".join(f"{name} = {_short(value)}" for name, value in link.detail.constants.items())
        found.setdefault((link.method, constants), []).append(_schedule(link))
    return [
        {"schedules": ", ".join(names), "method": method, "constants": constants}
        for (method, constants), names in found.items()
    ]


def _schedule(link: Any) -> str:
    return link.name.partition(":")[0]


def _parts(evidence: Mapping[str, Any], formulas: Formulas, *, draw: bool) -> list[dict[str, Any]]:
    """The derivations of a certificate, each step's claim drawn, or as text."""
    from bstheory.theory import render

    found = []
    if evidence.get("kind", "derivation" if "steps" in evidence else "") not in ("derivation", "parts"):
        return []
    for name, document in render.parts(evidence):
        if "steps" not in document:
            steps = [
                {"name": c["name"], "kind": "enclosure", "why": c.get("why", ""), "uses": "", "claim": ""}
                | {"multipliers": []}
                for c in document.get("claims", [])
            ]
            found.append({"name": name, "symbols": [], "steps": steps})
            continue
        if not draw:
            found.append(
                {"name": name, "symbols": [], "steps": [_text_step(step) for step in document["steps"]]}
            )
            continue
        document = readable(document)
        definitions = dict(render.definitions_latex(document))
        symbols = []
        for key, entry in document["symbols"].items():
            math = render.latex(document, key)
            definition = definitions.get(math, "")
            symbols.append(
                {
                    "math": Markup(formulas.render(math)),
                    "definition": Markup(formulas.render(definition)) if definition else "",
                    "meaning": entry["meaning"],
                }
            )
        steps = [
            {
                "name": step["name"],
                "kind": render.KINDS.get(step["kind"], step["kind"].replace("_", " ")),
                "why": step["why"],
                "uses": render.uses(step),
                "claim": Markup(formulas.render(render.claim_latex(document, step), display=True)),
                "multipliers": _multipliers(step),
            }
            for step in document["steps"]
        ]
        found.append({"name": name, "symbols": symbols, "steps": steps})
    return found


def _text_step(step: Mapping[str, Any]) -> dict[str, Any]:
    from bstheory.theory import render

    left, symbol, right = render.sides(step["gap"], step["relation"])
    claim = Markup("<code>{} {} {}</code>").format(left, symbol, right)
    return {
        "name": step["name"],
        "kind": render.KINDS.get(step["kind"], step["kind"].replace("_", " ")),
        "why": step["why"],
        "uses": render.uses(step),
        "claim": claim,
        "multipliers": _multipliers(step),
    }


def readable(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with a printable name where a symbol declares none: ``T_norm`` gets a subscript."""
    symbols = {}
    for name, entry in document["symbols"].items():
        latex = entry["latex"]
        if latex == name and len(name) > 1:
            head, _, tail = name.partition("_")
            latex = head if len(head) == 1 else rf"\mathrm{{{head}}}"
            if tail:
                latex += rf"_{{\mathrm{{{tail.replace('_', ',')}}}}}"
        symbols[name] = {**entry, "latex": latex}
    return {**document, "symbols": symbols}


def _multipliers(step: Mapping[str, Any]) -> list[tuple[str, str]]:
    if step["kind"] != "combine":
        return []
    found = [(" · ".join(used), factor) for used, factor in step["uses"]]
    found += [(f"({root})²", coefficient) for coefficient, root in step.get("squares", [])]
    if step.get("slack", "0") != "0":
        found.append(("slack", step["slack"]))
    return found


def _exact(links: Sequence[Any], folder: Path) -> dict[str, Any] | None:
    if not links:
        return None
    drawn = [link for link in links if link.detail.curves]
    figure = Markup("")
    if drawn:
        shown = plot([link.detail for link in drawn], titles=[link.slug for link in drawn])
        figure = Markup(save_figure(shown, folder / "figures", "exact"))
    return {"links": links, "figure": figure}


def _study(links: Sequence[Any], runs: Sequence[Any], folder: Path) -> dict[str, Any] | None:
    if not links:
        return None
    arms = []
    for run in runs:
        final = np.asarray(run.series["validation_loss"])[:, -1]
        arms.append(
            {key: run.config[key] for key in ("name", "batch_size", "learning_rate", "beta2")}
            | {"mean": final.mean(), "seeds": ", ".join(f"{value:.4f}" for value in final)}
        )
    corpus = runs[0].config["corpus"]
    return {
        "figure": Markup(save_figure(plot_study(runs), folder / "figures", "language-model")),
        "rows": [{"link": link, "reason": link.detail.prediction.reason} for link in links],
        "arms": arms,
        "model": f"context {runs[0].config['context']} bytes",
        "method": links[0].method,
        "corpus": "; ".join(f"{key} {value}" for key, value in corpus.items()) + ".",
    }


def _short(value: Any) -> str:
    array = np.asarray(value, dtype=float)
    return f"{float(array):.6g}" if array.ndim == 0 else f"[{array.min():.6g} … {array.max():.6g}]"
