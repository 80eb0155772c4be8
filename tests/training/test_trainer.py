"""The trainer: learns, resumes bit for bit, stops at non-finite numbers, refuses what does not fit."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import bstheory
from bstheory.errors import InputError
from bstheory.models.configs import model_config
from bstheory.models.gpt import GPT
from bstheory.run import Run
from bstheory.schedules import Schedule
from bstheory.training.batch_scheduler import BatchPlan
from bstheory.training.checkpoints import list_checkpoints, read_state
from bstheory.training.config import TrainConfig, batch_size_schedule, train_config_from_json, warmup_cosine
from bstheory.training.optimizers import OptimizerConfig
from bstheory.training.parallel import World
from bstheory.training.records import NonFiniteError
from bstheory.training.trainer import Interrupted, Trainer

from .conftest import LENGTH, build, small_config


def weights(trainer: Trainer) -> list[torch.Tensor]:
    return [p.detach().clone() for p in trainer.model.parameters()]


def same(one: Trainer, other: Trainer) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def test_a_run_learns_and_records_its_schedule(shards: Path, here: World, tmp_path: Path) -> None:
    seen: list[int] = []
    trainer = build(small_config(), shards, here, folder=tmp_path / "run")
    run = trainer.run(progress=lambda done, total, label: seen.append(done))
    loss = run.series["loss"][0]
    assert len(loss) == 48 and loss[-5:].mean() < loss[:5].mean() - 0.5
    assert list(run.series["batch_size"][0][[0, 31, 32, 47]]) == [4, 4, 8, 8]
    # The half-life rule: beta2 = 2^(-tokens / half-life), so it falls when the batch doubles.
    assert run.series["beta2"][0][0] == pytest.approx(2 ** (-4 * LENGTH / 5000))
    assert run.series["beta2"][0][-1] == pytest.approx(2 ** (-8 * LENGTH / 5000))
    assert run.summary["finished"] and run.summary["final_validation_loss"] < math.log(256)
    assert seen[-1] == run.tokens[-1] == small_config().tokens
    again = Run.load(tmp_path / "run")
    assert np.array_equal(again.series["loss"], run.series["loss"])
    assert train_config_from_json({k: v for k, v in again.config.items() if k != "data"}) == small_config()


def test_equals_a_plain_loop(shards: Path, here: World) -> None:
    """Twelve steps of constant batch size 4 against hand-written AdamW on the same rows: the same weights."""
    tokens = 12 * 4 * LENGTH
    config = small_config(
        tokens=tokens,
        batch_size=batch_size_schedule(4),
        learning_rate=Schedule(
            name="constant", quantity="learning_rate", unit="tokens", params={"value": 0.003}
        ),
        optimizer=OptimizerConfig(beta1=0.9, beta2=0.95),
        grad_clip=1.0,
    )
    trainer = build(config, shards, here)
    trainer.run()
    model = GPT(config.model, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003, betas=(0.9, 0.95), weight_decay=0.0)
    for step in range(12):
        batch = torch.from_numpy(trainer.data.batch(range(4 * step, 4 * step + 4)))
        logits = model(batch[:, :-1])
        loss = F.cross_entropy(logits.reshape(-1, 256), batch[:, 1:].reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    for ours, theirs in zip(trainer.model.parameters(), model.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_accumulation_does_not_change_the_gradient(shards: Path, here: World) -> None:
    one = build(small_config(max_micro_batch_size=8), shards, here)
    other = build(small_config(max_micro_batch_size=2), shards, here)
    a, b = one.run(), other.run()
    assert np.allclose(a.series["loss"], b.series["loss"], rtol=1e-4)


OPTIMIZERS = {
    "adamw": OptimizerConfig(beta2_half_life=5000.0, weight_decay=0.1),
    "muon": OptimizerConfig(name="muon", beta1=0.9, beta2_half_life=5000.0),
    "adafactor": OptimizerConfig(name="adafactor", beta2_half_life=5000.0),
    "adafactor_power": OptimizerConfig(name="adafactor", adafactor_exponent=0.99),
    "sgd": OptimizerConfig(name="sgd", beta1=0.0),
    "signum": OptimizerConfig(name="signum", beta1_half_life=2000.0),
}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_resume_is_bit_exact_across_a_batch_size_change(
    name: str, precision: str, shards: Path, here: World, tmp_path: Path
) -> None:
    if (name, precision) == ("muon", "bfloat16"):
        pytest.skip("Muon needs float32 weights, which the trainer says")
    config = small_config(
        optimizer=OPTIMIZERS[name], precision=precision, checkpoint_every_tokens=1024, keep_checkpoints=20
    )
    whole = build(config, shards, here)
    expected = whole.run()
    first = build(config, shards, here, folder=tmp_path)
    first.run(stop_after_seconds=0.0)  # one step, then stop and save
    middle = build(config, shards, here, folder=tmp_path, resume=True)
    while middle.scheduler.position.step < 30:
        middle._log(middle._record([middle.train_step(middle.scheduler.plan())]))  # to just before the change
    middle.save()
    last = build(config, shards, here, folder=tmp_path, resume=True)
    assert last.scheduler.position.step == 30
    found = last.run()
    assert same(whole, last)
    assert np.array_equal(expected.series["loss"], found.series["loss"])
    assert expected.summary["final_validation_loss"] == found.summary["final_validation_loss"]


def test_only_the_newest_checkpoints_are_kept(shards: Path, here: World, tmp_path: Path) -> None:
    config = small_config(checkpoint_every_tokens=1024, keep_checkpoints=2)
    build(config, shards, here, folder=tmp_path).run()
    kept = [p.name for p in list_checkpoints(tmp_path / "checkpoints")]
    assert kept == ["step-000000044", "step-000000048"]
    assert not list((tmp_path / "checkpoints").glob(".*"))


def test_resuming_a_finished_run_keeps_what_was_measured(shards: Path, here: World, tmp_path: Path) -> None:
    config = small_config(eval_every_tokens=None)
    first = build(config, shards, here, folder=tmp_path).run()
    assert first.summary["tokens_per_second"] > 0
    again = build(config, shards, here, folder=tmp_path, resume=True).run()
    assert again.summary == first.summary == Run.load(tmp_path).summary


def test_validation_says_when_it_begins_and_takes_no_more_memory_than_asked(
    shards: Path, here: World, tmp_path: Path
) -> None:
    """The logits of 64 rows of GPT-2 are 13 GB, which a batch of 1 must not need."""
    seen: list[str] = []
    build(small_config(), shards, here).run(progress=lambda done, total, label: seen.append(label))
    assert "validating" in seen
    large = small_config(model=model_config("gpt2_124m"), seq_len=1024, max_micro_batch_size=None)
    assert large.rows_per_evaluation == 5
    assert dataclasses.replace(large, micro_batch_size=8).rows_per_evaluation == 8
    assert dataclasses.replace(large, model=model_config("tiny"), seq_len=64).rows_per_evaluation == 64


def test_interrupting_saves_the_finished_step(shards: Path, here: World, tmp_path: Path) -> None:
    config = small_config()
    trainer = build(config, shards, here, folder=tmp_path)

    def interrupt(done: int, total: int, label: str) -> None:
        if trainer.scheduler.position.step == 10:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        trainer.run(progress=interrupt)
    resumed = build(config, shards, here, folder=tmp_path, resume=True)
    assert resumed.scheduler.position.step == 11  # the signal came after step 10 had been decided on
    resumed.run()
    whole = build(config, shards, here)
    whole.run()
    assert same(whole, resumed)


def test_the_log_of_a_resumed_run_has_the_records_up_to_its_checkpoint(
    shards: Path, here: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was logged after the last checkpoint is trained again and must not stand in the log twice."""
    config = small_config(checkpoint_every_tokens=20 * 4 * LENGTH)
    step = Trainer.train_step

    def die(trainer: Trainer, plan: BatchPlan) -> Any:
        if plan.step == 27:
            raise MemoryError("killed")
        return step(trainer, plan)

    def logged() -> list[int]:
        return [json.loads(row)["step"] for row in (tmp_path / "log.jsonl").read_text().splitlines()]

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "train_step", die)
        with pytest.raises(MemoryError):
            build(config, shards, here, folder=tmp_path).run()
    assert logged() == list(range(1, 28)), "seven records are newer than the checkpoint"
    resumed = build(config, shards, here, folder=tmp_path, resume=True)
    assert logged() == [record.step for record in resumed.records] == list(range(1, 21))
    resumed.run()
    assert logged() == list(range(1, 49))


