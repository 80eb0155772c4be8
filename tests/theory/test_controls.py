"""Controls: six false statements that the checks must notice, and the conditional lemmas fuzzed.

Distributions are rational with finite support; expectations are finite sums of balls (Arb, 160 bits), so a
violation is certain when it is reported. BSTHEORY_FUZZ_CASES sets the number of cases (default 200 a lemma);
the slow profile takes 100000.
"""

from __future__ import annotations

import copy
import math
import os
import random
from collections.abc import Callable
from fractions import Fraction

import flint
import numpy as np
import pytest

import bstheory as bst
from bstheory.checking import recheck_document
from bstheory.checking.semantics import Evaluator
from tests.theory.adam_trees import adam_tree

CASES = int(os.environ.get("BSTHEORY_FUZZ_CASES", "200"))
Law = list[tuple[Fraction, Fraction]]


def ball(x: Fraction | int) -> flint.arb:
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


def one_step(rng: random.Random, error: int = 1) -> flint.arb:
    """The gap of the one-step lemma of flagship 1, at a random Young weight, with its error term or without."""
    d = law(rng)
    G = sum(p * g for p, g in d)
    eps, c = rational(rng, 0.01, 1) * rng.choice([Fraction(1, 100), Fraction(1)]), rational(rng, 0.01, 1)
    u, y = rational(rng, 0, 2) * rng.choice([0, 1]), rational(rng, 0.05, 0.45)
    r2 = sum(p * g * g for p, g in d) * rational(rng, 1, 1.5) + Fraction(1, 10**6)
    Q, rho = ball(eps + u + c * r2).sqrt(), ball(c * r2).sqrt()
    left = mean(d, lambda g: ball(G * g) / ball(eps + u + c * g * g).sqrt())
    noise = mean(d, lambda g: ball(g * g) / ball(eps + u + c * g * g))
    return left - ball(1 - 2 * y) * ball(G * G) / Q + error * rho / ball(2 * y) * noise


def sharp_one_step(rng: random.Random) -> flint.arb:
    """The same against the almost sure bound R: kappa = 1 - y, error sqrt(c) R/(4y)."""
    d = law(rng)
    G, R2 = sum(p * g for p, g in d), max(g * g for _, g in d) + Fraction(1, 10**6)
    eps, c, u = rational(rng, 0.01, 1), rational(rng, 0.01, 1), rational(rng, 0, 2)
    y = rational(rng, 0.05, 0.95)
    Q, rho = ball(eps + u + c * R2).sqrt(), ball(c * R2).sqrt()
    left = mean(d, lambda g: ball(G * g) / ball(eps + u + c * g * g).sqrt())
    noise = mean(d, lambda g: ball(g * g) / ball(eps + u + c * g * g))
    return left - ball(1 - y) * ball(G * G) / Q + rho / ball(4 * y) * noise


def main_error(rng: random.Random) -> flint.arb:
    """Step 4 of flagship 2: E |G m| (1/sqrt(vt) - 1/sqrt(v)) under the bound on m, in the mean."""
    d, beta2, beta1 = law(rng), rational(rng, 0.5, 0.999), rational(rng, 0, 0.6)
    c, f, theta = 1 - beta2, 1 - beta1, rational(rng, 0.05, 0.9)
    G = sum(p * g for p, g in d)
    if G == 0:
        return flint.arb(0)
    s = sum(p * g * g for p, g in d) / G**2
    J = 1 / (c * (1 - beta1**2 / beta2))
    v_prev = rational(rng, 0.01, 3)
    # m_prev on the boundary of |m_{k-1}|^2 <= f^2 J v_{k-1}, or inside.
    m_prev = ball(f) * ball(J * v_prev).sqrt() * ball(rng.choice([1, -1]) * rational(rng, 0, 1))
    past = ball(beta2 * v_prev).sqrt()
    now = {g: ball(beta2 * v_prev + c * g * g).sqrt() for _, g in d}
    spent = mean(d, lambda g: abs(ball(G) * (ball(beta1) * m_prev + ball(f * g))) * (1 / past - 1 / now[g]))
    fall = mean(d, lambda g: 1 / past - 1 / now[g])
    return ball(f * theta) * ball(G * G) / past + ball(f * s * J * c * G * G / (4 * theta)) * fall - spent


def root_growth(rng: random.Random) -> flint.arb:
    """E sqrt(v_k) <= sqrt(vt) + c s G^2/(2 sqrt(vt))."""
    d, beta2, v_prev = law(rng), rational(rng, 0.1, 0.999), rational(rng, 0.01, 3)
    c, past = 1 - beta2, ball(beta2 * v_prev).sqrt()
    second = sum(p * g * g for p, g in d)
    return past + ball(c * second) / (2 * past) - mean(d, lambda g: ball(beta2 * v_prev + c * g * g).sqrt())


