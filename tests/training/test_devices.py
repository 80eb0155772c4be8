"""What must hold on every device. The CUDA halves need a GPU and are skipped with that reason elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bstheory.models.configs import model_config
from bstheory.training.config import batch_size_schedule
from bstheory.training.lean_optimizer import round_stochastically
from bstheory.training.memory import estimate_memory, workspace_bytes
from bstheory.training.optimizers import OptimizerConfig
from bstheory.training.parallel import World, world
from bstheory.training.throughput import measure_throughput
from bstheory.training.trainer import Trainer

from .conftest import build, small_config

NEEDS_GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CUDA = pytest.param("cuda", marks=NEEDS_GPU)
OPTIMIZERS = {
    "adamw": OptimizerConfig(beta2_half_life=5000.0, weight_decay=0.1),
    "sgd": OptimizerConfig(name="sgd", beta1=0.0),
    "signum": OptimizerConfig(name="signum", beta1=0.9),
    "adafactor": OptimizerConfig(name="adafactor"),
    "muon": OptimizerConfig(name="muon"),
}


@pytest.fixture
def on(request: pytest.FixtureRequest) -> Iterator[World]:
    with world(request.param) as found:
        yield found


def weights(trainer: Trainer) -> list[Tensor]:
    return [p.detach().cpu() for p in trainer.model.parameters()]


@pytest.mark.parametrize("on", [CUDA], indirect=True)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_takes_the_steps_of_the_cpu(name: str, on: World, shards: Path, here: World) -> None:
    """Eight float32 steps; a coordinate whose sign a rounding flips may differ, so the loss is compared."""
    config = small_config(optimizer=OPTIMIZERS[name])
    expected, found = build(config, shards, here), build(config, shards, on)
    for trainer in (expected, found):
        losses = [trainer.train_step(trainer.scheduler.plan())[2].item() for _ in range(8)]
        trainer.seen = losses  # type: ignore[attr-defined]
    assert found.seen == pytest.approx(expected.seen, rel=1e-3)  # type: ignore[attr-defined]


@pytest.mark.parametrize("on", ["cpu", CUDA], indirect=True)
@pytest.mark.parametrize("precision", ["float32", "bfloat16_autocast", "bfloat16"])
def test_a_resumed_run_is_the_uninterrupted_one(
    precision: str, on: World, shards: Path, tmp_path: Path
) -> None:
    """Bit for bit on a CPU; on a GPU within the spread of its kernels, which add in any order."""
    config = small_config(precision=precision)
    whole = build(config, shards, on).run()
    first = build(config, shards, on, folder=tmp_path)
    first.run(stop_after_seconds=0.0)
    resumed = build(config, shards, on, folder=tmp_path, resume=True)
    assert 0 < resumed.scheduler.position.step < config.tokens // (4 * config.length)
    run = resumed.run()
    spread = 0.0 if on.device.type == "cpu" else 2e-2
    difference = abs(run.summary["final_validation_loss"] - whole.summary["final_validation_loss"])
    assert difference <= spread


@pytest.mark.parametrize("on", ["cpu", CUDA], indirect=True)
def test_stochastic_rounding_is_unbiased(on: World) -> None:
    value = torch.full((1 << 20,), 1.0 + 2.0**-9, device=on.device)  # a quarter of the way to the next
    generator = torch.Generator(on.device).manual_seed(0)
    rounded = round_stochastically(value, generator).double()
    assert set(rounded.unique().tolist()) == {1.0, 1.0 + 2.0**-7}
    deviation = 2.0**-7 * (0.25 * 0.75 / value.numel()) ** 0.5
    assert abs(rounded.mean().item() - value[0].item()) < 5 * deviation


@pytest.mark.parametrize("on", [CUDA], indirect=True)
@pytest.mark.parametrize("attention", ["flash", "cudnn", "efficient"])
def test_every_attention_kernel_computes_the_same(attention: str, on: World, shards: Path) -> None:
    model = dataclasses.replace(model_config("tiny_study"), width=64, head_size=64, ffn=256)
    config = small_config(model=model, precision="bfloat16_autocast")
    losses = {}
    for kernel in ("math", attention):
        trainer = build(dataclasses.replace(config, attention=kernel), shards, on)
        losses[kernel] = [trainer.train_step(trainer.scheduler.plan())[2].item() for _ in range(4)]
    assert losses[attention] == pytest.approx(losses["math"], rel=1e-2)


@pytest.mark.parametrize("on", [CUDA], indirect=True)
@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_compiled_accumulation_is_the_eager_one(cuda_graphs: bool, on: World, shards: Path) -> None:
    """Several steps, so that the graphs have been captured and are replayed."""
    torch.compiler.reset()
    config = small_config(batch_size=batch_size_schedule(8))
    compiled = dataclasses.replace(config, compile=True, cuda_graphs=cuda_graphs)
    losses = []
    for one in (config, compiled):
        trainer = build(one, shards, on)
        plans = [trainer.train_step(trainer.scheduler.plan()) for _ in range(8)]
        assert plans[0][0].accumulation == 2
        losses.append([plan[2].item() for plan in plans])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


@pytest.mark.parametrize("on", [CUDA], indirect=True)
@pytest.mark.parametrize("micro_batch_size", [1, 8])
@pytest.mark.parametrize("precision", ["float32", "bfloat16_autocast", "bfloat16"])
@pytest.mark.parametrize("family", ["gpt2_124m", "small_batch_gpt2"])
def test_the_measured_peak_is_the_estimated_one(
    family: str, precision: str, micro_batch_size: int, on: World
) -> None:
    model = model_config(family)
    estimate = estimate_memory(
        model,
        optimizer=OptimizerConfig(),
        precision=precision,
        micro_batch_size=micro_batch_size,
        workspace=workspace_bytes(on.device),
    )
    (found,) = measure_throughput(
        model, batch_sizes=(micro_batch_size,), here=on, precision=precision, steps=3
    )
    assert found.peak_bytes == pytest.approx(estimate.peak, rel=0.05)
