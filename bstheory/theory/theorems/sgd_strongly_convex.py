"""SGD on a smooth strongly convex function under any fixed batch and learning-rate schedule.

Algorithm: x_{k+1} = x_k - eta_k g_k with b_k samples in g_k. Hypotheses on the gradient, G = grad F(x_k):

    <G, E_k g_k> >= mu_a |G|^2,    E_k |g_k|^2 <= sigma^2/b_k + M_G |G|^2,    M_G >= mu_a^2,

which an unbiased gradient of variance at most sigma^2/b_k satisfies with mu_a = M_G = 1. Learning rates
eta_k <= mu_a/(L M_G); F is mu-strongly convex, mu <= L.

**Upper** bounds on E[F(x_k) - F_*], Delta = F(x_0) - F_*. Part ``any_schedule``:

    u_k, where u_0 = Delta and u_{j+1} = (1 - eta_j mu mu_a) u_j + eta_j^2 L sigma^2/(2 b_j).

Part ``constant`` (eta and b constant), with floor = eta L sigma^2/(2 mu mu_a b):

    floor + (1 - eta mu mu_a)^k (Delta - floor).

Part ``geometric`` (eta constant, sigma^2/b_j <= M zeta^j):

    omega rho^k,   omega = max(eta L M/(mu mu_a), Delta),   rho = max(1 - eta mu mu_a/2, zeta).
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import sympy as sp

from bstheory.errors import input_error
from bstheory.references import BOTTOU_CURTIS_NOCEDAL
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_expectation import fixed
from bstheory.theory.sgd_lemmas import (
    BOUNDED_BELOW,
    FIXED_RATE,
    SMOOTH,
    UPDATE,
    declare_sgd,
    expect_descent,
    nonnegative_parameter,
    per_step,
    produced,
)

SLUG = "sgd_strongly_convex"
STRONGLY_CONVEX = Assumption(
    name="strongly_convex",
    statement="F(y) >= F(x) + <grad F(x), y - x> + (mu/2)|y - x|^2, minimiser x_*, mu <= L",
    constants=("mu", "L"),
)
GRADIENT = Assumption(
    name="unbiased",
    statement="<G, E_k g_k> >= mu_a |G|^2 with G = grad F(x_k); an unbiased gradient has mu_a = 1",
)
SECOND_MOMENT = Assumption(
    name="variance",
    statement="E_k |g_k|^2 <= sigma^2/b_k + M_G |G|^2, M_G >= mu_a^2; variance sigma^2/b_k has M_G = 1",
    constants=("sigma_sq",),
)
STEP_SIZE = Assumption(name="step_size", statement="eta_k <= mu_a/(L M_G)", constants=("L",))


def derive() -> dict[str, Derivation]:
    """Three parts on the same one-step recursion."""
    return {"any_schedule": any_schedule(), "constant": constant(), "geometric": geometric()}


def one_step(title: str, *, rate: str, noise: str) -> tuple[Derivation, dict[str, sp.Symbol]]:
    """(1 - eta mu mu_a) E(F_prev - F_*) + eta^2 L noise/2 - E(F_next - F_*) >= 0, step ``one_step``.

    Args:
        noise: ``"schedule"`` (sigma^2/b_k), ``"constant"`` (sigma^2/b) or ``"level"`` (a fixed sequence).
    """
    d = Derivation(SLUG, title)
    symbols = declare_sgd(d, rate=rate, unbiased=False)
    eta, L, G, square = symbols.eta, symbols.L, symbols.G, symbols.square
    mu = d.symbol("mu", sign="positive", latex=r"\mu", meaning="strong convexity")
    mu_a = d.symbol("mu_a", sign="positive", latex=r"\mu_a", meaning="alignment of the mean gradient")
    M_G = d.symbol("M_G", sign="positive", latex="M_G", meaning="growth of the second moment")
    if noise == "level":
        level = fixed(d, "level", sign="nonnegative", latex=r"M\zeta^k", meaning="variance of step k")
    else:
        sigma_sq = d.symbol("sigma_sq", sign="nonnegative", latex=r"\sigma^2", meaning="of one sample")
        if noise == "schedule":
            b = fixed(d, "b", sign="positive", latex="b_k", meaning="samples of step k")
        else:
            b = d.symbol("b", sign="positive", latex="b", meaning="samples of a step")
        level = sigma_sq / b
    d.assume("alignment", symbols.inner_mean - mu_a * square, assumption="unbiased", why="mean gradient")
    d.assume(
        "second_moment", level + M_G * square - symbols.norm_mean, assumption="variance", why="second moment"
    )
    d.assume("moments_order", M_G - mu_a**2, assumption="variance", why="E|g|^2 >= |E g|^2")
    d.assume("step_size", mu_a - eta * L * M_G, assumption="step_size", why="eta_k <= mu_a/(L M_G)")
    d.assume("mu_below_L", L - mu, assumption="strongly_convex", why="mu <= L")
    z = d.symbol("z", depends=("coordinate", "step"), latex="x_*-x_k", meaning="coordinate of x_* - x_k")
    toward = d.define("toward", "coordinates", G * z, latex=r"\langle G,x_*-x_k\rangle")
    distance = d.define("distance", "coordinates", z**2, sign="nonnegative", latex=r"\|x_*-x_k\|^2")
    d.assume(
        "convexity",
        symbols.F_star - symbols.F_prev - toward - mu * distance / 2,
        assumption="strongly_convex",
        why="strong convexity between x_k and x_*",
    )
    d.combine("complete_square", squares=[(sp.Rational(1, 2), G + mu * z)], why="a square is nonnegative")
    d.apply(
        "complete_square_sum",
        "coordinates",
        "complete_square",
        {square: sp.Rational(1, 2), toward: mu, distance: mu**2 / 2},
        why="sum over coordinates",
    )
    d.combine(
        "pl",
        gap=square / 2 - mu * (symbols.F_prev - symbols.F_star),
        uses={"complete_square_sum": 1, "convexity": mu},
        why="strong convexity implies PL",
    )
    gap_prev, gap_next, inner, norm, expected = expect_descent(d, symbols)
    d.apply("pl_expected", "expected", "pl", {expected: sp.Rational(1, 2), gap_prev: -mu}, why="expectation")
    d.apply("alignment_expected", "expected", "alignment", {inner: 1, expected: -mu_a}, why="expectation")
    d.apply(
        "second_expected",
        "expected",
        "second_moment",
        {"1": level, expected: M_G, norm: -1},
        why="expectation; the noise level is fixed in advance",
    )
    d.combine(
        "one_step",
        gap=(1 - eta * mu * mu_a) * gap_prev + L * eta**2 * level / 2 - gap_next,
        uses={
            "expected_descent": 1,
            "alignment_expected": eta,
            "second_expected": L * eta**2 / 2,
            "step_size": eta * expected / 2,
            "pl_expected": eta * mu_a,
        },
        why="one step contracts and adds noise",
    )
    d.combine(
        "factor",
        gap=1 - eta * mu * mu_a,
        uses={"moments_order": 1 / M_G, "step_size": mu_a / M_G, "mu_below_L": mu_a * eta},
        why="the contraction factor is nonnegative",
    )
    start = symbols.F_start - symbols.F_star
    return d, {
        "eta": eta, "L": L, "mu": mu, "mu_a": mu_a, "level": level,
        "gap_prev": gap_prev, "gap_next": gap_next, "start": start,
    }  # fmt: skip


def any_schedule() -> Derivation:
    """The recursion itself."""
    d, s = one_step("SGD, strongly convex, any fixed schedule", rate="fixed", noise="schedule")
    start = s["start"]
    u = fixed(d, "u", latex="u_k", meaning="the bound before step k")
    u_next = fixed(d, "u_next", latex="u_{k+1}", meaning="the bound after step k")
    # The loss chain starts at F(x_0), so the bound starts at F(x_0) - F_*.
    d.chain("u", previous=u, next=u_next, start=start)
    d.assume(
        "recursion",
        u_next - (1 - s["eta"] * s["mu"] * s["mu_a"]) * u - s["L"] * s["eta"] ** 2 * s["level"] / 2,
        relation="==",
        assumption="fixed_schedule",
        why="definition of u",
    )
    d.hypothesis("hypothesis", u - s["gap_prev"], why="the bound up to step k")
    d.combine(
        "advanced",
        gap=u_next - s["gap_next"],
        uses={("factor", "hypothesis"): 1, "one_step": 1, "recursion": 1},
        why="one more step",
    )
    return close(d, s, start, ["u", "gap"])


def constant() -> Derivation:
    """Floor and geometric approach."""
    d, s = one_step("SGD, strongly convex, constant batch", rate="constant", noise="constant")
    decay = fixed(d, "decay", sign="nonnegative", latex=r"(1-\eta\mu\mu_a)^k", meaning="before step k")
    decay_next = fixed(d, "decay_next", latex=r"(1-\eta\mu\mu_a)^{k+1}", meaning="after step k")
    d.chain("decay", previous=decay, next=decay_next, start=1)
    contraction = 1 - s["eta"] * s["mu"] * s["mu_a"]
    d.assume(
        "recursion",
        decay_next - contraction * decay,
        relation="==",
        assumption="fixed_schedule",
        why="definition of the power",
    )
    floor = d.define(
        "floor",
        "equals",
        s["eta"] * s["L"] * s["level"] / (2 * s["mu"] * s["mu_a"]),
        sign="nonnegative",
        latex=r"\frac{\eta L\sigma^2}{2\mu\mu_ab}",
    )
    start = s["start"]
    d.hypothesis("hypothesis", floor + decay * (start - floor) - s["gap_prev"], why="the bound up to step k")
    d.combine(
        "advanced",
        gap=floor + decay_next * (start - floor) - s["gap_next"],
        uses={
            ("factor", "hypothesis"): 1,
            "one_step": 1,
            "recursion": start - floor,
            d.definition(floor): s["eta"] * s["mu"] * s["mu_a"],
        },
        why="the floor is the fixed point of one step",
    )
    return close(d, s, floor + (start - floor), ["decay", "gap"])


def geometric() -> Derivation:
    """Batches growing geometrically keep a linear rate."""
    d, s = one_step("SGD, strongly convex, geometric batches", rate="constant", noise="level")
    level, half = s["level"], s["eta"] * s["mu"] * s["mu_a"] / 2
    M = d.symbol("M", sign="nonnegative", latex="M", meaning="variance of step 0")
    zeta = d.symbol("zeta", sign="nonnegative", latex=r"\zeta", meaning="factor of the variance per step")
    level_next = fixed(d, "level_next", latex=r"M\zeta^{k+1}", meaning="variance of step k+1")
    d.chain("level", previous=level, next=level_next, start=M)
    d.assume(
        "level_recursion",
        level_next - zeta * level,
        relation="==",
        assumption="fixed_schedule",
        why="the variance shrinks geometrically",
    )
    rho = d.define("rho", "max", [1 - half, zeta], sign="nonnegative", latex=r"\rho")
    omega = d.define(
        "omega",
        "max",
        [s["eta"] * s["L"] * M / (s["mu"] * s["mu_a"]), s["start"]],
        sign="nonnegative",
        latex=r"\omega",
    )
    power = fixed(d, "power", sign="nonnegative", latex=r"\rho^k", meaning="before step k")
    power_next = fixed(d, "power_next", latex=r"\rho^{k+1}", meaning="after step k")
    d.chain("power", previous=power, next=power_next, start=1)
    d.assume(
        "power_recursion",
        power_next - rho * power,
        relation="==",
        assumption="fixed_schedule",
        why="definition of the power",
    )
    d.maximum("rho_contraction", rho, 0)
    d.maximum("rho_noise", rho, 1)
    d.maximum("omega_noise", omega, 0)
    d.maximum("omega_start", omega, 1)
    d.hypothesis("level_hypothesis", M * power - level, why="M zeta^k <= M rho^k")
    d.combine(
        "level_advanced",
        gap=M * power_next - level_next,
        uses={
            "level_hypothesis": zeta,
            "rho_noise": M * power,
            "power_recursion": M,
            "level_recursion": -1,
        },
        why="zeta <= rho",
    )
    d.combine("level_start", gap=M - M, relation=">=", why="k = 0")
    d.induction(
        "level_bound",
        "level_hypothesis",
        "level_advanced",
        "level_start",
        ["power", "level"],
        why="induction on steps",
    )
    d.hypothesis("hypothesis", omega * power - s["gap_prev"], why="the bound up to step k")
    d.combine(
        "advanced",
        gap=omega * power_next - s["gap_next"],
        uses={
            ("factor", "hypothesis"): 1,
            "one_step": 1,
            "level_bound": s["L"] * s["eta"] ** 2 / 2,
            "omega_noise": half * power,
            "rho_contraction": omega * power,
            "power_recursion": omega,
        },
        why="the noise costs at most half of the contraction",
    )
    return close(d, s, omega, ["power", "gap"], start_uses={"omega_start": 1})


def close(
    d: Derivation, s: dict[str, Any], at_start: Any, chains: list[str], start_uses: Any = None
) -> Derivation:
    """Base case, induction and conclusion."""
    gap_start = sp.Symbol("gap_start")
    d.combine(
        "start",
        gap=sp.expand(at_start) - gap_start,
        uses={"gap_start_value": -1, **(start_uses or {})},
        why="before the first step",
    )
    d.induction("bound", "hypothesis", "advanced", "start", chains, why="induction on steps")
    d.conclude("bound", s["gap_prev"], why="the bound before any step, hence after the last")
    return d


@functools.cache
def right_hand_sides() -> tuple[Any, Any]:
    """The produced right-hand sides of ``constant`` and ``geometric``."""
    parts = derive()
    return (
        produced(parts["constant"], "eta L mu mu_a sigma_sq b decay Delta"),
        produced(parts["geometric"], "eta L mu mu_a M power Delta"),
    )


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """F_* + u_K; where they apply, the parts ``constant`` and ``geometric`` (as gaps) beside it."""
    if batch_size is None:
        raise input_error(
            got="no schedule", rule=f"{SLUG} needs the samples of every step", do="pass schedule=[b_0, ...]"
        )
    names = ("L", "mu", "mu_a", "M_G", "sigma_sq", "Delta", "F_star")
    L, mu, mu_a, M_G, sigma_sq, delta, F_star = (np.asarray(constants[n], dtype=float) for n in names)
    eta = per_step(constants["eta"], len(batch_size), "eta")
    joint_conditions(eta, L, mu, mu_a, M_G)
    u = delta + 0 * (L * mu * mu_a * sigma_sq)
    for k, batch in enumerate(batch_size):
        u = (1 - eta[..., k] * mu * mu_a) * u + eta[..., k] ** 2 * L * sigma_sq / (2 * batch)
    parts: dict[str, Any] = {"gap": u[()]}
    if np.all(eta == eta[..., :1]):
        rate, steps = eta[..., 0], len(batch_size)
        by_constant, by_geometric = right_hand_sides()
        if np.all(batch_size == batch_size[0]):
            decay = (1 - rate * mu * mu_a) ** steps
            parts["constant"] = by_constant(rate, L, mu, mu_a, sigma_sq, float(batch_size[0]), decay, delta)
            parts["floor"] = rate * L * sigma_sq / (2 * mu * mu_a * batch_size[0])
        elif np.all(batch_size[1:] > batch_size[0]):
            zeta = np.max((batch_size[0] / batch_size[1:]) ** (1 / np.arange(1, steps)))
            rho = np.maximum(1 - rate * mu * mu_a / 2, zeta)
            M = sigma_sq / batch_size[0]
            parts["geometric"] = by_geometric(rate, L, mu, mu_a, M, rho**steps, delta)
    return Evaluation(
        value=(F_star + u)[()],
        trivial_value=(F_star + delta + 0 * u)[()],
        parts={name: np.asarray(part)[()] for name, part in parts.items()},
    )


def joint_conditions(eta: Any, L: Any, mu: Any, mu_a: Any, M_G: Any) -> None:
    """Hypotheses that tie constants together."""
    limit = mu_a / (L * M_G)
    if np.any(eta > limit[..., None] * (1 + 1e-12)):
        raise input_error(
            got=f"eta up to {np.max(eta):.6g}",
            rule=f"assumption step_size: eta_k <= mu_a/(L M_G) = {np.min(limit):.6g}",
            do="lower eta",
        )
    if np.any(mu > L):
        raise input_error(
            got=f"mu={np.max(mu)} and L={np.min(L)}",
            rule="assumption strongly_convex: mu is at most L",
            do="correct mu or L",
        )
    if np.any(mu_a**2 > M_G):
        raise input_error(
            got=f"M_G={np.min(M_G)} and mu_a={np.max(mu_a)}",
            rule="assumption variance: M_G is at least mu_a^2",
            why="E|g|^2 >= |E g|^2",
            do="raise M_G or lower mu_a",
        )


BOUND = Bound(
    slug=SLUG,
    title="SGD on a smooth strongly convex function under any fixed batch schedule",
    algorithm="SGD, x_{k+1} = x_k - eta_k g_k with b_k samples in g_k",
    quantity="loss",
    quantity_latex=r"\mathbb E\,F(x_K)",
    statement_latex=r"\mathbb E\,F(x_K)\le F_*+u_K,\quad u_0=\Delta,\quad"
    r"u_{k+1}=(1-\eta_k\mu\mu_a)u_k+\frac{\eta_k^2L\sigma^2}{2b_k}",
    kind="upper",
    assumptions=(
        SMOOTH,
        BOUNDED_BELOW,
        STRONGLY_CONVEX,
        UPDATE,
        GRADIENT,
        SECOND_MOMENT,
        FIXED_RATE,
        STEP_SIZE,
    ),
    parameters=(
        Parameter(name="eta", meaning="learning rate, one number or one per step", unit="param^2/loss"),
        Parameter(name="L", meaning="smoothness", unit="loss/param^2"),
        Parameter(name="mu", meaning="strong convexity", unit="loss/param^2"),
        nonnegative_parameter("sigma_sq", "gradient variance of one sample", "grad^2*samples"),
        nonnegative_parameter("Delta", "F(x_0) - F_*", "loss"),
        Parameter(
            name="F_star",
            meaning="minimum of F",
            unit="loss",
            rule="must be a finite number",
            accepts=lambda x: bool(np.all(np.isfinite(np.asarray(x, dtype=float)))),
        ),
        Parameter(name="mu_a", meaning="alignment of the mean gradient", unit="1", default=1.0),
        Parameter(name="M_G", meaning="growth of the second moment", unit="1", default=1.0),
    ),
    derive=derive,
    value=value,
    references=(BOTTOU_CURTIS_NOCEDAL,),
    notes=(
        "The floor of a constant batch is loose by up to the condition number L/mu.",
        "Strong convexity is used only between an iterate and the minimiser.",
    ),
)
