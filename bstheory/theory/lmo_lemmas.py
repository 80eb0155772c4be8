"""The derivations of ``lmo_token_half_life``: any fixed schedule, constant batches, best half-life."""

from __future__ import annotations

import sympy as sp

from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_expectation import fixed, steps_expected, tower_expected
from bstheory.theory.half_life_lemmas import declare_rule, hyperbolic_bounds

SLUG = "lmo_token_half_life"
HALF = sp.Rational(1, 2)


def schedule() -> Derivation:
    """sum eta_t E|grad F_t|_* in terms of the sequences b_t (drift) and V_t (noise)."""
    d = Derivation(SLUG, "Momentum through a linear minimisation oracle, any fixed schedule")
    declare(d)
    descent(d)
    drift(d)
    noise(d)
    return sum_up(d)


def declare(d: Derivation) -> None:
    """Schedule and constants. At the first step beta = 0, which is m_0 = g_0."""
    d.symbol("L", sign="positive", latex="L", meaning="smoothness in the norm of the oracle")
    d.symbol("rho", sign="positive", latex=r"\rho", meaning="dual norm <= rho times the 2-norm")
    d.symbol("sigma", sign="positive", latex=r"\sigma", meaning="root of one token's gradient variance")
    fixed(d, "eta", sign="positive", latex=r"\eta_t", meaning="step length")
    fixed(d, "B", sign="positive", latex="B_t", meaning="tokens of step t")
    fixed(d, "beta", sign="nonnegative", latex=r"\beta_t", meaning="momentum, 0 at the first step")
    fixed(d, "gamma", sign="positive", latex=r"1-\beta_t", meaning="weight of the new gradient")
    beta, gamma, eta = sp.symbols("beta gamma eta")
    d.assume("weights", beta + gamma - 1, relation="==", assumption="momentum", why="1 - beta_t")
    lag = fixed(d, "lag", sign="nonnegative", latex=r"\eta_{t-1}", meaning="length of the step before")
    lag_next = fixed(d, "lag_next", sign="nonnegative", latex=r"\eta_t", meaning="the same, one step later")
    d.chain("lag", previous=lag, next=lag_next, start=0)
    d.assume("lag", lag_next - eta, relation="==", assumption="fixed_schedule", why="definition")


def descent(d: Derivation) -> None:
    """F_{t+1} <= F_t - eta |G|_* + 2 eta |m - G|_* + L eta^2/2."""
    eta, L = sp.symbols("eta L")
    drawn = ("step", "draw")
    F_prev = d.symbol("F_prev", depends=("step",), latex="F(x_t)", meaning="loss before the step")
    F_next = d.symbol("F_next", depends=drawn, latex="F(x_{t+1})", meaning="loss after the step")
    F_start = d.symbol("F_start", latex="F(x_0)", meaning="initial loss")
    F_end = d.symbol("F_end", latex=r"E\,F(x_K)", meaning="expected final loss")
    d.chain("F", previous=F_prev, next=F_next, start=F_start, end=F_end)
    size = d.symbol("size", sign="nonnegative", depends=("step",), latex=r"\|\nabla F_t\|_*")
    size_m = d.symbol("size_m", sign="nonnegative", depends=drawn, latex=r"\|m_t\|_*")
    error = d.symbol("error", sign="nonnegative", depends=drawn, latex=r"\|m_t-\nabla F_t\|_*")
    inner = d.symbol("inner", depends=drawn, latex=r"\langle\nabla F_t,\mathrm{lmo}(m_t)\rangle")
    d.assume(
        "smoothness",
        F_prev - F_next - eta * inner + L * eta**2 / 2,
        assumption="smooth_in_norm",
        by=["descent_lemma"],
        why="descent lemma along x_{t+1} - x_t = -eta lmo(m), |lmo(m)| <= 1",
    )
    d.assume(
        "oracle",
        inner - size_m + error,
        assumption="oracle",
        by=["dual_norm"],
        why="<m, lmo(m)> = |m|_* and <G - m, lmo(m)> >= -|G - m|_*",
    )
    d.assume("triangle", size_m + error - size, assumption="oracle", by=["dual_norm"], why="triangle")
    d.combine(
        "descent",
        uses={"smoothness": 1, "oracle": eta, "triangle": eta},
        why="the loss falls by the dual norm, up to twice the error of the momentum",
    )


