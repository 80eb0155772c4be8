"""The conditional lemmas of the library on random finite distributions, each with a false twin.

A lemma here is a function of a random generator and a factor. It draws a distribution with finite support and
rational probabilities and values, and rational constants, and returns the gap of the lemma, which must not be
negative. Expectations are finite sums; rational gaps are exact, and gaps with square roots are balls (Arb),
so that a negative gap is certain. ``factor`` multiplies the term that makes the lemma true: 1 states the
lemma, the entry of ``PLANTED`` a falsehood.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction

import flint

Law = list[tuple[Fraction, Fraction]]
Lemma = Callable[..., flint.arb]
ONE = Fraction(1)


def ball(x: Fraction | int) -> flint.arb:
    """The rational as a ball; exact up to the working precision."""
    x = Fraction(x)
    return flint.arb(flint.fmpq(x.numerator, x.denominator))


def rational(rng: random.Random, low: float, high: float) -> Fraction:
    return Fraction(rng.uniform(low, high)).limit_denominator(997)


def law(rng: random.Random) -> Law:
    """Two to four outcomes (probability, value), with heavy and tiny values now and then."""
    scale = rng.choice([Fraction(1, 50), Fraction(1), Fraction(40)])
    weights = [rng.randint(1, 30) for _ in range(rng.randint(2, 4))]
    return [(Fraction(w, sum(weights)), scale * rational(rng, -1, 1)) for w in weights]


def mean(distribution: Law, f: Callable[[Fraction], flint.arb]) -> flint.arb:
    return sum((ball(p) * f(g) for p, g in distribution), flint.arb(0))


def moments(distribution: Law) -> tuple[Fraction, Fraction]:
    """E g and E g^2."""
    return sum(p * g for p, g in distribution), sum(p * g * g for p, g in distribution)


def one_step(rng: random.Random, factor: Fraction = ONE) -> flint.arb:
    """Flagship 1, E g^2 <= r^2: E G g/P >= (1 - 2y) G^2/Q - sqrt(c) r/(2y) E g^2/P^2, any Young weight y."""
    d = law(rng)
    G, second = moments(d)
    eps, c = rational(rng, 0.01, 1) * rng.choice([Fraction(1, 100), ONE]), rational(rng, 0.01, 1)
    u, y = rational(rng, 0, 2) * rng.choice([0, 1]), rational(rng, 0.05, 0.45)
    r2 = second * rational(rng, 1, 1.5) + Fraction(1, 10**6)
    Q, rho = ball(eps + u + c * r2).sqrt(), ball(c * r2).sqrt()
    left = mean(d, lambda g: ball(G * g) / ball(eps + u + c * g * g).sqrt())
    noise = mean(d, lambda g: ball(g * g) / ball(eps + u + c * g * g))
    return left - ball(1 - 2 * y) * ball(G * G) / Q + ball(factor) * rho / ball(2 * y) * noise


def sharp_one_step(rng: random.Random, factor: Fraction = ONE) -> flint.arb:
    """The same against the almost sure bound R: kappa = 1 - y, error sqrt(c) R/(4y)."""
    d = law(rng)
    G, R2 = moments(d)[0], max(g * g for _, g in d) + Fraction(1, 10**6)
    eps, c, u = rational(rng, 0.01, 1), rational(rng, 0.01, 1), rational(rng, 0, 2)
    y = rational(rng, 0.05, 0.95)
    Q, rho = ball(eps + u + c * R2).sqrt(), ball(c * R2).sqrt()
    left = mean(d, lambda g: ball(G * g) / ball(eps + u + c * g * g).sqrt())
    noise = mean(d, lambda g: ball(g * g) / ball(eps + u + c * g * g))
    return left - ball(1 - y) * ball(G * G) / Q + ball(factor) * rho / ball(4 * y) * noise


def lagged_one_step(rng: random.Random, factor: Fraction = ONE) -> flint.arb:
    """With momentum: P^2 = eps + past + recent, where recent <= rho^2 varies with g and with later draws."""
    d = law(rng)
    G, eps, past = moments(d)[0], rational(rng, 0.01, 1), rational(rng, 0, 2)
    y, rho2 = (
        rational(rng, 0.05, 0.95),
        rational(rng, 0.01, 2) * rng.choice([Fraction(1, 50), ONE, Fraction(40)]),
    )
    recent = [rho2 * rational(rng, 0, 1) for _ in d]  # of any size, and correlated with g in any way
    square = [ball(eps + past + part) for part in recent]
    Q, rho = ball(eps + past + rho2).sqrt(), ball(rho2).sqrt()
    pairs = list(zip(d, square, strict=True))
    left = sum((ball(p * G * g) / s.sqrt() for (p, g), s in pairs), flint.arb(0))
    noise = sum((ball(p * g * g) / s for (p, g), s in pairs), flint.arb(0))
    return left - ball(1 - y) * ball(G * G) / Q + ball(factor) * rho / ball(4 * y) * noise


def main_error(rng: random.Random, factor: Fraction = ONE) -> flint.arb:
    """Step 4 of flagship 2: E |G m| (1/sqrt(vt) - 1/sqrt(v)) under the bound on m, in the mean."""
    d, beta2, beta1 = law(rng), rational(rng, 0.5, 0.999), rational(rng, 0, 0.6)
    c, f, theta = 1 - beta2, 1 - beta1, rational(rng, 0.05, 0.9)
    G, second = moments(d)
    if G == 0:
        return flint.arb(0)
    s = second / G**2
    J = 1 / (c * (1 - beta1**2 / beta2))
    v_prev = rational(rng, 0.01, 3)
    # m_prev on the boundary of |m_{k-1}|^2 <= f^2 J v_{k-1}, or inside.
    m_prev = ball(f) * ball(J * v_prev).sqrt() * ball(rng.choice([1, -1]) * rational(rng, 0, 1))
    past = ball(beta2 * v_prev).sqrt()
    now = {g: ball(beta2 * v_prev + c * g * g).sqrt() for _, g in d}
    spent = mean(d, lambda g: abs(ball(G) * (ball(beta1) * m_prev + ball(f * g))) * (1 / past - 1 / now[g]))
    fall = mean(d, lambda g: 1 / past - 1 / now[g])
    main = ball(f * theta) * ball(G * G) / past
    return main + ball(factor * f * s * J * c * G * G / (4 * theta)) * fall - spent


def root_growth(rng: random.Random, factor: Fraction = ONE) -> flint.arb:
    """Flagship 2: E sqrt(v_k) <= sqrt(vt) + c s G^2/(2 sqrt(vt))."""
    d, beta2, v_prev = law(rng), rational(rng, 0.1, 0.999), rational(rng, 0.01, 3)
    c, past = 1 - beta2, ball(beta2 * v_prev).sqrt()
    grown = mean(d, lambda g: ball(beta2 * v_prev + c * g * g).sqrt())
    return past + ball(factor * c * moments(d)[1]) / (2 * past) - grown


def sign_lemma(rng: random.Random, factor: Fraction = ONE) -> flint.arb:
    """Sign descent: E G sign(g) >= |G| - sqrt(E (g - G)^2)."""
    d = law(rng)
    G, second = moments(d)
    aligned = sum(p * G * ((g > 0) - (g < 0)) for p, g in d)
    return ball(aligned - abs(G)) + ball(factor) * ball(second - G * G).sqrt()


def tracking(rng: random.Random, factor: Fraction = ONE) -> flint.arb:
    """Clipped scaling: E (m' - G')^2 <= (1 - beta)(m - G)^2 + beta^2 Var g + (G' - G)^2/beta; exact."""
    d, beta = law(rng), rational(rng, 0.01, 1)
    G_next, second = moments(d)
    m, G = rational(rng, -3, 3), G_next + rational(rng, -2, 2)
    left = sum(p * ((1 - beta) * m + beta * g - G_next) ** 2 for p, g in d)
    right = (1 - beta) * (m - G) ** 2 + beta**2 * (second - G_next**2) + factor * (G_next - G) ** 2 / beta
    return ball(right - left)


LEMMAS: dict[str, Lemma] = {
    f.__name__: f
    for f in (one_step, sharp_one_step, lagged_one_step, main_error, root_growth, sign_lemma, tracking)
}
# What the factor 1 becomes in the false twin, which the same draws must refute.
PLANTED: dict[str, Fraction] = {
    "one_step": Fraction(0),
    "sharp_one_step": Fraction(0),
    "lagged_one_step": Fraction(0),
    "main_error": Fraction(0),
    "root_growth": Fraction(1, 2),
    "sign_lemma": Fraction(1, 2),
    "tracking": Fraction(1, 2),
}


def tally(lemma: Lemma, rng: random.Random, cases: int, factor: Fraction = ONE) -> dict[str, int]:
    """Of ``cases`` gaps: certainly negative, certainly nonnegative, and neither (the ball straddles 0)."""
    found = {"cases": cases, "violated": 0, "held": 0, "undecided": 0}
    with flint.ctx.workprec(160):
        for _ in range(cases):
            gap = lemma(rng, factor)
            found["violated" if gap < 0 else "held" if gap >= 0 else "undecided"] += 1
    return found
