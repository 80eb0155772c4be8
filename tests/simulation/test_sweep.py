"""Sweeps: resume, dedupe, checksums, dead workers, a real Dask cluster over TCP."""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import threading

import polars as pl
import pytest

from bstheory.errors import InputError
from bstheory.simulation.configuration import (
    build_optimizer,
    build_problem,
    build_schedule,
    check,
    grid,
    simulate_configuration,
)
from bstheory.simulation.sweep import ROWS, memory_estimate, read_rows, run_row, sweep
from tests.simulation import sweep_workers

BASE = {
    "problem": {"name": "noisy_quadratic", "spectrum": {"dim": 20, "power": 1.0}, "noise": 0.3},
    "algorithm": {"name": "sgd"},
    "schedule": [[30, 2], [10, 8]],
    "seeds": 8,
}
RATES = [0.05, 0.1, 0.2, 0.4]
CONFIGS = grid(BASE, {"algorithm.learning_rate": RATES})


def threads() -> concurrent.futures.Executor:
    return concurrent.futures.ThreadPoolExecutor(2)


def content(row: dict) -> dict:
    return {key: value for key, value in row.items() if key not in ("seconds", "worker")}


def test_one_row_per_different_configuration_and_a_table(tmp_path) -> None:
    result = sweep([*CONFIGS, CONFIGS[0]], tmp_path, make_executor=threads)
    assert (result.computed, result.duplicates, result.failed) == (4, 1, 0)
    assert [row["config"]["algorithm"]["learning_rate"] for row in result.rows] == RATES
    table = pl.read_parquet(result.table)
    assert table["algorithm.learning_rate"].to_list() == RATES
    assert table["status"].to_list() == ["ok"] * 4
    assert json.loads(table["config"][0]) == CONFIGS[0]
    direct = simulate_configuration(CONFIGS[2])
    assert table["loss_mean"][2] == pytest.approx(direct.series["loss"][:, -1].mean(), rel=1e-14)


def test_resume_computes_only_what_is_missing(tmp_path) -> None:
    first = sweep(CONFIGS[:3], tmp_path, make_executor=threads)
    again = sweep(CONFIGS, tmp_path, make_executor=threads)
    assert (again.computed, again.reused) == (1, 3)
    assert again.rows[:3] == first.rows