def drift(d: Derivation) -> None:
    """|drift_t|_* <= b_t with b_t = beta_t (b_{t-1} + L eta_{t-1})."""
    L, beta, lag = sp.symbols("L beta lag")
    before = d.symbol("drift", sign="nonnegative", depends=("step",), latex=r"\|d_{t-1}\|_*")
    after = d.symbol("drift_next", sign="nonnegative", depends=("step",), latex=r"\|d_t\|_*")
    d.chain("drift", previous=before, next=after, start=0)
    b = fixed(d, "b", sign="nonnegative", latex="b_{t-1}", meaning="bound of the drift before")
    b_next = fixed(d, "b_next", sign="nonnegative", latex="b_t", meaning="bound of the drift")
    d.chain("b", previous=b, next=b_next, start=0)
    d.assume(
        "drift_step",
        beta * (before + L * lag) - after,
        assumption="smooth_in_norm",
        by=["dual_norm"],
        why="d_t = beta_t (d_{t-1} + grad F_{t-1} - grad F_t), smoothness over the step before",
    )
    d.assume(
        "drift_bound",
        b_next - beta * (b + L * lag),
        relation="==",
        assumption="fixed_schedule",
        why="what b is",
    )
    d.hypothesis("drift_hypothesis", b - before, why="|d_{t-1}|_* <= b_{t-1}")
    d.combine(
        "drift_advanced",
        gap=b_next - after,
        uses={"drift_hypothesis": beta, "drift_step": 1, "drift_bound": 1},
        why="one more step",
    )
    d.combine("drift_start", gap=sp.Integer(0), relation="==", why="no drift at first")
    d.induction(
        "drift_before", "drift_hypothesis", "drift_advanced", "drift_start", ["b", "drift"], why="induction"
    )
    d.combine(
        "drift_after",
        gap=b_next - after,
        uses={"drift_before": beta, "drift_step": 1, "drift_bound": 1},
        why="after the step",
    )


