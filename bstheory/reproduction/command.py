"""``bstheory reproduce``: run claims, print the table, write the folders of ``experiments/``."""

from __future__ import annotations

import difflib
import json as json_module
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import arg

from bstheory.errors import input_error
from bstheory.files import atomic_write, read_json, write_json
from bstheory.reproduction.claim import Claim, Finding, summary
from bstheory.run import commit, environment
from bstheory.terminal import JsonFile, OptionalFile, quiet

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
    paper: str,
    claim: Claim,
    findings: list[Finding],
    recipes: int,
    seconds: float,
    *,
    text: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """``results.json`` of a claim; ``text`` describes the corpus that it was trained on."""
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
        "text": text,
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
        f"**Question.** Does this hold at CPU scale? {result['stated']}",
        "",
        f"**Predicted.** {result['predicted']}",
        "",
        f"**Protocol.** {result['protocol']}. Training runs: {result['training_runs']}.",
        "",
        "**Result.**",
        "",
        "| statement | verdict | mean difference [95 % interval], n | power |",
        "|-|-|-|-|",
    ]
    for finding in result["findings"]:
        shown, power = _shown(finding["numbers"]), _power(finding["numbers"])
        lines.append(f"| {finding['statement']} | {finding['verdict']} | {shown} | {power} |")
    tested = sum("tested_at" in f["numbers"] for f in result["findings"])
    if tested:
        lines += [
            "",
            f"Statements with a p-value: {tested}, one family. Holm keeps at 5 % the chance of any wrong "
            "verdict *consistent* among them, and separately that of any wrong *refuted*.",
        ]
    if any(_power(f["numbers"]) != "-" for f in result["findings"]):
        lines += [
            "",
            "*Power*: the difference that one test at 5 % would find with power 0.8 here; for a match (±), "
            "the margin within which it would place a true zero. Statements tested together need more.",
        ]
    lines += ["", f"**Limits.** {result['limits']}", "", "All numbers: `results.json`.", ""]
    return "\n".join(lines)


def _power(numbers: Mapping[str, Any]) -> str:
    """What the budget could have decided, for the page."""
    if (margin := numbers.get("margin_with_power_0.8")) is not None:
        return f"±{_number(margin)}"
    found = (numbers.get("difference") or {}).get("detectable_with_power_0.8")
    return "-" if found is None else _number(found)


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


# Piece of experiments/gpt2_124m that stands for a claim at GPU scale.
GPU_PIECES = {
    **dict.fromkeys(("c5", "c7"), "run.py half_life"),
    **dict.fromkeys(("c1", "c6", "adafactor-decay"), "run.py optimizers"),
    **dict.fromkeys(("warmup", "ramp", "adaptive"), "run.py schedules"),
    "c8": "memory.py",
    "c13": "run.py noise",
}


def _gpu_campaign(paper: str, names: list[str]) -> Exception:
    """The answer to ``--scale gpu``: which script runs it, and whether this machine could."""
    from importlib.util import find_spec

    pieces = sorted({GPU_PIECES[name] for name in names if name in GPU_PIECES})
    where = "without torch"
    if find_spec("torch"):
        import torch

        where = "with a CUDA GPU" if torch.cuda.is_available() else "without a CUDA GPU"
    return input_error(
        got=f"--scale gpu for {paper} {' '.join(names) if len(names) == 1 else '(all claims)'} {where}",
        rule="this command runs at CPU scale; at GPU scale scripts of hours do",
        why="a CPU result must not be shown in its place",
        do="on a GPU machine run "
        + ", ".join(f"`python experiments/gpt2_124m/{piece}`" for piece in pieces)
        + " (data and options: experiments/gpt2_124m/README.md), or use --scale cpu"
        if pieces
        else "use --scale cpu; no piece of experiments/gpt2_124m stands for this claim",
    )


def command(
    paper: Literal["small-batch", "adaptive-batch", "beyond"],
    claim: Annotated[str, arg(metavar="[CLAIM]", help_behavior_hint="")] = "",
    /,
    *,
    scale: Literal["cpu", "gpu"] = "cpu",
    out: Path = Path("experiments"),
    cache: Path = Path("runs/reproduce"),
    text: OptionalFile = None,
    workers: int = 2,
    json: JsonFile = None,
) -> int:
    """Reproduce a paper claim by claim: stated there, predicted by theory, measured here, verdict.

    Examples: bstheory reproduce small-batch c5; bstheory reproduce adaptive-batch;
    bstheory reproduce beyond half-life-law

    Args:
        paper: which paper, or beyond for what neither settles.
        claim: one claim (e.g. c5); all of them when left out.
        scale: cpu runs here; gpu names the scripts of the GPU campaign and exits with 2.
        out: where the claims' folders and the table of verdicts are written.
        cache: finished training runs; an interrupted command continues from them.
        text: another corpus, a UTF-8 file.
        workers: processes.
        json: also write all results to this file, or - for stdout instead of the table.

    """
    if scale == "gpu":
        raise _gpu_campaign(paper, [one.name for one in select(paper, claim)])
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from bstheory.problems.corpus import load_corpus
    from bstheory.reproduction.runner import run_recipes

    chosen = select(paper, claim)
    console = Console(stderr=True, quiet=quiet())
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
        with console.status(f"{paper} {one.name}: measuring and judging"):
            if one.measure is not None:
                outcomes = one.measure(cache / paper / one.name, outcomes)
            findings = one.judge(outcomes)
        seconds = time.perf_counter() - started
        described = load_corpus(text).describe() if recipes else None
        result = document(paper, one, findings, len(set(recipes)), seconds, text=described)
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
            table.add_column(column, overflow="fold", no_wrap=column != "statement")
        for result in results:
            for finding in result["findings"]:
                table.add_row(result["claim"], finding["statement"], finding["verdict"])
        Console(file=sys.stdout).print(table)
    return 0
