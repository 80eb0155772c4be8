"""``bstheory reproduce``: run claims, print the table, write the folders of ``experiments/``."""

from __future__ import annotations

import difflib
import json as json_module
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from bstheory.errors import input_error
from bstheory.files import atomic_write, read_json, write_json
from bstheory.reproduction.claim import Claim, Finding, summary
from bstheory.run import commit, environment

PAPERS = ("small-batch", "adaptive-batch", "beyond")


def claims(paper: str) -> tuple[Claim, ...]:
    """The claims of a paper, by its key."""
    if paper == "small-batch":
        from bstheory.reproduction.small_batch import CLAIMS
    elif paper == "adaptive-batch":
        from bstheory.reproduction.adaptive_batch import CLAIMS
    else:
        from bstheory.reproduction.beyond import CLAIMS
    return CLAIMS


def select(paper: str, name: str) -> list[Claim]:
    """One claim, or all of them for an empty name.

    Raises:
        InputError: no such claim; the message names the nearest ones.
    """
    every = claims(paper)
    if not name:
        return list(every)
    found = [claim for claim in every if claim.name == name.lower()]
    if not found:
        near = difflib.get_close_matches(name.lower(), [c.name for c in every], n=3, cutoff=0.3)
        raise input_error(
            got=f"claim {name!r}",
            rule=f"{paper} has {', '.join(c.name for c in every)}",
            do=f"did you mean {' or '.join(near)}" if near else "choose one of them",
        )
    return found


def document(
    paper: str, claim: Claim, findings: list[Finding], recipes: int, seconds: float
) -> dict[str, Any]:
    """``results.json`` of a claim."""
    return {
        "paper": paper,
        "claim": claim.name,
        "title": claim.title,
        "stated": claim.stated,
        "predicted": claim.predicted,
        "protocol": claim.protocol,
        "limits": claim.limits,
        "summary": summary(findings),
        "findings": [
            {"statement": f.statement, "verdict": f.verdict.word, "numbers": _finite(f.numbers)}
            for f in findings
        ],
        "training_runs": recipes,
        "seconds_judging": round(seconds, 1),
        "environment": dict(environment()),
        "commit": commit(),
    }


def _finite(value: Any) -> Any:
    """JSON has no infinities or NaN: they become words."""
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value


def page(result: Mapping[str, Any]) -> str:
    """``README.md`` of a claim, from its results."""
    lines = [
        f"# {result['title']}",
        "",
        f"Claim `{result['claim']}` of `{result['paper']}`. Verdict at CPU scale: **{result['summary']}**.",
        "",
        f"**Stated.** {result['stated']}",
        "",
        f"**Predicted.** {result['predicted']}",
        "",
        f"**Protocol.** {result['protocol']}. Training runs: {result['training_runs']}.",
        "",
        "| statement | verdict | mean difference [95 % interval], n |",
        "|-|-|-|",
    ]
    for finding in result["findings"]:
        shown = _shown(finding["numbers"])
        detectable = (finding["numbers"].get("difference") or {}).get("detectable_with_power_0.8")
        if finding["verdict"] == "undecided" and detectable is not None:
            shown += f"; detectable: {_number(detectable)}"
        lines.append(f"| {finding['statement']} | {finding['verdict']} | {shown} |")
    if any("detectable:" in line for line in lines):
        lines += ["", "*Detectable*: the difference that one test at 5 % would find with power 0.8."]
    lines += ["", f"**Limits.** {result['limits']}", "", "All numbers: `results.json`.", ""]
    return "\n".join(lines)


def _shown(numbers: Mapping[str, Any]) -> str:
    """What a statement rests on, for the page: a difference, else an exponent, else a ratio."""
    if d := numbers.get("difference"):
        low, high = d["interval"]
        unit = f" ({numbers['unit']})" if "unit" in numbers else ""
        return f"{_number(d['mean'])} [{_number(low)}, {_number(high)}], n = {d['n']}{unit}"
    if "exponent_interval" in numbers:
        low, high = numbers["exponent_interval"]
        interval = f"[{_number(low)}, {_number(high)}]"
        return f"exponent {_number(numbers['exponent'])} {interval}, n = {numbers['seeds']}"
    if "ratio" in numbers:
        return f"ratio {_number(numbers['ratio'])}, exact"
    return "-"