def noise(d: Derivation) -> None:
    """E|noise_t|^2 <= sigma^2 V_t with V_t = beta_t^2 V_{t-1} + (1 - beta_t)^2/B_t."""
    beta, gamma, B, sigma = sp.symbols("beta gamma B sigma")
    coordinate = ("coordinate", "step")
    G = d.symbol("G", depends=coordinate, latex="G", meaning="coordinate of grad F_t")
    g = d.symbol("g", depends=(*coordinate, "draw"), latex="g", meaning="coordinate of g_t")
    z = d.symbol("z", depends=coordinate, latex="z_{t-1}", meaning="coordinate of the averaged noise before")
    z_next = d.symbol("z_next", depends=(*coordinate, "draw"), latex="z_t", meaning="and after")
    d.chain("z", previous=z, next=z_next, start=0)
    d.assume(
        "noise_step",
        z_next - beta * z - gamma * (g - G),
        relation="==",
        assumption="momentum",
        why="the part of m_t - grad F_t that comes from noise",
    )
    mean_g = d.define("mean_g", "mean", g)
    mean_e2 = d.define("mean_e2", "mean", (g - G) ** 2, sign="nonnegative")
    mean_z2 = d.define("mean_z2", "mean", z_next**2, sign="nonnegative")
    variance = d.define("variance", "coordinates", mean_e2, sign="nonnegative", latex=r"E_t\|g-G\|_2^2")
    Z = d.define("Z", "coordinates", z**2, sign="nonnegative", latex=r"\|z_{t-1}\|_2^2")
    Z_next = d.define("Z_next", "coordinates", z_next**2, sign="nonnegative", latex=r"\|z_t\|_2^2")
    Z_start = d.define("Z_start", "coordinates", 0)
    Z_mean = d.define("Z_mean", "coordinates", mean_z2, sign="nonnegative")
    d.chain("Z", previous=Z, next=Z_next, start=Z_start)
    d.assume("unbiased", mean_g - G, relation="==", assumption="unbiased", why="E g = G")
    d.assume("variance", sigma**2 / B - variance, assumption="variance", why="at most sigma^2/B_t")
    step = beta * z + gamma * (g - G)
    d.combine(
        "noise_square",
        gap=z_next**2 - step**2,
        uses={"noise_step": z_next + step},
        relation="==",
        why="square of the recursion",
    )
    d.apply(
        "noise_mean",
        "mean",
        "noise_square",
        {
            mean_z2: 1,
            mean_e2: -(gamma**2),
            mean_g: -2 * beta * gamma * z,
            "1": -(beta**2) * z**2 + 2 * beta * gamma * z * G,
        },
        why="conditional mean",
    )
    d.combine(
        "noise_centred",
        gap=mean_z2 - beta**2 * z**2 - gamma**2 * mean_e2,
        uses={"noise_mean": 1, "unbiased": 2 * beta * gamma * z},
        relation="==",
        why="new noise is uncorrelated with the past",
    )
    d.apply(
        "noise_sum",
        "coordinates",
        "noise_centred",
        {Z_mean: 1, Z: -(beta**2), variance: -(gamma**2)},
        why="sum over coordinates",
    )
    d.combine(
        "noise_grows",
        gap=beta**2 * Z + gamma**2 * sigma**2 / B - Z_mean,
        uses={"noise_sum": -1, "variance": gamma**2},
        why="variance of a step",
    )
    E, E_next, E_start = (
        d.define(name, "expected", of)
        for name, of in (("E_Z", Z), ("E_Z_next", Z_next), ("E_Z_start", Z_start))
    )
    E_mean = d.define("E_Z_mean", "expected", Z_mean)
    d.chain("E_Z", previous=E, next=E_next, start=E_start)
    V = fixed(d, "V", sign="nonnegative", latex="V_{t-1}", meaning="variance factor before")
    V_next = fixed(d, "V_next", sign="positive", latex="V_t", meaning="variance factor")
    d.chain("V", previous=V, next=V_next, start=0)
    d.assume(
        "variance_factor",
        V_next - beta**2 * V - gamma**2 / B,
        relation="==",
        assumption="fixed_schedule",
        why="what V is",
    )
    d.apply(
        "noise_expected",
        "expected",
        "noise_grows",
        {E: beta**2, "1": gamma**2 * sigma**2 / B, E_mean: -1},
        why="expectation; the schedule is fixed",
    )
    tower_expected(d, "tower_noise", E_mean, E_next, {Z_mean: Z_next}, why="tower property")
    d.combine("nothing", gap=0, relation="==", why="zero")
    d.apply("Z_at_start", "coordinates", "nothing", {Z_start: 1}, why="no noise at first")
    d.apply("E_at_start", "expected", "Z_at_start", {E_start: 1}, why="no noise at first")
    d.hypothesis("noise_hypothesis", sigma**2 * V - E, why="E|z|^2 <= sigma^2 V")
    uses = {"noise_expected": 1, "tower_noise": 1, "variance_factor": sigma**2}
    d.combine(
        "noise_advanced",
        gap=sigma**2 * V_next - E_next,
        uses={"noise_hypothesis": beta**2, **uses},
        why="one more step",
    )
    d.combine("noise_start", gap=-E_start, uses={"E_at_start": -1}, why="at first")
    d.induction(
        "noise_before", "noise_hypothesis", "noise_advanced", "noise_start", ["V", "E_Z"], why="induction"
    )
    d.combine(
        "noise_after", gap=sigma**2 * V_next - E_next, uses={"noise_before": beta**2, **uses}, why="after"
    )


