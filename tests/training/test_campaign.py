"""The GPT-2 campaign's scripts at tiny scale: pieces stop and go on, finish, and are judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import bstheory
from bstheory.campaign_commands import predict, validate
from bstheory.run import Run
from bstheory.training.predictions import read_predictions

ROOT = Path(bstheory.__file__).resolve().parent.parent
SCRIPTS = ROOT / "experiments" / "gpt2_124m"


def script(name: str, *words: str) -> tuple[int, str]:
    done = launch(name, *words)
    assert done.returncode in (0, 3), done.stderr[-2000:]
    return done.returncode, done.stdout


def launch(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPTS / name), *words],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_committed_predictions_are_intact() -> None:
    names = {p.name for p in read_predictions(SCRIPTS / "prediction.json")}
    assert {
        "gain_at_1",
        "gain_shrinks_1_to_64",
        "beta2_at_512",
        "peak_memory",
        "optimizer_gap_grows",
        "adam_beats_sgd_at_512",
        "lr_ratio_below_square_root",
        "noise_scale_rises",
    } <= names


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_gpt2_is_not_trained_on_a_cpu_by_default(tmp_path: Path) -> None:
    common = [
        sys.executable,
        str(SCRIPTS / "run.py"),
        "half_life",
        "--out",
        str(tmp_path),
        "--data",
        "nowhere",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for scale, message in (("gpu", "needs a CUDA device"), ("tiny", "there is no .bin shard")):
        done = subprocess.run(
            [*common, "--scale", scale], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_piece_goes_on_where_it_stopped_and_is_judged(shards: Path, tmp_path: Path) -> None:
    common = ("--data", str(shards), "--out", str(tmp_path), "--scale", "tiny", "--seeds", "0")
    code, first = script("run.py", "half_life", *common, "--minutes", "0.04")
    assert code == 3
    code, rest = script("run.py", "half_life", *common, "--minutes", "5")
    assert code == 0 and "half_life_32" in first + rest
    assert script("run.py", "half_life", *common)[1] == ""  # nothing left
    folders = tuple(str(p) for p in sorted((tmp_path / "half_life").iterdir()))
    assert len(folders) == 5
    assert script("run.py", "rates", *common)[0] == 0
    folders += tuple(str(p) for p in sorted((tmp_path / "rates").iterdir()))
    assert Run.load(folders[0]).summary["finished"]
    against = tmp_path / "prediction.json"
    predict("tiny_study", out=str(against), batch_sizes=(1, 4, 32), probe_steps=0, speed_steps=0)
    out = tmp_path / "findings.json"
    validate(folders, against=str(against), json=str(out))
    findings = {entry["name"]: entry for entry in json.loads(out.read_text())}
    verdicts = {name: entry["verdict"] for name, entry in findings.items()}
    assert verdicts["beta2_at_1"] == verdicts["beta2_at_32"] == "consistent"
    assert verdicts["gain_at_1"] == "undecided"  # one seed judges nothing
    rates = findings["lr_ratio_below_square_root"]
    assert rates["verdict"] != "inapplicable"
    assert len(rates["losses"]["half_life_1"]) == len(rates["losses"]["half_life_32"]) == 5


@pytest.mark.slow
def test_noise_and_branches(shards: Path, tmp_path: Path) -> None:
    common = ("--data", str(shards), "--out", str(tmp_path), "--scale", "tiny")
    assert script("run.py", "noise", *common, "--seeds", "0")[0] == 0
    run = Run.load(tmp_path / "noise" / "noise-seed0")
    assert run.series["noise"].shape == run.series["loss"].shape
    assert script("branch.py", *common)[0] == 0
    critical = json.loads((tmp_path / "noise" / "critical.json").read_text())["critical_batch_size"]
    assert len(critical) >= 6 and all(size in (4, 8, 16, 32) for size in critical.values())
    summary = Run.load(tmp_path / "critical").summary
    ends = {4: "_at_most", 32: "_at_least"}
    sizes = list(critical.values())
    for name, size in (("first", sizes[0]), ("last", sizes[-1])):
        assert summary[f"critical_batch_size_{name}{ends.get(size, '')}"] == size


def test_missing_data_and_a_missing_noise_run_are_one_line(shards: Path, tmp_path: Path) -> None:
    common = ("--out", str(tmp_path), "--scale", "tiny")
    for name, words, message in (
        ("run.py", ("half_life", "--data", str(tmp_path / "nothing")), "there is no .bin shard"),
        ("branch.py", ("--data", str(shards)), "run the piece noise first"),
    ):
        done = launch(name, *words, *common)
        assert done.returncode == 2, done.stderr
        (line,) = done.stderr.strip().capitalize().splitlines()
        assert message.lower() in line.lower()


@pytest.mark.slow
def test_the_schedules_piece(shards: Path, tmp_path: Path) -> None:
    common = ("--data", str(shards), "--out", str(tmp_path), "--scale", "tiny", "--seeds", "0")
    assert script("run.py", "schedules", *common)[0] == 0
    stages = Run.load(tmp_path / "schedules" / "stages_fixed-seed0")
    sizes = stages.series["batch_size"][0]
    assert sizes[0] == 4 and sizes.max() == 32 and sizes[-1] <= 32  # the last batch is what was left


@pytest.mark.slow
def test_the_short_campaign_runs_its_pieces_and_skips_those_that_are_done(
    shards: Path, tmp_path: Path
) -> None:
    common = ("--data", str(shards), "--out", str(tmp_path), "--scale", "tiny")
    assert script("short.py", *common, "--minutes", "0")[0] == 3  # no time, nothing done
    assert list(tmp_path.iterdir()) == []
    code, first = script("short.py", *common, "--minutes", "5")
    assert code == 0 and "all done" in first
    names = {"speed_64.json", "speed_1.json", "throughput.json", "memory.json"}
    assert names <= {p.name for p in tmp_path.iterdir()}
    assert len(list((tmp_path / "half_life").glob("half_life_1-seed?"))) == 2
    before = (tmp_path / "speed_1.json").stat().st_mtime_ns
    (tmp_path / "memory.json").unlink()
    code, again = script("short.py", *common, "--minutes", "5")
    assert code == 0 and "== memory" in again and "== speed_1" not in again
    assert (tmp_path / "speed_1.json").stat().st_mtime_ns == before


def test_a_failed_piece_of_the_short_campaign_is_named_and_the_others_run(
    shards: Path, tmp_path: Path
) -> None:
    for name in ("speed_64", "speed_1", "throughput"):
        (tmp_path / f"{name}.json").write_text("{}")
    done = launch("short.py", "--data", str(tmp_path / "no"), "--out", str(tmp_path), "--scale", "tiny")
    assert done.returncode == 1 and "failed: half_life, seed 0, half_life, seed 1" in done.stdout
    assert (tmp_path / "memory.json").exists()
