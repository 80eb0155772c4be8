"""What families of schedules do to the noise term of SGD, V = sum eta_k^2/b_k / sum eta_k.

With V the bound of ``sgd_nonconvex_batch_schedule`` on the weighted mean of the squared gradient norm is
(2 Delta/sum eta_k + L sigma^2 V)/(2 - L eta_max). **Upper** bounds, phases m < M of K_min to K_max steps:

1. constant b: V = eta/b for a constant rate; eta_k = eta/sqrt(k+1) over K steps (parts ``harmonic`` and
   ``inverse_roots``): V <= eta (1 + ln K)/(2 b (sqrt(K+1) - 1));
2. b_m = growth^m b_0, constant rate (part ``growing_batch``):
   V <= eta K_max growth/(K_min (growth - 1) b_0 M);
3. b_m = growth^m b_0, eta_m = gamma^m eta_0, 1 < gamma, gamma^2 < growth (part ``growing_both``):
   V <= eta_0 K_max (gamma - 1)/(b_0 K_min (1 - gamma^2/growth)(gamma^M - 1));
4. 3 for the first phases, then 2 with the rate reached: the numerators and denominators of both added.

Part ``constant_batch_is_best``: sum_k 1/b_k >= K^2/sum_k b_k. At a constant rate, given numbers of steps and
of samples, no schedule has a smaller V than the constant one: under a uniform variance bound an
increasing batch is never justified by samples, only by steps. In 3 the rate stays below 2/L for a bounded
number of phases only, so the decay gamma^-M is not an asymptotic rate.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import sympy as sp

from bstheory.errors import input_error
from bstheory.references import INCREASING_BATCH
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_expectation import fixed
from bstheory.theory.derivation_scalar import log_of_one

SLUG = "sgd_schedule_families"
PHASES = Assumption(
    name="phases",
    statement="M >= 1 phases, phase m has K_m steps, K_min <= K_m <= K_max, batch b_m, rate eta_m",
)
GEOMETRIC = Assumption(
    name="geometric",
    statement="b_m = growth^m b_0 with growth > 1; eta_m = gamma^m eta_0 with gamma^2 < growth",
)


def derive() -> dict[str, Derivation]:
    """One part a sum."""
    return {
        "growing_batch": growing_batch(),
        "growing_both": growing_both(),
        "harmonic": harmonic(),
        "inverse_roots": inverse_roots(),
        "constant_batch_is_best": constant_batch_is_best(),
    }


def phases(title: str) -> Derivation:
    """Steps of the derivation are phases here."""
    d = Derivation(SLUG, title)
    K_m = fixed(d, "K_m", sign="positive", latex="K_m", meaning="steps of phase m")
    K_min = d.symbol("K_min", sign="positive", latex=r"K_{\min}", meaning="fewest steps of a phase")
    K_max = d.symbol("K_max", sign="positive", latex=r"K_{\max}", meaning="most steps of a phase")
    d.symbol("b_0", sign="positive", latex="b_0", meaning="samples in the first phase")
    d.symbol("eta_0", sign="positive", latex=r"\eta_0", meaning="learning rate in the first phase")
    d.symbol("growth", sign="positive", latex=r"\delta", meaning="factor of the batch size per phase")
    d.assume("at_least", K_m - K_min, assumption="phases", why="K_m >= K_min")
    d.assume("at_most", K_max - K_m, assumption="phases", why="K_m <= K_max")
    return d


def growing_batch() -> Derivation:
    """Family 2."""
    d = phases("Growing batch, constant rate")
    K_m, K_min, K_max, b_0, eta, growth = sp.symbols("K_m K_min K_max b_0 eta_0 growth")
    excess = d.symbol("excess", sign="positive", latex=r"\delta-1", meaning="growth - 1")
    d.assume("excess", excess - growth + 1, relation="==", assumption="geometric", why="growth > 1")
    p = fixed(d, "p", sign="positive", latex=r"\delta^{-m}", meaning="b_0/b_m")
    p_next = fixed(d, "p_next", sign="positive", latex=r"\delta^{-m-1}")
    p_end = d.symbol("p_end", sign="nonnegative", latex=r"\delta^{-M}")
    d.chain("p", previous=p, next=p_next, start=1, end=p_end)
    d.assume("shrink", growth * p_next - p, relation="==", assumption="geometric", why="b_{m+1} = growth b_m")
    num = d.define("num", "steps", K_m * eta**2 * p / b_0, sign="nonnegative", latex=r"\sum\eta^2/b")
    den = d.define("den", "steps", K_m * eta, sign="nonnegative", latex=r"\sum\eta")
    one = d.define("one", "steps", 1, sign="nonnegative", latex="M")
    sum_p = d.define("sum_p", "steps", p, sign="nonnegative", latex=r"\sum\delta^{-m}")
    falls = d.define("falls", "steps", p_next - p)
    M = d.symbol("M", sign="positive", latex="M", meaning="number of phases")
    W = d.symbol("W", sign="positive", latex=r"\sum\eta", meaning="sum of the learning rates")
    d.assume("phases", one - M, relation="==", assumption="phases", why="M phases")
    d.assume("weight", den - W, relation="==", assumption="phases", why="at least one phase")
    d.scale("most", "at_most", eta**2 * p / b_0, why="times eta^2/b_m")
    d.apply("num_bound", "steps", "most", {sum_p: K_max * eta**2 / b_0, num: -1}, why="sum over phases")
    d.scale("least", "at_least", eta, why="times eta")
    d.apply("den_bound", "steps", "least", {den: 1, one: -K_min * eta}, why="sum over phases")
    d.combine(
        "fall",
        gap=p_next - p + excess * p / growth,
        uses={"shrink": 1 / growth, "excess": p / growth},
        relation="==",
        why="p - p_next = (1 - 1/growth) p",
    )
    d.apply("fall_total", "steps", "fall", {falls: 1, sum_p: excess / growth}, why="sum over phases")
    d.telescope("telescope", falls, "p", why="powers telescope")
    d.combine(
        "sum_p_bound",
        gap=growth / excess - sum_p,
        uses={"fall_total": -growth / excess, "telescope": growth / excess},
        slack=growth * p_end / excess,
        why="geometric sum",
    )
    return ratio(d, num, W, K_max * eta * growth / (K_min * excess * b_0 * M), {
        "den_bound": 1, "weight": -1, "phases": K_min * eta,
    }, {"num_bound": 1, "sum_p_bound": K_max * eta**2 / b_0})  # fmt: skip


def growing_both() -> Derivation:
    """Family 3."""
    d = phases("Growing batch and rate")
    K_m, K_min, K_max, b_0, eta, growth = sp.symbols("K_m K_min K_max b_0 eta_0 growth")
    gamma = d.symbol("gamma", sign="positive", latex=r"\gamma", meaning="factor of the rate per phase")
    excess = d.symbol("excess", sign="positive", latex=r"\gamma-1", meaning="gamma - 1")
    room = d.symbol("room", sign="positive", latex=r"1-\gamma^2/\delta", meaning="1 - gamma^2/growth")
    d.assume("excess", excess - gamma + 1, relation="==", assumption="geometric", why="gamma > 1")
    d.assume(
        "room", room - 1 + gamma**2 / growth, relation="==", assumption="geometric", why="gamma^2 < growth"
    )
    u = fixed(d, "u", sign="positive", latex=r"\gamma^m", meaning="eta_m/eta_0")
    u_next = fixed(d, "u_next", sign="positive", latex=r"\gamma^{m+1}")
    u_end = d.symbol("u_end", sign="positive", latex=r"\gamma^M")
    d.chain("u", previous=u, next=u_next, start=1, end=u_end)
    q = fixed(d, "q", sign="positive", latex=r"\delta^m", meaning="b_m/b_0")
    q_next = fixed(d, "q_next", sign="positive", latex=r"\delta^{m+1}")
    d.chain("q", previous=q, next=q_next, start=1)
    w = d.define("w", "equals", u**2 / q, sign="positive", latex=r"(\gamma^2/\delta)^m")
    w_next = d.define(
        "w_next", "equals", u_next**2 / q_next, sign="positive", latex=r"(\gamma^2/\delta)^{m+1}"
    )
    w_start = d.define("w_start", "equals", 1, sign="positive", latex="1")
    w_end = d.symbol("w_end", sign="nonnegative", latex=r"(\gamma^2/\delta)^M")
    d.chain("w", previous=w, next=w_next, start=w_start, end=w_end)
    d.assume("grow_rate", u_next - gamma * u, relation="==", assumption="geometric", why="the rate grows")
    d.assume("grow_batch", q_next - growth * q, relation="==", assumption="geometric", why="the batch grows")
    num = d.define(
        "num", "steps", K_m * (eta * u) ** 2 / (b_0 * q), sign="nonnegative", latex=r"\sum\eta^2/b"
    )
    den = d.define("den", "steps", K_m * eta * u, sign="nonnegative", latex=r"\sum\eta")
    sum_u = d.define("sum_u", "steps", u, sign="nonnegative", latex=r"\sum\gamma^m")
    sum_w = d.define("sum_w", "steps", w, sign="nonnegative", latex=r"\sum(\gamma^2/\delta)^m")
    rises = d.define("rises", "steps", u_next - u)
    falls = d.define("falls", "steps", w_next - w)
    W = d.symbol("W", sign="positive", latex=r"\sum\eta", meaning="sum of the learning rates")
    rise = d.symbol("rise", sign="positive", latex=r"\gamma^M-1", meaning="gamma^M - 1")
    d.assume("weight", den - W, relation="==", assumption="phases", why="at least one phase")
    d.assume("rise", rise - u_end + 1, relation="==", assumption="phases", why="at least one phase")
    of_w = d.definition(w)
    d.combine(
        "most",
        gap=K_max * eta**2 * w / b_0 - K_m * (eta * u) ** 2 / (b_0 * q),
        uses={"at_most": eta**2 * u**2 / (b_0 * q), of_w: K_max * eta**2 / b_0},
        why="times eta_m^2/b_m",
    )
    d.apply("num_bound", "steps", "most", {sum_w: K_max * eta**2 / b_0, num: -1}, why="sum over phases")
    d.scale("least", "at_least", eta * u, why="times eta_m")
    d.apply("den_bound", "steps", "least", {den: 1, sum_u: -K_min * eta}, why="sum over phases")
    d.combine(
        "climb",
        gap=u_next - u - excess * u,
        uses={"grow_rate": 1, "excess": -u},
        relation="==",
        why="gamma - 1",
    )
    d.apply("climb_total", "steps", "climb", {rises: 1, sum_u: -excess}, why="sum over phases")
    d.telescope("telescope_u", rises, "u", why="powers telescope")
    d.combine(
        "fall",
        gap=w_next - w + room * w,
        relation="==",
        uses={
            d.definition(w_next): 1,
            of_w: -(gamma**2) / growth,
            "grow_rate": (u_next + gamma * u) / q_next,
            "grow_batch": -((gamma * u) ** 2) / (q_next * growth * q),
            "room": w,
        },
        why="w_next = (gamma^2/growth) w",
    )
    d.apply("fall_total", "steps", "fall", {falls: 1, sum_w: room}, why="sum over phases")
    d.telescope("telescope_w", falls, "w", why="powers telescope")
    d.combine(
        "sum_w_bound",
        gap=1 / room - sum_w,
        uses={"fall_total": -1 / room, "telescope_w": 1 / room, d.definition(w_start): -1 / room},
        slack=w_end / room,
        why="geometric sum",
    )
    d.combine(
        "den_value",
        gap=W - K_min * eta * rise / excess,
        uses={
            "den_bound": 1, "weight": -1, "climb_total": -K_min * eta / excess,
            "telescope_u": K_min * eta / excess, "rise": -K_min * eta / excess,
        },
        why="geometric sum",
    )  # fmt: skip
    return ratio(d, num, W, K_max * eta * excess / (b_0 * K_min * room * rise), {"den_value": 1}, {
        "num_bound": 1, "sum_w_bound": K_max * eta**2 / b_0,
    })  # fmt: skip


def ratio(
    d: Derivation,
    num: sp.Symbol,
    W: sp.Symbol,
    bound: sp.Expr,
    weight: dict[str, sp.Expr],
    noise: dict[str, sp.Expr],
) -> Derivation:
    """bound - num/W >= 0 from the facts that bound W below and num above."""
    V = d.define("V", "equals", num / W, sign="nonnegative", latex="V")
    uses: dict[Any, Any] = {fact: factor * bound / W for fact, factor in weight.items()}
    uses |= {fact: factor / W for fact, factor in noise.items()}
    uses[d.definition(V)] = -1
    d.combine("ratio", gap=bound - V, uses=uses, why="numerator above, denominator below")
    d.conclude("ratio", V, why="the noise term")
    return d


def harmonic() -> Derivation:
    """1 + 1/2 + ... + 1/n <= 1 + ln n; the first term is the start."""
    d = Derivation(SLUG, "Harmonic sum")
    n = fixed(d, "n", sign="positive", latex="n", meaning="terms")
    n_next = fixed(d, "n_next", sign="positive", latex="n+1")
    H = fixed(d, "H", latex="H_n", meaning="sum of 1/j for j up to n")
    H_next = fixed(d, "H_next", latex="H_{n+1}")
    d.chain("n", previous=n, next=n_next, start=1)
    d.chain("H", previous=H, next=H_next, start=1)
    d.assume("count", n_next - n - 1, relation="==", assumption="phases", why="one more term")
    d.assume("add", H_next - H - 1 / n_next, relation="==", assumption="phases", why="definition of the sum")
    log_one = log_of_one(d)
    log_n = d.define("log_n", "log", n, latex=r"\ln n")
    log_next = d.define("log_next", "log", n_next, latex=r"\ln(n+1)")
    log_ratio = d.define("log_ratio", "log", n / n_next, latex=r"\ln\frac n{n+1}")
    d.chain("log", previous=log_n, next=log_next, start=log_one)
    d.log_tangent("tangent", log_ratio, why="ln y <= y - 1 at y = n/(n+1)")
    d.log_quotient("split", log_ratio, log_n, log_next, why="logarithm of a quotient")
    d.hypothesis("hypothesis", 1 + log_n - H, why="H_n <= 1 + ln n")
    d.combine(
        "advanced",
        gap=1 + log_next - H_next,
        uses={"hypothesis": 1, "tangent": 1, "split": 1, "add": -1, "count": 1 / n_next},
        why="ln(n+1) - ln n >= 1/(n+1)",
    )
    d.combine("start", gap=1 + log_one - 1, uses={"log_of_one": 1}, why="n = 1")
    d.induction("sum", "hypothesis", "advanced", "start", ["n", "H", "log"], why="induction on the terms")
    d.conclude("sum", H, why="harmonic sum")
    return d


def inverse_roots() -> Derivation:
    """1 + 1/sqrt(2) + ... + 1/sqrt(n) >= 2 (sqrt(n+1) - 1)."""
    d = Derivation(SLUG, "Sum of inverse roots")
    n = fixed(d, "n", sign="nonnegative", latex="n", meaning="terms")
    n_next = fixed(d, "n_next", sign="positive", latex="n+1")
    S = fixed(d, "S", latex="S_n", meaning="sum of 1/sqrt(j) for j up to n")
    S_next = fixed(d, "S_next", latex="S_{n+1}")
    a = d.define("a", "root", n + 1, sign="positive", latex=r"\sqrt{n+1}")
    a_next = d.define("a_next", "root", n_next + 1, sign="positive", latex=r"\sqrt{n+2}")
    a_start = d.define("a_start", "root", 1, sign="positive", latex=r"\sqrt1")
    d.chain("n", previous=n, next=n_next, start=0)
    d.chain("S", previous=S, next=S_next, start=0)
    d.chain("a", previous=a, next=a_next, start=a_start)
    d.assume("count", n_next - n - 1, relation="==", assumption="phases", why="one more term")
    d.assume(
        "add", S_next - S - 1 / a, relation="==", assumption="phases", why="the next term is 1/sqrt(n+1)"
    )
    d.hypothesis("hypothesis", S - 2 * a + 2, why="S_n >= 2 (sqrt(n+1) - 1)")
    total = 2 * a + 1 / a + 2 * a_next
    d.combine(
        "advanced",
        gap=S_next - 2 * a_next + 2,
        uses={
            "hypothesis": 1,
            "add": 1,
            d.definition(a): 4 / total,
            d.definition(a_next): -4 / total,
            "count": -4 / total,
        },
        slack=1 / (a**2 * total),
        why="(2 a + 1/a)^2 >= 4 (n + 2) with a = sqrt(n+1)",
    )
    d.combine(
        "start",
        gap=0 - 2 * a_start + 2,
        uses={d.definition(a_start): -2 / (a_start + 1)},
        why="n = 0: sqrt(1) = 1",
    )
    d.induction("sum", "hypothesis", "advanced", "start", ["n", "S", "a"], why="induction on the terms")
    d.conclude("sum", a, why="sqrt(n+1) <= 1 + S_n/2")
    return d


def constant_batch_is_best() -> Derivation:
    """sum 1/b_k >= K^2/D: the tangent of 1/b at the mean batch size."""
    d = Derivation(SLUG, "A constant batch has the least noise for its samples")
    b = d.symbol("b", sign="positive", depends=("step",), latex="b_k", meaning="samples of step k")
    K = d.symbol("K", sign="positive", latex="K", meaning="steps")
    D = d.symbol("D", sign="positive", latex="D", meaning="samples in all")
    inverse = d.define("inverse", "steps", 1 / b, sign="nonnegative", latex=r"\sum_k\frac1{b_k}")
    total = d.define("total", "steps", b, sign="nonnegative", latex=r"\sum_kb_k")
    count = d.define("count", "steps", 1, sign="nonnegative", latex="K")
    d.assume("budget", total - D, relation="==", assumption="phases", why="the b_k add up to D")
    d.assume("steps", count - K, relation="==", assumption="phases", why="K steps")
    mean = D / K
    d.combine(
        "tangent",
        gap=1 / b - 2 / mean + b / mean**2,
        squares=[(1 / (b * mean**2), b - mean)],
        why="1/b lies above its tangent",
    )
    d.apply(
        "sum", "steps", "tangent", {inverse: 1, count: -2 / mean, total: 1 / mean**2}, why="sum over steps"
    )
    least = d.define("least", "equals", K**2 / D, sign="positive", latex=r"\frac{K^2}D")
    d.combine(
        "claim",
        gap=inverse - least,
        uses={"sum": 1, "steps": 2 / mean, "budget": -1 / mean**2, d.definition(least): -1},
        why="at the mean",
    )
    d.conclude("claim", least, why="equality where all batches are equal")
    return d


@functools.cache
def right_hand_sides() -> dict[str, Any]:
    """The produced bounds of each part as NumPy functions."""
    parts = derive()

    def function(part: str, arguments: str) -> Any:
        d = parts[part]
        assert d.claim is not None
        expression = d.closed_form(d.claim[2])
        growth, gamma = sp.symbols("growth gamma")
        excess = gamma - 1 if part == "growing_both" else growth - 1
        expression = expression.subs(
            {"room": 1 - gamma**2 / growth, "excess": excess, "log_n": sp.log(sp.Symbol("n"))}
        )
        return sp.lambdify(sp.symbols(arguments), expression, "numpy")

    return {
        "growing_batch": function("growing_batch", "K_max K_min eta_0 growth b_0 M"),
        "growing_both": function("growing_both", "K_max K_min eta_0 growth gamma b_0 rise"),
        "harmonic": function("harmonic", "n"),
    }


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """Bound on V for the chosen family; the exact V, where the phases have equal lengths, in ``exact``."""
    if batch_size is not None:
        raise input_error(
            got="a schedule", rule=f"{SLUG} builds its own from its constants", do="leave schedule out"
        )
    names = ("K_min", "K_max", "eta_0", "b_0", "growth", "gamma", "M", "warmup")
    K_min, K_max, eta, b, growth, gamma, M, warmup = (float(constants[name]) for name in names)
    family = int(constants["family"])
    check_family(family, K_min, K_max, growth, gamma, M, warmup)
    sides = right_hand_sides()
    phase = np.arange(int(M))
    if family == 1:
        steps = K_max * M
        bound = eta / b * sides["harmonic"](steps) / (2 * (np.sqrt(steps + 1) - 1))
        rates, batches = eta / np.sqrt(np.arange(1, int(steps) + 1)), np.full(int(steps), b)
    elif family == 2:
        bound = sides["growing_batch"](K_max, K_min, eta, growth, b, M)
        rates, batches = np.full(int(M), eta), b * growth**phase
    elif family == 3:
        bound = sides["growing_both"](K_max, K_min, eta, growth, gamma, b, gamma**M - 1)
        rates, batches = eta * gamma**phase, b * growth**phase
    else:
        rise, rest = gamma**warmup - 1, M - warmup
        top = eta * gamma ** (warmup - 1)
        first = sides["growing_both"](K_max, K_min, eta, growth, gamma, b, rise)
        then = sides["growing_batch"](K_max, K_min, top, growth, b * growth**warmup, rest)
        # Each part bounds its noise sum by V times its least weight; both sums add.
        first_weight, then_weight = K_min * eta * rise / (gamma - 1), K_min * top * rest
        bound = (first * first_weight + then * then_weight) / (first_weight + then_weight)
        rates = eta * gamma ** np.minimum(phase, warmup - 1)
        batches = b * growth**phase
    parts: dict[str, Any] = {"phases": M}
    if K_min == K_max:
        parts["exact"] = float((rates**2 / batches).sum() / rates.sum())
    return Evaluation(value=float(bound), trivial_value=float((rates / batches).max()), parts=parts)


def check_family(
    family: int, K_min: float, K_max: float, growth: float, gamma: float, M: float, warmup: float
) -> None:
    """Hypotheses that tie constants together."""
    wrong = None
    if K_min > K_max:
        wrong = (f"K_min={K_min:g} above K_max={K_max:g}", "phases", "K_min is at most K_max")
    elif family != 1 and growth <= 1:
        wrong = (f"growth={growth:g}", "geometric", "the batch grows, growth > 1")
    elif family in (3, 4) and not 1 < gamma < growth**0.5:
        wrong = (f"gamma={gamma:g} with growth={growth:g}", "geometric", "1 < gamma and gamma^2 < growth")
    elif family == 4 and not 1 <= warmup < M:
        wrong = (f"warmup={warmup:g} of M={M:g}", "phases", "some phases warm up and some follow")
    if wrong is not None:
        raise input_error(
            got=wrong[0], rule=f"assumption {wrong[1]}: {wrong[2]}", do="choose other constants"
        )


def whole(name: str, meaning: str, unit: str, default: Any = None) -> Parameter:
    """A count."""
    return Parameter(
        name=name,
        meaning=meaning,
        unit=unit,
        rule="is a whole number of at least 1",
        accepts=lambda x: np.ndim(x) == 0 and float(x) >= 1 and float(x) == int(float(x)),
        default=default,
    )


BOUND = Bound(
    slug=SLUG,
    title="The noise term of SGD under the usual families of batch and rate schedules",
    algorithm="SGD in phases of K_min to K_max steps",
    quantity="",
    quantity_latex=r"V=\frac{\sum_k\eta_k^2/b_k}{\sum_k\eta_k}",
    statement_latex=r"\text{constant rate, }b_m=\delta^mb_0:\ V\le\frac{\eta K_{\max}\delta}"
    r"{K_{\min}(\delta-1)b_0M};\qquad\eta_m=\gamma^m\eta_0:\ V\le\frac{\eta_0K_{\max}(\gamma-1)}"
    r"{b_0K_{\min}(1-\gamma^2/\delta)(\gamma^M-1)}",
    kind="upper",
    assumptions=(PHASES, GEOMETRIC),
    parameters=(
        Parameter(
            name="family",
            meaning="1 decaying rate, 2 growing batch, 3 growing both, 4 warm-up then 2",
            unit="1",
            rule="is 1, 2, 3 or 4",
            accepts=lambda x: np.ndim(x) == 0 and float(x) in (1.0, 2.0, 3.0, 4.0),
        ),
        whole("M", "phases (family 1: M phases of K_max steps)", "1"),
        whole("K_min", "fewest steps of a phase", "steps"),
        whole("K_max", "most steps of a phase", "steps"),
        Parameter(name="eta_0", meaning="learning rate at the start", unit="param^2/loss"),
        Parameter(name="b_0", meaning="batch size at the start", unit="samples"),
        Parameter(name="growth", meaning="factor of the batch size per phase", unit="1", default=1.0),
        Parameter(name="gamma", meaning="factor of the learning rate per phase", unit="1", default=1.0),
        whole("warmup", "phases of warm-up in family 4", "1", default=1),
    ),
    derive=derive,
    value=value,
    references=(INCREASING_BATCH,),
    notes=(
        "The exact finite sum is always available and always smaller.",
        "Growing the rate as gamma^m ends where gamma^m eta_0 reaches 2/L: the decay is not a rate for M to "
        "infinity.",
        "Samples grow as growth^M, so gamma^-M is never better than samples^(-1/2): the gain is in steps.",
        "The trivial value is the largest eta_k/b_k.",
    ),
)
