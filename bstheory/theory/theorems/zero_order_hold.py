"""A moving average with a token half-life is an exact sample of a continuous one.

**Identity** (part ``held``). For ANY batch schedule, v at batch boundaries equals

    V_N = integral over [0, D_N] of lambda e^(-lambda (D_N - u)) q(u) du,   lambda = ln2/t,

with q(u) = g_n^2 held over batch n. There is no error term. Part ``split``: a batch with held input may
be cut in two without changing v.

**Upper** (part ``moving``). If q moves by at most ell per token, replacing it by held values costs at most
ell B_max.
"""

from __future__ import annotations

import numpy as np
import sympy as sp

from bstheory.references import SMALL_BATCH
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.derivation_expectation import fixed
from bstheory.theory.half_life_lemmas import (
    HALF_LIFE,
    HALF_LIFE_PARAMETER,
    LARGEST,
    declare_rule,
    need_schedule,
    produced,
)
from bstheory.theory.pruning import pruned

SLUG = "zero_order_hold"
HELD = Assumption(name="held_input", statement="q(u) = g_n^2 for D_{n-1} < u <= D_n")
MOVING = Assumption(
    name="lipschitz_input", statement="|q(u) - q(D_n)| <= ell (D_n - u) within batch n", constants=("ell",)
)
AVERAGE = Assumption(name="average", statement="v_n = beta_n v_{n-1} + (1 - beta_n) g_n^2, v_0 = 0")


def derive() -> dict[str, Derivation]:
    """The identity, the invariance under cutting a batch, and the cost of holding a moving input."""
    return {"held": held(), "split": split(), "moving": moving()}


def held() -> Derivation:
    """Both sides obey one recursion; the integral over one batch of held input is (1 - beta) q."""
    d = Derivation(SLUG, "an exact sample of a continuous average")
    declare_rule(d)
    beta, c = sp.symbols("beta c")
    q = d.symbol("q", depends=("step",), latex="g_n^2", meaning="input held over the batch")
    v = d.symbol("v", depends=("step",), latex="v_{n-1}", meaning="average before the step")
    v_next = d.symbol("v_next", depends=("step",), latex="v_n")
    V = d.symbol("V", depends=("step",), latex="V_{n-1}", meaning="the integral up to the last boundary")
    V_next = d.symbol("V_next", depends=("step",), latex="V_n")
    d.chain("v", previous=v, next=v_next, start=0)
    d.chain("V", previous=V, next=V_next, start=0)
    d.assume(
        "average", v_next - beta * v - c * q, relation="==", assumption=AVERAGE.name, why="the recursion"
    )
    d.assume(
        "integral",
        V_next - beta * V - q * (1 - beta),
        relation="==",
        assumption=HELD.name,
        by=["exponential_kernel"],
        why="cut the integral at the last boundary; the kernel over one batch has mass 1 - beta",
    )
    d.hypothesis("before", V - v, relation="==", why="V = v")
    d.combine(
        "after",
        gap=V_next - v_next,
        relation="==",
        uses={"before": beta, "integral": 1, "average": -1, "half_life": -q},
        why="the same recursion",
    )
    d.combine("start", gap=sp.Integer(0), relation="==", why="both are 0")
    d.induction("same", "before", "after", "start", ["v", "V"], why="induction over batches")
    d.claim = ("same", v, V)
    return pruned(d)


def split() -> Derivation:
    """beta(B') beta(B'') v + (1 - beta(B') beta(B'')) q, whether in one step or in two."""
    d = Derivation(SLUG, "cutting a batch in two")
    first = d.symbol("beta_first", sign="positive", latex=r"\beta'")
    second = d.symbol("beta_second", sign="positive", latex=r"\beta''")
    v, q = d.symbol("v", latex="v"), d.symbol("q", latex="q")
    whole = d.symbol("whole", latex=r"v_{whole}", meaning="after one step")
    middle = d.symbol("middle", latex="v_{half}", meaning="after the first piece")
    cut = d.symbol("cut", latex="v_{cut}", meaning="after both pieces")
    d.assume(
        "one_step",
        whole - first * second * v - (1 - first * second) * q,
        relation="==",
        assumption=AVERAGE.name,
        why="one batch: beta of the sum is the product of the betas",
    )
    d.assume(
        "piece_one", middle - first * v - (1 - first) * q, relation="==", assumption=AVERAGE.name, why="piece"
    )
    d.assume(
        "piece_two",
        cut - second * middle - (1 - second) * q,
        relation="==",
        assumption=AVERAGE.name,
        why="the other piece with the same input",
    )
    d.combine(
        "same",
        gap=whole - cut,
        relation="==",
        uses={"one_step": 1, "piece_one": -second, "piece_two": -1},
        why="the input is held",
    )
    d.claim = ("same", cut, whole)
    return d