def sum_up(d: Derivation) -> Derivation:
    """Young's inequality for the noise norm, then all sums."""
    eta, L, rho, sigma, error = sp.symbols("eta L rho sigma error")
    F_prev, F_next, F_start, size = sp.symbols("F_prev F_next F_start size")
    b_next, drift_next, V_next, Z_next, E_next = sp.symbols("b_next drift_next V_next Z_next E_Z_next")
    F_star = d.symbol("F_star", latex="F_*", meaning="lower bound of F")
    w = d.define("w", "root", V_next, sign="positive", latex=r"\sqrt{V_t}")
    length = d.define("length", "root", Z_next, sign="nonnegative", latex=r"\|z_t\|_2")
    d.assume(
        "error_split",
        drift_next + rho * length - error,
        assumption="oracle",
        by=["dual_norm"],
        why="m_t - grad F_t = d_t + z_t, and the dual norm is at most rho times the 2-norm",
    )
    d.combine(
        "young",
        gap=Z_next / (2 * sigma * w) + sigma * w / 2 - length,
        squares=[(1 / (2 * sigma * w), length - sigma * w)],
        uses={d.definition(length): -1 / (2 * sigma * w)},
        why="Young's inequality in place of Jensen's",
    )
    T_F = d.define("T_F", "steps", F_next - F_prev)
    T_size = d.define(
        "weighted_sum", "steps", eta * size, sign="nonnegative", latex=r"\sum_{t<K}\eta_tE\|\nabla F(x_t)\|_*"
    )
    T_error = d.define("T_error", "steps", eta * error, sign="nonnegative")
    T_drift = d.define("T_drift", "steps", eta * drift_next, sign="nonnegative")
    T_length = d.define("T_length", "steps", eta * length, sign="nonnegative")
    T_Z = d.define("T_Z", "steps", eta * Z_next / w, sign="nonnegative")
    T_EZ = d.define("T_EZ", "steps", eta * E_next / w)
    squares = d.define("squares", "steps", eta**2, sign="nonnegative", latex=r"\sum\eta_t^2")
    drifts = d.define("drifts", "steps", eta * b_next, sign="nonnegative", latex=r"\sum\eta_tb_t")
    noises = d.define("noises", "steps", eta * w, sign="nonnegative", latex=r"\sum\eta_t\sqrt{V_t}")
    d.apply(
        "descent_total",
        "steps",
        "descent",
        {T_F: -1, T_size: -1, T_error: 2, squares: L / 2},
        why="expectation of the sum over steps",
    )
    for name, fact, terms in (
        ("error", "error_split", {T_drift: 1, T_length: rho, T_error: -1}),
        ("drift", "drift_after", {drifts: 1, T_drift: -1}),
        ("young", "young", {T_Z: 1 / (2 * sigma), noises: sigma / 2, T_length: -1}),
    ):
        d.scale(f"{name}_weighted", fact, eta, why="times the step length")
        d.apply(f"{name}_total", "steps", f"{name}_weighted", terms, why="sum over steps")
    steps_expected(d, "expected_noise", T_EZ, T_Z, why="the schedule is fixed")
    d.combine(
        "noise_weighted",
        gap=sigma**2 * eta * w - eta * E_next / w,
        uses={"noise_after": eta / w, d.definition(w): sigma**2 * eta / w},
        why="E|z|^2/sqrt(V) <= sigma^2 sqrt(V)",
    )
    d.apply("noise_total", "steps", "noise_weighted", {noises: sigma**2, T_EZ: -1}, why="sum over steps")
    d.telescope("telescope", T_F, "F", why="the loss telescopes")
    d.assume("below_next", F_next - F_star, assumption="bounded_below", why="F >= F_* after every step")
    d.assume("below_start", F_start - F_star, assumption="bounded_below", why="F >= F_* at the start")
    d.at_end("below_end", "below_next", "below_start", "F", why="E F(x_K) >= F_*")
    d.combine(
        "assembled",
        uses={
            "descent_total": 1,
            "telescope": 1,
            "below_end": 1,
            "error_total": 2,
            "drift_total": 2,
            "young_total": 2 * rho,
            "expected_noise": rho / sigma,
            "noise_total": rho / sigma,
        },
        why="everything together",
    )
    d.conclude("assembled", T_size, why="as it stands")
    return d


