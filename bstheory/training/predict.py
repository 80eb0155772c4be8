"""What theory and a short probe say about a campaign before it is run.

A campaign compares, at equal tokens, a fixed beta2 with a fixed half-life in tokens at several batch sizes,
and some other optimizers at the smallest and the largest. Arms are named ``fixed_B``, ``half_life_B``,
``sgd_B`` ... by :func:`arm_name`, so that predictions and runs meet by name.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from bstheory.errors import input_error
from bstheory.half_life import beta_from_half_life, half_life_from_beta
from bstheory.models.configs import GPTConfig
from bstheory.training.memory import estimate_memory
from bstheory.training.optimizers import OptimizerConfig
from bstheory.training.predictions import Prediction, Range, RateRatio, Statement
from bstheory.training.probes import Probe, SpeedProbe

MEMORY_TOLERANCE = 0.05
NUMBER_TOLERANCE = 1e-9  # of beta2, which is arithmetic rather than measurement
MOST = 1e12  # stands for "any" in a range, because JSON has no infinity
# The noise scale is expected to give the critical batch size to an order of magnitude (McCandlish et al.
# 2018, arXiv:1812.06162, section 4), so the window is a factor of ten wide.
CRITICAL_FACTOR = math.sqrt(10.0)
# A simulated best rate is known to a factor of two (its grid), so a ratio of two of them to as much each way.
SIMULATION_FACTOR = 2.0
FAR_BELOW = 64  # SGD is predicted to beat Adam at a fixed beta2 where the batch is this far below the anchor


def arm_name(kind: str, batch_size: int) -> str:
    """``kind_B``."""
    return f"{kind}_{batch_size}"


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
    speed: SpeedProbe | None = None,
    simulated_rates: Mapping[int, float] | None = None,
) -> list[Statement]:
    """Contrasts, ranges and rate ratios for the arms of a campaign.

    Args:
        model: the decoder.
        batch_sizes: in sequences, at least two.
        reference_batch_size: where fixed beta2 and fixed half-life coincide; the largest batch is usual.
        reference_beta2: beta2 there.
        seq_len: tokens per sequence; default the context.
        precision: of the training runs.
        memory_micro_batch: predict the peak memory of AdamW at this micro-batch (judged on CUDA runs only).
        probe: adds where the noise scale starts from and the critical batch size.
        speed: adds tokens per second of ``bstheory throughput --out`` on the same device.
        simulated_rates: batch size -> best learning rate in the simulator; adds their ratio.

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
    found: list[Statement] = []
    for size in sizes:
        beta2 = beta_from_half_life(half_life=half_life, tokens_per_step=size * length)
        found.append(
            Range(
                name=f"beta2_at_{size}",
                statement=f"the half-life rule sets beta2 = {beta2:.10g} at batch size {size}",
                reason=f"beta2 = 2^(-B T / h) with h = {half_life:,.0f} tokens",
                arm=arm_name("half_life", size),
                quantity="beta2",
                low=beta2 - NUMBER_TOLERANCE,
                high=beta2 + NUMBER_TOLERANCE,
            )
        )
    below = [size for size in sizes if size < reference_batch_size]
    found += [_gain(size, window) for size in below]
    found += [_gain_shrinks(small, size) for size in below[1:]]
    found += _order(small, large, reference_batch_size)
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
                quantity=f"peak_bytes_adamw_{precision}_{memory_micro_batch}",
                low=peak * (1 - MEMORY_TOLERANCE),
                high=peak * (1 + MEMORY_TOLERANCE),
            )
        )
    found += _noise_and_critical_batch(probe)
    found += _rates(small, large, simulated_rates or {})
    if speed is not None:
        found += _speed(speed, sizes)
    return found


def _order(small: int, large: int, reference: int) -> list[Prediction]:
    """The order of optimizers at both ends (claims C1 and C7)."""
    found = [
        Prediction(
            name=f"adam_beats_sgd_at_{size}",
            statement=f"at batch size {size} Adam with the half-life reaches a lower loss than SGD",
            reason="C7 finds SGD slightly worse at batch size 1; C1 finds the gap larger at large batches",
            worse={arm_name("sgd", size): 1},
            better={arm_name("half_life", size): 1},
        )
        for size in (small, large)
    ]
    if small * FAR_BELOW <= reference:
        found.append(
            Prediction(
                name=f"sgd_beats_fixed_at_{small}",
                statement=f"at batch size {small} even SGD reaches a lower loss than Adam at the fixed beta2",
                reason="C7: far below the batch that beta2 was chosen for, its noise costs more than SGD",
                worse={arm_name("fixed", small): 1},
                better={arm_name("sgd", small): 1},
            )
        )
    return found


