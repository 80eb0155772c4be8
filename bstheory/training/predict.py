"""What theory and a short probe say about a campaign before it is run.

A campaign compares, at equal tokens, a fixed beta2 with a fixed half-life in tokens at several batch sizes,
and some other optimizers at the smallest and the largest. Arms are named ``fixed_B``, ``half_life_B``,
``sgd_B`` ... by :func:`arm_name`, so that predictions and runs meet by name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bstheory.errors import input_error
from bstheory.half_life import beta_from_half_life, half_life_from_beta
from bstheory.models.configs import GPTConfig
from bstheory.schedules.statistics import noise_scale_interval
from bstheory.training.config import TrainConfig, batch_size_schedule, warmup_cosine
from bstheory.training.memory import estimate_memory
from bstheory.training.optimizers import OptimizerConfig
from bstheory.training.parallel import World, device_name
from bstheory.training.predictions import Prediction, Range
from bstheory.training.shards import TokenRows
from bstheory.training.trainer import Trainer

MEMORY_TOLERANCE = 0.05
NUMBER_TOLERANCE = 1e-9  # of beta2, which is arithmetic rather than measurement
MOST = 1e12  # stands for "any" in a range, because JSON has no infinity


def arm_name(kind: str, batch_size: int) -> str:
    """``kind_B``."""
    return f"{kind}_{batch_size}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """A short measured training run.

    Attributes:
        tokens: what it consumed.
        noise_scale: |noise| / |signal| in sequences over its second half; ``interval`` its Fieller set, or
            None where that is unbounded or there were too few steps.
        tokens_per_second: of the probe on this device.
        device: its name.
    """

    tokens: int
    noise_scale: float
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
        noise_scale=float(noise.mean()) / mean if mean > 0 else MOST,
        interval=interval,
        tokens_per_second=float(run.summary["tokens_per_second"]),
        device=device_name(here.device),
    )


def campaign_predictions(
    model: GPTConfig,
    *,
    batch_sizes: Sequence[int],
    reference_batch_size: int,
    reference_beta2: float = 0.95,
    seq_len: int | None = None,
    precision: str = "float32",
    memory_micro_batch: int | None = None,
    probe: Probe | None = None,
) -> list[Prediction | Range]:
    """Contrasts and ranges for the arms of a campaign.

    Args:
        model: the decoder.
        batch_sizes: in sequences, at least two.
        reference_batch_size: where fixed beta2 and fixed half-life coincide; the largest batch is usual.
        reference_beta2: beta2 there.
        seq_len: tokens per sequence; default the context.
        precision: of the training runs.
        memory_micro_batch: predict the peak memory of AdamW at this micro-batch (judged on CUDA runs only).
        probe: adds the prediction that the noise scale rises during training, and where it starts.

    Raises:
        InputError: fewer than two batch sizes.
    """
    sizes = sorted(set(batch_sizes))
    if len(sizes) < 2:
        raise input_error(
            got=f"batch_sizes={list(batch_sizes)}", rule="a campaign compares two or more", do="pass more"
        )
    length = seq_len or model.context
    half_life = half_life_from_beta(beta=reference_beta2, tokens_per_step=reference_batch_size * length)
    small, large = sizes[0], sizes[-1]
    window = "at a fixed beta2 the second moment averages tokens in proportion to the batch size"
    found: list[Prediction | Range] = []
    for size in sizes:
        beta2 = beta_from_half_life(half_life=half_life, tokens_per_step=size * length)
        found.append(
            Range(
                name=f"beta2_at_{size}",
                statement=f"the half-life rule sets beta2 = {beta2:.7g} at batch size {size}",
                reason=f"beta2 = 2^(-B T / h) with h = {half_life:,.0f} tokens",
                arm=arm_name("half_life", size),
                quantity="beta2",
                low=beta2 - NUMBER_TOLERANCE,
                high=beta2 + NUMBER_TOLERANCE,
            )
        )
    if small < reference_batch_size:
        found.append(_gain(small, window))
        for size in (s for s in sizes[1:] if s < reference_batch_size):
            found.append(_gain_shrinks(small, size))
    found.append(
        Prediction(
            name="small_batch_wins",
            statement=f"with the half-life, batch size {small} is below {large} at equal tokens",
            reason="below the critical batch size more and noisier steps on equal tokens lose nothing",
            worse={arm_name("half_life", large): 1},
            better={arm_name("half_life", small): 1},
        )
    )
    found.append(
        Prediction(
            name="optimizer_gap_grows",
            statement=f"SGD loses more against Adam at batch size {large} than at {small}",
            reason="small steps need no preconditioning as much as large ones (claim C1)",
            worse={arm_name("sgd", large): 1, arm_name("half_life", small): 1},
            better={arm_name("half_life", large): 1, arm_name("sgd", small): 1},
        )
    )
    if memory_micro_batch is not None:
        peak = estimate_memory(
            model,
            optimizer=OptimizerConfig(),
            precision=precision,
            micro_batch_size=memory_micro_batch,
            seq_len=length,
        ).peak
        found.append(
            Range(
                name="peak_memory",
                statement=f"AdamW at micro-batch {memory_micro_batch} peaks at {peak / 2**30:.2f} GiB +- 5 %",
                reason="counted tensors of one and two layers, extrapolated",
                arm="memory",
                quantity="peak_bytes",
                low=peak * (1 - MEMORY_TOLERANCE),
                high=peak * (1 + MEMORY_TOLERANCE),
            )
        )
    if probe is not None:
        found.append(
            Range(
                name="noise_scale_rises",
                statement=f"the noise scale ends above the probe's {probe.noise_scale:.3g} sequences",
                reason="the gradient shrinks as the loss falls while its noise stays",
                arm="noise",
                quantity="noise_scale_last",
                low=probe.noise_scale,
                high=MOST,
            )
        )
    return found


def _gain(size: int, reason: str) -> Prediction:
    return Prediction(
        name=f"gain_at_{size}",
        statement=f"at batch size {size} the fixed half-life reaches a lower loss than the fixed beta2",
        reason=reason,
        worse={arm_name("fixed", size): 1},
        better={arm_name("half_life", size): 1},
    )


def _gain_shrinks(small: int, size: int) -> Prediction:
    return Prediction(
        name=f"gain_shrinks_{small}_to_{size}",
        statement=f"the gain of the half-life rule is smaller at batch size {size} than at {small}",
        reason="towards the reference batch the two rules become the same optimizer",
        worse={arm_name("fixed", small): 1, arm_name("half_life", size): 1},
        better={arm_name("half_life", small): 1, arm_name("fixed", size): 1},
    )


def basis(probe: Probe | None, **facts: Any) -> dict[str, Any]:
    """What predictions rest on, for :func:`bstheory.training.predictions.write_predictions`."""
    measured = None if probe is None else dataclasses.asdict(probe)
    critical = (
        None if probe is None else {"critical_batch_size_estimate": float(np.float64(probe.noise_scale))}
    )
    return {"probe": measured, **facts, **(critical or {})}