def constant_noise() -> Derivation:
    """Constant batch, half-life rule: sum_t sqrt(V_t) <= K sqrt(lambda/2) + 1/(sqrt(B) (1 - beta))."""
    d = Derivation(SLUG, "The noise of a constant batch carries no batch size")
    declare_rule(d, constant=True)
    hyperbolic_bounds(d)
    B, beta, c, lam = sp.symbols("B beta c lam")
    q = fixed(d, "q", sign="nonnegative", latex=r"\beta^t", meaning="weight of the first gradient")
    q_next = fixed(d, "q_next", sign="nonnegative", latex=r"\beta^{t+1}")
    q_end = d.symbol("q_end", sign="nonnegative", latex=r"\beta^K")
    d.chain("q", previous=q, next=q_next, start=1, end=q_end)
    d.assume("q_step", q_next - beta * q, relation="==", assumption="fixed_schedule", why="powers of beta")
    V = fixed(d, "V", sign="positive", latex="V_t", meaning="variance factor")
    V_next = fixed(d, "V_next", sign="positive", latex="V_{t+1}")
    d.chain("V", previous=V, next=V_next, start=1 / B)
    d.assume(
        "V_step", V_next - beta**2 * V - c**2 / B, relation="==", assumption="fixed_schedule", why="what V is"
    )
    bound = lam / 2 + q**2 / B
    d.hypothesis("V_hypothesis", bound - V, why="V_t <= lambda/2 + beta^(2t)/B")
    d.combine(
        "V_advanced",
        gap=lam / 2 + q_next**2 / B - V_next,
        uses={
            "V_hypothesis": beta**2,
            "V_step": -1,
            "q_step": (q_next + beta * q) / B,
            "tanh_below": c / (2 * B),
            "half_life": -lam * (1 + beta) / 2,
        },
        why="lambda/2 is above the fixed point, since tanh(x) <= x",
    )
    d.combine("V_start", gap=lam / 2 + 1 / B - 1 / B, slack=lam / 2, why="V_0 = 1/B")
    d.induction("V_bound", "V_hypothesis", "V_advanced", "V_start", ["V", "q"], why="induction on steps")
    w = d.define("w", "root", V, sign="positive", latex=r"\sqrt{V_t}")
    floor = d.define("floor", "root", lam / 2, sign="positive", latex=r"\sqrt{\lambda_1/2}")
    first = d.define("first", "root", 1 / B, sign="positive", latex=r"B^{-1/2}")
    total = floor + q * first
    d.combine(
        "root",
        gap=total - w,
        uses={
            "V_bound": 1 / (total + w),
            d.definition(w): -1 / (total + w),
            d.definition(floor): 1 / (total + w),
            d.definition(first): q**2 / (total + w),
        },
        slack=2 * floor * q * first / (total + w),
        why="root of a sum",
    )
    roots = d.define("roots", "steps", w, sign="nonnegative", latex=r"\sum_{t<K}\sqrt{V_t}")
    number = d.define("K", "steps", 1, sign="nonnegative", latex="K")
    weights = d.define("weights", "steps", q, sign="nonnegative", latex=r"\sum\beta^t")
    changes = d.define("changes", "steps", q_next - q)
    d.apply("root_total", "steps", "root", {number: floor, weights: first, roots: -1}, why="sum over steps")
    d.combine(
        "q_falls",
        gap=q_next - q + c * q,
        uses={"q_step": 1, "half_life": q},
        relation="==",
        why="1 - beta = c",
    )
    d.apply("q_total", "steps", "q_falls", {changes: 1, weights: c}, why="sum over steps")
    d.telescope("q_telescope", changes, "q", why="powers telescope")
    d.combine(
        "geometric",
        gap=1 / c - weights,
        uses={"q_total": -1 / c, "q_telescope": 1 / c},
        slack=q_end / c,
        why="geometric sum",
    )
    d.combine(
        "claim",
        uses={"root_total": 1, "geometric": first},
        why="the first gradient's surplus is spent after about 1/(1 - beta) steps",
    )
    d.conclude("claim", roots, why="sum of the noise factors")
    return d