def _number(x: Any) -> str:
    return f"{x:.4f}" if isinstance(x, float) else str(x)


def index(root: Path) -> str:
    """The table of all claims that have results below ``root``."""
    lines = [
        "# Experiments",
        "",
        "<!-- generated by `bstheory reproduce` from the results.json files -->",
        "",
        "Each folder holds one question with its prediction, protocol, result and limits. `LOG.md` is dated",
        "and keeps negative results. *Consistent* is not a proof; *undecided* means that this budget cannot",
        "tell.",
        "",
    ]
    for paper in PAPERS:
        lines += [f"## {paper}", "", "| claim | verdict at CPU scale |", "|-|-|"]
        folder = root / paper.replace("-", "_")
        for claim in claims(paper):
            path = folder / claim.name.replace("-", "_") / "results.json"
            if path.exists():
                result = read_json(path)
                where = path.parent.relative_to(root).as_posix()
                lines.append(f"| [{claim.name}]({where}/README.md): {claim.title} | {result['summary']} |")
            else:
                lines.append(f"| {claim.name}: {claim.title} | not run |")
        lines.append("")
    own = {paper.replace("-", "_") for paper in PAPERS}
    others = sorted(path.parent.name for path in root.glob("*/README.md") if path.parent.name not in own)
    lines += ["## Other studies", ""] + [f"- [{name}]({name}/README.md)" for name in others] + [""]
    return "\n".join(lines)


def command(
    paper: Literal["small-batch", "adaptive-batch", "beyond"],
    claim: str = "",
    /,
    *,
    scale: Literal["cpu", "gpu"] = "cpu",
    out: Path = Path("experiments"),
    cache: Path = Path("runs/reproduce"),
    text: Path | None = None,
    workers: int = 2,
    json: str | None = None,
) -> int:
    """Reproduce a paper claim by claim: stated there, predicted by theory, measured here, verdict.

    Args:
        paper: which paper, or beyond for what neither settles.
        claim: one claim (e.g. c5); all of them when left out.
        scale: cpu runs here; gpu says which campaign to run instead.
        out: where the claims' folders and the table of verdicts are written.
        cache: finished training runs; an interrupted command continues from them.
        text: another corpus, a UTF-8 file.
        workers: processes.
        json: also write all results to this file, or - for stdout instead of the table.

    Examples:
        bstheory reproduce small-batch c5
        bstheory reproduce adaptive-batch
        bstheory reproduce beyond half-life-law
    """
    if scale == "gpu":
        raise input_error(
            got="scale gpu",
            rule="the GPU campaign runs in pieces of its own",
            do="follow experiments/gpt2_124m/README.md",
        )
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from bstheory.reproduction.runner import run_recipes

    chosen = select(paper, claim)
    console = Console(stderr=True)
    results = []
    for one in chosen:
        recipes = one.recipes()
        outcomes: Any = {}
        if recipes:
            with Progress(console=console, transient=True) as bar:
                task = bar.add_task(f"{paper} {one.name}", total=None)
                outcomes = run_recipes(
                    recipes,
                    folder=cache,
                    text=text,
                    workers=workers,
                    progress=lambda done, total: bar.update(task, completed=done, total=max(total, 1)),  # noqa: B023
                )
        started = time.perf_counter()
        if one.measure is not None:
            outcomes = one.measure(cache / paper / one.name)
        findings = one.judge(outcomes)
        result = document(paper, one, findings, len(set(recipes)), time.perf_counter() - started)
        folder = out / paper.replace("-", "_") / one.name.replace("-", "_")
        write_json(folder / "results.json", result)
        atomic_write(folder / "README.md", page(result))
        results.append(result)
    atomic_write(out / "README.md", index(out))
    if json == "-":
        print(json_module.dumps(results, indent=2, ensure_ascii=False))
    else:
        if json is not None:
            write_json(json, results)
        table = Table(title=f"{paper}, CPU scale")
        for column in ("claim", "statement", "verdict"):
            table.add_column(column, overflow="fold")
        for result in results:
            for finding in result["findings"]:
                table.add_row(result["claim"], finding["statement"], finding["verdict"])
        Console(file=sys.stdout).print(table)
    return 0
