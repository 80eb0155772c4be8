"""The memory model under accumulation, DDP and FSDP2 against counted live tensors.

DDP runs in a process group of one: its buckets are those of any number. FSDP2 runs as one of eight processes
of torch's fake group, whose collectives communicate nothing and allocate what real ones do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
import torch.distributed as dist

from bstheory.models.configs import GPTConfig, model_config
from bstheory.training.memory import estimate_memory
from bstheory.training.optimizers import OptimizerConfig

from .live_bytes import training_peak
from .test_memory import SMALL

SHARDS = 8
STEPS = {
    "adamw_float32": (OptimizerConfig(), "float32"),
    "adamw_autocast": (OptimizerConfig(), "bfloat16_autocast"),
    "sgd_momentum_bfloat16": (OptimizerConfig(name="sgd"), "bfloat16"),
}
# (layers, vocabulary, context): the peak in the loss, in the backward pass of a block, in the root's gradients
SIZES = {"loss": (2, 1024, 128), "block": (6, 256, 32), "root": (2, 8192, 16)}


def config_of(family: str, size: str) -> GPTConfig:
    layers, vocab_size, context = SIZES[size]
    sizes = {"layers": layers, "width": 128, "ffn": 512, "vocab_size": vocab_size, "context": context}
    return dataclasses.replace(model_config(SMALL[family]["name"]), **(SMALL[family] | sizes))


@pytest.fixture
def alone() -> Iterator[None]:
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    yield
    dist.destroy_process_group()


@pytest.fixture
def one_of_eight() -> Iterator[None]:
    fake = pytest.importorskip("torch.testing._internal.distributed.fake_pg")
    dist.init_process_group("fake", rank=0, world_size=SHARDS, store=fake.FakeStore())
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("micro_batch_size", [1, 4])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("family", SMALL)
def test_two_micro_batches_clipping_and_statistics(family: str, step: str, micro_batch_size: int) -> None:
    """Gradients of the first micro-batch outlive it; the norm and the statistics need no copy of them."""
    config = config_of(family, "loss")
    optimizer, precision = STEPS[step]
    options = {"optimizer": optimizer, "precision": precision, "micro_batch_size": micro_batch_size}
    estimate = estimate_memory(config, device="cpu", **options).accumulation_peak
    found = training_peak(config, accumulation=2, clip=1.0, statistics=True, **options)
    assert found == pytest.approx(estimate, rel=0.02)


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_buckets_of_replicas_stay(family: str, step: str, accumulation: int, alone: None) -> None:
    """DDP's buckets live between steps; micro-batches that it does not communicate keep gradients beside."""
    config = config_of(family, "loss")
    optimizer, precision = STEPS[step]
    options = {"optimizer": optimizer, "precision": precision, "micro_batch_size": 1}
    estimate = estimate_memory(config, device="cpu", buckets=True, **options)
    wanted = estimate.peak if accumulation == 1 else estimate.accumulation_peak
    found = training_peak(config, accumulation=accumulation, processes=2, statistics=True, **options)
    assert found == pytest.approx(wanted, rel=0.02)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("step", [*STEPS, "adamw_in_backward"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_shards_are_gathered_and_gradients_kept_whole(
    family: str, size: str, step: str, accumulation: int, one_of_eight: None
) -> None:
    in_backward = step == "adamw_in_backward"
    if in_backward and accumulation > 1:
        pytest.skip("updates in the backward pass have no accumulation")
    config = config_of(family, size)
    optimizer, precision = (OptimizerConfig(in_backward=True), "bfloat16") if in_backward else STEPS[step]
    options = {"optimizer": optimizer, "precision": precision, "micro_batch_size": 1}
    estimate = estimate_memory(config, device="cpu", shards=SHARDS, **options)
    wanted = estimate.peak if accumulation == 1 else estimate.accumulation_peak
    found = training_peak(config, accumulation=accumulation, parallel="fsdp", processes=SHARDS, **options)
    assert found == pytest.approx(wanted, rel=0.05)