def test_interruption_keeps_the_rows_done(tmp_path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(CONFIGS, tmp_path, make_executor=threads, progress=stop)
    rows, bad = read_rows(tmp_path / ROWS)
    assert len(rows) >= 2 and bad == 0
    assert sweep(CONFIGS, tmp_path, make_executor=threads).reused >= 2


@pytest.mark.parametrize("damage", ["digit", "torn", "noise"])
def test_a_corrupted_row_is_detected_and_recomputed(tmp_path, damage: str) -> None:
    clean = sweep(CONFIGS, tmp_path, make_executor=threads)
    lines = (tmp_path / ROWS).read_text().splitlines(keepends=True)
    if damage == "digit":
        at = lines[1].index("loss_mean") + 14
        lines[1] = lines[1][:at] + ("1" if lines[1][at] != "1" else "2") + lines[1][at + 1 :]
    elif damage == "torn":
        lines[-1] = lines[-1][: len(lines[-1]) // 2]
    else:
        lines[0] = "\x00\xff not json\n"
    (tmp_path / ROWS).write_text("".join(lines))
    repaired = sweep(CONFIGS, tmp_path, make_executor=threads)
    assert (repaired.corrupted, repaired.computed, repaired.reused) == (1, 1, 3)
    assert list(map(content, repaired.rows)) == list(map(content, clean.rows))


def test_divergence_and_bad_input_end_as_rows(tmp_path) -> None:
    configs = grid(BASE, {"algorithm.learning_rate": [0.1, 50.0, -1.0]})
    configs[1]["schedule"] = [[500, 1]]
    rows = sweep(configs, tmp_path, make_executor=threads).rows
    assert rows[0]["status"] == "ok"
    assert rows[1]["status"].startswith("diverged at step ") and rows[1]["loss_mean"] is None
    assert rows[2]["status"].startswith("invalid: Got learning_rate=-1.0")


def test_a_raising_configuration_is_retried_once_and_reported(tmp_path) -> None:
    result = sweep(CONFIGS, tmp_path, make_executor=threads, compute=sweep_workers.raising)
    assert (result.failed, result.retried) == (1, 1)
    assert result.rows[2]["status"] == "failed: RuntimeError: out of luck (tried 2 times)"
    assert sweep(CONFIGS, tmp_path, make_executor=threads).failed == 0  # failures are not final


@pytest.mark.slow
def test_a_killed_process_loses_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SWEEP_MARKER", str(tmp_path / "marker"))
    result = sweep(CONFIGS, tmp_path / "once", workers=2, compute=sweep_workers.killed_once)
    assert (tmp_path / "marker").exists()
    assert result.failed == 0 and result.retried >= 1
    assert [row["status"] for row in result.rows] == ["ok"] * 4


@pytest.mark.slow
def test_a_configuration_that_kills_its_worker_is_the_only_one_reported(tmp_path) -> None:
    result = sweep(CONFIGS, tmp_path, workers=2, compute=sweep_workers.always_killed)
    assert [row["status"][:6] for row in result.rows] == ["ok", "ok", "failed", "ok"]
    assert "BrokenProcessPool" in result.rows[2]["status"]


@pytest.mark.slow
def test_dask_cluster_over_tcp_survives_a_killed_worker(tmp_path) -> None:
    distributed = pytest.importorskip("distributed")
    configs = grid(BASE, {"algorithm.learning_rate": [round(0.01 * k, 2) for k in range(1, 25)]})
    expected = sweep(configs, tmp_path / "local", make_executor=threads).rows
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            protocol="tcp://",
            dashboard_address=":0",
            local_directory=str(tmp_path / "dask"),
            silence_logs=50,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert client.scheduler.address.startswith("tcp://")
        pids = client.run(os.getpid)
        assert len(pids) == 2
        victim = next(iter(pids.values()))
        killed = threading.Event()

        def kill(done: int, total: int) -> None:
            if done >= 4 and not killed.is_set():
                killed.set()
                os.kill(victim, signal.SIGKILL)

        result = sweep(
            configs,
            tmp_path / "cluster",
            make_executor=lambda: client.get_executor(pure=False, retries=1),
            compute=sweep_workers.slow,
            progress=kill,
        )
        assert killed.is_set()
    assert result.failed == 0 and len(result.rows) == len(configs)
    assert [content(row) for row in result.rows] == [content(row) for row in expected]
    lines = (tmp_path / "cluster" / ROWS).read_text().splitlines()
    hashes = [json.loads(json.loads(line)["row"])["config_hash"] for line in lines]
    assert len(hashes) == len(set(hashes)) == len(configs)  # nothing lost, nothing doubled
    assert len({row["worker"] for row in result.rows}) >= 2


def test_memory_estimate_and_refusal(tmp_path) -> None:
    big = grid(BASE, {"problem.spectrum": [{"dim": 2_000_000, "power": 1.0}], "seeds": [64]})
    big[0]["algorithm"]["learning_rate"] = 0.1
    assert memory_estimate(big[0]) > 64 * 2_000_000 * 24
    with pytest.raises(InputError, match=r"may need \d+\.\d\d GiB"):
        sweep(big, tmp_path, make_executor=threads, memory_limit=2**30)
    assert not (tmp_path / ROWS).exists()


INVALID = [
    (lambda p: sweep([], p), "at least one"),
    (lambda p: sweep([{"problem": {}}], p), "without"),
    (lambda p: sweep([CONFIGS[0] | {"colour": 1}], p), "colour"),
    (lambda p: check(3), "mapping"),
    (lambda p: check(CONFIGS[0] | {"dtype": "float16"}), "float16"),
    (lambda p: build_problem({"name": "rosenbrock"}), "rosenbrock"),
    (lambda p: build_problem({"name": "cosine_sum", "dimm": 3}), "dim"),
    (lambda p: build_problem({"name": "cosine_sum"}), "missing"),
    (
        lambda p: build_problem({"name": "noisy_quadratic", "spectrum": {"power": 1}, "noise": 1}),
        "i\\^-power",
    ),
    (lambda p: build_optimizer({"name": "adamm"}), "adam"),
    (lambda p: build_schedule([[1, 0]]), ">= 1"),
    (lambda p: build_schedule([[1.5, 2]]), "whole"),
    (lambda p: build_schedule(7), "schedule 7"),
    (lambda p: grid(BASE, {"nothing.here": [1]}), "nothing.here"),
]


@pytest.mark.parametrize("make, message", INVALID)
def test_invalid_arguments(tmp_path, make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(tmp_path)


def test_round_trip_of_an_optimizer() -> None:
    for name, extra in (("adam", {"beta1": 0.9, "half_life": 10.0}), ("signum", {"half_life1": 3.0})):
        optimizer = build_optimizer({"name": name, "learning_rate": 0.1, **extra})
        assert build_optimizer(optimizer.config()) == optimizer


def test_a_row_is_reproducible() -> None:
    assert content(run_row(CONFIGS[0])) == content(run_row(CONFIGS[0]))
