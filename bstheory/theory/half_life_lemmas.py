"""Steps shared by the half-life identities: the rule itself, what is forgotten, hyperbolic bounds.

One step consumes B tokens, beta = 2^(-B/t) = e^(-lambda B), c = 1 - beta, lambda = ln2/t, u = lambda B.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import sympy as sp

from bstheory.errors import input_error
from bstheory.theory.bound import Assumption, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_expectation import fixed
from bstheory.theory.derivation_scalar import decay, exp_series, log_injective

HALF_LIFE = Assumption(
    name="half_life_rule", statement="beta_n = 2^(-B_n/t); B_n and t in the same unit", constants=("t",)
)
TOKENS = Assumption(name="token_count", statement="D_n = D_{n-1} + B_n, D_0 = 0")
FORGOTTEN = Assumption(name="forgotten", statement="Phi_n = beta_n Phi_{n-1}, Phi_0 = 1")
LARGEST = Assumption(name="largest_batch", statement="B_n <= B_max for every step")
HALF_LIFE_PARAMETER = Parameter(name="t", meaning="half-life of the average", unit="tokens")


def declare_rule(d: Derivation, *, constant: bool = False) -> None:
    """Symbols t, B, beta, c, ln2, lam, and steps ``half_life``, ``decay_rate``: ln beta + lam B == 0.

    Args:
        constant: the batch size is the same at every step.
    """
    per_step: Any = () if constant else ("step",)
    t = d.symbol("t", sign="positive", latex="t", meaning="half-life, tokens")
    B = fixed(d, "B", sign="positive", depends=per_step, latex="B_n", meaning="tokens of step n")
    beta = d.define("beta", "power_of_two", -B / t, sign="positive", latex=r"\beta_n", meaning="coefficient")
    c = fixed(d, "c", sign="positive", depends=per_step, latex=r"(1-\beta_n)", meaning="1 - beta_n")
    ln2 = d.define("ln2", "log", 2, sign="positive", latex=r"\ln2")
    lam = d.define("lam", "equals", ln2 / t, sign="positive", latex=r"\lambda", meaning="ln2/t, per token")
    log_beta = d.define("log_beta", "log", beta, latex=r"\ln\beta_n")
    d.assume(
        "half_life",
        c - 1 + beta,
        relation="==",
        assumption=HALF_LIFE.name,
        why="c_n = 1 - beta_n, beta_n = 2^(-B_n/t)",
    )
    d.log_power_of_two("log_of_beta", log_beta, ln2, why="ln 2^(-B/t) = -ln2 B/t")
    d.combine(
        "decay_rate",
        gap=log_beta + lam * B,
        relation="==",
        uses={"log_of_beta": 1, d.definition(lam): B},
        why="ln beta = -lambda B",
    )


def forgotten_fraction(d: Derivation) -> None:
    """Phi_n = product of the betas; step ``forgotten``: Phi_n == 2^(-D_n/t) for any schedule."""
    t, B, beta, ln2, log_beta = sp.symbols("t B beta ln2 log_beta")
    phi = fixed(d, "Phi", sign="positive", latex=r"\Phi_{n-1}", meaning="weight left of the start")
    phi_next = fixed(d, "Phi_next", sign="positive", latex=r"\Phi_n")
    tokens = fixed(d, "D", sign="nonnegative", latex="D_{n-1}", meaning="tokens before the step")
    tokens_next = fixed(d, "D_next", sign="nonnegative", latex="D_n")
    log_phi = d.define("log_Phi", "log", phi, latex=r"\ln\Phi_{n-1}")
    log_phi_next = d.define("log_Phi_next", "log", phi_next, latex=r"\ln\Phi_n")
    log_split = d.define("log_Phi_split", "log", beta * phi, latex=r"\ln(\beta_n\Phi_{n-1})")
    log_one = d.define("log_Phi_start", "log", 1, latex=r"\ln1")
    d.chain("Phi", previous=phi, next=phi_next, start=1)
    d.chain("D", previous=tokens, next=tokens_next, start=0)
    d.chain("log_Phi", previous=log_phi, next=log_phi_next, start=log_one)
    d.assume(
        "forget",
        phi_next - beta * phi,
        relation="==",
        assumption=FORGOTTEN.name,
        why="each step multiplies what is left by beta_n",
    )
    d.assume(
        "count", tokens_next - tokens - B, relation="==", assumption=TOKENS.name, why="tokens are counted"
    )
    d.hypothesis("forgotten_before", log_phi + ln2 * tokens / t, relation="==", why="ln Phi = -ln2 D/t")
    d.log_product("forget_logs", log_split, log_beta, log_phi, why="logarithm of a product")
    d.combine("forget_room", gap=phi_next - beta * phi, uses={"forget": 1}, why="equal, so at least")
    d.combine("forget_room_back", gap=beta * phi - phi_next, uses={"forget": -1}, why="equal, so at most")
    d.log_monotone("forget_above", log_phi_next, log_split, "forget_room", why="logarithms of equal numbers")
    d.log_monotone("forget_below", log_split, log_phi_next, "forget_room_back", why="the other direction")
    equal(d, "forget_log", "forget_above", "forget_below", why="equal numbers have equal logarithms")
    d.combine(
        "forgotten_after",
        gap=log_phi_next + ln2 * tokens_next / t,
        relation="==",
        uses={"forget_log": 1, "forget_logs": 1, "forgotten_before": 1, "count": ln2 / t, "log_of_beta": 1},
        why="one more step",
    )
    d.log_quotient("forgotten_start_log", log_one, log_one, log_one, why="ln(1/1) = ln1 - ln1")
    d.combine(
        "forgotten_start",
        gap=log_one + ln2 * 0 / t,
        relation="==",
        uses={"forgotten_start_log": 1},
        why="Phi_0 = 1, D_0 = 0",
    )
    d.induction(
        "forgotten_logs",
        "forgotten_before",
        "forgotten_after",
        "forgotten_start",
        ["log_Phi", "D"],
        why="induction over steps",
    )
    power = d.define("left", "power_of_two", -tokens / t, sign="positive", latex=r"2^{-D/t}")
    log_power = d.define("log_left", "log", power, latex=r"\ln2^{-D/t}")
    d.log_power_of_two("left_log", log_power, ln2, why="ln 2^x = x ln2")
    d.combine(
        "forgotten_equal_logs",
        gap=log_phi - log_power,
        relation="==",
        uses={"forgotten_logs": 1, "left_log": -1},
        why="both logarithms are -ln2 D/t",
    )
    log_injective(d, "forgotten", "forgotten_equal_logs", log_phi, log_power, why="equal logarithms")


def equal(d: Derivation, name: str, above: str, below: str, *, why: str) -> sp.Expr:
    """a - b == 0 from a - b >= 0 and b - a >= 0."""
    assert sp.expand(d.gap(above) + d.gap(below)) == 0
    return d._add(name, "antisymmetry", d.gap(above), "==", why, above=above, below=below)


def hyperbolic_bounds(d: Derivation) -> None:
    """With u = lambda B: steps ``tanh_below``: u (1 + beta) - 2 c >= 0, that is tanh(u/2) <= u/2, and
    ``tanh_above``: 2 c (1 + u^2/12) - u (1 + beta) >= 0, that is x coth x <= 1 + x^2/3 at x = u/2.
    """
    beta, c, lam, B, log_beta = sp.symbols("beta c lam B log_beta")
    u = decay(d, beta, log_beta)
    d.combine(
        "at_least_one", gap=1 / beta - 1, uses={"half_life": -1 / beta}, slack=c / beta, why="beta <= 1"
    )
    exp_series(
        d,
        "series_below",
        u,
        "at_least_one",
        up=[-2, 1],
        free=[2, 1],
        why="u (e^u + 1) >= 2 (e^u - 1): the coefficients are (m - 2)/m!",
    )
    third = sp.Rational(1, 12)
    exp_series(
        d,
        "series_above",
        u,
        "at_least_one",
        up=[2, -1, 2 * third],
        free=[-2, -1, -2 * third],
        why="2 (1 + u^2/12)(e^u - 1) >= u (e^u + 1): the coefficients are (m - 3)(m - 4)/(6 m!)",
    )
    value = sp.Symbol("u")
    d.combine(
        "u_tokens",
        gap=value - lam * B,
        relation="==",
        uses={"u_value": 1, "decay_rate": -1},
        why="u = lambda B",
    )
    d.combine(
        "tanh_below",
        gap=lam * B * (1 + beta) - 2 * c,
        uses={"series_below": beta, "u_tokens": -(1 + beta), "half_life": -2},
        why="tanh(lambda B/2) <= lambda B/2",
    )
    d.combine(
        "tanh_above",
        gap=2 * c * (1 + (lam * B) ** 2 / 12) - lam * B * (1 + beta),
        uses={"series_above": beta, "half_life": 2 + value**2 / 6},
        modulo=["u_tokens"],
        why="x coth x <= 1 + x^2/3 at x = lambda B/2",
    )


def produced(
    derive: Callable[[], Any], arguments: Sequence[str], part: str = "", *, side: str = "right"
) -> Callable[..., Any]:
    """The ``side`` of the claim that ``derive()`` (or one part of it) produced, as a NumPy function."""

    @functools.cache
    def build() -> Any:
        d = derive()[part] if part else derive()
        expression = d.closed_form(d.claim[2 if side == "right" else 1])
        loose = {symbol.name for symbol in expression.free_symbols} - set(arguments)
        assert not loose, f"{d.slug}: {sorted(loose)} have no value"
        return sp.lambdify(sp.symbols(list(arguments)), expression, "numpy")

    return lambda *values: build()(*values)


def need_schedule(slug: str, batch_size: Any) -> np.ndarray:
    """The batch sizes as float64 [K]; raises where there is no schedule."""
    if batch_size is None:
        raise input_error(
            got="no schedule",
            rule=f"{slug} needs the tokens of every step",
            do="pass schedule=[B_1, ..., B_K] (--schedule and --tokens on the command line)",
        )
    return np.asarray(batch_size, dtype=float)


def weights(batch_size: np.ndarray, half_life: Any) -> tuple[np.ndarray, np.ndarray]:
    """w_n = (1 - beta_n) 2^(-(D_N - D_n)/t), shape [..., K], and Phi = 2^(-D_N/t), shape [...]."""
    t = np.asarray(half_life, dtype=float)[..., None]
    after = batch_size.sum() - np.cumsum(batch_size)
    w = -np.expm1(-np.log(2.0) * batch_size / t) * np.exp2(-after / t)
    return w, np.exp2(-batch_size.sum() / t[..., 0])
