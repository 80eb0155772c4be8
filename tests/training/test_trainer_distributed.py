"""Two gloo processes under torchrun, DDP and FSDP2, against one: the same run up to the order of sums."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bstheory
from bstheory.training.checkpoints import list_checkpoints, read_state
from bstheory.training.parallel import World

from .conftest import build, small_config

pytestmark = [pytest.mark.distributed, pytest.mark.slow]

ROOT = Path(bstheory.__file__).resolve().parent.parent
# Two orders of float32 sums over 48 steps of training: differences grow slowly from 1e-7.
TOLERANCE = 2e-4


def launch(shards: Path, folder: Path, processes: int, **changes: Any) -> dict[str, Any]:
    out = folder.with_suffix(f".{processes}.json")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    program = Path(__file__).with_name("trainer_distributed_program.py")
    done = subprocess.run(
        [*command, str(program), str(shards), str(folder), str(out), json.dumps(changes)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def single(shards: Path) -> Any:
    import torch

    return build(small_config(), shards, World(rank=0, size=1, device=torch.device("cpu"))).run()


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_equal_one_through_a_batch_ramp(
    parallel: str, shards: Path, tmp_path: Path, single: Any
) -> None:
    found = launch(shards, tmp_path / "run", 2, parallel=parallel, max_micro_batch_size=2)
    assert found["world_size"] == 2
    assert np.allclose(found["loss"], single.series["loss"][0], rtol=TOLERANCE)
    assert found["validation"] == pytest.approx(single.summary["final_validation_loss"], rel=TOLERANCE)


def test_bfloat16_products_train_sharded_weights_as_they_train_replicas(shards: Path, tmp_path: Path) -> None:
    options = {"precision": "bfloat16_autocast", "max_micro_batch_size": 2}
    ddp, fsdp = (launch(shards, tmp_path / p, 2, parallel=p, **options) for p in ("ddp", "fsdp"))
    assert np.allclose(fsdp["loss"], ddp["loss"], atol=0.03)  # three digits of bfloat16, 48 steps
    assert fsdp["validation"] == pytest.approx(ddp["validation"], abs=0.03)


def test_a_checkpoint_moves_between_world_sizes_and_shardings(
    shards: Path, tmp_path: Path, single: Any
) -> None:
    folder = tmp_path / "run"
    launch(shards, folder, 2, parallel="fsdp", stop_at=30, max_micro_batch_size=2)
    launch(shards, folder, 2, parallel="ddp", stop_at=36, max_micro_batch_size=2)
    found = launch(shards, folder, 1)
    assert len(found["loss"]) == 48
    assert np.allclose(found["loss"], single.series["loss"][0], rtol=TOLERANCE)


def test_a_process_that_is_asked_to_stop_stops_all_at_one_step(shards: Path, tmp_path: Path) -> None:
    found = launch(shards, tmp_path / "run", 2, ask_the_last_process_to_stop_at=10, max_micro_batch_size=2)
    steps, interrupted = zip(*found["stopped"], strict=True)
    assert steps == (16, 16), "the processes agree every eight steps"
    assert interrupted == (1, 1)
    (checkpoint,) = list_checkpoints(tmp_path / "run" / "checkpoints")
    assert read_state(checkpoint)["scheduler"]["step"] == 16


def test_adafactor_refuses_sharded_weights(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="a sharded parameter under adafactor"):
        launch(
            shards,
            tmp_path / "run",
            2,
            parallel="fsdp",
            optimizer={"name": "adafactor"},
            max_micro_batch_size=2,
        )


def test_replicas_round_their_weights_alike(shards: Path, tmp_path: Path) -> None:
    """Rounding that differed between the processes of DDP would train two models that drift apart."""
    found = launch(shards, tmp_path / "run", 2, precision="bfloat16", max_micro_batch_size=2)
    assert found["drift"] == 0.0


def test_updates_in_the_backward_pass_are_refused_under_ddp_and_exact_under_fsdp(
    shards: Path, tmp_path: Path
) -> None:
    optimizer = {"name": "sgd", "beta1": 0.0, "in_backward": True}
    with pytest.raises(AssertionError, match="in_backward under DDP on 2 processes"):
        launch(shards, tmp_path / "ddp", 2, optimizer=optimizer)
    sharded = launch(shards, tmp_path / "fsdp", 2, optimizer=optimizer, parallel="fsdp")
    alone = launch(shards, tmp_path / "alone", 1, optimizer={**optimizer, "in_backward": False})
    assert np.allclose(sharded["loss"], alone["loss"], rtol=TOLERANCE)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch-size", "3"], "no multiple of world_size = 2"),
        (["--tokens", "nothing"], "Got count 'nothing'"),
        (["--no-such-option"], "--no-such-option"),
    ],
)
def test_a_mistake_is_said_once_under_torchrun(words: list[str], message: str, tmp_path: Path) -> None:
    """What torchrun itself prints about a failed process is its own."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    done = subprocess.run(
        [*command, "bstheory", "train", "tiny_study", "--device", "cpu", "--out", str(tmp_path), *words],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    ours = done.stderr.split("torch/distributed/elastic")[0]
    assert done.returncode != 0 and "this is a bug" not in done.stderr and "process 1:" not in done.stderr
    assert done.stderr.count(message) == 1 and message in ours and "Traceback" not in ours
