"""The arms of every piece of the campaign, as complete training configurations, at three scales.

``gpu`` is GPT-2 124M on one GPU; ``short`` is what of it fits a quarter of an hour; ``tiny`` is the same
campaign with a byte-level model on a CPU, used to test the scripts. Learning rates at batch size 1 and 512
are those that arXiv:2507.07101 chose for GPT-2 (its section 4: AdamW 4.8e-3 at 512; Adam at 1: 1.5e-4 with
beta2 = .95, 2.4e-3 with the fixed half-life; SGD .2; Adafactor 5e-3), geometrically interpolated between;
they were tuned there for 2.5B tokens, not here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from bstheory.half_life import half_life_from_beta
from bstheory.models.configs import GPTConfig, model_config
from bstheory.schedules import Schedule, parse
from bstheory.schedules.rules import Rule, ddp_norm
from bstheory.training.config import TrainConfig, batch_size_schedule, warmup_cosine
from bstheory.training.optimizers import OptimizerConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale:
    """Model, budget and batch sizes of a campaign.

    Attributes:
        model: the decoder.
        tokens: budget of every arm.
        batch_sizes: ascending, in sequences.
        micro_batch_size: largest forward pass.
        precision, compile: as in TrainConfig.
        ramp: first and last batch size of the schedules.
        eval_rows: rows of the validation set.
        reference: batch size where fixed beta2 and fixed half-life coincide.
        checkpoints: how many over an arm, besides those of interruptions; each takes seconds.
    """

    model: GPTConfig
    tokens: int
    batch_sizes: tuple[int, ...]
    micro_batch_size: int
    precision: str
    compile: bool
    ramp: tuple[int, int]
    eval_rows: int
    reference: int
    checkpoints: int = 8

    @property
    def half_life(self) -> float:
        """Tokens: that of beta2 = 0.95 at the reference."""
        return half_life_from_beta(beta=0.95, tokens_per_step=self.reference * self.model.context)


SCALES: dict[str, Callable[[], Scale]] = {
    "gpu": lambda: Scale(
        model=model_config("gpt2_124m"),
        tokens=96 * 512 * 1024,  # 50.3M: one epoch of the offline books
        batch_sizes=(1, 4, 16, 64, 512),
        micro_batch_size=64,
        precision="bfloat16_autocast",
        compile=True,
        ramp=(16, 512),
        eval_rows=512,
        reference=512,
    ),
    "short": lambda: Scale(
        model=model_config("gpt2_124m"),
        tokens=16 * 512 * 1024,  # 8.4M: a quarter of an hour for the two smallest batch sizes
        batch_sizes=(1, 16),
        micro_batch_size=64,
        precision="bfloat16_autocast",
        compile=True,
        ramp=(16, 64),
        eval_rows=256,
        reference=512,
        checkpoints=2,
    ),
    "tiny": lambda: Scale(
        model=model_config("tiny_study"),
        tokens=8 * 32 * 32,
        batch_sizes=(1, 4, 32),
        micro_batch_size=16,
        precision="float32",
        compile=False,
        ramp=(4, 32),
        eval_rows=16,
        reference=32,
    ),
}

# learning rate at the smallest and at the reference batch; see the module
RATES = {
    "fixed": (1.5e-4, 4.8e-3),
    "half_life": (2.4e-3, 4.8e-3),
    "sgd": (0.2, 0.2),
    "adafactor": (5e-3, 5e-3),
    "adafactor_power": (5e-3, 5e-3),
    "signum": (1e-4, 1e-3),
    "muon": (5e-3, 2e-2),
}


def rate(kind: str, batch_size: int, scale: Scale) -> float:
    """Geometric interpolation in the batch size."""
    low, high = RATES[kind]
    position = math.log(batch_size) / math.log(scale.reference)
    return low * (high / low) ** position


def optimizer(kind: str, scale: Scale) -> OptimizerConfig:
    """The optimizer of a kind of arm."""
    half_life = {"beta2_half_life": scale.half_life}
    return {
        "fixed": OptimizerConfig(beta2=0.95),
        "half_life": OptimizerConfig(**half_life),
        "sgd": OptimizerConfig(name="sgd", beta1=0.0),
        "adafactor": OptimizerConfig(name="adafactor", **half_life),
        "adafactor_power": OptimizerConfig(name="adafactor", adafactor_exponent=0.9999),
        "signum": OptimizerConfig(name="signum", beta1=0.9),
        "muon": OptimizerConfig(name="muon", beta1=0.95, **half_life),
    }[kind]


def arm(
    name: str,
    scale: Scale,
    seed: int,
    *,
    kind: str,
    batch_size: Schedule | Rule,
    learning_rate: Schedule,
    statistics: bool = False,
    micro_batch_size: int | None = None,
    log_every_steps: int = 1,
) -> TrainConfig:
    """A complete configuration."""
    return TrainConfig(
        name=name,
        model=scale.model,
        tokens=scale.tokens,
        batch_size=batch_size,
        learning_rate=learning_rate,
        optimizer=optimizer(kind, scale),
        seed=seed,
        micro_batch_size=micro_batch_size,
        max_micro_batch_size=None if micro_batch_size else scale.micro_batch_size,
        last_batch="partial",
        precision=scale.precision,
        compile=scale.compile,
        grad_clip=None if kind == "sgd" else 1.0,
        statistics=statistics,
        eval_every_tokens=scale.tokens // 8,
        eval_rows=scale.eval_rows,
        checkpoint_every_tokens=scale.tokens // scale.checkpoints,
        log_every_steps=log_every_steps,
    )


def constant(kind: str, batch_size: int, scale: Scale, seed: int) -> TrainConfig:
    """A constant batch size, 5 % warm-up in tokens, cosine to zero."""
    return arm(
        f"{kind}_{batch_size}",
        scale,
        seed,
        kind=kind,
        batch_size=batch_size_schedule(batch_size),
        learning_rate=warmup_cosine(
            peak=rate(kind, batch_size, scale), tokens=scale.tokens, warmup=scale.tokens // 20
        ),
        log_every_steps=max(1, scale.reference // batch_size // 4),
    )


def half_life_arms(scale: Scale, seed: int) -> list[TrainConfig]:
    """(b) beta2 = 0.95 against the fixed half-life at every batch size; one arm at the reference."""
    found = []
    for size in scale.batch_sizes:
        found.append(constant("half_life", size, scale, seed))
        if size != scale.reference:
            found.append(constant("fixed", size, scale, seed))
    return found


def optimizer_arms(scale: Scale, seed: int) -> list[TrainConfig]:
    """(c) optimizers at the smallest and the largest batch."""
    kinds = ("sgd", "adafactor", "adafactor_power", "signum", "muon")
    sizes = (scale.batch_sizes[0], scale.reference)
    return [constant(kind, size, scale, seed) for kind in kinds for size in sizes]


def schedule_arms(scale: Scale, seed: int) -> list[TrainConfig]:
    """(d) adaptive batch rules and stages against constants at equal tokens, with both warm-up indices.

    One learning rate for all, as in arXiv:2412.21124. ``…_steps`` arms warm up over a number of
    steps instead of tokens: the confound that a larger batch has fewer warm-up steps.
    """
    first, last = scale.ramp
    tokens, length = scale.tokens, scale.model.context
    by_tokens = warmup_cosine(peak=2.4e-3, tokens=tokens, warmup=tokens // 100)
    unit = first * length
    # 2.5 % and 2.5 % of the tokens at smaller batches, then 95 % at the last, as in the paper's stages
    one, two = (tokens // part // unit * unit for part in (40, 20))
    stages = parse(f"0:{first} {one}:{(first + last) // 2 // first * first} {two}:{last}", unit="tokens")
    micro = max(1, first // 4)
    policy = {"initial": first, "maximum": last, "multiple": first, "growth_cap": 2.0}
    rules: dict[str, Schedule | Rule] = {
        "constant_first": batch_size_schedule(first),
        "constant_last": batch_size_schedule(last),
        "stages": stages,
        "published": ddp_norm(eta=0.2, scaling="published", **policy),
        "unbiased": ddp_norm(eta=1.0, scaling="unbiased", smoothing=0.9, signal_floor=0.01, **policy),
    }
    found = []
    for name, batch_size in rules.items():
        adaptive = isinstance(batch_size, Rule)
        for kind in ("fixed", "half_life"):
            found.append(
                arm(
                    f"{name}_{kind}",
                    scale,
                    seed,
                    kind=kind,
                    batch_size=batch_size,
                    learning_rate=by_tokens,
                    statistics=adaptive,
                    micro_batch_size=micro if adaptive else None,
                )
            )
    steps = tokens // (last * length)
    by_steps = warmup_cosine(peak=2.4e-3, tokens=steps, warmup=max(1, steps // 5), unit="steps")
    found.append(
        arm(
            "constant_last_fixed_steps",
            scale,
            seed,
            kind="fixed",
            batch_size=batch_size_schedule(last),
            learning_rate=by_steps,
        )
    )
    return found


def noise_arms(scale: Scale, seed: int) -> list[TrainConfig]:
    """(f) one run with the gradient noise recorded, whose checkpoints branch.py starts from."""
    size = scale.batch_sizes[-2]
    found = constant("half_life", size, scale, seed)
    return [
        dataclasses.replace(
            found,
            name="noise",
            statistics=True,
            micro_batch_size=max(1, size // 4),
            max_micro_batch_size=None,
            keep_checkpoints=8,
        )
    ]


def rate_arms(scale: Scale, seed: int) -> list[TrainConfig]:
    """(g) the half-life arms at both ends of the batch sizes at other learning rates, around those of (b)."""
    found = []
    for size in (scale.batch_sizes[0], scale.reference):
        base = constant("half_life", size, scale, seed)
        for factor in (0.25, 0.5, 2.0, 4.0):
            peak = factor * rate("half_life", size, scale)
            found.append(
                dataclasses.replace(
                    base,
                    name=f"{base.name}_lr{peak:.3g}",
                    learning_rate=warmup_cosine(peak=peak, tokens=scale.tokens, warmup=scale.tokens // 20),
                )
            )
    return found


PIECES: dict[str, Callable[[Scale, int], list[TrainConfig]]] = {
    "half_life": half_life_arms,
    "optimizers": optimizer_arms,
    "schedules": schedule_arms,
    "noise": noise_arms,
    "rates": rate_arms,
}
