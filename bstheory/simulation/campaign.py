r"""What the simulator says of a batch-size campaign: tuned rates and the gain of the half-life rule.

The stand-in for the language model is a noisy quadratic with curvatures 1/i, noise variances in proportion
to them, and the noise scale tr(Sigma) / |grad F|^2 at the start that a probe of the real model measured. At
every batch size the learning rate of Adam is tuned at equal samples, once with beta2 fixed and once with its
half-life fixed. **Prediction**, not a theorem: a quadratic has neither the curvature nor the noise of a
language model, so what carries over is direction and order of size.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from bstheory.errors import input_error
from bstheory.half_life import half_life_from_beta
from bstheory.problems.noisy_quadratic import noisy_quadratic
from bstheory.simulation.tuning import tuned_adam

DIM = 16
STEPS_AT_REFERENCE = 64
MOST_STEPS = 200_000
RATES = tuple(2.0**k for k in range(-15, 0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SimulatedArm:
    """One batch size, both rules tuned.

    Attributes:
        batch_size: B.
        learning_rate: best under the fixed half-life, on a grid of factors of two.
        gain: tuned loss of the fixed beta2 over that of the fixed half-life, minus 1; 0 at the reference.
        at_edge: a best rate lies at an end of the grid, so the true optimum may lie beyond.
    """

    batch_size: int
    learning_rate: float
    gain: float
    at_edge: bool


def simulate_campaign(
    *,
    batch_sizes: Sequence[int],
    reference_batch_size: int,
    reference_beta2: float,
    noise_scale: float,
    beta1: float = 0.9,
    seeds: int = 32,
    threads: int = 1,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[SimulatedArm]:
    """Tune Adam at every batch size on the stand-in problem.

    Args:
        batch_sizes: in sequences, positive.
        reference_batch_size, reference_beta2: where the two rules coincide.
        noise_scale: in sequences, positive; of the probe.
        beta1: of all arms. seeds: of the simulation. threads: of the simulation.
        progress: called with (done, in all, label).

    Raises:
        InputError: a noise scale that is not positive, or sizes without a common budget of reasonable length.
    """
    if not (noise_scale > 0 and math.isfinite(noise_scale)):
        raise input_error(
            got=f"noise_scale={noise_scale}",
            rule="the stand-in problem needs a positive one",
            do="measure one with the probe",
        )
    sizes = sorted({*batch_sizes, reference_batch_size})
    unit = math.lcm(*sizes)
    samples = unit * max(1, round(STEPS_AT_REFERENCE * reference_batch_size / unit))
    if samples // sizes[0] > MOST_STEPS:
        raise input_error(
            got=f"batch sizes {sizes}",
            rule=f"their common budget of {samples:,} samples takes more than {MOST_STEPS:,} steps",
            do="choose sizes that divide each other",
        )
    curvature = 1.0 / np.arange(1, DIM + 1)
    variance = noise_scale * float(np.sum(curvature**2)) * curvature / float(np.sum(curvature))
    problem = noisy_quadratic(curvature, np.sqrt(variance))
    found = []
    for done, size in enumerate(sizes):
        best = {}
        for rule, anchor in (("half_life", reference_batch_size), ("fixed", size)):
            if rule == "fixed" and size == reference_batch_size:
                best[rule] = best["half_life"]  # the same optimizer
                continue
            (best[rule],) = tuned_adam(
                problem,
                batch_sizes=(size,),
                tokens=samples,
                learning_rates=RATES,
                half_lives=(half_life_from_beta(beta=reference_beta2, tokens_per_step=anchor),),
                beta1=beta1,
                seeds=seeds,
                threads=threads,
            )
        ends = {RATES[0], RATES[-1]}
        found.append(
            SimulatedArm(
                batch_size=size,
                learning_rate=best["half_life"].learning_rate,
                gain=best["fixed"].loss / best["half_life"].loss - 1,
                at_edge=bool(ends & {one.learning_rate for one in best.values()}),
            )
        )
        if progress:
            progress(done + 1, len(sizes), f"simulated batch size {size}")
    return found
