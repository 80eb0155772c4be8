"""Short measured runs that predictions rest on: the gradient noise scale, and the time of a step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from bstheory.errors import input_error
from bstheory.models.configs import GPTConfig
from bstheory.schedules.statistics import noise_scale_interval
from bstheory.training.config import TrainConfig, batch_size_schedule, warmup_cosine
from bstheory.training.parallel import World, device_name
from bstheory.training.shards import TokenRows
from bstheory.training.throughput import NEAR_PEAK, measure_throughput
from bstheory.training.trainer import Trainer

# Speed on another day on the same device differs at least by this much.
SPEED_TOLERANCE = 0.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """A short measured training run.

    Attributes:
        tokens: what it consumed.
        noise_scale: |noise| / |signal| in sequences over its second half, None where the signal did not rise
            above its noise; ``interval`` its Fieller set, or None where that is unbounded or there were too
            few steps.
        tokens_per_second: of the probe on this device.
        device: its name.
    """

    tokens: int
    noise_scale: float | None
    interval: tuple[float, float] | None
    tokens_per_second: float
    device: str


def run_probe(
    model: GPTConfig,
    *,
    data: TokenRows,
    validation: TokenRows,
    here: World,
    learning_rate: float,
    batch_size: int = 16,
    micro_batch_size: int = 4,
    steps: int = 100,
    precision: str = "float32",
    progress: Callable[[int, int, str], None] | None = None,
) -> Probe:
    """Train for some steps and measure the gradient noise scale over the second half.

    Raises:
        InputError: fewer than two micro-batches a step (the noise cannot be estimated then).
    """
    if batch_size < 2 * micro_batch_size or batch_size % micro_batch_size:
        raise input_error(
            got=f"batch_size={batch_size}, micro_batch_size={micro_batch_size}",
            rule="the probe needs two micro-batches or more",
            why="the noise is estimated from their spread",
            do="lower the micro-batch",
        )
    tokens = steps * batch_size * data.seq_len
    config = TrainConfig(
        name="probe",
        model=model,
        tokens=tokens,
        batch_size=batch_size_schedule(batch_size),
        learning_rate=warmup_cosine(peak=learning_rate, tokens=2 * tokens, warmup=tokens // 10),
        seq_len=data.seq_len,
        seed=data.seed,
        block=data.block,
        micro_batch_size=micro_batch_size,
        precision=precision,
        statistics=True,
        eval_rows=8,
    )
    run = Trainer(config, data=data, validation=validation, here=here).run(progress=progress)
    half = steps // 2
    noise, signal = run.series["noise"][0][half:], run.series["signal"][0][half:]
    interval = None
    blocks = min(20, len(noise) // 2)
    if blocks >= 2:
        found = noise_scale_interval(noise, signal, batches=blocks)
        interval = (found.low, found.high) if found.bounded else None
    mean = float(signal.mean())
    return Probe(
        tokens=tokens,
        noise_scale=float(noise.mean()) / mean if mean > 0 else None,
        interval=interval,
        tokens_per_second=float(run.summary["tokens_per_second"]),
        device=device_name(here.device),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpeedProbe:
    """Seconds of a step as overhead + per_sequence * B, fitted to a few measured batch sizes.

    Attributes:
        measured: batch size -> median seconds of a step.
        overhead, per_sequence: seconds, neither negative.
        tolerance: relative; at least :data:`SPEED_TOLERANCE`, and twice the worst residual of the fit.
        seq_len: tokens per sequence. device: its name. arm: name of the runs that it predicts.
    """

    measured: dict[int, float]
    overhead: float
    per_sequence: float
    tolerance: float
    seq_len: int
    device: str
    arm: str

    def tokens_per_second(self, batch_size: int) -> float:
        """B T / (overhead + per_sequence B)."""
        return batch_size * self.seq_len / (self.overhead + self.per_sequence * batch_size)

    def smallest_near_peak(self, batch_sizes: Sequence[int]) -> int:
        """The smallest of these with 95 % of the best predicted tokens per second among them."""
        best = max(map(self.tokens_per_second, batch_sizes))
        return min(b for b in batch_sizes if self.tokens_per_second(b) >= NEAR_PEAK * best)


def throughput_arm(
    model: str,
    *,
    optimizer: str,
    precision: str,
    compile: bool,
    cuda_graphs: bool = False,
    max_autotune: bool = False,
    attention: str = "auto",
) -> str:
    """Name of the runs that ``bstheory throughput --out`` writes: what the speed depends on, but the
    device."""
    options = {
        "compiled": compile,
        "graphs": cuda_graphs,
        "autotuned": max_autotune,
        f"{attention}_attention": attention != "auto",
    }
    return "_".join(
        ["throughput", model, optimizer, precision, *(word for word, given in options.items() if given)]
    )


def fit_speed(seconds: dict[int, float]) -> tuple[float, float, float]:
    """(overhead, per_sequence, worst relative residual) of the least-squares fit in relative error.

    Raises:
        InputError: fewer than two batch sizes.
    """
    if len(seconds) < 2:
        raise input_error(
            got=f"{len(seconds)} measured batch sizes",
            rule="overhead and cost per sequence need two",
            do="measure more",
        )
    from scipy.optimize import nnls

    sizes = np.array(sorted(seconds), dtype=np.float64)
    times = np.array([seconds[int(size)] for size in sizes])
    found, _ = nnls(np.stack([1 / times, sizes / times], axis=1), np.ones(len(sizes)))
    residual = np.abs((found[0] + found[1] * sizes) / times - 1)
    return float(found[0]), float(found[1]), float(residual.max())


def run_speed_probe(
    model: GPTConfig,
    *,
    batch_sizes: Sequence[int],
    here: World,
    seq_len: int | None = None,
    precision: str = "float32",
    compile: bool = False,
    steps: int = 8,
    progress: Callable[[int, int, str], None] | None = None,
) -> SpeedProbe:
    """Time AdamW at the smallest, the largest and the middle batch size (one forward pass a step).

    Raises:
        InputError: fewer than two batch sizes.
    """
    sizes = sorted(set(batch_sizes))
    middle = min(sizes, key=lambda b: abs(math.log(b * b / (sizes[0] * sizes[-1]))))
    chosen = sorted({sizes[0], middle, sizes[-1]})
    found = measure_throughput(
        model,
        batch_sizes=chosen,
        here=here,
        precision=precision,
        compile=compile,
        seq_len=seq_len,
        steps=steps,
        progress=progress,
    )
    measured = {one.batch_size: one.step_seconds[0] for one in found}
    overhead, per_sequence, residual = fit_speed(measured)
    return SpeedProbe(
        measured=measured,
        overhead=overhead,
        per_sequence=per_sequence,
        tolerance=max(SPEED_TOLERANCE, 2 * residual),
        seq_len=seq_len or model.context,
        device=device_name(here.device),
        arm=throughput_arm(model.name, optimizer="adamw", precision=precision, compile=compile),
    )
