"""Momentum with a clipped coordinate-wise scaling, such as Adam with 1/(sqrt(v) + eps) kept in a box.

Algorithm: x_{t+1} = x_t - eta s_t * m_t (coordinate-wise), c_l <= s_{t,i} <= c_u, and with a fresh gradient
at x_{t+1}, m_{t+1} = (1 - beta) m_t + beta g_{t+1}, where beta = 1 - beta1 and g_{t+1} has b_{t+1} samples.

**Upper** bound. With delta_0 = E|m_0 - grad F(x_0)|^2, variance at most sigma^2/b, and

    L eta c_u + (L eta c_u/beta)^2 <= 1,

    sum_{t<T} E|grad F(x_t)|^2
        <= 2 Delta/(eta c_l) + (c_u/c_l) (delta_0/beta + beta sigma^2 E sum_{t=1}^T 1/b_t).

The step-size condition keeps one power of s where the published type of proof bounds s^2 by c_u^2: it admits
eta <= min(1/(2 L c_u), beta/(sqrt(2) L c_u)), larger by c_u/c_l and sqrt(c_u/c_l) than the condition
eta <= min(c_l/(2 L c_u^2), (beta/L) sqrt(c_l/(2 c_u^3))), which implies it. The right-hand side is the same.
Only the box is used, so the bound does not explain why adaptivity helps.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import sympy as sp

from bstheory.errors import input_error
from bstheory.references import CLIPPED_SCALING
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.sgd_lemmas import BOUNDED_BELOW, SMOOTH, nonnegative_parameter, produced

SLUG = "adam_clipped_scaling"
HALF = sp.Rational(1, 2)
ASSUMPTIONS = (
    SMOOTH,
    BOUNDED_BELOW,
    Assumption(name="box", statement="0 < c_l <= s_{t,i} <= c_u, s_t known before g_{t+1} is drawn"),
    Assumption(
        name="scaled_momentum_update",
        statement="x_{t+1} = x_t - eta s_t m_t and m_{t+1} = (1 - beta) m_t + beta g_{t+1}, 0 < beta <= 1",
    ),
    Assumption(name="unbiased", statement="E[g_{t+1} | past] = grad F(x_{t+1})"),
    Assumption(
        name="variance",
        statement="E[|g_{t+1} - grad F(x_{t+1})|^2 | past] <= sigma^2/b_{t+1}",
        constants=("sigma_sq",),
    ),
    Assumption(
        name="predictable_batch",
        statement="b_{t+1} is chosen before g_{t+1} is drawn; so is whether step t is taken",
    ),
    Assumption(name="step_size", statement="L eta c_u + (L eta c_u/beta)^2 <= 1", constants=("L",)),
)


def derive() -> Derivation:
    """Polarisation, tracking error of the momentum, Lyapunov sum."""
    d = Derivation(SLUG, "Momentum with a clipped scaling, any predictable batch schedule")
    declare(d)
    descent(d)
    tracking(d)
    return sum_up(d)


def declare(d: Derivation) -> None:
    """Symbols; G and G_next are the gradients at x_t and x_{t+1}, e = m_t - G the tracking error."""
    per_step, coordinate = ("step",), ("coordinate", "step")
    for name, latex, meaning in (
        ("eta", r"\eta", "learning rate"),
        ("L", "L", "smoothness"),
        ("beta", r"\beta", "weight of a new gradient, 1 - beta1"),
        ("c_l", "c_l", "least scaling"),
        ("c_u", "c_u", "largest scaling"),
    ):
        d.symbol(name, sign="positive", latex=latex, meaning=meaning)
    d.symbol("alpha", sign="nonnegative", latex=r"1-\beta", meaning="beta1")
    d.symbol("sigma_sq", sign="nonnegative", latex=r"\sigma^2", meaning="gradient variance of one sample")
    d.symbol(
        "b", sign="positive", depends=per_step, latex="b_{t+1}", meaning="samples of the gradient at x_{t+1}"
    )
    d.symbol("G", depends=coordinate, latex="G", meaning="coordinate of grad F(x_t)")
    d.symbol("G_next", depends=coordinate, latex="G^+", meaning="coordinate of grad F(x_{t+1})")
    d.symbol("m", depends=coordinate, latex="m_t", meaning="momentum")
    d.symbol("m_next", depends=(*coordinate, "draw"), latex="m_{t+1}", meaning="momentum after the step")
    d.symbol("s", sign="positive", depends=coordinate, latex="s_t", meaning="scaling")
    d.symbol("g", depends=(*coordinate, "draw"), latex="g_{t+1}", meaning="gradient at x_{t+1}")
    d.symbol("F_prev", depends=per_step, latex="F(x_t)", meaning="loss before the step")
    d.symbol(
        "F_next", depends=per_step, latex="F(x_{t+1})", meaning="loss after the step, known before g_{t+1}"
    )
    d.symbol("F_start", latex="F(x_0)", meaning="initial loss")
    d.symbol("F_end", latex="E F(x_T)", meaning="expected final loss")
    d.symbol("F_star", latex="F_*", meaning="lower bound of F")
    d.chain("F", previous="F_prev", next="F_next", start=sp.Symbol("F_start"), end=sp.Symbol("F_end"))
    beta, alpha = sp.symbols("beta alpha")
    d.assume(
        "weights",
        alpha + beta - 1,
        relation="==",
        assumption="scaled_momentum_update",
        why="beta1 = 1 - beta",
    )


def descent(d: Derivation) -> None:
    """F_next <= F_prev + (eta/2) sum s [e^2 - G^2 - m^2] + (L eta^2/2) sum s^2 m^2."""
    eta, L, G, m, s, c_l, c_u = sp.symbols("eta L G m s c_l c_u")
    F_prev, F_next = sp.symbols("F_prev F_next")
    inner = d.define("inner", "coordinates", G * s * m, latex=r"\langle G,s\circ m\rangle")
    step_sq = d.define("step_sq", "coordinates", s**2 * m**2, sign="nonnegative", latex=r"\|s\circ m\|^2")
    scaled = d.define("scaled", "coordinates", s * m**2, sign="nonnegative", latex=r"\sum s m^2")
    error = d.define("error", "coordinates", (m - G) ** 2, sign="nonnegative", latex=r"\|m_t-G\|^2")
    square = d.define("square", "coordinates", G**2, sign="nonnegative", latex=r"\|\nabla F(x_t)\|^2")
    d.assume(
        "smoothness",
        F_prev - F_next - eta * inner + L * eta**2 * step_sq / 2,
        assumption="smooth",
        by=["descent_lemma"],
        why="descent lemma along x_{t+1} - x_t = -eta s m",
    )
    d.assume("box_lower", s - c_l, assumption="box", why="s >= c_l")
    d.assume("box_upper", c_u - s, assumption="box", why="s <= c_u")
    d.combine(
        "polarised_coordinate",
        gap=2 * G * s * m + c_u * (m - G) ** 2 - c_l * G**2 - s * m**2,
        uses={"box_upper": (m - G) ** 2, "box_lower": G**2},
        why="2 G m = G^2 + m^2 - (m - G)^2, then c_l <= s <= c_u",
    )
    d.apply(
        "polarised",
        "coordinates",
        "polarised_coordinate",
        {inner: 2, error: c_u, square: -c_l, scaled: -1},
        why="sum over coordinates",
    )
    d.combine(
        "step_coordinate", gap=c_u * s * m**2 - s**2 * m**2, uses={"box_upper": s * m**2}, why="s <= c_u"
    )
    d.apply("step_length", "coordinates", "step_coordinate", {scaled: c_u, step_sq: -1}, why="sum")
    d.combine(
        "descent",
        uses={"smoothness": 1, "polarised": eta / 2},
        why="the loss falls by the gradient and rises by the tracking error",
    )


def tracking(d: Derivation) -> None:
    """E|m_{t+1} - G^+|^2 <= (1 - beta)|m_t - G|^2 + beta^2 sigma^2/b + |G^+ - G|^2/beta."""
    eta, L, G, G_next, m, m_next, g = sp.symbols("eta L G G_next m m_next g")
    beta, alpha, sigma_sq, b = sp.symbols("beta alpha sigma_sq b")
    step_sq, error = sp.symbols("step_sq error")
    d.assume(
        "momentum",
        m_next - alpha * m - beta * g,
        relation="==",
        assumption="scaled_momentum_update",
        why="the recursion of m",
    )
    error_next = d.define(
        "error_next", "coordinates", (m_next - G_next) ** 2, sign="nonnegative", latex=r"\|m_{t+1}-G^+\|^2"
    )
    start = d.symbol("error_start", sign="nonnegative", latex=r"\delta_0", meaning="E|m_0 - grad F(x_0)|^2")
    state = d.symbol(
        "track", sign="nonnegative", depends=("step",), latex=r"\delta_t", meaning="the error's square"
    )
    after = d.symbol("track_next", sign="nonnegative", depends=("step", "draw"), latex=r"\delta_{t+1}")
    end = d.symbol("error_end", sign="nonnegative", latex=r"E\,\delta_T", meaning="expected final error")
    d.chain("track", previous=state, next=after, start=start, end=end)
    d.assume(
        "track",
        state - error,
        relation="==",
        assumption="scaled_momentum_update",
        why="definition of delta_t",
    )
    d.assume(
        "track_next",
        after - error_next,
        relation="==",
        assumption="scaled_momentum_update",
        why="definition of delta_{t+1}",
    )
    mean_g = d.define("mean_g", "mean", g, latex=r"E_tg")
    mean_noise = d.define("mean_noise", "mean", (g - G_next) ** 2, sign="nonnegative", latex=r"E_t(g-G^+)^2")
    mean_error = d.define("mean_error", "mean", (m_next - G_next) ** 2, sign="nonnegative")
    variance = d.define("variance", "coordinates", mean_noise, sign="nonnegative", latex=r"E_t\|g-G^+\|^2")
    error_mean = d.define("error_mean", "coordinates", mean_error, sign="nonnegative")
    change = d.define("change", "coordinates", (G_next - G) ** 2, sign="nonnegative", latex=r"\|G^+-G\|^2")
    d.assume("unbiased", mean_g - G_next, relation="==", assumption="unbiased", why="E g = grad F(x_{t+1})")
    d.assume("variance", sigma_sq / b - variance, assumption="variance", why="at most sigma^2/b")
    d.assume(
        "lipschitz",
        L**2 * eta**2 * step_sq - change,
        assumption="smooth",
        why="|grad F(x_{t+1}) - grad F(x_t)| <= L eta |s m|",
    )
    known = alpha * (m - G_next)
    d.combine(
        "error_square",
        gap=(m_next - G_next) ** 2 - known**2 - 2 * known * beta * (g - G_next) - beta**2 * (g - G_next) ** 2,
        uses={
            "momentum": m_next - G_next + known + beta * (g - G_next),
            "weights": G_next * (m_next - G_next + known + beta * (g - G_next)),
        },
        relation="==",
        why="m_{t+1} - G^+ = (1 - beta)(m - G^+) + beta (g - G^+)",
    )
    d.apply(
        "error_square_mean",
        "mean",
        "error_square",
        {
            mean_error: 1,
            "1": -(known**2) + 2 * known * beta * G_next,
            mean_g: -2 * known * beta,
            mean_noise: -(beta**2),
        },
        why="conditional mean",
    )
    d.combine(
        "young",
        gap=alpha * (m - G) ** 2 + (G_next - G) ** 2 / beta - known**2,
        squares=[(alpha * beta, m - G + alpha * (G_next - G) / beta)],
        slack=(1 + alpha) * (G_next - G) ** 2,
        modulo=["weights"],
        why="Young: (1 - beta)^2 |x - y|^2 <= (1 - beta)|x|^2 + |y|^2/beta",
    )
    d.combine(
        "error_coordinate",
        gap=alpha * (m - G) ** 2 + (G_next - G) ** 2 / beta + beta**2 * mean_noise - mean_error,
        uses={"young": 1, "error_square_mean": -1, "unbiased": -2 * known * beta},
        why="the noise is centred",
    )
    d.apply(
        "error_sum",
        "coordinates",
        "error_coordinate",
        {error: alpha, change: 1 / beta, variance: beta**2, error_mean: -1},
        why="sum over coordinates",
    )
    d.combine(
        "tracking",
        gap=alpha * error + L**2 * eta**2 * step_sq / beta + beta**2 * sigma_sq / b - error_mean,
        uses={"error_sum": 1, "lipschitz": 1 / beta, "variance": beta**2},
        why="the tracking error contracts, drifts with the step and gains noise",
    )


def sum_up(d: Derivation) -> Derivation:
    """Add the loss and (eta c_u/(2 beta)) times the tracking error, and telescope both."""
    eta, L, beta, c_l, c_u, sigma_sq = sp.symbols("eta L beta c_l c_u sigma_sq")
    b, F_prev, F_next, F_start, F_star = sp.symbols("b F_prev F_next F_start F_star")
    square, scaled, step_sq, error, error_next, error_mean = sp.symbols(
        "square scaled step_sq error error_next error_mean"
    )
    track, track_next, error_start = sp.symbols("track track_next error_start")
    T_F = d.define("T_F", "steps", F_next - F_prev)
    T_square = d.define(
        "gradient_sum",
        "steps",
        square,
        sign="nonnegative",
        latex=r"E\sum_{t<T}\|\nabla F(x_t)\|^2",
    )
    T_scaled = d.define("T_scaled", "steps", scaled, sign="nonnegative")
    T_step = d.define("T_step", "steps", step_sq, sign="nonnegative")
    T_error = d.define("T_error", "steps", error, sign="nonnegative")
    T_next = d.define("T_error_next", "steps", error_next, sign="nonnegative")
    T_mean = d.define("T_error_mean", "steps", error_mean, sign="nonnegative")
    T_track = d.define("T_track", "steps", track_next - track)
    inverse = d.define(
        "inverse_batches", "steps", 1 / b, sign="nonnegative", latex=r"E\sum_{t=1}^T\frac1{b_t}"
    )
    d.apply(
        "descent_total",
        "steps",
        "descent",
        {
            T_F: -1,
            T_error: eta * c_u / 2,
            T_square: -eta * c_l / 2,
            T_scaled: -eta / 2,
            T_step: L * eta**2 / 2,
        },
        why="expectation of the sum over steps",
    )
    d.apply("length_total", "steps", "step_length", {T_scaled: c_u, T_step: -1}, why="sum over steps")
    d.apply(
        "tracking_total",
        "steps",
        "tracking",
        {T_error: sp.Symbol("alpha"), T_step: L**2 * eta**2 / beta, inverse: beta**2 * sigma_sq, T_mean: -1},
        why="expectation of the sum over steps",
    )
    d.tower("tower", T_mean, T_next, {error_mean: error_next}, why="tower property")
    d.combine(
        "shift",
        gap=track_next - track - error_next + error,
        uses={"track_next": 1, "track": -1},
        relation="==",
        why="what the chain of errors is",
    )
    d.apply("shift_total", "steps", "shift", {T_track: 1, T_next: -1, T_error: 1}, why="sum over steps")
    d.telescope("telescope_error", T_track, "track", why="the errors telescope")
    d.telescope("telescope", T_F, "F", why="the loss telescopes")
    d.assume("below_next", F_next - F_star, assumption="bounded_below", why="F >= F_* after every step")
    d.assume("below_start", F_start - F_star, assumption="bounded_below", why="F >= F_* at the start")
    d.at_end("below_end", "below_next", "below_start", "F", why="E F(x_T) >= F_*")
    d.assume(
        "step_size",
        1 - L * eta * c_u - L**2 * eta**2 * c_u**2 / beta**2,
        assumption="step_size",
        why="the momentum follows the gradient",
    )
    d.combine(
        "error_total",
        gap=error_start
        + L**2 * eta**2 * c_u * T_scaled / beta
        + beta**2 * sigma_sq * inverse
        - beta * T_error,
        uses={
            "tracking_total": 1,
            "tower": 1,
            "shift_total": -1,
            "telescope_error": 1,
            "length_total": L**2 * eta**2 / beta,
            "weights": -T_error,
        },
        slack=sp.Symbol("error_end"),
        why="the sum of tracking errors",
    )
    d.combine(
        "assembled",
        uses={
            "descent_total": 1,
            "telescope": 1,
            "below_end": 1,
            "length_total": L * eta**2 / 2,
            "error_total": eta * c_u / (2 * beta),
            "step_size": eta * T_scaled / 2,
        },
        why="loss and tracking error together; the step-size condition absorbs the movement",
    )
    d.conclude("assembled", T_square, why="divide by eta c_l/2")
    return d


@functools.cache
def right_hand_side() -> Any:
    """The produced right-hand side."""
    return produced(derive(), "eta beta c_l c_u sigma_sq Delta error_start inverse_batches")


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """The bound on the sum; its mean over T steps in ``mean``. ``schedule`` holds b_1, ..., b_T."""
    if batch_size is None:
        raise input_error(
            got="no schedule",
            rule=f"{SLUG} needs the samples of every step",
            do="pass schedule=[b_1, ..., b_T]",
        )
    names = ("eta", "beta1", "c_l", "c_u", "L", "sigma_sq", "Delta", "delta0")
    eta, beta1, c_l, c_u, L, sigma_sq, delta, delta0 = (np.asarray(constants[n], dtype=float) for n in names)
    if np.any(c_l > c_u):
        raise input_error(
            got=f"c_l={np.max(c_l)} and c_u={np.min(c_u)}",
            rule="assumption box: c_l is at most c_u",
            do="exchange or correct them",
        )
    beta = 1 - beta1
    load = L * eta * c_u + (L * eta * c_u / beta) ** 2
    if np.any(load > 1 + 1e-12):
        raise input_error(
            got=f"L eta c_u + (L eta c_u/(1 - beta1))^2 = {np.max(load):.6g}",
            rule="assumption step_size: it is at most 1",
            do="lower eta",
        )
    inverse = (1 / batch_size).sum()
    total = np.asarray(right_hand_side()(eta, beta, c_l, c_u, sigma_sq, delta, delta0, inverse))
    steps = len(batch_size)
    # y = L eta c_u solves y + y^2/beta^2 = 1 at the largest admissible rate.
    largest = beta * (np.sqrt(beta**2 + 4) - beta) / (2 * L * c_u)
    return Evaluation(
        value=total[()],
        trivial_value=(2 * L * delta * steps + 0 * total)[()],
        parts={
            "weight": float(steps),
            "mean": (total / steps)[()],
            "largest_learning_rate": np.asarray(largest)[()],
        },
    )


BOUND = Bound(
    slug=SLUG,
    title="Momentum with a clipped coordinate-wise scaling under any predictable batch schedule",
    algorithm="x_{t+1} = x_t - eta s_t m_t, c_l <= s_t <= c_u, m an exponential average with beta1",
    quantity="",
    quantity_latex=r"\mathbb E\sum_{t<T}\|\nabla F(x_t)\|^2",
    statement_latex=r"\mathbb E\sum_{t<T}\|\nabla F(x_t)\|^2\le\frac{2\Delta}{\eta c_l}"
    r"+\frac{c_u}{c_l}\Big(\frac{\delta_0}\beta+\beta\sigma^2\,\mathbb E\sum_{t=1}^T\frac1{b_t}\Big)",
    kind="upper",
    assumptions=ASSUMPTIONS,
    parameters=(
        Parameter(name="eta", meaning="learning rate", unit="param, per unit of s m"),
        Parameter(
            name="beta1",
            meaning="momentum",
            unit="1",
            rule="lies in [0, 1)",
            accepts=lambda x: bool(
                np.all((np.asarray(x, dtype=float) >= 0) & (np.asarray(x, dtype=float) < 1))
            ),
        ),
        Parameter(name="c_l", meaning="least scaling", unit="1/grad"),
        Parameter(name="c_u", meaning="largest scaling", unit="1/grad"),
        Parameter(name="L", meaning="smoothness", unit="loss/param^2"),
        nonnegative_parameter("sigma_sq", "gradient variance of one sample", "grad^2*samples"),
        nonnegative_parameter("Delta", "F(x_0) - F_*", "loss"),
        nonnegative_parameter("delta0", "E|m_0 - grad F(x_0)|^2", "grad^2"),
    ),
    derive=derive,
    value=value,
    references=(CLIPPED_SCALING,),
    notes=(
        "Only the box of s is used, so the bound does not explain why adaptivity helps.",
        "The trivial value is T times 2 L Delta, the most that the start point alone allows.",
    ),
)
