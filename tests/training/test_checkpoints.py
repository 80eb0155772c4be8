"""Checkpoints against damage, against a kill while they are replaced, and against losing what is there."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from bstheory.errors import InputError
from bstheory.run import Run
from bstheory.training.checkpoints import list_checkpoints, read_state
from bstheory.training.finetune import load_pretrained
from bstheory.training.loop_checkpoint import LoopCheckpoint
from bstheory.training.optimizers import OptimizerConfig
from bstheory.training.parallel import World
from bstheory.training.shards import open_shard, write_shard

from .conftest import build, small_config


def edit(path: Path, **changes: Any) -> None:
    state = json.loads((path / "state.json").read_text())
    state.update(changes)
    (path / "state.json").write_text(json.dumps(state))


def test_an_altered_state_is_refused(shards: Path, here: World, tmp_path: Path) -> None:
    """Every number of it decides how the run goes on."""
    build(small_config(), shards, here, folder=tmp_path).run(stop_after_seconds=0.0)
    (saved,) = list_checkpoints(tmp_path / "checkpoints")
    document = json.loads((saved / "state.json").read_text())
    document["scheduler"]["step"] += 1
    edit(saved, scheduler=document["scheduler"])
    with pytest.raises(InputError, match=r"state\.json does not have the sha256 that it carries"):
        build(small_config(), shards, here, folder=tmp_path, resume=True)
    for text in ("[]", "{}", "null"):
        (saved / "state.json").write_text(text)
        with pytest.raises(InputError, match="of format None"):
            build(small_config(), shards, here, folder=tmp_path, resume=True)


def test_a_checkpoint_of_another_program_is_named(shards: Path, here: World, tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    LoopCheckpoint(tmp_path / "checkpoints", model, torch.optim.SGD(model.parameters(), lr=0.1), {}).save(3)
    with pytest.raises(InputError, match="without config, provenance"):
        build(small_config(), shards, here, folder=tmp_path, resume=True)
    with pytest.raises(InputError, match="without config"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize("moment", ["renames", "removals"])
def test_a_kill_while_a_checkpoint_is_replaced_or_removed_leaves_a_whole_one(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies at every single rename, and in the middle of every removal."""

    class Killed(BaseException):
        pass

    model = torch.nn.Linear(2, 2)
    loop = LoopCheckpoint(tmp_path, model, torch.optim.SGD(model.parameters(), lr=0.1), {}, keep=1)
    loop.save(1, at=0)
    newest, rename, remove = 0, os.rename, shutil.rmtree
    for step in (1, 2):  # the same step again, and the next, which removes the one before
        for survives in range(6):
            calls = 0

            def rename_or_die(*arguments: Any, survives: int = survives) -> None:
                nonlocal calls
                calls += 1
                if calls > survives:
                    raise Killed
                rename(*arguments)

            def remove_or_die(path: Any, survives: int = survives, **options: Any) -> None:
                nonlocal calls
                calls += 1
                if calls > survives:
                    for half in sorted(Path(path).iterdir())[:1]:
                        half.unlink()
                    raise Killed
                remove(path, **options)

            with monkeypatch.context() as patch:
                if moment == "renames":
                    patch.setattr(os, "rename", rename_or_die)
                else:
                    patch.setattr(shutil, "rmtree", remove_or_die)
                with contextlib.suppress(Killed):
                    loop.save(step, at=10 * step + survives)
            found = list_checkpoints(tmp_path)
            assert found
            for one in found:
                read_state(one)
            at = loop.load()["at"]
            assert at in (newest, 10 * step + survives)
            newest = at
        assert newest == 10 * step + 5  # the last of them were not killed
    loop.save(3, at=9)
    assert [p.name for p in tmp_path.iterdir()] == ["step-000000003"]


def test_other_data_are_refused(shards: Path, here: World, tmp_path: Path) -> None:
    build(small_config(), shards, here, folder=tmp_path / "run").run(stop_after_seconds=0.0)
    other = tmp_path / "data"
    shutil.copytree(shards, other)
    (first,) = (other / "train").glob("*.bin")
    tokens = open_shard(first).copy()
    tokens[0] ^= 1
    write_shard(first, tokens)
    with pytest.raises(InputError, match="another data set"):
        build(small_config(), other, here, folder=tmp_path / "run", resume=True)


def test_another_programs_run_is_not_overwritten(shards: Path, here: World, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InputError, match=r"run\.json and no checkpoint"):
        build(small_config(), shards, here, folder=tmp_path, resume=True)
    assert (tmp_path / "run.json").read_text() == "{}"


def test_a_run_killed_before_its_first_checkpoint_begins_its_log_again(
    shards: Path, here: World, tmp_path: Path
) -> None:
    first = build(small_config(), shards, here, folder=tmp_path)
    for _ in range(3):
        first._log(first._record([first.train_step(first.scheduler.plan())]))
    build(small_config(), shards, here, folder=tmp_path, resume=True).run()
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 49))


def test_resuming_a_finished_run_keeps_what_it_measured(shards: Path, here: World, tmp_path: Path) -> None:
    build(small_config(), shards, here, folder=tmp_path).run()
    before = (tmp_path / "run.json").read_bytes()
    again = build(small_config(), shards, here, folder=tmp_path, resume=True).run()
    assert (tmp_path / "run.json").read_bytes() == before
    assert again.summary["tokens_per_second"] == Run.load(tmp_path).summary["tokens_per_second"] > 0
    (tmp_path / "metrics.parquet").write_bytes(b"half of")  # killed while the two files were written
    build(small_config(), shards, here, folder=tmp_path, resume=True).run()
    assert Run.load(tmp_path).summary["finished"]


def test_a_branch_keeps_its_own_coefficients(shards: Path, here: World, tmp_path: Path) -> None:
    parent = OptimizerConfig(name="adafactor", beta2_half_life=5000.0, weight_decay=0.1)
    build(small_config(optimizer=parent), shards, here, folder=tmp_path).run()
    (saved,) = list_checkpoints(tmp_path / "checkpoints")
    other = OptimizerConfig(name="adafactor", beta2_half_life=700.0, weight_decay=0.3)
    branch = build(small_config(optimizer=other), shards, here, branch_from=saved)
    group = branch.optimizer.parts["adafactor"].param_groups[0]
    assert (group["beta2_half_life"], group["weight_decay"], group["steps"]) == (700.0, 0.3, 48)
