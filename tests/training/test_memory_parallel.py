"""The memory model under accumulation, DDP and FSDP2 against counted live tensors.

DDP runs in a process group of one: its buckets are those of any number. FSDP2 runs as one of eight processes
of torch's fake group, whose collectives communicate nothing and allocate what real ones do.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist

from bstheory.errors import InputError
from bstheory.models.configs import GPTConfig, model_config
from bstheory.schedules.rules import ddp_norm
from bstheory.training.batch_scheduler import BatchSizeScheduler
from bstheory.training.config import batch_size_schedule
from bstheory.training.memory import check_fits, estimate_memory
from bstheory.training.optimizers import OptimizerConfig
from bstheory.training.parallel import World
from bstheory.training.requirements import require_memory

from .conftest import LENGTH, small_config
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
@pytest.mark.parametrize(
    ("step", "accumulation"),
    [*itertools.product(STEPS, (1, 2)), ("adamw_in_backward", 1)],  # which has no accumulation
)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_shards_are_gathered_and_gradients_kept_whole(
    family: str, size: str, step: str, accumulation: int, one_of_eight: None
) -> None:
    in_backward = step == "adamw_in_backward"
    config = config_of(family, size)
    optimizer, precision = (OptimizerConfig(in_backward=True), "bfloat16") if in_backward else STEPS[step]
    options = {"optimizer": optimizer, "precision": precision, "micro_batch_size": 1}
    estimate = estimate_memory(config, device="cpu", shards=SHARDS, **options)
    wanted = estimate.peak if accumulation == 1 else estimate.accumulation_peak
    found = training_peak(config, accumulation=accumulation, parallel="fsdp", processes=SHARDS, **options)
    assert found == pytest.approx(wanted, rel=0.05)


def test_the_named_micro_batch_is_the_largest_divisor_that_fits() -> None:
    config, options = config_of("gpt2", "loss"), {"optimizer": OptimizerConfig(), "precision": "float32"}
    available = estimate_memory(config, micro_batch_size=7, **options).accumulation_peak
    with pytest.raises(InputError, match=r"Use --micro-batch-size 6\."):
        check_fits(config, micro_batch_size=12, available=available, batch_sizes=(12,), **options)


def test_what_a_process_among_others_needs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes: buckets count under DDP, and a rule reaches half of its maximum on each."""
    here = World(rank=0, size=2, device=torch.device("cpu"))
    fixed = small_config(batch_size=batch_size_schedule(8), parallel="ddp")
    rule = ddp_norm(eta=1.0, scaling="unbiased", initial=4, maximum=64, multiple=2)
    grows = small_config(batch_size=rule, parallel="ddp", statistics=True, last_batch="partial")
    for config, micro in ((fixed, 4), (grows, 32)):
        scheduler = BatchSizeScheduler(
            config.batch_size,
            num_tokens=config.tokens,
            seq_len=LENGTH,
            world_size=2,
            max_micro_batch_size=64,
            last="partial",
        )
        needed = estimate_memory(
            config.model,
            optimizer=config.optimizer,
            micro_batch_size=micro,
            seq_len=LENGTH,
            buckets=True,
            device="cpu",
        ).peak
        for available, fits in ((needed - 1, False), (needed, True)):
            monkeypatch.setattr("bstheory.training.memory.available_bytes", lambda device, a=available: a)
            if fits:
                require_memory(config, scheduler, here)
            else:
                with pytest.raises(InputError, match=f"micro-batch of {micro} sequences"):
                    require_memory(config, scheduler, here)
