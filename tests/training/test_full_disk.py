"""A disk that fills up during training: one line, exit code 2, and the checkpoints before stay good."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bstheory
from bstheory.errors import InputError
from bstheory.training.checkpoints import list_checkpoints, read_state
from bstheory.training.parallel import World
from bstheory.training.prepare import prepare_text, tokenizer

from .conftest import build, small_config

ROOT = Path(bstheory.__file__).resolve().parent.parent


@pytest.mark.parametrize("limit", [200, 50_000, 150_000])  # the log, the weights, the averages do not fit
def test_a_write_that_fails_keeps_the_last_checkpoint(
    limit: int, shards: Path, here: World, tmp_path: Path
) -> None:
    config = small_config(checkpoint_every_tokens=1024)
    trainer = build(config, shards, here, folder=tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(done: int, total: int, label: str) -> None:
        if trainer.scheduler.position.step == 20:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))

    try:
        with pytest.raises(InputError, match=r"cannot be written \(.*File too large.*resume from the last"):
            trainer.run(progress=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    saved = list_checkpoints(tmp_path / "checkpoints")
    assert [p.name for p in saved] == ["step-000000008", "step-000000016"]
    assert not list((tmp_path / "checkpoints").glob(".writing-*"))
    resumed = build(config, shards, here, folder=tmp_path, resume=True)
    assert resumed.scheduler.position.step == 16
    resumed.run()
    whole = build(config, shards, here)
    whole.run()
    pairs = zip(resumed.model.parameters(), whole.model.parameters(), strict=True)
    assert all(bool((a == b).all()) for a, b in pairs)


def mounts() -> bool:
    """Whether this user may mount a small file system of its own."""
    if shutil.which("unshare") is None:
        return False
    tried = subprocess.run(
        ["unshare", "-rm", "sh", "-c", "mount -t tmpfs -o size=64k none /mnt"], capture_output=True
    )
    return tried.returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not mounts(), reason="needs user namespaces that may mount tmpfs")
def test_a_really_full_disk_ends_the_command_with_one_line(tmp_path: Path) -> None:
    small, kept = tmp_path / "small", tmp_path / "kept"
    small.mkdir()
    words = (
        "train tiny_study --tokens 40k --device cpu --checkpoints 10 --evals 0 --eval-rows 8 --batch-size 4"
    )
    script = (
        f"mount -t tmpfs -o size=900k none {small}\n"
        f"{sys.executable} -m bstheory {words} --out {small}/run; code=$?\n"
        f"cp -r {small}/run {kept}; exit $code\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 2, done.stderr[-2000:]
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("bstheory: Got ") and "No space left on device" in last
    assert "Traceback" not in done.stderr
    saved = list_checkpoints(kept / "checkpoints")
    assert saved
    for checkpoint in saved:
        read_state(checkpoint)  # complete and unaltered


def test_preparing_data_on_a_full_disk_is_one_message(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"paragraph {k} with some words in it to make it long" for k in range(5000)))
    (tmp_path / "other.txt").write_text("another text")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(InputError, match="cannot be written"):
            prepare_text(
                [text], tmp_path / "out", encoder=tokenizer("bytes"), validation=[tmp_path / "other.txt"]
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "out").rglob("*.bin"))
