"""The one-step lemma of flagship 1, normalised and without momentum; ``adam_pieces`` has the other forms'."""

from __future__ import annotations

from typing import Any

import sympy as sp

from bstheory.theory.derivation import Derivation

QUARTER = sp.Rational(1, 4)


def young_weights(d: Derivation, young: sp.Rational | None, *, times: int) -> tuple[Any, Any]:
    """The weight of Young's inequality, applied ``times`` times, and what it leaves of the gradient."""
    if young is not None:
        return young, 1 - times * young
    free = d.symbol("young", sign="positive", latex="y", meaning="weight of Young's inequality")
    kept = d.symbol("kappa", sign="positive", latex=r"\kappa", meaning="what Young's inequality leaves")
    gap = kept - 1 + times * free
    d.assume(
        "young_choice", gap, relation="==", assumption="free_constant", why="what Young's inequality leaves"
    )
    return free, kept


def one_step_lemma(d: Derivation, y: Any, kappa: Any, loss: Any, *, sharp: bool) -> None:
    """E_{k-1} G g/sqrt(eps + v) >= kappa G^2/sqrt(eps + vt) - loss sqrt(c) R E_{k-1} g^2/(eps + v).

    With y = 1/4: kappa = 1/2 and loss = 1/(2y) = 2. Sharp, with y = 1/2: kappa = 1/2 and loss = 1/(4y) = 1/2.
    """
    per_step, per_coordinate = ("step",), ("coordinate", "step")
    for name, latex, meaning in (
        ("alpha", r"\alpha", "learning-rate scale"),
        ("L", "L", "smoothness"),
        ("R", "R", "almost-sure bound on a gradient coordinate"),
        ("eps", r"\varepsilon", "epsilon, inside the root"),
        ("h", "h", "half-life of the second moment, tokens"),
    ):
        d.symbol(name, sign="positive", latex=latex, meaning=meaning)
    B = d.symbol("B", sign="positive", depends=per_step, latex="B_k", meaning="tokens of step k")
    beta = d.define(
        "beta",
        "power_of_two",
        -B / sp.Symbol("h"),
        sign="positive",
        latex=r"\beta_k",
        meaning="beta2 of step k",
    )
    c = d.symbol("c", sign="positive", depends=per_step, latex="c_k", meaning="1 - beta_k")
    s = d.define("s", "root", c, sign="positive", latex=r"\sqrt{c_k}", meaning="weight of step k")
    eps, R = sp.Symbol("eps"), sp.Symbol("R")
    G = d.symbol("G", depends=per_coordinate, latex="G", meaning="coordinate of grad F(x_{k-1})")
    g = d.symbol("g", depends=(*per_coordinate, "draw"), latex="g", meaning="coordinate of g_k")
    v_prev = d.symbol(
        "v_prev", sign="nonnegative", depends=per_coordinate, latex="v_{k-1}", meaning="second moment before"
    )
    v_next = d.symbol(
        "v_next",
        sign="nonnegative",
        depends=(*per_coordinate, "draw"),
        latex="v_k",
        meaning="second moment after",
    )
    d.chain("v", previous=v_prev, next=v_next, start=0)
    P = d.define("P", "root", eps + v_next, sign="positive", latex=r"\sqrt{\varepsilon+v_k}")
    Q = d.define(
        "Q",
        "root",
        eps + beta * v_prev + c * R**2,
        sign="positive",
        latex=r"\sqrt{\varepsilon+\tilde v_k}",
        meaning="known before the draw",
    )
    absG = d.define("absG", "absolute", G, sign="nonnegative", latex="|G|")
    absg = d.define("absg", "absolute", g, sign="nonnegative", latex="|g|")
    mean_g = d.define("mean_g", "mean", g, latex=r"E_{k-1}g")
    mean_gP = d.define("mean_gP", "mean", g / P, latex=r"E_{k-1}\frac{g}{\sqrt{\varepsilon+v_k}}")
    mean_g2P2 = d.define(
        "mean_g2P2",
        "mean",
        g**2 / P**2,
        sign="nonnegative",
        latex=r"E_{k-1}\frac{g^2}{\varepsilon+v_k}",
    )

    d.assume(
        "half_life",
        c - 1 + beta,
        relation="==",
        assumption="half_life_rule",
        why="c_k = 1 - beta_k with beta_k = 2^(-B_k/h)",
    )
    d.assume(
        "second_moment",
        v_next - beta * v_prev - c * g**2,
        relation="==",
        assumption="second_moment",
        why="the recursion of v",
    )
    d.assume("bounded", R - absg, assumption="bounded_gradient", why="|g| <= R")
    d.assume("unbiased", mean_g - G, relation="==", assumption="unbiased", why="E g = G")

    G_above, G_below, G_square = d.absolute(absG)
    g_above, g_below, g_square = d.absolute(absg)
    root_P, root_Q, root_s = d.definition(P), d.definition(Q), d.definition(s)
    d.combine(
        "bounded_square",
        gap=R**2 - g**2,
        uses={"bounded": R + absg, g_square: 1},
        why="g^2 <= R^2",
    )
    d.combine(
        "bounded_mean",
        gap=P**2 - c * g**2,
        slack=eps + beta * v_prev,
        uses={"second_moment": 1, root_P: 1},
        why="c g^2 <= eps + v",
    )
    d.combine(
        "bounded_noise",
        gap=Q - s * R,
        uses={root_Q: 1 / (Q + s * R), root_s: -(R**2) / (Q + s * R)},
        slack=(eps + beta * v_prev) / (Q + s * R),
        why="sqrt(c) R <= sqrt(eps + vt)",
        lemma="sqrt_c_R_le",
    )
    d.combine(
        "inverse_root_difference",
        gap=1 / P - 1 / Q - c * (R**2 - g**2) / (P * Q * (P + Q)),
        relation="==",
        modulo=[root_P, root_Q, "second_moment"],
        why="difference of inverse roots",
        lemma="inverse_root_difference",
    )
    if sharp:
        # g^2 <= R^2 pathwise, so the difference of inverse roots has one sign and |G g| R^2 bounds it.
        half = c / (2 * P * Q * (P + Q))
        d.combine(
            "worst_sign",
            gap=G * g * c * (R**2 - g**2) / (P * Q * (P + Q)) + absG * absg * c * R**2 / (P * Q * (P + Q)),
            uses={
                (G_below, g_below, "bounded_square"): half,
                (G_above, g_above, "bounded_square"): half,
            },
            slack=absG * absg * c * g**2 / (P * Q * (P + Q)),
            why="|G g| bounds G g, and 0 <= R^2 - g^2 <= R^2",
        )
    else:
        d.combine(
            "worst_sign",
            gap=G * g * c * (R**2 - g**2) / (P * Q * (P + Q))
            + absG * absg * c * (R**2 + g**2) / (P * Q * (P + Q)),
            uses={
                (G_below, g_below): c * R**2 / (2 * P * Q * (P + Q)),
                (G_above, g_above): c * R**2 / (2 * P * Q * (P + Q)),
                (G_below, g_above): c * g**2 / (2 * P * Q * (P + Q)),
                (G_above, g_below): c * g**2 / (2 * P * Q * (P + Q)),
            },
            why="|G g| bounds both signs of G g",
        )
    d.combine(
        "young_past",
        gap=y * G**2 / Q + s * R * g**2 / (4 * y * P**2) - absG * absg * c * R**2 / (P * Q * (P + Q)),
        uses={
            "bounded_noise": s * R * g**2 * (Q**2 + Q * s * R + s**2 * R**2) / (4 * y * P**2 * Q**3),
            G_square: -y / Q,
            g_square: -(s**4) * R**4 / (4 * y * P**2 * Q**3),
        },
        squares=[(y / Q, absG - s**2 * absg * R**2 / (2 * y * P * Q))],
        slack=absG * absg * c * R**2 / (Q**2 * (P + Q)),
        modulo=[root_s],
        why="Young's inequality against the past, then sqrt(c) R <= sqrt(eps + vt)",
        lemma="young_past",
    )
    if not sharp:
        d.combine(
            "young_present",
            gap=y * G**2 / Q + s * R * g**2 / (4 * y * P**2) - absG * absg * c * g**2 / (P * Q * (P + Q)),
            uses={
                "bounded_square": y * G**2 / (Q * R**2),
                "bounded_mean": R**2 * c * g**2 / (4 * y * P**4 * Q),
                "bounded_noise": s * R * g**2 / (4 * y * P**2 * Q),
                G_square: -y * (absg**2) / (R**2 * Q),
                g_square: -y * (G**2) / (R**2 * Q),
            },
            squares=[(y / Q, absG * absg / R - R * c * g**2 / (2 * y * P**2))],
            slack=absG * absg * c * g**2 / (P**2 * (P + Q)),
            modulo=[root_s],
            why="Young's inequality with weight g^2/R^2 <= 1, then c g^2 <= eps + v",
            lemma="young_present",
        )
    given = {"worst_sign": 1, "young_past": 1, "inverse_root_difference": G * g}
    d.combine(
        "pathwise",
        gap=G * g / P - G * g / Q + (1 if sharp else 2) * y * G**2 / Q + loss * s * R * g**2 / P**2,
        uses=given if sharp else {**given, "young_present": 1},
        why=f"the {'two' if sharp else 'three'} pieces together, before taking the conditional mean",
    )
    d.apply(
        "conditional",
        "mean",
        "pathwise",
        {mean_gP: G, mean_g: -G / Q, mean_g2P2: loss * s * R, "1": (1 if sharp else 2) * y * G**2 / Q},
        why="conditional expectation given the past; Q and G are known",
    )
    d.combine(
        "one_step",
        gap=G * mean_gP - kappa * G**2 / Q + loss * s * R * mean_g2P2,
        uses={"conditional": 1, "unbiased": G / Q}
        | ({"young_choice": -(G**2) / Q} if "young_choice" in d.steps else {}),
        why="E g = G turns the middle term into G^2/Q",
        lemma="one_step",
    )
