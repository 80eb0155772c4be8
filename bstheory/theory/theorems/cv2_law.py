"""Squared coefficient of variation of the second moment v, and what a token half-life does not preserve.

Setting: g_n ~ N(mu, s_n), independent, s_n = sigma^2/B_n, mu and sigma frozen; v_n = beta_n v_{n-1} +
(1 - beta_n) g_n^2, v_0 = 0.

**Identity** (parts ``general_mean``, ``general_variance``): for any schedule, with w_n the weights,

    Var v = sum w_n^2 (2 sigma^4/B_n^2 + 4 mu^2 sigma^2/B_n),   E v = sum w_n (mu^2 + sigma^2/B_n).

At constant B after D tokens (``constant_mean``, ``constant_variance``), with Bn = sigma^2/mu^2 and
Phi = 2^(-D/t),

    CV^2 = 2 tanh(lambda B/2) [1 - (B/(B + Bn))^2] (1 + Phi)/(1 - Phi).

**Upper** (``noise_bound``, ``signal_bound``): stationary CV^2 <= min(lambda B, 2 lambda Bn).

Not preserved by the half-life rule (``doubling``): where noise dominates (mu = 0), doubling B multiplies the
stationary CV^2 by exactly 2/(1 + tanh^2(lambda B/2)), so it grows with B. Preserved up to a factor where
signal dominates (``signal_floor``): CV^2 >= 2 lambda Bn (1 - 3 Bn/(2B))/(1 + (lambda B)^2/12).

Limits: for other laws the per-step variance gains 4 mu kappa_3/B_n^2 + kappa_4/B_n^3.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from bstheory.references import SMALL_BATCH
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_expectation import fixed
from bstheory.theory.half_life_lemmas import (
    FORGOTTEN,
    HALF_LIFE,
    HALF_LIFE_PARAMETER,
    declare_rule,
    hyperbolic_bounds,
    need_schedule,
    produced,
    weights,
)
from bstheory.theory.pruning import pruned

SLUG = "cv2_law"
AVERAGE = Assumption(name="average", statement="v_n = beta_n v_{n-1} + (1 - beta_n) g_n^2, v_0 = 0")
GAUSSIAN = Assumption(
    name="gaussian", statement="g_n ~ N(mu, sigma^2/B_n), mu and sigma frozen", constants=("mu", "sigma")
)
INDEPENDENT = Assumption(name="independent", statement="g_n is independent of the past")
CONSTANT = Assumption(name="constant_batch", statement="B_n = B for every step")
NOISE_SCALE = Assumption(name="noise_scale", statement="Bn = sigma^2/mu^2, mu not zero")


def derive() -> dict[str, Derivation]:
    """The moments for any schedule, their closed form at constant batch size, and the bounds."""
    return {
        "general_mean": general("mean"),
        "general_variance": general("variance"),
        "constant_mean": constant_mean(),
        "constant_variance": constant_variance(),
        "noise_bound": stationary("noise_bound"),
        "signal_bound": stationary("signal_bound"),
        "signal_floor": stationary("signal_floor"),
        "doubling": doubling(),
    }


def general(which: str) -> Derivation:
    """Conditional moments of one step, then the same recursion for the sums over the weights."""
    d = Derivation(SLUG, f"{which} of v under any schedule")
    declare_rule(d)
    beta, c, B = sp.symbols("beta c B")
    mu = d.symbol("mu", latex=r"\mu", meaning="mean of the gradient coordinate")
    sigma = d.symbol("sigma", sign="nonnegative", latex=r"\sigma", meaning="standard deviation per token")
    s = sigma**2 / B
    v = d.symbol("v", sign="nonnegative", depends=("step",), latex="v_{n-1}", meaning="second moment before")
    v_next = d.symbol("v_next", sign="nonnegative", depends=("step", "draw"), latex="v_n")
    g = d.symbol("g", depends=("step", "draw"), latex="g_n", meaning="gradient coordinate")
    d.chain("v", previous=v, next=v_next, start=0)
    moments = {}
    for power in (1, 2):
        previous = d.define(f"Ev{power}", "expected", v**power, latex=f"E v_{{n-1}}^{power}")
        following = d.define(f"Ev{power}_next", "expected", v_next**power, latex=f"E v_n^{power}")
        start = d.define(f"Ev{power}_start", "expected", 0, latex=f"E v_0^{power}")
        d.chain(f"Ev{power}", previous=previous, next=following, start=start)
        moments[power] = previous, following, start
    g2 = d.define("Eg2", "expected", g**2, latex="E g_n^2")
    g4 = d.define("Eg4", "expected", g**4, latex="E g_n^4")
    vg2 = d.define("Evg2", "expected", v * g**2, latex="E v_{n-1}g_n^2")
    (m1, m1_next, m1_start), (m2, m2_next, m2_start) = moments[1], moments[2]
    d.assume(
        "average", v_next - beta * v - c * g**2, relation="==", assumption=AVERAGE.name, why="the recursion"
    )
    d.assume(
        "second", g2 - mu**2 - s, relation="==", assumption=GAUSSIAN.name, why="second moment of a Gaussian"
    )
    d.assume(
        "fourth",
        g4 - mu**4 - 6 * mu**2 * s - 3 * s**2,
        relation="==",
        assumption=GAUSSIAN.name,
        by=["gaussian_moments"],
        why="fourth moment of a Gaussian",
    )
    d.assume("product", vg2 - m1 * g2, relation="==", assumption=INDEPENDENT.name, why="a product of means")
    d.combine(
        "average_squared",
        gap=v_next**2 - beta**2 * v**2 - 2 * beta * c * v * g**2 - c**2 * g**4,
        relation="==",
        uses={"average": v_next + beta * v + c * g**2},
        why="square the recursion",
    )
    d.apply(
        "mean_step",
        "expected",
        "average",
        {m1_next: 1, m1: -beta, g2: -c},
        why="expectation of the recursion",
    )
    d.apply(
        "square_step",
        "expected",
        "average_squared",
        {m2_next: 1, m2: -(beta**2), vg2: -2 * beta * c, g4: -(c**2)},
        why="expectation of its square",
    )
    d.combine("nothing", gap=sp.Integer(0), relation="==", why="v_0 = 0")
    d.apply("mean_start", "expected", "nothing", {m1_start: 1}, why="E v_0 = 0")
    d.apply("square_start", "expected", "nothing", {m2_start: 1}, why="E v_0^2 = 0")
    A = fixed(d, "A", latex=r"\sum w(\mu^2+s)", meaning="weighted sum of the mean squares")
    A_next = fixed(d, "A_next")
    R = fixed(d, "R", latex=r"\sum w^2(2s^2+4\mu^2s)", meaning="sum of squared weights times variances")
    R_next = fixed(d, "R_next")
    d.chain("A", previous=A, next=A_next, start=0)
    d.chain("R", previous=R, next=R_next, start=0)
    d.assume(
        "weighted_mean",
        A_next - beta * A - c * (mu**2 + s),
        relation="==",
        assumption="weights",
        why="each step multiplies the weights by beta_n and adds one",
    )
    d.assume(
        "weighted_variance",
        R_next - beta**2 * R - c**2 * (2 * s**2 + 4 * mu**2 * s),
        relation="==",
        assumption="weights",
        why="the same for squared weights",
    )
    if which == "mean":
        d.hypothesis("before", A - m1, relation="==", why="E v is the weighted sum")
        d.combine(
            "after",
            gap=A_next - m1_next,
            relation="==",
            uses={"before": beta, "weighted_mean": 1, "mean_step": -1, "second": -c},
            why="one more step",
        )
        d.combine("start", gap=0 - m1_start, relation="==", uses={"mean_start": -1}, why="both are 0")
        d.induction("equal", "before", "after", "start", ["A", "Ev1"], why="induction over steps")
        d.claim = ("equal", m1, A)
        return pruned(d)
    d.combine(
        "variance_step",
        gap=(m2_next - m1_next**2) - beta**2 * (m2 - m1**2) - c**2 * (g4 - g2**2),
        relation="==",
        uses={"square_step": 1, "product": 2 * beta * c, "mean_step": -(m1_next + beta * m1 + c * g2)},
        why="variance of a sum of independent terms",
    )
    d.combine(
        "one_gradient",
        gap=g4 - g2**2 - 2 * s**2 - 4 * mu**2 * s,
        relation="==",
        uses={"fourth": 1, "second": -(g2 + mu**2 + s)},
        why="Var g^2 = 2 s^2 + 4 mu^2 s",
    )
    d.hypothesis("before", R - m2 + m1**2, relation="==", why="the variance is the weighted sum")
    d.combine(
        "after",
        gap=R_next - m2_next + m1_next**2,
        relation="==",
        uses={
            "before": beta**2,
            "weighted_variance": 1,
            "variance_step": -1,
            "one_gradient": -(c**2),
        },
        why="one more step",
    )
    d.combine(
        "start",
        gap=0 - m2_start + m1_start**2,
        relation="==",
        uses={"square_start": -1, "mean_start": m1_start},
        why="both are 0",
    )
    d.induction("equal", "before", "after", "start", ["R", "Ev1", "Ev2"], why="induction over steps")
    d.claim = ("equal", m2 - m1**2, R)
    return pruned(d)


def declare_constant(d: Derivation) -> None:
    """Constant batch size: q = mu^2 + s, r = 2 s^2 + 4 mu^2 s, and what is forgotten."""
    declare_rule(d, constant=True)
    beta = sp.Symbol("beta")
    d.symbol("mu", latex=r"\mu", meaning="mean of the gradient coordinate")
    d.symbol("s", sign="positive", latex=r"\sigma^2/B", meaning="variance of the gradient coordinate")
    phi = fixed(d, "Phi", sign="positive", latex=r"\Phi_{n-1}", meaning="weight left of the start")
    phi_next = fixed(d, "Phi_next", sign="positive", latex=r"\Phi_n")
    d.chain("Phi", previous=phi, next=phi_next, start=1)
    d.assume(
        "forget", phi_next - beta * phi, relation="==", assumption=FORGOTTEN.name, why="product of betas"
    )


def constant_mean() -> Derivation:
    """E v = (mu^2 + s)(1 - Phi)."""
    d = Derivation(SLUG, "mean of v at constant batch size")
    declare_constant(d)
    beta, c, mu, s, phi, phi_next = sp.symbols("beta c mu s Phi Phi_next")
    A, A_next = fixed(d, "A", latex="E v_{n-1}"), fixed(d, "A_next", latex="E v_n")
    d.chain("A", previous=A, next=A_next, start=0)
    q = mu**2 + s
    d.assume(
        "mean_step",
        A_next - beta * A - c * q,
        relation="==",
        assumption=CONSTANT.name,
        why="part general_mean",
    )
    d.hypothesis("before", q * (1 - phi) - A, relation="==", why="the closed form")
    d.combine(
        "after",
        gap=q * (1 - phi_next) - A_next,
        relation="==",
        uses={"before": beta, "mean_step": -1, "forget": -q, "half_life": -q},
        why="one more step",
    )
    d.combine("start", gap=sp.Integer(0), relation="==", why="both are 0")
    d.induction("equal", "before", "after", "start", ["A", "Phi"], why="induction over steps")
    d.claim = ("equal", A, q * (1 - phi))
    return pruned(d)


def constant_variance() -> Derivation:
    """Var v = 2 (1 - beta)/(1 + beta) [1 - (mu^2/(mu^2 + s))^2] (mu^2 + s)^2 (1 - Phi^2)."""
    d = Derivation(SLUG, "variance of v at constant batch size")
    declare_constant(d)
    beta, c, mu, s, phi, phi_next = sp.symbols("beta c mu s Phi Phi_next")
    R, R_next = fixed(d, "R", latex=r"\mathrm{Var}\,v_{n-1}"), fixed(d, "R_next", latex=r"\mathrm{Var}\,v_n")
    d.chain("R", previous=R, next=R_next, start=0)
    q = mu**2 + s
    closed = 2 * c / (1 + beta) * (1 - (mu**2 / q) ** 2) * q**2
    d.assume(
        "variance_step",
        R_next - beta**2 * R - c**2 * (2 * s**2 + 4 * mu**2 * s),
        relation="==",
        assumption=CONSTANT.name,
        why="part general_variance",
    )
    d.hypothesis("before", closed * (1 - phi**2) - R, relation="==", why="the closed form")
    d.combine(
        "after",
        gap=closed * (1 - phi_next**2) - R_next,
        relation="==",
        uses={
            "before": beta**2,
            "variance_step": -1,
            "forget": -closed * (phi_next + beta * phi),
            "half_life": -closed * (1 + beta),
        },
        why="one more step; (1 - beta)/(1 + beta) is tanh(lambda B/2)",
    )
    d.combine("start", gap=sp.Integer(0), relation="==", why="both are 0")
    d.induction("equal", "before", "after", "start", ["R", "Phi"], why="induction over steps")
    d.claim = ("equal", R, closed * (1 - phi**2))
    return pruned(d)


def stationary(which: str) -> Derivation:
    """Bounds of 2 (1 - beta)/(1 + beta) [1 - (B/(B + Bn))^2] by tanh x <= x <= tanh x (1 + x^2/3)."""
    d = Derivation(SLUG, f"stationary CV^2: {which.replace('_', ' ')}")
    declare_rule(d, constant=True)
    hyperbolic_bounds(d)
    B, beta, c, lam = sp.symbols("B beta c lam")
    Bn = d.symbol("Bn", sign="positive", latex=r"\mathcal B", meaning="noise scale sigma^2/mu^2")
    fraction = 1 - (B / (B + Bn)) ** 2
    cv2 = d.define("cv2", "equals", 2 * c / (1 + beta) * fraction, latex=r"\mathrm{CV}^2")
    definition = d.definition(cv2)
    rest = Bn * (2 * B + Bn) / (B + Bn) ** 2
    if which == "noise_bound":
        d.combine(
            which,
            gap=lam * B - cv2,
            uses={"tanh_below": 1 / (1 + beta), definition: -1},
            slack=2 * c / (1 + beta) * (B / (B + Bn)) ** 2,
            why="tanh x <= x, and the bracket is at most 1",
        )
        d.claim = (which, cv2, lam * B)
    elif which == "signal_bound":
        d.combine(
            which,
            gap=2 * lam * Bn - cv2,
            uses={"tanh_below": rest / (1 + beta), definition: -1},
            slack=lam * Bn * (3 * B * Bn + 2 * Bn**2) / (B + Bn) ** 2,
            why="tanh x <= x, and B (2B + Bn) <= 2 (B + Bn)^2",
        )
        d.claim = (which, cv2, 2 * lam * Bn)
    else:
        room = 1 + (lam * B) ** 2 / 12
        floor = 2 * lam * Bn * (1 - sp.Rational(3, 2) * Bn / B) / room
        d.combine(
            which,
            gap=cv2 - floor,
            uses={"tanh_above": rest / ((1 + beta) * room), definition: 1},
            slack=lam * Bn * (4 * Bn**2 + 3 * Bn**3 / B) / ((B + Bn) ** 2 * room),
            why="x coth x <= 1 + x^2/3, and B (2B + Bn) >= 2 (B + Bn)^2 (1 - 3 Bn/(2B))",
        )
        d.claim = (which, floor, cv2)
    return pruned(d)


def doubling() -> Derivation:
    """tanh(2x) (1 + tanh^2 x) = 2 tanh x in terms of beta = e^(-2x)."""
    d = Derivation(SLUG, "noise alone: doubling the batch size")
    beta = d.symbol("beta", sign="positive", latex=r"\beta", meaning="coefficient at B; beta^2 at 2B")
    single = d.define("cv2", "equals", 2 * (1 - beta) / (1 + beta), latex=r"\mathrm{CV}^2(B)")
    double = d.define("cv2_double", "equals", 2 * (1 - beta**2) / (1 + beta**2), latex=r"\mathrm{CV}^2(2B)")
    tau = (1 - beta) / (1 + beta)
    d.combine(
        "doubled",
        gap=2 / (1 + tau**2) * single - double,
        relation="==",
        uses={d.definition(single): 2 / (1 + tau**2), d.definition(double): -1},
        why="tanh of the double argument",
    )
    d.claim = ("doubled", double, 2 / (1 + tau**2) * single)
    return pruned(d)


mean_closed = produced(derive, ("mu", "s", "Phi"), "constant_mean")
variance_closed = produced(derive, ("mu", "s", "Phi", "c", "B", "t"), "constant_variance")
noise_bound = produced(derive, ("t", "B"), "noise_bound")
signal_bound = produced(derive, ("t", "Bn"), "signal_bound")


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """CV^2 of v at the end of the schedule. The trivial value is 2, that of one squared gradient."""
    batches = need_schedule(SLUG, batch_size)
    mu, sigma, t = (np.asarray(constants[name], dtype=float) for name in ("mu", "sigma", "t"))
    w, phi = weights(batches, t)
    s = sigma[..., None] ** 2 / batches
    m2 = mu[..., None] ** 2
    mean = (w * (m2 + s)).sum(axis=-1)
    variance = (w**2 * (2 * s**2 + 4 * m2 * s)).sum(axis=-1)
    found = variance / mean**2
    parts = {"mean": (mean / (1 - phi))[()], "variance": (variance / (1 - phi) ** 2)[()]}
    if np.all(batches == batches[0]):
        last, c = s[..., 0], -np.expm1(-np.log(2.0) * batches[0] / t)
        parts["closed_form"] = (
            variance_closed(mu, last, phi, c, batches[0], t) / mean_closed(mu, last, phi) ** 2
        )
        with np.errstate(divide="ignore", over="ignore"):
            noise_scale = sigma**2 / mu**2
        parts["stationary_bound"] = np.minimum(noise_bound(t, batches[0]), signal_bound(t, noise_scale))
    return Evaluation(value=found[()], trivial_value=(2 + 0 * found)[()], parts=parts)


def nonnegative(name: str, meaning: str, unit: str) -> Parameter:
    return Parameter(
        name=name,
        meaning=meaning,
        unit=unit,
        rule="must be at least 0",
        accepts=lambda x: bool(np.all(np.asarray(x, dtype=float) >= 0)),
    )


BOUND = Bound(
    slug=SLUG,
    title="Squared coefficient of variation of the second moment",
    algorithm="v_n = beta_n v_{n-1} + (1 - beta_n) g_n^2, beta_n = 2^(-B_n/t), v_0 = 0",
    quantity="",
    quantity_latex=r"\mathrm{CV}^2[v]",
    statement_latex=r"\mathrm{CV}^2[v]=\frac{\sum w_n^2"
    r"\big(\frac{2\sigma^4}{B_n^2}+\frac{4\mu^2\sigma^2}{B_n}\big)}"
    r"{\big(\sum w_n(\mu^2+\frac{\sigma^2}{B_n})\big)^2};\ \text{constant }B:\ 2\tanh\frac{\lambda B}2"
    r"\Big[1-\Big(\frac B{B+\mathcal B}\Big)^2\Big]\frac{1+\Phi}{1-\Phi}",
    kind="identity",
    assumptions=(HALF_LIFE, AVERAGE, GAUSSIAN, INDEPENDENT, CONSTANT, FORGOTTEN, NOISE_SCALE),
    parameters=(
        HALF_LIFE_PARAMETER,
        Parameter(
            name="mu", meaning="mean gradient", unit="grad", rule="must be a number", accepts=lambda x: True
        ),
        Parameter(name="sigma", meaning="gradient standard deviation, one token", unit="grad*sqrt(token)"),
    ),
    derive=derive,
    value=value,
    references=(SMALL_BATCH,),
    notes=(
        "Where noise dominates, CV^2 is about lambda B and grows with B: a half-life does not preserve it.",
        "Where signal dominates it tends to 2 lambda sigma^2/mu^2, whatever B: preserved.",
    ),
)