LEMMAS = {f.__name__: f for f in (one_step, sharp_one_step, main_error, root_growth)}


def certainly_negative(lemma: Callable[[random.Random], flint.arb], cases: int, seed: int = 0) -> int:
    """How many of ``cases`` random cases refute the lemma beyond the balls' radii."""
    rng = random.Random(seed)
    with flint.ctx.workprec(160):
        return sum(bool(lemma(rng) < 0) for _ in range(cases))


@pytest.mark.parametrize("name", LEMMAS)
def test_conditional_lemmas_hold_on_random_finite_distributions(name) -> None:
    assert certainly_negative(LEMMAS[name], CASES) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", LEMMAS)
def test_conditional_lemmas_hold_in_many_cases(name) -> None:
    # A hundred thousand in the nightly profile.
    cases = 100_000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 10_000
    assert certainly_negative(LEMMAS[name], cases, seed=1) == 0


def test_1_the_one_step_lemma_without_its_error_is_refuted() -> None:
    assert certainly_negative(lambda rng: one_step(rng, error=0), 200) > 0


def test_2_the_log_sum_without_the_decay_is_refuted() -> None:
    """g = 0: the left side vanishes, and ln(eps + v) falls."""
    document = copy.deepcopy(bst.theorems.adam_token_half_life.document())
    step = next(s for s in document["steps"] if s["name"] == "log_sum")
    step["gap"] = "log_next - log_prev - c*g**2/P**2"
    assert "log_sum" in recheck_document(document).reason
    eps, beta, v = ball(Fraction(1, 100)), ball(Fraction(1, 2)), ball(1)
    assert (eps + beta * v).log() - (eps + v).log() < 0
    constants, nodes, _ = adam_tree(random.Random(0), "first_batch")
    assert "log_sum" in {x.step for x in Evaluator(document, constants, nodes, 2).violations()}


def test_3_bias_correction_by_the_current_beta_is_refuted_after_a_ramp() -> None:
    """Constant input 1: v/(1 - 2^(-D/h)) is 1 exactly, v/(1 - beta^step) is not, in either direction."""
    for batches, direction in (([1, 1, 4], 1), ([4, 4, 1], -1)):
        betas = {1: Fraction(1, 2), 4: Fraction(1, 16)}  # h = 1
        v = Fraction(0)
        for b in batches:
            v = betas[b] * v + 1 - betas[b]
        assert v == 1 - Fraction(1, 2 ** sum(batches))
        wrong = 1 - betas[batches[-1]] ** len(batches)
        assert (wrong - v) * direction > 0


def test_4_the_relative_variance_of_v_is_not_free_of_the_batch() -> None:
    """Noise alone, stationary, exact: CV^2 = 2 (1 - beta)/(1 + beta) grows almost like the batch."""
    spread = [2 * (1 - 2 ** (-b / 1000)) / (1 + 2 ** (-b / 1000)) for b in (1, 64)]
    assert spread[1] / spread[0] == pytest.approx(64, rel=0.01)
    rng = np.random.default_rng(0)
    for b, expected in zip(
        (16, 256), [2 * math.tanh(math.log(2) * b / 2000) for b in (16, 256)], strict=True
    ):
        beta, v = 2 ** (-b / 1000), np.full(4000, 1.0)
        for _ in range(int(4000 / b) + 1):
            v = beta * v + (1 - beta) * rng.standard_normal(v.size) ** 2
        assert v.var() / v.mean() ** 2 == pytest.approx(expected, rel=0.25)


def test_5_no_certificate_allows_a_batch_chosen_after_its_gradient() -> None:
    """The verdict on a run with such batches, inapplicable, is tested with the comparison."""
    document = copy.deepcopy(bst.theorems.adam_token_half_life.document())
    document["symbols"]["B"]["depends"] = ["step", "draw"]
    assert not recheck_document(document).valid


def test_6_a_large_start_with_the_old_outer_root_is_refuted() -> None:
    document = copy.deepcopy(bst.theorems.adam_token_half_life_initial.document()["parts"]["any_start"])
    document["symbols"]["Z"]["definition"]["of"] = "R**2 + eps"
    next(s for s in document["steps"] if s["name"] == "definition_of_Z")["gap"] = "Z**2 - R**2 - eps"
    assert "root_order" in recheck_document(document).reason
    constants, nodes, _ = adam_tree(random.Random(3), "any_start", v0=400.0, noise=0.0)
    assert "root_order" in {v.step for v in Evaluator(document, constants, nodes, 2).violations()}
