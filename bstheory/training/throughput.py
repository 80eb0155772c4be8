"""Tokens per second against batch size, model FLOPs utilization, and the smallest batch near the peak."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from bstheory.errors import input_error
from bstheory.models.configs import GPTConfig
from bstheory.models.gpt import GPT
from bstheory.run import Run
from bstheory.training.config import TrainConfig, batch_size_schedule, warmup_cosine
from bstheory.training.optimizers import OptimizerConfig
from bstheory.training.parallel import World, device_name
from bstheory.training.shards import TokenRows
from bstheory.training.trainer import Trainer

NEAR_PEAK = 0.95

# Dense (not sparse) peak of matrix products in FLOP/s: bfloat16 with float32 accumulation, and float32
# outside the matrix units, because torch multiplies float32 without TF32 unless told to; from the vendors'
# data sheets. The first entry whose words all occur in the device's name is used.
PEAK_FLOPS: tuple[tuple[tuple[str, ...], float, float], ...] = (
    (("B200",), 2.25e15, 80e12),
    (("H200",), 989.4e12, 66.9e12),
    (("H100", "NVL"), 835e12, 60e12),
    (("H100", "PCIe"), 756e12, 51.2e12),
    (("H100",), 989.4e12, 66.9e12),
    (("A100",), 312e12, 19.5e12),
    (("L40S",), 362e12, 91.6e12),
    (("L4",), 121e12, 30.3e12),
    (("A10G",), 70e12, 35e12),
    (("4090",), 165.2e12, 82.6e12),
)


def peak_flops(name: str, precision: str) -> float | None:
    """Peak of the device called ``name`` for a precision; None when it is not in the table (then no MFU)."""
    for words, bfloat16, single in PEAK_FLOPS:
        if all(word.lower() in name.lower() for word in words):
            return single if precision == "float32" else bfloat16
    return None


def flops_per_token(config: GPTConfig, seq_len: int | None = None) -> int:
    """Forward and backward FLOPs per token: 6 N + 12 L H E T.

    N counts the weights of matrix products (tied or not, the output matrix once; lookup tables not), and the
    second term attention scores and mixing without the saving of causality, the usual convention (Chowdhery
    et al. 2022, appendix B).
    """
    with torch.device("meta"):
        model = GPT(config)
    matrices = model.parameter_count(embeddings=False) + config.vocab_size * config.width
    length = seq_len or config.context
    return 6 * matrices + 12 * config.layers * config.heads * config.head_size * length


@dataclasses.dataclass(frozen=True, kw_only=True)
class Throughput:
    """Measured speed of one batch size.

    Attributes:
        batch_size: sequences per step (one forward pass).
        tokens_per_second: median over steps.
        step_seconds: median, lower and upper quartile.
        mfu: model FLOPs utilization, or None where the device's peak is not known.
        peak_bytes: most memory allocated (CUDA), or None.
    """

    batch_size: int
    tokens_per_second: float
    step_seconds: tuple[float, float, float]
    mfu: float | None
    peak_bytes: int | None


def measure_throughput(
    model: GPTConfig,
    *,
    batch_sizes: Sequence[int],
    here: World,
    optimizer: OptimizerConfig | None = None,
    precision: str = "float32",
    compile: bool = False,
    cuda_graphs: bool = False,
    max_autotune: bool = False,
    attention: str = "auto",
    seq_len: int | None = None,
    warmup: int = 3,
    steps: int = 20,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Throughput]:
    """Train on random tokens at each batch size (one forward pass a step) and time the steps.

    Args:
        model: the decoder.
        batch_sizes: sequences per step.
        here: the device.
        optimizer: default AdamW.
        precision, compile, cuda_graphs, max_autotune, attention, seq_len: as in :class:`TrainConfig`. Every
            batch size is compiled afresh, for its shapes alone.
        warmup, steps: untimed and timed steps.
        progress: called with (done, in all, label).

    Raises:
        InputError: no batch size, or fewer than three timed steps.
    """
    if not batch_sizes or min(batch_sizes) < 1 or len({*batch_sizes}) < len(batch_sizes) or steps < 3:
        raise input_error(
            got=f"batch_sizes={list(batch_sizes)}, steps={steps}",
            rule="there is at least one batch size, each once, and three timed steps",
            do="pass them",
        )
    length = seq_len or model.context
    noise = np.random.default_rng(0).integers(0, model.vocab_size, 256 * length + 1).astype(np.uint16)
    found = []
    for number, batch_size in enumerate(batch_sizes):
        tokens = (warmup + steps) * batch_size * length
        config = TrainConfig(
            name=f"throughput_{batch_size}",
            model=model,
            tokens=tokens,
            batch_size=batch_size_schedule(batch_size),
            learning_rate=warmup_cosine(peak=1e-4, tokens=tokens, warmup=0),
            optimizer=optimizer or OptimizerConfig(),
            seq_len=length,
            micro_batch_size=batch_size,
            precision=precision,
            compile=compile,
            cuda_graphs=cuda_graphs,
            max_autotune=max_autotune,
            attention=attention,
            eval_rows=1,
        )
        data = TokenRows(arrays=[noise], seq_len=length, vocab_size=model.vocab_size)
        if here.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(here.device)
        if compile:
            torch.compiler.reset()  # or kernels for any batch size would be compiled from the second on
        trainer = Trainer(config, data=data, validation=data, here=here)
        seconds = _timed_steps(trainer, warmup, steps)
        quartiles = statistics.quantiles(seconds, n=4)
        rate = batch_size * length / quartiles[1]
        peak = peak_flops(device_name(here.device), precision)
        found.append(
            Throughput(
                batch_size=batch_size,
                tokens_per_second=rate,
                step_seconds=(quartiles[1], quartiles[0], quartiles[2]),
                mfu=None if peak is None else rate * flops_per_token(model, length) / peak,
                peak_bytes=torch.cuda.max_memory_allocated(here.device)
                if here.device.type == "cuda"
                else None,
            )
        )
        del trainer
        gc.collect()
        if here.device.type == "cuda":
            torch.cuda.empty_cache()
        if progress:
            progress(number + 1, len(batch_sizes), f"batch size {batch_size}: {rate:,.0f} tokens/s")
    return found


def _timed_steps(trainer: Trainer, warmup: int, steps: int) -> list[float]:
    """Seconds of each timed step. On a GPU the steps are queued without waiting, as in training, and events
    in the queue are timed."""

    def step() -> None:
        plan = trainer.scheduler.plan()
        assert plan is not None
        trainer.train_step(plan)

    for _ in range(warmup):
        step()
    if trainer.here.device.type != "cuda":
        marks = [time.perf_counter()]
        for _ in range(steps):
            step()
            marks.append(time.perf_counter())
        return [after - before for before, after in itertools.pairwise(marks)]
    events = [torch.cuda.Event(enable_timing=True) for _ in range(steps + 1)]
    torch.cuda.synchronize()
    events[0].record()
    for event in events[1:]:
        step()
        event.record()
    torch.cuda.synchronize()
    return [before.elapsed_time(after) / 1000 for before, after in itertools.pairwise(events)]


def smallest_near_peak(measured: Sequence[Throughput]) -> Throughput:
    """The smallest measured batch with at least 95 % of the best tokens per second: the recommendation of
    arXiv:2507.07101 (use the smallest batch that maximizes throughput)."""
    best = max(m.tokens_per_second for m in measured)
    near = [m for m in measured if m.tokens_per_second >= NEAR_PEAK * best]
    return min(near, key=lambda m: m.batch_size)


def as_documents(measured: Sequence[Throughput]) -> list[dict[str, Any]]:
    """Plain JSON."""
    return [dataclasses.asdict(m) for m in measured]


def throughput_run(measured: Sequence[Throughput], *, name: str, device: str) -> Run:
    """The measurements as a run without series: ``tokens_per_second_B``, ``peak_bytes_B`` and
    ``smallest_near_peak`` in its summary."""
    empty = np.zeros(0, dtype=np.int64)
    summary: dict[str, Any] = {
        "device": device,
        "smallest_near_peak": smallest_near_peak(measured).batch_size,
    }
    for one in measured:
        summary[f"tokens_per_second_{one.batch_size}"] = one.tokens_per_second
        summary[f"peak_bytes_{one.batch_size}"] = one.peak_bytes
    config = {"measured": as_documents(measured)}
    return Run(name=name, config=config, seeds=(0,), steps=empty, tokens=empty, series={}, summary=summary)