def constant_drift() -> Derivation:
    """Constant batch and step length: b_t <= L eta/(lambda B)."""
    d = Derivation(SLUG, "The drift of a constant batch")
    declare_rule(d, constant=True)
    hyperbolic_bounds(d)
    B, beta, c, lam = sp.symbols("B beta c lam")
    ln_inverse = sp.Symbol("u")
    L = d.symbol("L", sign="positive", latex="L", meaning="smoothness")
    eta = d.symbol("eta", sign="positive", latex=r"\eta", meaning="step length")
    b = fixed(d, "b", sign="nonnegative", latex="b_t", meaning="bound of the drift")
    b_next = fixed(d, "b_next", sign="nonnegative", latex="b_{t+1}")
    d.chain("b", previous=b, next=b_next, start=0)
    d.assume(
        "b_step", b_next - beta * (b + L * eta), relation="==", assumption="fixed_schedule", why="what b is"
    )
    d.log_tangent("tangent", ln_inverse, why="ln y <= y - 1 at y = 1/beta")
    d.combine(
        "forgetting",
        gap=c - lam * B * beta,
        uses={"tangent": beta, "u_tokens": beta, "half_life": 1},
        why="1/beta - 1 >= lambda B",
    )
    d.hypothesis("hypothesis", L * eta / (lam * B) - b, why="b_t <= L eta/(lambda B)")
    d.combine(
        "advanced",
        gap=L * eta / (lam * B) - b_next,
        uses={
            "hypothesis": beta,
            "b_step": -1,
            "forgetting": L * eta / (lam * B),
            "half_life": -L * eta / (lam * B),
        },
        why="L eta/(lambda B) is above the fixed point",
    )
    d.combine("start", gap=L * eta / (lam * B) - 0, slack=L * eta / (lam * B), why="b_0 = 0")
    d.induction("bound", "hypothesis", "advanced", "start", ["b"], why="induction on steps")
    d.conclude("bound", b, why="the drift")
    return d


def optimum(what: str) -> Derivation:
    """Delta/(r D) + 2 L r/lambda + 2 rho sigma sqrt(lambda/2) >= 4 sqrt(rho sigma) (L Delta/D)^(1/4).

    Args:
        what: ``"least"`` (the inequality for all r, lambda) or ``"attained"`` (equality at r*, lambda*).
    """
    d = Derivation(SLUG, f"Best step per token and half-life: {what}")
    L = d.symbol("L", sign="positive", latex="L", meaning="smoothness")
    D = d.symbol("D", sign="positive", latex="D", meaning="tokens")
    root_noise = d.symbol("root_noise", sign="positive", latex=r"\sqrt{\rho\sigma}")
    fourth = d.symbol("fourth", sign="positive", latex=r"(L\Delta/D)^{1/4}")
    Delta = d.define("Delta", "equals", fourth**4 * D / L, sign="positive", latex=r"\Delta")
    if what == "least":
        r = d.symbol("r", sign="positive", latex="r", meaning="step length per token")
        w = d.symbol("w", sign="positive", latex=r"\sqrt{\lambda_1/2}")
        value = Delta / (r * D) + L * r / w**2 + 2 * root_noise**2 * w
        d.combine(
            "least",
            gap=value - 4 * root_noise * fourth,
            squares=[
                (1 / (L * r), L * r / w - fourth**2),
                (2 / w, fourth - root_noise * w),
            ],
            uses={d.definition(Delta): 1 / (r * D)},
            why="two squares: first the rate, then the half-life",
        )
        smallest = d.define(
            "smallest",
            "equals",
            4 * root_noise * fourth,
            sign="positive",
            latex=r"4(\rho\sigma)^{1/2}(L\Delta/D)^{1/4}",
        )
        d.combine(
            "claim",
            gap=value - smallest,
            uses={"least": 1, d.definition(smallest): -1},
            why="the prefactor is 4",
        )
        d.conclude("claim", smallest, why="no rate and half-life do better")
        return d
    w = fourth / root_noise
    r = fourth**2 * w / L
    value = d.define(
        "value",
        "equals",
        Delta / (r * D) + L * r / w**2 + 2 * root_noise**2 * w,
        sign="positive",
        latex="f(r^*,\\lambda^*)",
    )
    d.combine(
        "equal",
        gap=4 * root_noise * fourth - value,
        uses={d.definition(value): -1, d.definition(Delta): -1 / (r * D)},
        relation="==",
        why="substitute r* = sqrt(Delta lambda*/(2 L D)), lambda* = (2/(rho sigma)) sqrt(L Delta/D)",
    )
    d.conclude("equal", value, why="the value is attained")
    return d
