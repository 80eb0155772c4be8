"""Many configurations over any ``concurrent.futures`` executor: resumable, deduplicated, checksummed, one
table.

A sweep folder holds ``rows.jsonl``, appended row by row and readable while it grows, and ``table.parquet``,
written when all is done. Each line carries the SHA-256 of its row: a torn or altered line is dropped and its
configuration computed again. Equal configurations (by hash) are computed once.

When a worker dies, the configurations in flight are tried once more, one at a time, so that a configuration
which kills its worker is told apart from its neighbours; it ends as a row ``failed``, not as a lost sweep. A
divergent configuration ends as a row ``diverged at step k``.

The default executor is a process pool. For a cluster pass ``make_executor=lambda: client.get_executor()``
(Dask) or a ``submitit`` executor: what travels is a module-level function and plain JSON.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import hashlib
import json
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bstheory.errors import InputError, input_error
from bstheory.files import atomic_write
from bstheory.run import config_hash
from bstheory.simulation.configuration import build_problem, check, num_steps

ROWS, TABLE = "rows.jsonl", "table.parquet"
ATTEMPTS = 2
MEMORY_FRACTION = 0.8


def run_row(config: Mapping[str, Any]) -> dict[str, Any]:
    """Compute one row, in a worker: statistics over seeds at the last record, plain JSON.

    ``status`` is ``ok``, ``diverged at step k`` (the first of the diverged seeds; statistics are then of the
    others, and null when there are none) or ``invalid: ...`` (bad input).
    """
    from bstheory.simulation.configuration import simulate_configuration

    began = time.perf_counter()
    row: dict[str, Any] = {"config_hash": config_hash(config), "config": dict(config)}
    try:
        run = simulate_configuration(config)
    except InputError as error:
        return row | {"status": f"invalid: {error}", "seconds": time.perf_counter() - began}
    steps = [int(line.rsplit(" ", 1)[1]) for line in run.summary["diverged"]]
    row |= {
        "status": f"diverged at step {min(steps)}" if steps else "ok",
        "num_seeds": len(run.seeds),
        "num_diverged": len(steps),
        "num_steps": int(run.steps[-1]),
        "tokens": int(run.tokens[-1]),
        "worker": os.getpid(),
    }
    for name, series in run.series.items():
        values = series[:, -1][np.isfinite(series[:, -1])]
        row |= {f"{name}_{key}": value for key, value in statistics(values).items()}
    return row | {"seconds": time.perf_counter() - began}


def statistics(values: np.ndarray) -> dict[str, float | None]:
    """Mean, standard error and quantiles; ``None`` where there is nothing to say."""
    if len(values) == 0:
        return dict.fromkeys(("mean", "se", "q05", "q50", "q95"))
    q05, q50, q95 = np.quantile(values, [0.05, 0.5, 0.95])
    error = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
    if error is not None and values.min() == values.max():
        error = 0.0  # equal numbers have no spread; their mean is rounded
    return {
        "mean": float(values.mean()),
        "se": error,
        "q05": float(q05),
        "q50": float(q50),
        "q95": float(q95),
    }


def process_pool(workers: int) -> concurrent.futures.Executor:
    """A pool of ``workers`` fresh processes (spawned, so that no lock of the parent is inherited)."""
    return concurrent.futures.ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def memory_estimate(config: Mapping[str, Any]) -> int:
    """Bytes that one worker needs for a configuration, besides those of the interpreter."""
    from bstheory.simulation.engine import CHUNK, TILE_BYTES
    from bstheory.simulation.optimizers import COLUMNS

    steps = num_steps(config)
    problem = build_problem(config["problem"])
    seeds = config.get("seeds", 64)
    count = seeds if isinstance(seeds, int) else len(seeds)
    state = count * problem.dim * (3 * 8 + 3 * 8)  # x, m, v, and float64 copies when a record is taken
    table = min(CHUNK, steps) * len(COLUMNS) * 8 * 3
    records = count * int(config.get("records", 64)) * 8 * 5
    return int(state + table + records + 2 * TILE_BYTES + 24 * steps)


def available_memory() -> int | None:
    """Bytes that the system says are available, or None where it does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return None
    except OSError:
        return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """Outcome: rows in the order of the configurations given, and how they came about.

    Attributes:
        rows: one per different configuration.
        computed, reused, corrupted, retried, failed, duplicates: counts.
        table: path of the parquet file.
    """

    rows: list[dict[str, Any]]
    computed: int
    reused: int
    corrupted: int
    retried: int
    failed: int
    duplicates: int
    table: Path

    def to_polars(self) -> Any:
        """The parquet table: one row a configuration, ``section.key`` columns and statistics over seeds."""
        import polars as pl

        return pl.read_parquet(self.table)

    def to_pandas(self) -> Any:
        """The same table as a pandas frame (needs pandas installed)."""
        import pandas as pd

        return pd.DataFrame({column.name: column.to_list() for column in self.to_polars()})