def _noise_and_critical_batch(probe: Probe | None) -> list[Range]:
    """The trajectory of the noise scale, and the critical batch size that it estimates."""
    found = [
        Range(
            name="noise_scale_rises",
            statement="the noise scale is larger in the last third of training than in the first",
            reason="the gradient shrinks as the loss falls while its noise stays",
            arm="noise",
            quantity="noise_scale_growth",
            low=1.0,
            high=MOST,
        )
    ]
    if probe is None or probe.noise_scale is None:
        return found
    scale = probe.noise_scale
    found.append(
        Range(
            name="noise_scale_above_probe",
            statement=f"the noise scale ends above the probe's {scale:.3g} sequences",
            reason="the probe is earlier in training than the last third of a run",
            arm="noise",
            quantity="noise_scale_last",
            low=scale,
            high=MOST,
        )
    )
    low, high = scale / CRITICAL_FACTOR, scale * CRITICAL_FACTOR
    found.append(
        Range(
            name="critical_batch_size",
            statement=f"branching first finds a critical batch size of {low:.3g} to {high:.3g} sequences",
            reason="the noise scale estimates it to an order of magnitude",
            arm="critical",
            quantity="critical_batch_size_first",
            low=low,
            high=high,
        )
    )
    return found


def _rates(small: int, large: int, simulated: Mapping[int, float]) -> list[RateRatio]:
    """How the best learning rate moves from the smallest to the largest batch: rules that disagree."""
    root = math.sqrt(large / small)
    arms = {"lower": arm_name("half_life", small), "upper": arm_name("half_life", large)}
    found = [
        RateRatio(
            name="lr_ratio_below_square_root",
            statement=f"from batch size {small} to {large} the best rate grows, by less than {root:.4g}",
            reason="the square root keeps the noise per token where noise dominates; C4 finds less",
            **arms,
            low=1.0,
            high=root,
        )
    ]
    if small in simulated and large in simulated:
        ratio = simulated[large] / simulated[small]
        found.append(
            RateRatio(
                name="lr_ratio_simulated",
                statement=f"from batch size {small} to {large} the best rate grows by about {ratio:.4g}",
                reason="Adam tuned on a noisy quadratic with the probe's noise scale, to a factor of two",
                **arms,
                low=ratio / SIMULATION_FACTOR,
                high=ratio * SIMULATION_FACTOR,
            )
        )
    return found


def _speed(speed: SpeedProbe, sizes: Sequence[int]) -> list[Range]:
    """Tokens per second at the batch sizes between the measured ones and at them, and the knee."""
    inside = [size for size in sizes if size <= max(speed.measured)]
    found = []
    for size in inside:
        rate = speed.tokens_per_second(size)
        found.append(
            Range(
                name=f"tokens_per_second_at_{size}",
                statement=f"at batch size {size} {speed.device} trains {rate:,.0f} tokens/s "
                f"+- {100 * speed.tolerance:.0f} %",
                reason=f"{1000 * speed.overhead:.3g} ms a step and {1000 * speed.per_sequence:.3g} ms a "
                "sequence, fitted to the probe",
                arm=speed.arm,
                quantity=f"tokens_per_second_{size}",
                low=rate * (1 - speed.tolerance),
                high=rate * (1 + speed.tolerance),
                device=speed.device,
            )
        )
    near = speed.smallest_near_peak(inside)
    place = inside.index(near)
    low, high = inside[max(0, place - 1)], inside[min(len(inside) - 1, place + 1)]
    found.append(
        Range(
            name="smallest_batch_near_peak",
            statement=f"{near} is the smallest of these batch sizes at 95 % of the peak, or a neighbor of it",
            reason="the same fit",
            arm=speed.arm,
            quantity="smallest_near_peak",
            low=float(low),
            high=float(high),
            device=speed.device,
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


def basis(
    probe: Probe | None, *, speed: SpeedProbe | None = None, simulated: Any = None, **facts: Any
) -> dict[str, Any]:
    """What predictions rest on, for :func:`bstheory.training.predictions.write_predictions`."""
    timing = None
    if speed is not None:
        timing = dataclasses.asdict(speed) | {"measured": {str(b): t for b, t in speed.measured.items()}}
    return {
        "probe": None if probe is None else dataclasses.asdict(probe),
        "speed": timing,
        "simulated": simulated,
        **facts,
        "critical_batch_size_estimate": None if probe is None else probe.noise_scale,
    }
