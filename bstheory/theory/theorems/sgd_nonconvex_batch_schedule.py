"""SGD on a smooth nonconvex function under any predictable batch and learning-rate schedule.

Algorithm: x_{k+1} = x_k - eta_k g_k, k = 0, ..., K-1, with b_k samples in g_k.

**Upper** bound. With Delta = F(x_0) - F_* and eta_k <= eta_max < 2/L,

    E sum_k eta_k |grad F(x_k)|^2
        <= 2 Delta/(2 - L eta_max) + L sigma^2/(2 - L eta_max) E sum_k eta_k^2/b_k.

Schedules may be adaptive (both sums then stay inside the expectation). For a schedule fixed in advance,
dividing by sum_k eta_k gives the weighted mean of the squared gradient norm, the part ``weighted_mean``.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from bstheory.errors import input_error
from bstheory.references import INCREASING_BATCH
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.sgd_lemmas import (
    BOUNDED_BELOW,
    PREDICTABLE_RATE,
    SMOOTH,
    UNBIASED,
    UPDATE,
    VARIANCE,
    declare_sgd,
    nonnegative_parameter,
    per_step,
    produced,
    second_moment,
    sum_descent,
)

SLUG = "sgd_nonconvex_batch_schedule"
STEP_SIZE = Assumption(name="step_size", statement="eta_k <= eta_max < 2/L", constants=("L",))


def derive() -> Derivation:
    """Descent lemma, bias and variance, step-size condition, telescope."""
    d = Derivation(SLUG, "SGD, nonconvex, any predictable batch schedule")
    symbols = declare_sgd(d, rate="predictable")
    variance = second_moment(d, symbols)
    eta, L = symbols.eta, symbols.L
    b = d.symbol("b", sign="positive", depends=("step",), latex="b_k", meaning="samples of step k")
    sigma_sq = d.symbol(
        "sigma_sq", sign="nonnegative", latex=r"\sigma^2", meaning="gradient variance of one sample"
    )
    eta_max = d.symbol("eta_max", sign="positive", latex=r"\eta_{\max}", meaning="largest learning rate")
    room = d.symbol("room", sign="positive", latex=r"2-L\eta_{\max}", meaning="2 - L eta_max")
    d.assume("variance", sigma_sq / b - variance, assumption="variance", why="at most sigma^2/b")
    d.assume("largest", eta_max - eta, assumption="step_size", why="eta_k <= eta_max")
    d.assume("room", room - 2 + L * eta_max, relation="==", assumption="step_size", why="eta_max < 2/L")
    d.combine(
        "second_moment_bound",
        gap=symbols.square + sigma_sq / b - symbols.norm_mean,
        uses={"second_moment": -1, "variance": 1},
        why="E|g|^2 = |G|^2 + variance",
    )
    T_square, T_own, T_noise = sum_descent(d, symbols, "second_moment_bound", [symbols.square, sigma_sq / b])
    noise = d.define(
        "noise", "steps", eta**2 / b, sign="nonnegative", latex=r"E\sum_{k<K}\frac{\eta_k^2}{b_k}"
    )
    d.combine(
        "curvature_room",
        gap=eta * symbols.square * eta_max - eta**2 * symbols.square,
        uses={"largest": eta * symbols.square},
        why="eta^2 <= eta_max eta",
    )
    d.apply(
        "curvature_total", "steps", "curvature_room", {T_square: eta_max, T_own: -1}, why="sum over steps"
    )
    d.combine("nothing", gap=0, relation="==", why="zero")
    d.apply("noise_total", "steps", "nothing", {noise: sigma_sq, T_noise: -1}, why="sigma^2 is a constant")
    d.combine(
        "assembled",
        gap=symbols.F_start - symbols.F_star + L * sigma_sq * noise / 2 - room * T_square / 2,
        uses={
            "total": 1,
            "curvature_total": L / 2,
            "noise_total": L / 2,
            "room": -T_square / 2,
        },
        why="eta (1 - L eta/2) >= eta (2 - L eta_max)/2",
    )
    d.conclude("assembled", T_square, why="divide by (2 - L eta_max)/2")
    return d


@functools.cache
def right_hand_side() -> Any:
    """The produced right-hand side as a function of L, sigma_sq, room, noise and Delta."""
    return produced(derive(), "L sigma_sq room noise Delta")


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """Right-hand side, beside sum_k eta_k times 2 L Delta, the most that the start point alone allows."""
    if batch_size is None:
        raise input_error(
            got="no schedule", rule=f"{SLUG} needs the samples of every step", do="pass schedule=[b_0, ...]"
        )
    L, sigma_sq, delta = (np.asarray(constants[name], dtype=float) for name in ("L", "sigma_sq", "Delta"))
    eta = per_step(constants["eta"], len(batch_size), "eta")
    largest = eta.max(axis=-1)
    room = 2 - L * largest
    if np.any(room <= 0):
        raise input_error(
            got=f"eta_max={np.max(largest)} with L={np.max(L)}",
            rule="assumption step_size: every learning rate lies below 2/L",
            do=f"choose eta below {2 / np.max(L):.6g}",
        )
    noise = (eta**2 / batch_size).sum(axis=-1)
    weight = eta.sum(axis=-1)
    total = right_hand_side()(L, sigma_sq, room, noise, delta)
    trivial = weight * 2 * L * delta
    return Evaluation(
        value=np.asarray(total)[()],
        trivial_value=np.asarray(trivial)[()],
        parts={
            "weight": weight[()],
            "weighted_mean": np.asarray(total / weight)[()],
            "trivial_weighted_mean": np.asarray(2 * L * delta + 0 * weight)[()],
            "noise_sum": noise[()],
        },
    )


BOUND = Bound(
    slug=SLUG,
    title="SGD on a smooth nonconvex function under any predictable batch schedule",
    algorithm="SGD, x_{k+1} = x_k - eta_k g_k with b_k samples in g_k",
    quantity="weighted_sq_gradient",
    quantity_latex=r"\mathbb E\sum_{k<K}\eta_k\|\nabla F(x_k)\|^2",
    statement_latex=r"\mathbb E\sum_{k<K}\eta_k\|\nabla F(x_k)\|^2\le\frac{2\Delta}{2-L\eta_{\max}}"
    r"+\frac{L\sigma^2}{2-L\eta_{\max}}\,\mathbb E\sum_{k<K}\frac{\eta_k^2}{b_k}",
    kind="upper",
    assumptions=(SMOOTH, BOUNDED_BELOW, UPDATE, UNBIASED, VARIANCE, PREDICTABLE_RATE, STEP_SIZE),
    parameters=(
        Parameter(name="eta", meaning="learning rate, one number or one per step", unit="param^2/loss"),
        Parameter(name="L", meaning="smoothness", unit="loss/param^2"),
        nonnegative_parameter("sigma_sq", "gradient variance of one sample", "grad^2*samples"),
        nonnegative_parameter("Delta", "F(x_0) - F_*", "loss"),
    ),
    derive=derive,
    value=value,
    references=(INCREASING_BATCH,),
    notes=(
        "A constant learning rate and batch size leave a floor proportional to eta L sigma^2/b.",
        "The trivial value is sum eta_k times 2 L Delta, the largest squared gradient norm at the start.",
    ),
)