def encode_row(row: Mapping[str, Any]) -> str:
    """One line of ``rows.jsonl``: the row and its checksum."""
    text = json.dumps(row, sort_keys=True, allow_nan=False)
    return json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "row": text}) + "\n"


def read_rows(path: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """Intact rows by configuration hash, and the number of lines that were torn or altered."""
    if not path.exists():
        return {}, 0
    rows, bad = {}, 0
    for line in path.read_bytes().splitlines():
        if not line.strip():
            continue
        try:
            document = json.loads(line)
            text = document["row"]
            row = json.loads(text)
            intact = hashlib.sha256(text.encode()).hexdigest() == document["sha256"]
            if not intact or config_hash(row["config"]) != row["config_hash"]:
                raise ValueError
            rows[row["config_hash"]] = row
        except (ValueError, KeyError, TypeError):
            bad += 1
    return rows, bad


def sweep(
    configurations: Iterable[Mapping[str, Any]],
    folder: Path | str,
    *,
    make_executor: Callable[[], concurrent.futures.Executor] | None = None,
    workers: int = 2,
    memory_limit: int | None = None,
    compute: Callable[[Mapping[str, Any]], dict[str, Any]] = run_row,
    progress: Callable[[int, int], None] | None = None,
) -> Sweep:
    """Compute every configuration once and write one table.

    Args:
        configurations: see :mod:`.configuration`.
        folder: of the sweep; an unfinished or finished sweep in it is resumed.
        make_executor: returns an executor; called again when the executor breaks. Default: a process pool.
        workers: processes of the default pool, and how many configurations are in flight at once (twice
        that).
        memory_limit: bytes that all workers together may need; default 80 % of what is available.
        compute: the row function, importable by workers.
        progress: called with (rows done, rows in all).

    Raises:
        InputError: a malformed configuration, no configuration, a folder that cannot be written, or an
            estimate of the memory above the limit. Nothing has been computed then.
    """
    wanted: dict[str, dict[str, Any]] = {}
    given = 0
    for config in configurations:
        given += 1
        wanted.setdefault(config_hash(check(config)), dict(config))
    if not wanted or workers < 1:
        raise input_error(
            got=f"{given} configurations and workers={workers}",
            rule="there is at least one of each",
            do="add some",
        )
    folder = Path(folder)
    found, corrupted = read_rows(folder / ROWS)
    rows = {key: found[key] for key in wanted if key in found and not _failed(found[key])}
    reused = len(rows)
    todo = [key for key in wanted if key not in rows]
    refuse_oversize([wanted[key] for key in todo], workers, memory_limit)
    # Rewritten without what was bad or failed, so that the file stays a plain list of intact rows.
    kept = [row for row in found.values() if not _failed(row)]
    atomic_write(folder / ROWS, "".join(map(encode_row, kept)))
    retried = 0

    with open(folder / ROWS, "a", encoding="utf-8") as stream:

        def keep(key: str, row: dict[str, Any]) -> None:
            stream.write(encode_row(row))
            stream.flush()
            os.fsync(stream.fileno())
            rows[key] = row
            if progress is not None:
                progress(len(rows), len(wanted))

        make = make_executor or functools.partial(process_pool, workers)
        suspects, reasons = _pass(make, compute, wanted, todo, 2 * workers, keep)
        for key in suspects:  # alone in a fresh executor each, so that a death has one possible cause
            retried += 1
            again, why = _pass(make, compute, wanted, [key], 1, keep)
            if again:
                keep(
                    key,
                    {
                        "config_hash": key,
                        "config": wanted[key],
                        "status": f"failed: {why.get(key) or reasons.get(key)} (tried {ATTEMPTS} times)",
                    },
                )
    ordered = [rows[key] for key in wanted]
    write_table(folder / TABLE, ordered)
    return Sweep(
        rows=ordered,
        computed=len(todo),
        reused=reused,
        corrupted=corrupted,
        retried=retried,
        failed=sum(map(_failed, ordered)),
        duplicates=given - len(wanted),
        table=folder / TABLE,
    )


def _failed(row: Mapping[str, Any]) -> bool:
    return str(row.get("status", "")).startswith("failed")


def _pass(
    make: Callable[[], concurrent.futures.Executor],
    compute: Callable[[Mapping[str, Any]], dict[str, Any]],
    wanted: Mapping[str, dict[str, Any]],
    keys: Sequence[str],
    in_flight: int,
    keep: Callable[[str, dict[str, Any]], None],
) -> tuple[list[str], dict[str, str]]:
    """Run ``keys``; returns those that raised or were in flight when a worker died, with the reasons.

    Configurations that had not been submitted when the executor broke go into the next executor.
    """
    suspects: list[str] = []
    reasons: dict[str, str] = {}
    queue = list(keys)[::-1]
    while queue:
        executor = make()
        pending: dict[concurrent.futures.Future[Any], str] = {}
        broken = False
        try:
            while (queue and not broken) or pending:
                while queue and not broken and len(pending) < in_flight:
                    key = queue.pop()
                    try:
                        pending[executor.submit(compute, wanted[key])] = key
                    except concurrent.futures.BrokenExecutor:
                        queue.append(key)
                        broken = True
                if not pending:
                    break
                done, _ = concurrent.futures.wait(pending, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    key = pending.pop(future)
                    error = future.exception()
                    if error is None:
                        keep(key, future.result())
                        continue
                    broken |= isinstance(error, concurrent.futures.BrokenExecutor)
                    suspects.append(key)
                    reasons[key] = f"{type(error).__name__}: {error}"
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise
        executor.shutdown(wait=True)
    return suspects, reasons


def refuse_oversize(configs: Sequence[Mapping[str, Any]], workers: int, memory_limit: int | None) -> None:
    """Raise ``InputError`` when the ``workers`` largest configurations together need more than the limit."""
    limit = memory_limit
    if limit is None:
        free = available_memory()
        limit = None if free is None else int(MEMORY_FRACTION * free)
    estimates = []
    for config in configs:
        try:
            estimates.append(memory_estimate(config))
        except InputError:
            continue  # it will end as an "invalid" row with its own message
    need = sum(sorted(estimates)[-workers:])
    if limit is not None and need > limit:
        raise input_error(
            got=f"{workers} workers that may need {need / 2**30:.2f} GiB together",
            rule=f"the limit is {limit / 2**30:.2f} GiB",
            do="use fewer workers or seeds, smaller problems, or pass memory_limit",
        )


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """One parquet table; ``section.key`` columns hold the configuration, ``config`` all of it as JSON."""
    import io

    import polars as pl

    flat = []
    for row in rows:
        record = {key: value for key, value in row.items() if key != "config"}
        for section, value in row["config"].items():
            if isinstance(value, Mapping):
                record |= {f"{section}.{key}": _cell(inner) for key, inner in value.items()}
            else:
                record[section if section not in record else f"config.{section}"] = _cell(value)
        flat.append(record | {"config": json.dumps(row["config"], sort_keys=True)})
    names = list(dict.fromkeys(name for record in flat for name in record))
    columns = {}
    for name in names:
        values = [record.get(name) for record in flat]
        kinds = {type(v) for v in values if v is not None}
        if kinds <= {int, float} and float in kinds:
            values = [None if v is None else float(v) for v in values]
        elif len(kinds) > 1:
            values = [None if v is None else json.dumps(v) for v in values]
        columns[name] = values
    buffer = io.BytesIO()
    pl.DataFrame(columns).write_parquet(buffer)
    return atomic_write(path, buffer.getvalue())


def _cell(value: Any) -> Any:
    return value if isinstance(value, (int, float, str, bool)) or value is None else json.dumps(value)
