"""The sub-commands ``bstheory simulate``, ``bstheory sweep`` and ``bstheory falsify``."""

from __future__ import annotations

import json as json_module
import sys
from typing import Any

from bstheory.terminal import ConfigFile, Folder, JsonFile, OptionalPlace, Slugs, emit, quiet


def _bar(silent: bool) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        disable=silent or quiet() or not sys.stderr.isatty(),
        transient=True,
    )


def simulate(
    config: ConfigFile, *, out: OptionalPlace = None, threads: int = 2, json: JsonFile = None
) -> int:
    """Simulate one configuration: many seeds of one optimizer on one problem under one schedule.

    Examples: bstheory simulate one.json; bstheory simulate one.json --out runs/one --json -

    Args:
        config: JSON file with problem, algorithm, schedule, tokens, seeds (the first hour of the
            documentation has one), or - for stdin.
        out: folder for run.json and metrics.parquet.
        threads: worker threads; the numbers do not depend on it.
        json: write summary and statistics to this file, or - for stdout instead of the table.
    """
    from rich.console import Console
    from rich.table import Table

    from bstheory.simulation.configuration import check, simulate_configuration
    from bstheory.simulation.sweep import refuse_oversize, statistics

    with _bar(silent=json == "-") as bar:
        task = bar.add_task(
            "simulate", total=None, note="loading the kernels; the first time ever they compile"
        )
        document = check(_read(config))
        refuse_oversize([document], 1, None)
        run = simulate_configuration(
            document,
            threads=threads,
            progress=lambda done, total: bar.update(task, completed=done, total=total, note=""),
        )
    finite = {name: values[:, -1][_finite(values[:, -1])] for name, values in run.series.items()}
    measured = {name: statistics(values) for name, values in finite.items()}
    if out is not None:
        run.save(out)
    if json is not None:
        emit(
            {
                "config": dict(run.config),
                "config_hash": run.hash,
                "num_steps": int(run.steps[-1]),
                "tokens": int(run.tokens[-1]),
                "measured": measured,
                "summary": dict(run.summary),
            },
            json,
        )
    if json != "-":
        console = Console()
        table = Table(
            title=f"{len(run.seeds)} seeds, {int(run.steps[-1])} steps, {int(run.tokens[-1])} tokens"
        )
        for column in ("quantity", "mean", "s.e.", "5 %", "median", "95 %"):
            table.add_column(column, justify="left" if column == "quantity" else "right", no_wrap=True)
        for name, s in measured.items():
            table.add_row(
                name, *("-" if s[k] is None else f"{s[k]:.5g}" for k in ("mean", "se", "q05", "q50", "q95"))
            )
        console.print(table)
        for line in run.summary["diverged"][:10]:
            console.print(line)
        if out is not None:
            console.print(f"written to {out}")
    return 0


