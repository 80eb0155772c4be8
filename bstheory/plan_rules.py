"""What each transfer rule proposes for one batch size, and the largest batches that theorems admit."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from bstheory.half_life import one_minus_beta, transfer_beta
from bstheory.schedules.curves import lr_factor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Value:
    """One rule's proposal for one setting."""

    setting: str
    rule: str
    value: float
    preserves: str
    changes: str
    slug: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """Everything about one batch size of the plan; ``first_token`` is where the schedule reaches it first."""

    batch_size: int
    tokens_per_step: int
    first_token: int
    beta2: float
    values: tuple[Value, ...]


def norm_test_max_batch(*, beta1: float, half_life: float, eta: float, share: float = 0.125) -> float:
    """Largest batch (unit of ``half_life``) for which s (1 - sqrt beta2) / (1 - beta1^2/beta2) <= share.

    s = 1 + eta^2 and beta2 = 2^(-b / half_life). With y = sqrt(beta2) the left side is s (1-y) y^2 / (y^2 -
    beta1^2), which decreases in y on (beta1, 1): b_max = 2 half_life log2(1 / y*). ``share`` 1/8 is the
    theorem's convenient condition (C), 1 its limit of feasibility.

    Reference: docs/theorems, ``adam_norm_test``.
    """
    s = 1 + eta**2

    def holds(y: float) -> bool:
        return s * (1 - y) * y * y <= share * (y * y - beta1 * beta1)

    low, high = beta1, 1.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return -2 * half_life * math.log2(high) if high > 0 else math.inf


def target(
    size: int, first_token: int, ref: dict[str, Any], half2: float, noise_scale: float | None
) -> Target:
    sizes = {"from_batch_size": ref["batch_size"], "to_batch_size": size}
    lengths = {"from_seq_len": ref["seq_len"], "to_seq_len": ref["to_seq_len"]}
    tokens0, tokens1 = ref["batch_size"] * ref["seq_len"], size * ref["to_seq_len"]
    ratio = tokens1 / tokens0
    values: list[Value] = []

    def add(setting: str, rule: str, value: float, preserves: str, changes: str, slug: str = "") -> None:
        values.append(
            Value(setting=setting, rule=rule, value=value, preserves=preserves, changes=changes, slug=slug)
        )

    beta2 = transfer_beta(beta=ref["beta2"], **sizes, **lengths)
    add(
        "beta2",
        "half_life",
        beta2,
        "averaging kernel in tokens, bias correction, log-sum residual of the bound (exact)",
        "CV of v where noise dominates",
        "half_life_transfer",
    )
    add(
        "beta2",
        "fixed",
        ref["beta2"],
        "CV of v where noise dominates",
        f"half-life becomes {half2 * ratio:.4g} tokens",
        "cv2_law",
    )
    first_order = 1 - ratio * (1 - ref["beta2"])
    if first_order >= 0:
        add(
            "beta2",
            "sde",
            first_order,
            "the half-life, to first order in 1 - beta2",
            f"misses the half-life by {abs(first_order - beta2):.2g} in beta2",
            "scaling_rule_relations",
        )
    moved1 = transfer_beta(beta=ref["beta1"], **sizes, **lengths)
    add("beta1", "fixed", ref["beta1"], "momentum in steps", "its half-life in tokens", "")
    add("beta1", "half_life", moved1, "momentum kernel in tokens, variance of m", "", "momentum_variance")
    if ref["eps"] > 0:
        add("eps", "fixed", ref["eps"], "eps in units of the gradient", "its size relative to sqrt(v)", "")
        add(
            "eps",
            "sde",
            ref["eps"] / math.sqrt(ratio),
            "its size relative to sqrt(v) where noise dominates",
            "",
            "scaling_rule_relations",
        )
    if ref["learning_rate"] is not None:
        _add_rates(add, size, ref, half2, noise_scale, ratio)
    if ref["warmup_steps"] is not None:
        add("warmup_steps", "tokens", ref["warmup_steps"] / ratio, "warmup in tokens", "warmup in steps")
        add("warmup_steps", "steps", ref["warmup_steps"], "warmup in steps", "warmup in tokens")
    return Target(
        batch_size=size,
        tokens_per_step=tokens1,
        first_token=first_token,
        beta2=beta2,
        values=tuple(values),
    )


def _add_rates(
    add: Any, size: int, ref: dict[str, Any], half2: float, noise_scale: float | None, ratio: float
) -> None:
    lr = ref["learning_rate"]
    weight0 = one_minus_beta(half_life=half2, tokens_per_step=ref["batch_size"] * ref["seq_len"])
    weight1 = one_minus_beta(half_life=half2, tokens_per_step=size * ref["to_seq_len"])
    rates = {
        "fixed": (lr, "the step of a coordinate", "progress per token", ""),
        "sqrt": (
            lr * math.sqrt(ratio),
            "the noise of the update per token, where noise dominates (SDE limit)",
            "the drift per token",
            "scaling_rule_relations",
        ),
        "linear": (lr * ratio, "the drift per token (SGD)", "the noise per token of Adam", ""),
        "bound": (
            lr * math.sqrt(weight1 / weight0),
            "the constants of the bound: eta = alpha sqrt(1 - beta2)",
            "nothing is said about an actual loss",
            "adam_token_half_life",
        ),
    }
    if noise_scale is not None:
        for rule, what in (
            ("adascale", "the progress of one SGD step"),
            ("surge", "the optimal rate of sign-like updates"),
        ):
            # In tokens, as every other rule: the noise scale counts sequences of the reference run.
            before, noise = float(ref["batch_size"] * ref["seq_len"]), noise_scale * ref["seq_len"]
            factor = float(lr_factor(before * ratio, before, rule, noise))
            rates[rule] = (lr * factor, what, f"holds at noise scale {noise_scale:g} only", "")
    decay = lr * ref["weight_decay"]
    for rule, (value, preserves, changes, slug) in rates.items():
        add("learning_rate", rule, value, preserves, changes, slug)
        if ref["weight_decay"] > 0:
            add(
                "weight_decay",
                f"timescale at lr {rule}",
                -math.expm1(ratio * math.log1p(-decay)) / value,
                "the decay of a weight per token (exact)",
                "lambda itself",
                "scaling_rule_relations",
            )
    if ref["weight_decay"] > 0:
        add("weight_decay", "fixed", ref["weight_decay"], "lambda itself", "the decay per token", "")
