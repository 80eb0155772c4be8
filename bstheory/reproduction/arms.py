"""The tiny-LM arms that the claims share: one budget, one grid size and one set of seeds for all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from bstheory.half_life import half_life_from_beta
from bstheory.reproduction.claim import Outcomes
from bstheory.reproduction.statistics import leave_one_out
from bstheory.training.stacked import Recipe

CONTEXT = 32
ROWS = 3072  # 98,304 tokens a run
BATCH_SIZES = (1, 4, 16, 64)
SEEDS = (0, 1, 2, 3)
FACTORS = tuple(2.0**k for k in range(-3, 4))  # seven learning rates around each centre
ANCHOR_BATCH_SIZE, ANCHOR_BETA2 = 16, 0.95
HALF_LIFE = half_life_from_beta(beta=ANCHOR_BETA2, tokens_per_step=ANCHOR_BATCH_SIZE * CONTEXT)

# Centre of the learning-rate grid at batch size 1; at B it is this times sqrt(B). The centre only places the
# grid: which value is best is measured, and an optimum on the edge is reported as such.
CENTRES = {
    "sgd": 0.4,
    "sgd_momentum": 0.04,
    "sgd_clip": 0.4,
    "sgd_half_momentum": 0.2,
    "sgd_momentum_clip": 0.04,
    "signum": 0.002,
    "adam": 0.008,
    "adam_fixed": 0.008,
    "adafactor": 0.03,
    "adafactor_power": 0.03,
    "muon": 0.03,
}
OPTIMIZERS = {
    "sgd": {"optimizer": "sgd", "beta1": 0.0},
    "sgd_momentum": {"optimizer": "sgd", "beta1": 0.9},
    "sgd_clip": {"optimizer": "sgd", "beta1": 0.0, "clip": 1.0},
    "sgd_half_momentum": {"optimizer": "sgd", "beta1": 0.5},
    "sgd_momentum_clip": {"optimizer": "sgd", "beta1": 0.9, "clip": 1.0},
    "signum": {"optimizer": "signum", "beta1": 0.9},
    "adam": {"optimizer": "adam", "half_life": HALF_LIFE},
    "adam_fixed": {"optimizer": "adam", "beta2": ANCHOR_BETA2},
    "adafactor": {"optimizer": "adafactor", "half_life": HALF_LIFE},
    "adafactor_power": {"optimizer": "adafactor", "exponent": 0.9999},
    "muon": {"optimizer": "muon", "half_life": HALF_LIFE},
}


def centre(name: str, batch_size: int) -> float:
    """Centre of the learning-rate grid of an arm."""
    return CENTRES[name] * batch_size**0.5


def constant(batch_size: int) -> tuple[tuple[int, int], ...]:
    """A constant batch size over the whole budget."""
    return ((batch_size, ROWS // batch_size),)


def grid(
    name: str,
    batch_size: int,
    *,
    factors: Sequence[float] = FACTORS,
    seeds: Sequence[int] = SEEDS,
    **more: object,
) -> list[Recipe]:
    """Every learning rate and seed of an arm at one batch size; ``more`` overrides recipe fields."""
    fields = {"batch_sizes": constant(batch_size), **OPTIMIZERS[name], **more}
    return [
        Recipe(learning_rate=centre(name, batch_size) * f, seed=s, **fields)  # type: ignore[arg-type]
        for f in factors
        for s in seeds
    ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuned:
    """An arm after tuning: loss per seed at the rate chosen by the other seeds, and the grid's shape.

    Attributes:
        losses: [seeds].
        rates: chosen rate per seed.
        on_edge: whether a chosen rate is the smallest or largest tried.
        table: [rates, seeds], all final validation losses.
        grid_rates: the rates tried.
    """

    losses: np.ndarray
    rates: np.ndarray
    on_edge: bool
    table: np.ndarray
    grid_rates: np.ndarray

    def excess(self) -> np.ndarray:
        """Mean over the grid of the loss above the smallest, per seed: small means flat.

        A diverged run counts as the loss of the uniform guess, so that one infinity does not hide the rest.
        """
        capped = np.minimum(self.table, np.log(256.0))
        return capped.mean(axis=0) - capped.min(axis=0)

    def optimal_rates(self) -> np.ndarray:
        """Vertex of the parabola through the three points around the minimum, per seed, on a log scale.

        On an edge the edge itself.
        """
        return np.array([self._vertex(column) for column in np.minimum(self.table, np.log(256.0)).T])

    def optimal_rate_of_mean(self) -> float:
        """The vertex for the mean curve over the seeds, which noise hardly pulls to the grid's middle."""
        return self._vertex(np.minimum(self.table, np.log(256.0)).mean(axis=1))

    def _vertex(self, losses: np.ndarray) -> float:
        logs = np.log(self.grid_rates)
        i = int(np.argmin(losses))
        shift = 0.0
        if 0 < i < len(losses) - 1:
            a, b, c = losses[i - 1 : i + 2]
            curve = a - 2 * b + c
            shift = 0.5 * (a - c) / curve if curve > 0 else 0.0
        return float(np.exp(logs[i] + shift * (logs[1] - logs[0])))


def tuned(outcomes: Outcomes, recipes: Sequence[Recipe]) -> Tuned:
    """Summarise a grid of recipes that differ in learning rate and seed only."""
    rates = sorted({r.learning_rate for r in recipes})
    seeds = sorted({r.seed for r in recipes})
    loss = {(r.learning_rate, r.seed): outcomes[r].validation_loss[-1] for r in recipes}
    table = np.array([[loss[rate, seed] for seed in seeds] for rate in rates])
    losses, chosen = leave_one_out(dict(zip(rates, table, strict=True)))
    return Tuned(
        losses=np.array(losses),
        rates=np.array(chosen),
        on_edge=bool({rates[0], rates[-1]} & set(chosen)),
        table=table,
        grid_rates=np.array(rates),
    )