def sweep(config: ConfigFile, *, out: Folder, workers: int = 2, json: JsonFile = None) -> int:
    """Simulate a grid or list of configurations; an unfinished sweep in the folder is resumed.

    Example: bstheory sweep grid.json --out runs/sweep --workers 2

    Args:
        config: JSON file, or - for stdin: a list of configurations, or
            {"base": {...}, "grid": {"section.key": [...]}}.
        out: folder of the sweep: rows.jsonl grows while it runs, table.parquet is written at the end.
        workers: worker processes.
        json: write the rows to this file, or - for stdout instead of the table.
    """
    from rich.console import Console
    from rich.table import Table

    from bstheory.errors import input_error
    from bstheory.simulation.configuration import grid
    from bstheory.simulation.sweep import sweep as run_sweep

    document = _read(config)
    if isinstance(document, dict) and set(document) == {"base", "grid"}:
        configurations = grid(document["base"], document["grid"])
    elif isinstance(document, list):
        configurations = document
    else:
        raise input_error(
            got=f"{config!r}",
            rule='a sweep is a list of configurations, or {"base": ..., "grid": ...}',
            do="correct the file",
        )
    with _bar(silent=json == "-") as bar:
        task = bar.add_task("sweep", total=len(configurations), note="")
        result = run_sweep(
            configurations,
            out,
            workers=workers,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    counts = {
        name: getattr(result, name)
        for name in ("computed", "reused", "corrupted", "retried", "failed", "duplicates")
    }
    if json is not None:
        emit({"rows": result.rows, "table": str(result.table), **counts}, json)
    if json != "-":
        console = Console()
        table = Table(title=f"{len(result.rows)} configurations")
        for column in ("status", "loss", "s.e.", "tokens", "configuration"):
            table.add_column(column, overflow="fold", no_wrap=column in ("loss", "s.e.", "tokens"))
        for row in result.rows[:50]:
            loss, error = row.get("loss_mean"), row.get("loss_se")
            table.add_row(
                row["status"],
                "-" if loss is None else f"{loss:.6g}",
                "-" if error is None else f"{error:.2g}",
                str(row.get("tokens", "-")),
                json_module.dumps({k: row["config"][k] for k in ("problem", "algorithm", "schedule")}),
            )
        console.print(table)
        if len(result.rows) > 50:
            console.print(f"{len(result.rows) - 50} more in {result.table}")
        console.print(", ".join(f"{name} {count}" for name, count in counts.items()))
    invalid = any(str(row["status"]).startswith("invalid") for row in result.rows)
    return 1 if result.failed or invalid else 0


def falsify(
    slug: Slugs = (),
    *,
    planted: bool = False,
    budget: int = 2000,
    alpha: float = 1e-3,
    search: str = "evolution",
    seed: int = 0,
    json: JsonFile = None,
) -> int:
    """Search for an instance that violates a bound; a refutation carries a witness that can be simulated
    again.

    Exit code 0 when every verdict is as it must be: no true bound refuted, every planted false bound refuted.

    Examples: bstheory falsify adam_token_half_life --budget 500; bstheory falsify --planted

    Args:
        slug: theorems to attack; all that have a search space when none is given.
        planted: attack the planted false bounds instead; each must be refuted.
        budget: instances that each search may simulate.
        alpha: probability of refuting a true bound, over the whole search.
        search: evolution, or hypothesis.
        seed: of the search.
        json: write the outcomes to this file, or - for stdout instead of the table.
    """
    from rich.console import Console
    from rich.table import Table

    from bstheory.simulation.attack import CLAIMS, PLANTED, claim_for
    from bstheory.simulation.falsify import falsify as attack
    from bstheory.verdict import Verdict

    claims = [claim_for(name) for name in slug]
    if not claims:
        claims = list(PLANTED) if planted else list(CLAIMS.values())
    false = {claim.slug for claim in PLANTED}
    outcomes = []
    with _bar(silent=json == "-") as bar:
        for claim in claims:
            task = bar.add_task(claim.slug, total=budget, note="")
            outcomes.append(
                attack(
                    claim,
                    budget=budget,
                    alpha=alpha,
                    search=search,
                    seed=seed,
                    progress=lambda done, best, task=task: bar.update(
                        task, completed=done, note=f"worst ratio {best:.4g}"
                    ),
                )
            )
    good = all((o.verdict is Verdict.REFUTED) == (o.slug in false) for o in outcomes)
    if json is not None:
        emit({"outcomes": [o.document() for o in outcomes], "as_declared": good}, json)
    if json != "-":
        console = Console()
        table = Table(title="measured / bound at the worst instance found, on fresh seeds")
        for column in ("claim", "verdict", "ratio", "instances (tested)"):
            table.add_column(column, no_wrap=True)
        for o in outcomes:
            ratio = f"{o.worst.ratio:.4g} +- {o.worst.ratio_se:.1g}"
            table.add_row(o.slug, o.verdict.word, ratio, f"{o.evaluated} ({o.candidates})")
        console.print(table)
        for o in outcomes:
            w = o.worst
            point = ", ".join(
                f"{k}={v:.6g}" if isinstance(v, float) else f"{k}={v}" for k, v in w.point.items()
            )
            console.print(
                f"{o.slug}: {o.statement}\n"
                f"  witness: {point}\n"
                f"  seeds {w.first_seed} to {w.first_seed + w.num_seeds - 1}: measured {w.measured:.6g}, "
                f"bound {w.bound:.6g}, wealth e^{w.log_wealth:.2f}, level {o.alpha:g} over the search",
                highlight=False,
                soft_wrap=True,
            )
        console.print("consistent: no violation found in this budget; it is not a proof.")
    return 0 if good else 1


def _finite(values: Any) -> Any:
    import numpy as np

    return np.isfinite(values)


def _read(path: str) -> Any:
    from bstheory.errors import input_error
    from bstheory.files import read_json

    if path != "-":
        return read_json(path)
    try:
        return json_module.load(sys.stdin)
    except ValueError as error:
        raise input_error(
            got="standard input", rule=f"it is not valid JSON ({error})", do="correct it"
        ) from error
