"""The batch size that needs the fewest samples, for any bound C_1/K + C_2/b^p + C_3.

To reach C_1/K + C_2/b^p + C_3 <= eps with K steps of b samples costs N = K b samples. With e = eps - C_3 > 0:

    p = 1:    N >= 4 C_1 C_2/e^2,       reached at b = 2 C_2/e,        K = 2 C_1/e;
    p = 1/2:  N >= 27 C_1 C_2^2/(4 e^3), reached at b = (3 C_2/(2 e))^2, K = 3 C_1/e.

**Exact** minima (parts ``linear``, ``root``; ``reaches`` and ``uses`` show attainment). For p = 1 the fewest
steps at batch b are K(b) = C_1 b/(e b - C_2), which decreases and is convex in b (parts ``decreasing`` and
``convex``). Constant-step SGD has C_1 = 2 Delta/((2 - L eta) eta), C_2 = L eta sigma^2/(2 - L eta), C_3 = 0,
with eps a squared gradient norm.

This is the critical batch size of a *bound*, not of a run.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import sympy as sp

from bstheory.errors import input_error
from bstheory.references import CRITICAL_BATCH_SFO
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation

SLUG = "critical_batch_sfo"
FORM = Assumption(
    name="form_of_the_bound", statement="K steps of b samples reach eps iff C_1/K + C_2/b^p + C_3 <= eps"
)
REACHABLE = Assumption(name="reachable", statement="eps > C_3")
HALF = sp.Rational(1, 2)


def derive() -> dict[str, Derivation]:
    """Minimum, attainment, and the shape of K(b)."""
    return {
        "linear": linear(),
        "linear_reaches": attained("linear", "reaches"),
        "linear_uses": attained("linear", "uses"),
        "root": root(),
        "root_reaches": attained("root", "reaches"),
        "root_uses": attained("root", "uses"),
        "decreasing": shape("decreasing"),
        "convex": shape("convex"),
    }


def declare(title: str) -> tuple[Derivation, sp.Symbol, sp.Symbol, sp.Symbol]:
    """C_1, C_2 and e = eps - C_3 > 0."""
    d = Derivation(SLUG, title)
    C1 = d.symbol("C1", sign="positive", latex="C_1", meaning="coefficient of 1/K")
    C2 = d.symbol("C2", sign="positive", latex="C_2", meaning="coefficient of 1/b^p")
    e = d.symbol("e", sign="positive", latex=r"\epsilon-C_3", meaning="what is left of eps")
    return d, C1, C2, e


def linear() -> Derivation:
    """N >= 4 C_1 C_2/e^2, from (C_1 b - C_2 K)^2 >= 0."""
    d, C1, C2, e = declare("Fewest samples under C_1/K + C_2/b")
    K = d.symbol("K", sign="positive", latex="K", meaning="steps")
    b = d.symbol("b", sign="positive", latex="b", meaning="samples per step")
    N = d.define("N", "equals", K * b, sign="positive", latex="N", meaning="samples")
    d.assume("reached", e - C1 / K - C2 / b, assumption="form_of_the_bound", why="the bound is at most eps")
    d.combine(
        "fewest",
        gap=N - 4 * C1 * C2 / e**2,
        uses={"reached": (e * K * b + C1 * b + C2 * K) / e**2, d.definition(N): 1},
        squares=[(1 / (e**2 * K * b), C1 * b - C2 * K)],
        why="the two terms are equal at the minimum",
    )
    return conclude_lower(d, "fewest", 4 * C1 * C2 / e**2, N)


def conclude_lower(d: Derivation, fact: str, least: Any, N: Any) -> Derivation:
    """State ``least <= N``: the least number of samples, as a symbol, is below every N that reaches eps."""
    N_min = d.define("N_min", "equals", least, sign="positive", latex=r"N_{\min}", meaning="fewest samples")
    d.combine("lower", gap=N - N_min, uses={fact: 1, d.definition(N_min): -1}, why="lower bound")
    d.conclude("lower", N_min, why="the fewest samples")
    return d


def root() -> Derivation:
    """N >= 27 C_1 C_2^2/(4 e^3), from (x + 2 y)^3 - 27 x y^2 = (x - y)^2 (x + 8 y)."""
    d, C1, C2, e = declare("Fewest samples under C_1/K + C_2/sqrt(b)")
    K = d.symbol("K", sign="positive", latex="K", meaning="steps")
    s = d.symbol("s", sign="positive", latex=r"\sqrt b", meaning="root of the batch size")
    N = d.define("N", "equals", K * s**2, sign="positive", latex="N", meaning="samples")
    d.assume("reached", e - C1 / K - C2 / s, assumption="form_of_the_bound", why="the bound is at most eps")
    x, y = C1 / K, C2 / (2 * s)
    total = x + 2 * y
    d.combine(
        "fewest",
        gap=N - sp.Rational(27, 4) * C1 * C2**2 / e**3,
        uses={"reached": (e**2 + e * total + total**2) * K * s**2 / e**3, d.definition(N): 1},
        squares=[((x + 8 * y) * K * s**2 / e**3, x - y)],
        why="arithmetic and geometric mean of three terms",
    )
    return conclude_lower(d, "fewest", sp.Rational(27, 4) * C1 * C2**2 / e**3, N)


def attained(form: str, what: str) -> Derivation:
    """At the stated b and K the bound is exactly eps (``reaches``) and N is the minimum (``uses``)."""
    d, C1, C2, e = declare(f"The minimum is attained, {form} form: it {what} what it should")
    if form == "linear":
        K, b, term = 2 * C1 / e, 2 * C2 / e, C2 / (2 * C2 / e)
        least = 4 * C1 * C2 / e**2
    else:
        root_b = 3 * C2 / (2 * e)
        K, b, term = 3 * C1 / e, root_b**2, C2 / root_b
        least = sp.Rational(27, 4) * C1 * C2**2 / e**3
    if what == "reaches":
        left, right = (
            d.define("bound", "equals", C1 / K + term, sign="positive", latex=r"\frac{C_1}K+\frac{C_2}{b^p}"),
            e,
        )
    else:
        left, right = d.define("samples", "equals", K * b, sign="positive", latex="Kb"), least
    d.combine("equal", gap=right - left, uses={d.definition(left): -1}, relation="==", why="substitute")
    d.conclude("equal", left, why="the minimum is attained")
    return d


def shape(which: str) -> Derivation:
    """K(b) = C_1 b/(e b - C_2) decreases, and its midpoint lies below the mean of its ends."""
    d, C1, C2, e = declare(f"The fewest steps are {which} in the batch size")
    b = d.symbol("b", sign="positive", latex="b", meaning="a batch size")
    c = d.symbol("c", sign="positive", latex="b'", meaning="another batch size")
    room_b = d.symbol("room_b", sign="positive", latex=r"eb-C_2")
    room_c = d.symbol("room_c", sign="positive", latex=r"eb'-C_2")
    d.assume("room_b", room_b - e * b + C2, relation="==", assumption="reachable", why="b reaches eps")
    d.assume("room_c", room_c - e * c + C2, relation="==", assumption="reachable", why="so does b'")
    K_b = d.define("K_b", "equals", C1 * b / room_b, sign="positive", latex="K(b)")
    K_c = d.define("K_c", "equals", C1 * c / room_c, sign="positive", latex="K(b')")
    if which == "decreasing":
        d.assume("order", c - b, assumption="reachable", why="b <= b'")
        d.combine(
            "decreasing",
            gap=K_b - K_c,
            uses={
                "order": C1 * C2 / (room_b * room_c),
                d.definition(K_b): 1,
                d.definition(K_c): -1,
                "room_b": -C1 * c / (room_b * room_c),
                "room_c": C1 * b / (room_b * room_c),
            },
            why="K(b) - K(b') = C_1 C_2 (b' - b)/((e b - C_2)(e b' - C_2))",
        )
        d.conclude("decreasing", K_c, why="more samples per step, fewer steps")
        return d
    K_mid = d.define(
        "K_mid", "equals", C1 * (b + c) / (room_b + room_c), sign="positive", latex=r"K(\tfrac{b+b'}2)"
    )
    d.combine(
        "convex",
        gap=(K_b + K_c) / 2 - K_mid,
        squares=[(C1 * C2 / (2 * e * room_b * room_c * (room_b + room_c)), room_b - room_c)],
        modulo=[d.definition(K_b), d.definition(K_c), d.definition(K_mid), "room_b", "room_c"],
        why="K = (C_1/e)(1 + C_2/(e b - C_2))",
    )
    d.conclude("convex", K_mid, why="convexity at midpoints; K is continuous")
    return d


@functools.cache
def least_samples() -> dict[float, Any]:
    """Produced minima as functions of C1, C2, e."""
    found = {}
    for exponent, part in ((1.0, linear()), (0.5, root())):
        expression = part.closed_form(sp.Symbol("N_min"))
        found[exponent] = sp.lambdify(sp.symbols("C1 C2 e"), expression, "numpy")
    return found


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """Fewest samples N; parts: critical batch size, steps there, and the least batch that can reach eps."""
    C1, C2, C3, eps = (np.asarray(constants[name], dtype=float) for name in ("C1", "C2", "C3", "eps"))
    exponent = float(constants["exponent"])
    room = eps - C3
    if np.any(room <= 0):
        raise input_error(
            got=f"eps={np.min(eps)} with C3={np.max(C3)}",
            rule="assumption reachable: eps lies above C_3",
            do="raise eps",
        )
    if exponent == 1.0:
        batch, steps, least_batch = 2 * C2 / room, 2 * C1 / room, C2 / room
    else:
        batch, steps, least_batch = (3 * C2 / (2 * room)) ** 2, 3 * C1 / room, (C2 / room) ** 2
    samples = np.asarray(least_samples()[exponent](C1, C2, room))
    return Evaluation(
        value=samples[()],
        trivial_value=None,
        parts={
            "critical_batch_size": np.asarray(batch)[()],
            "steps": np.asarray(steps)[()],
            "least_batch_size": np.asarray(least_batch)[()],
        },
    )


BOUND = Bound(
    slug=SLUG,
    title="The batch size that needs the fewest samples under a bound C_1/K + C_2/b^p + C_3",
    algorithm="any with such a bound",
    quantity="",
    quantity_latex=r"N_{\min}=\min\{Kb:\ \tfrac{C_1}K+\tfrac{C_2}{b^p}+C_3\le\epsilon\}",
    statement_latex=r"p=1:\ N_{\min}=\frac{4C_1C_2}{(\epsilon-C_3)^2}\ \text{at}\ "
    r"b^*=\frac{2C_2}{\epsilon-C_3};\qquad p=\tfrac12:\ "
    r"N_{\min}=\frac{27C_1C_2^2}{4(\epsilon-C_3)^3}\ \text{at}\ b^*=\frac{9C_2^2}{4(\epsilon-C_3)^2}",
    kind="identity",
    assumptions=(FORM, REACHABLE),
    parameters=(
        Parameter(name="C1", meaning="coefficient of 1/K", unit="of eps, times steps"),
        Parameter(name="C2", meaning="coefficient of 1/b^p", unit="of eps, times samples^p"),
        Parameter(
            name="C3",
            meaning="floor of the bound",
            unit="of eps",
            rule="must be at least 0",
            accepts=lambda x: bool(np.all(np.asarray(x, dtype=float) >= 0)),
            default=0.0,
        ),
        Parameter(name="eps", meaning="target", unit="of the bound"),
        Parameter(
            name="exponent",
            meaning="power p of the batch size",
            unit="1",
            rule="is 1 or 1/2",
            accepts=lambda x: np.ndim(x) == 0 and float(x) in (1.0, 0.5),
            default=1.0,
        ),
    ),
    derive=derive,
    value=value,
    references=(CRITICAL_BATCH_SFO,),
    notes=(
        "The critical batch size of a bound, not of a run.",
        "There is no trivial bound to print beside a minimum that is exact.",
    ),
)