def test_autocast_computes_in_bfloat16_on_float32_weights(shards: Path, here: World) -> None:
    found = {}
    for precision in ("float32", "bfloat16_autocast"):
        trainer = build(small_config(precision=precision), shards, here)
        seen: list[torch.dtype] = []

        def note(module: Any, given: Any, out: torch.Tensor, seen: list[torch.dtype] = seen) -> None:
            seen.append(out.dtype)

        for module in trainer.model.modules():
            if isinstance(module, torch.nn.Linear):
                module.register_forward_hook(note)
        plan = trainer.scheduler.plan()
        assert plan is not None
        loss = trainer.train_step(plan)[2].item()
        in_training, seen[:] = set(seen), []
        validation = trainer.validation_loss()
        assert all(p.dtype is torch.float32 for p in trainer.model.parameters())
        found[precision] = (in_training, set(seen), loss, validation)
    assert found["float32"][:2] == ({torch.float32}, {torch.float32})
    assert found["bfloat16_autocast"][:2] == ({torch.bfloat16}, {torch.bfloat16})
    for exact, rounded in zip(found["float32"][2:], found["bfloat16_autocast"][2:]):
        assert exact != rounded and exact == pytest.approx(rounded, rel=2**-7)


@pytest.mark.slow
def test_killed_at_any_moment_a_run_resumes_to_the_same_numbers(
    shards: Path, here: World, tmp_path: Path
) -> None:
    """SIGKILL at several moments, then resume each time: the weights of an undisturbed run, bit for bit."""
    program = tmp_path / "go.py"
    program.write_text(
        "import sys, torch\n"
        "from pathlib import Path\n"
        "torch.set_num_threads(1)\n"
        f"sys.path.insert(0, {str(Path(__file__).parent.parent.parent)!r})\n"
        "from tests.training.conftest import build, small_config\n"
        "from bstheory.training.parallel import world\n"
        "with world('cpu') as here:\n"
        f"    t = build(small_config(checkpoint_every_tokens=256), Path({str(shards)!r}), here,\n"
        f"              folder=Path({str(tmp_path / 'run')!r}), resume=True)\n"
        "    print('ready', flush=True)\n"
        "    t.run(progress=lambda *a: print('step', flush=True))\n"
    )
    root = str(Path(bstheory.__file__).resolve().parent.parent)
    environment = os.environ | {"PYTHONPATH": root}
    kills = 0
    for wait in (0.0, 0.013, 0.041, 0.087):
        process = subprocess.Popen(
            [sys.executable, str(program)], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert process.stdout is not None
        while process.stdout.readline() not in ("step\n", ""):
            pass
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        process.stdout.close()
    assert kills == 4
    for checkpoint in list_checkpoints(tmp_path / "run" / "checkpoints"):
        read_state(checkpoint)  # complete
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        config = small_config(checkpoint_every_tokens=256)
        resumed = build(config, shards, here, folder=tmp_path / "run", resume=True)
        found = resumed.run()
        whole = build(config, shards, here)
        expected = whole.run()
    finally:
        torch.set_num_threads(threads)
    assert same(whole, resumed)
    assert np.array_equal(expected.series["loss"], found.series["loss"])


def test_a_non_finite_loss_stops_and_keeps_the_last_good_checkpoint(
    shards: Path, here: World, tmp_path: Path
) -> None:
    config = small_config(
        optimizer=OptimizerConfig(name="sgd", beta1=0.0),
        learning_rate=Schedule(
            name="stages",
            quantity="learning_rate",
            unit="steps",
            params={"thresholds": (0, 20), "values": (0.01, 1e30)},
        ),
        checkpoint_every_tokens=8 * 4 * LENGTH,
    )
    trainer = build(config, shards, here, folder=tmp_path)
    with pytest.raises(NonFiniteError, match=r"loss = nan at step 2\d.*step-000000016") as caught:
        trainer.run()
    assert isinstance(caught.value, InputError)
    (*_, last) = list_checkpoints(tmp_path / "checkpoints")
    read_state(last)
    again = build(config, shards, here, folder=tmp_path, resume=True)
    assert all(bool(p.isfinite().all()) for p in again.model.parameters())


def test_a_last_step_that_destroys_the_weights_leaves_no_checkpoint(
    shards: Path, here: World, tmp_path: Path
) -> None:
    """The loss of that step is finite: it was measured before the update."""
    config = small_config(
        optimizer=OptimizerConfig(name="sgd", beta1=0.0),
        learning_rate=Schedule(
            name="stages",
            quantity="learning_rate",
            unit="steps",
            params={"thresholds": (0, 47), "values": (0.01, 1e38)},
        ),
    )
    with pytest.raises(NonFiniteError, match=r"validation loss|weight"):
        build(config, shards, here, folder=tmp_path).run()
    assert not list_checkpoints(tmp_path / "checkpoints")
    logged = (tmp_path / "log.jsonl").read_text().splitlines()
    assert all(math.isfinite(json.loads(line)["loss"]) for line in logged) and len(logged) == 47


def test_noise_statistics_are_recorded(shards: Path, here: World) -> None:
    config = small_config(statistics=True, micro_batch_size=1, max_micro_batch_size=None)
    run = build(config, shards, here).run()
    assert np.all(run.series["noise"] > 0) and run.series["signal"].shape == run.series["noise"].shape
    noise, signal = run.series["noise"][0], run.series["signal"][0]
    for name, part in (("first", slice(None, 16)), ("last", slice(-16, None))):
        scale = run.summary.get(f"noise_scale_{name}")
        assert (scale is None) == (signal[part].mean() <= 0)
        if scale is not None:
            assert scale == pytest.approx(noise[part].mean() / signal[part].mean())
    low, high = run.summary["noise_scale_first_interval"]
    assert low < run.summary["noise_scale_first"] < high
    assert run.summary["mfu"] is None  # a CPU's peak is not looked up


def test_utilization_is_that_of_the_devices_peak() -> None:
    from bstheory.training.records import run_of_records
    from bstheory.training.throughput import flops_per_token

    config = small_config(model=model_config("gpt2_124m"), precision="bfloat16", seq_len=None)
    summary = {"device": "NVIDIA H200", "tokens_per_second": 5e5, "world_size": 2}
    run = run_of_records([], config=config, provenance={}, summary=summary)
    assert run.summary["mfu"] == pytest.approx(5e5 * flops_per_token(config.model) / (2 * 989.4e12))
    tuned = run_of_records([], config=config, provenance={"pretrained": "x"}, summary=summary)
    assert tuned.summary["mfu"] is None


@pytest.mark.parametrize("rule", ["adamw", "adafactor", "sgd"])
def test_updates_in_the_backward_pass_train(rule: str, shards: Path, here: World) -> None:
    half_life = None if rule == "sgd" else 5000.0
    optimizer = OptimizerConfig(name=rule, beta1=0.0, beta2_half_life=half_life, in_backward=True)
    run = build(
        small_config(optimizer=optimizer, precision="bfloat16", max_micro_batch_size=8), shards, here
    ).run()
    assert run.series["loss"][0][-5:].mean() < run.series["loss"][0][:5].mean()


def test_a_damaged_checkpoint_is_refused_and_named(shards: Path, here: World, tmp_path: Path) -> None:
    config = small_config()
    build(config, shards, here, folder=tmp_path).run()
    (checkpoint,) = list_checkpoints(tmp_path / "checkpoints")
    path = checkpoint / "optimizer.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"optimizer\.safetensors is missing or its sha256"):
        build(config, shards, here, folder=tmp_path, resume=True)


def test_a_checkpoint_of_another_experiment_is_refused(shards: Path, here: World, tmp_path: Path) -> None:
    build(small_config(), shards, here, folder=tmp_path).run()
    with pytest.raises(InputError, match="already holds a run"):
        build(small_config(), shards, here, folder=tmp_path)
    for change in ({"seed": 1}, {"model": dataclasses.replace(small_config().model, layers=2)}):
        with pytest.raises(InputError, match=f"another {next(iter(change))}"):
            build(small_config(**change), shards, here, folder=tmp_path, resume=True)
    # The micro-batch is mechanics, not mathematics.
    build(small_config(max_micro_batch_size=2), shards, here, folder=tmp_path, resume=True)


def test_branching_keeps_the_weights_and_takes_another_batch(
    shards: Path, here: World, tmp_path: Path
) -> None:
    config = small_config()
    parent = build(config, shards, here, folder=tmp_path)
    parent.run()
    (checkpoint,) = list_checkpoints(tmp_path / "checkpoints")
    branch = build(small_config(batch_size=batch_size_schedule(16)), shards, here, branch_from=checkpoint)
    assert same(parent, branch) and branch.scheduler.position.step == 0
    run = branch.run()
    assert run.series["batch_size"][0][0] == 16
    assert run.series["loss"][0][0] < parent.records[0].values["loss"] - 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": 0}, "tokens=0"),
        ({"seq_len": 64}, "context of 32"),
        ({"precision": "float16"}, "precision='float16'"),
        ({"grad_clip": -1.0}, "grad_clip=-1.0"),
        ({"optimizer": OptimizerConfig(in_backward=True), "grad_clip": 1.0}, "in_backward with grad_clip"),
    ],
)
def test_bad_configurations_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small_config(**changes)


def test_bad_combinations_are_refused(shards: Path, here: World) -> None:
    with pytest.raises(InputError, match="last batch"):
        build(small_config(tokens=10 * 4 * LENGTH + LENGTH), shards, here)
    with pytest.raises(InputError, match="vocabulary"):
        narrow = dataclasses.replace(model_config("tiny_study"), vocab_size=100)
        config = small_config(model=narrow)
        wide = build(small_config(), shards, here)
        Trainer(config, data=wide.data, validation=wide.data, here=here)
    with pytest.raises(InputError, match="optimizer 'lamb'"):
        OptimizerConfig(name="lamb")
    with pytest.raises(InputError, match="warm-up ends"):
        warmup_cosine(peak=0.1, tokens=100, warmup=100)
    document = small_config().to_json()
    with pytest.raises(InputError, match="too many or missing"):
        train_config_from_json({**document, "dropout": 0.1})
    assert isinstance(train_config_from_json(document), TrainConfig)
