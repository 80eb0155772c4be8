"""Real torchrun jobs on gloo: DDP, FSDP2 and one process agree; a killed rank stops all, who resume."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
FP32 = 1e-5  # the promise; rounding is at 1e-7
# bfloat16 keeps 8 bits: each element is off by at most 2^-9 relatively, its square by 2^-8.
BF16 = 2.0**-8

pytestmark = [pytest.mark.distributed, pytest.mark.timeout(300)]


def torchrun(processes: int, script: Path, *arguments: object, **options: object) -> subprocess.Popen:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    return subprocess.Popen(
        [*command, str(script), *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def run(processes: int, script: Path, *arguments: object) -> str:
    process = torchrun(processes, script, *arguments)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err[:6000]
    return out


@pytest.mark.parametrize("processes", [2, 4])
def test_statistics_and_trajectories(processes: int, tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    run(processes, ROOT / "tests/training/gradient_statistics_job.py", found)
    results = json.loads(found.read_text())
    for name in ("ddp", "fsdp2"):
        for case in ("", " accumulated"):
            assert max(results[name + case].values()) <= FP32, name + case
        bf16 = results[f"{name} bf16"]
        assert bf16["group"] <= BF16 and 1e-6 < bf16["norm"] <= BF16  # really reduced in bf16
    for case in ("ddp micro-batch groups", "fsdp2 every micro-batch"):
        assert max(results[case].values()) <= FP32, case
    assert max(results["fsdp2 fp64"].values()) <= 1e-12  # torch divides by a factor before this reduction
    assert "every rank runs the same plan" in results["disagreement"]
    assert "they are communicated once a step" in results["unsynchronized"]
    sizes = results["trajectories"]["single"]
    assert len(set(sizes)) >= 3, sizes  # it moved, so that agreement means something
    assert results["trajectories"] == dict.fromkeys(("ddp", "fsdp2", "single"), sizes)


def newest(folder: Path) -> dict[str, Any]:
    """State of the newest checkpoint; empty while there is none."""
    for path in sorted(folder.glob("step-*/state.json"), reverse=True):
        with contextlib.suppress(FileNotFoundError):  # removed by a newer one in the meantime
            return json.loads(path.read_text())
    return {}


def test_a_killed_rank_stops_the_job_and_a_restart_resumes(tmp_path: Path) -> None:
    script = ROOT / "docs/tutorial/train_ddp.py"
    tokens = 60_000
    run(2, script, "--tokens", tokens, "--folder", tmp_path / "whole")  # the tutorial under DDP
    whole = newest(tmp_path / "whole")
    assert len(set(whole["notes"]["sizes"])) >= 3

    folder = tmp_path / "killed"
    arguments = ("--fsdp", "--tokens", tokens, "--folder", folder)
    process = torchrun(2, script, *arguments)
    deadline = time.monotonic() + 200
    while len(newest(folder).get("notes", {}).get("sizes", [])) <= 20:
        assert process.poll() is None and time.monotonic() < deadline, "the job never got going"
        time.sleep(0.02)
    workers = psutil.Process(process.pid).children()
    workers[-1].send_signal(signal.SIGKILL)
    _, err = process.communicate(timeout=200)
    assert process.returncode != 0
    assert "SIGKILL" in err and "FAILED" in err
    assert not any(worker.is_running() for worker in workers)  # nobody waits for the dead rank
    left = newest(folder)["notes"]["sizes"]
    assert 20 < len(left) < len(whole["notes"]["sizes"])

    run(2, script, *arguments)  # the tutorial under FSDP2, from the checkpoint
    finished = newest(folder)
    assert finished["notes"] == whole["notes"]
    assert finished["parts"]["scheduler"]["tokens"] == whole["parts"]["scheduler"]["tokens"] >= tokens