def moving() -> Derivation:
    """|e_n| <= beta |e_{n-1}| + (1 - beta) ell B_n, hence at most ell B_max."""
    d = Derivation(SLUG, "the cost of holding a moving input")
    declare_rule(d)
    beta, c, B = sp.symbols("beta c B")
    ell = d.symbol("ell", sign="nonnegative", latex=r"\ell", meaning="change of the input per token")
    B_max = d.symbol("B_max", sign="positive", latex=r"B_{\max}", meaning="largest batch")
    e = fixed(d, "e", sign="nonnegative", latex="e_{n-1}", meaning="error before the step")
    e_next = fixed(d, "e_next", sign="nonnegative", latex="e_n")
    d.chain("e", previous=e, next=e_next, start=0)
    d.assume("largest", B_max - B, assumption=LARGEST.name, why="B_n <= B_max")
    d.assume(
        "error",
        beta * e + c * ell * B - e_next,
        assumption=MOVING.name,
        by=["exponential_kernel"],
        why="within a batch the input is off by at most ell B_n, the kernel has mass 1 - beta",
    )
    d.hypothesis("before", ell * B_max - e, why="e <= ell B_max")
    d.combine(
        "after",
        gap=ell * B_max - e_next,
        uses={"before": beta, "error": 1, "largest": c * ell, "half_life": -ell * B_max},
        why="a weighted mean of numbers at most ell B_max",
    )
    d.combine("start", gap=ell * B_max - 0, slack=ell * B_max, why="no error at the start")
    d.induction("bounded", "before", "after", "start", ["e"], why="induction over batches")
    d.claim = ("bounded", e, ell * B_max)
    return pruned(d)


right_hand_side = produced(derive, ("ell", "B_max"), "moving")


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """ell B_max, the error of holding; the trivial value is ell times all tokens."""
    batches = need_schedule(SLUG, batch_size)
    ell = np.asarray(constants["ell"], dtype=float)
    return Evaluation(
        value=np.asarray(right_hand_side(ell, batches.max()))[()],
        trivial_value=np.asarray(ell * batches.sum())[()],
        parts={"held_error": 0.0},
    )


BOUND = Bound(
    slug=SLUG,
    title="A moving average with a token half-life samples a continuous one exactly",
    algorithm="v_n = beta_n v_{n-1} + (1 - beta_n) g_n^2, beta_n = 2^(-B_n/t), v_0 = 0",
    quantity="",
    quantity_latex=r"\big|\mathbb Ev_N-\int_0^{D_N}\lambda e^{-\lambda(D_N-u)}q(u)\,du\big|",
    statement_latex=r"v_N=\int_0^{D_N}\lambda e^{-\lambda(D_N-u)}g^2(u)\,du\ \text{for held input; else }"
    r"\big|\mathbb Ev_N-\int\lambda e^{-\lambda(D_N-u)}q(u)\,du\big|\le\ell B_{\max}",
    kind="identity",
    assumptions=(HALF_LIFE, AVERAGE, HELD, MOVING, LARGEST),
    parameters=(
        HALF_LIFE_PARAMETER,
        Parameter(
            name="ell",
            meaning="change of the mean square per token",
            unit="grad^2/token",
            rule="must be at least 0",
            accepts=lambda x: bool(np.all(np.asarray(x, dtype=float) >= 0)),
            default=0.0,
        ),
    ),
    derive=derive,
    value=value,
    references=(SMALL_BATCH,),
    notes=("With held input there is no error term; ell = 0 says so.",),
)
