"""What stands for which symbol in the bounds of the Adam family; see ``theory.exact``."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import flint
import sympy as sp

from bstheory.theory.exact import (
    Ball,
    Closed,
    Known,
    largest,
    one_minus_beta,
    per_step,
    right_side,
    smallest,
    total,
    vector,
)
from bstheory.theory.theorems import (
    adam_norm_test,
    adam_norm_test_deterministic_schedule,
    adam_norm_test_log_route,
    adam_norm_test_token_half_life,
    adam_token_half_life,
    adam_token_half_life_bias_corrected,
    adam_token_half_life_initial,
    adam_token_half_life_momentum,
    adam_token_half_life_unnormalised,
    adam_token_half_life_variance_aware,
    adam_unnormalised,
    adam_unnormalised_momentum,
    sqrt_v_weighted_test,
)

Batches = list[int]


@functools.cache
def closed(derive: Callable[..., Any], **options: Any) -> Closed:
    return right_side(derive(**options))


def flagship(known: Known, batches: Batches, *, weight: int = 2, **more: Ball) -> dict[str, Ball]:
    """Symbols that every form of flagship 1 has; kappa = 1 - weight young."""
    return {
        **known,
        "F_start": known["Delta"],
        "F_star": flint.arb(0),
        "kappa": 1 - weight * known["young"],
        "D": flint.arb(sum(batches)),
        **more,
    }


def plain(known: Known, batches: Batches) -> Ball:
    return closed(adam_token_half_life.derive, young=None)(**flagship(known, batches))


def sharp(known: Known, batches: Batches) -> Ball:
    return closed(adam_token_half_life.derive, young=None, sharp=True)(**flagship(known, batches, weight=1))


def initial(known: Known, batches: Batches) -> Ball:
    v0, eps, R = vector(known["v0"]), known["eps"], known["R"]
    logs = total(((eps + v.max(R**2)) / (eps + v)).log() for v in v0)
    logs *= known["d"] if len(v0) == 1 else 1
    more = {"M": largest([R**2, *v0]), "logs_gain": logs}
    return closed(adam_token_half_life_initial.any_start)(**flagship(known, batches, **more))


def unnormalised(known: Known, batches: Batches) -> Ball:
    g_max = known["R"] - known["eps"].sqrt()
    count = most = flint.arb(0)
    for batch in batches:
        count = (1 - one_minus_beta(batch, known["h"])) * count + 1
        most = most.max(count)
    variance = largest([known["sigma"] ** 2 / batch for batch in batches])
    r = g_max.min((known["G_inf"] ** 2 + variance).sqrt())
    more = {"g_max": g_max, "r": r, "root_S": most.sqrt()}
    return closed(adam_token_half_life_unnormalised.free)(**flagship(known, batches, **more))


def bias_corrected(known: Known, batches: Batches) -> Ball:
    first = flint.arb(batches[0])
    more = {
        "B_1": first,
        "b_1": one_minus_beta(first, known["h"]),
        "b_end": one_minus_beta(sum(batches), known["h"]),
    }
    return closed(adam_token_half_life_bias_corrected.free)(**flagship(known, batches, **more))


def variance_aware(known: Known, batches: Batches) -> Ball:
    sigma, R = vector(known["sigma"]), known["R"]
    copies = known["d"] if len(sigma) == 1 else flint.arb(1)
    rows = [[(R**2).min(known["G_inf"] ** 2 + s**2 / b).sqrt() for b in batches] for s in sigma]
    rises = total((after - before).max(flint.arb(0)) for r in rows for before, after in itertools.pairwise(r))
    more = {
        "r_first": total(row[0] for row in rows) * copies,
        "T_up": rises * copies,
        "T_rB": total(r * b for row in rows for r, b in zip(row, batches, strict=True)) * copies,
    }
    return closed(adam_token_half_life_variance_aware.free)(**flagship(known, batches, **more))


def momentum(known: Known, batches: Batches) -> Ball:
    constants = lag_constants(known, batches)
    symbols = flagship(known, batches, weight=1, **constants)
    return closed(adam_token_half_life_momentum.derive, free=True)(**symbols)


def lag_constants(known: Known, batches: Batches) -> dict[str, Ball]:
    """C_A, C_A2, C_2, C_3 by the sums as they stand; the work grows with the square of the steps."""
    N, h, t1, beta1 = len(batches), known["h"], known["t1"], known["beta1"]
    tokens = [0]
    for batch in batches:
        tokens.append(tokens[-1] + batch)
    c = [one_minus_beta(batch, h) for batch in batches]
    roots = [x.sqrt() for x in c]
    own = [one_minus_beta(batch, t1) if t1 > 0 else 1 - beta1 for batch in batches]
    zero = flint.arb(0)
    A, A2, second, change = [zero] * N, [zero] * N, [zero] * N, [zero] * (N + 1)
    for n in range(N):
        for j in range(n + 1):
            gap = flint.arb(tokens[n + 1] - tokens[j + 1])
            kept = flint.arb(2) ** (-gap / t1) if t1 > 0 else beta1 ** (n - j) if n > j else flint.arb(1)
            om = one_minus_beta(tokens[n + 1] - tokens[j], h).sqrt()
            W = own[j] * kept
            grown = W * flint.arb(2) ** (gap / h)
            A[j] += grown * roots[n] * om
            second[j] += grown * c[n]
            if n > j:
                A2[j] += grown * roots[n] * om
                kernel = W * (n - j) * roots[n] / om
                change[j] += kernel
                change[n] -= kernel
    across, running = [], zero
    for step in change[:N]:
        running = running + step
        across.append(running)
    return {
        "C_A": largest(a / x for a, x in zip(A, c, strict=True)),
        "C_A2": largest(a / x for a, x in zip(A2, c, strict=True)),
        "C_2": largest(a / x for a, x in zip(second, c, strict=True)),
        "C_3": largest(across),
    }


def sums(known: Known, batches: Batches) -> Ball:
    N, beta2 = flint.arb(len(batches)), known["beta2"]
    symbols = flagship(known, batches, N=N, r=known["R"] - known["eps"].sqrt())
    if beta2 < 1:
        return closed(adam_unnormalised.adam)(**symbols, beta=beta2, c=1 - beta2) / N
    return closed(adam_unnormalised.adagrad)(**symbols) / N


def sums_momentum(known: Known, batches: Batches) -> Ball:
    N, beta1, beta2 = flint.arb(len(batches)), known["beta1"], known["beta2"]
    more = {"N": N, "r": known["R"] - known["eps"].sqrt(), "c1": 1 - beta1, "cq": 1 - beta1 / beta2}
    symbols = flagship(known, batches, weight=1, **more)
    weight = N - beta1 * (1 - beta1 ** len(batches)) / (1 - beta1)
    if beta2 < 1:
        return closed(adam_unnormalised_momentum.adam, free=True)(**symbols, beta=beta2, c=1 - beta2) / weight
    return closed(adam_unnormalised_momentum.adagrad, free=True)(**symbols) / weight


# Flagship 2: ``net`` is what the step size leaves; it and the bound come from one derivation.


@functools.cache
def norm_forms(derive: Callable[..., Any], **options: str) -> dict[str, Closed]:
    d = derive(**options)
    forms = {"net": sp.Symbol("net") - d.gap("net"), "l1": d.claim[2]}
    if "left" in d.steps:
        forms["left"] = sp.Symbol("left") - d.gap("left")
    return {name: Closed(d.closed_form(expression)) for name, expression in forms.items()}


def start(known: Known) -> dict[str, Ball]:
    """What the second moment and the gradient at the start enter through."""
    v0, G1 = vector(known["v0"]), vector(known["G1"])
    return {
        "q_min": smallest(v0).sqrt(),
        "boundary": total(g**2 / v.sqrt() for g, v in zip(G1, v0, strict=True)),
        "root_start": total(v.sqrt() for v in v0),
    }


def norm_symbols(known: Known) -> dict[str, Ball]:
    beta1, y, K = known["beta1"], known["beta2"].sqrt(), int(float(known["K"]))
    gam, growth = beta1 / y, 1 + known["eta"] ** 2
    q = growth / (1 - gam**2)
    return {
        **known,
        **start(known),
        "s": growth,
        "xi": known["zeta"] * q - 1,
        "y": y,
        "c": 1 - known["beta2"],
        "z": 1 - y,
        "e": 1 - gam,
        "f": 1 - beta1,
        "t_K": y**K,
        "T_t": y * (1 - y**K) / (1 - y),
    }


def norm_test(known: Known, batches: Batches | None) -> Ball:
    forms, symbols = norm_forms(adam_norm_test.master, conclude="l1"), norm_symbols(known)
    return forms["l1"](**symbols, net=forms["net"](**symbols))


def norm_test_log(known: Known, batches: Batches | None) -> Ball:
    forms, symbols = norm_forms(adam_norm_test_log_route.derive), norm_symbols(known)
    net = forms["net"](**symbols)
    cost = net - forms["left"](**symbols, net=net, mu_log=flint.arb(1))
    mu = flint.arb(1).max(known["level"] * cost / net)
    symbols |= {"net": net, "mu_log": mu, "d": flint.arb(len(vector(known["G1"])))}
    symbols |= {"lift": 2 * (mu.log() + 1 / mu - 1), "fall": -known["beta2"].log()}
    return forms["l1"](**symbols, left=forms["left"](**symbols))


def norm_test_tokens(known: Known, batches: Batches) -> Ball:
    h, beta1, growth = known["h"], known["beta1"], 1 + known["eta"] ** 2
    low, high = min(batches), max(batches)

    def y(batch: int) -> Ball:
        return (1 - one_minus_beta(batch, h)).sqrt()

    y_min, y_bar, c_min, c_max = y(high), y(low), one_minus_beta(low, h), one_minus_beta(high, h)
    gam_bar, gam_low, f = beta1 / y_min, beta1 / y_bar, 1 - beta1
    q = growth * c_max / (c_min * (1 - gam_bar**2))
    roots, before = flint.arb(0), flint.arb(1)
    for batch in batches:
        before = before * y(batch)
        roots += before
    symbols = {
        **known,
        **start(known),
        "s": growth,
        "f": f,
        "xi": known["zeta"] * q - 1,
        "x": known["chi"] * (growth * f / (1 - gam_bar)).sqrt(),
        "y_min": y_min,
        "y_bar": y_bar,
        "B_min": flint.arb(low),
        "B_max": flint.arb(high),
        "N": flint.arb(sum(batches)),
        "c_min": c_min,
        "c_max": c_max,
        "z": 1 - y_bar,
        "e_bar": 1 - gam_bar,
        "e_hat": 1 - (gam_bar + gam_low) / 2,
        "omega": (gam_bar - gam_low) / 2,
        "T_t": roots,
    }
    net = norm_forms(adam_norm_test_token_half_life.master, conclude="l1")["net"](**symbols)
    form = "l1_nondecreasing" if known["nondecreasing"] > 0 else "l1"
    return norm_forms(adam_norm_test_token_half_life.master, conclude=form)["l1"](**symbols, net=net)


def norm_test_schedule(known: Known, batches: Batches) -> Ball:
    """The sequences of ``adam_norm_test_deterministic_schedule.sequences`` in balls, then its bound."""
    K, f, growth, theta = len(batches), 1 - known["beta1"], 1 + known["eta"] ** 2, known["theta"]
    rates, L, zero = per_step(known["alpha"], batches), known["L"], flint.arb(0)
    c = [one_minus_beta(batch, known["h"]) for batch in batches]
    y = [(1 - x).sqrt() for x in c]
    gam, before = [known["beta1"] / root for root in y], [rates[0], *rates[:-1]]
    t = list(itertools.accumulate(y, lambda product, root: product * root))
    kappa = [zero] * K + [gam[-1] / (1 - gam[-1])]
    for k in reversed(range(K)):
        kappa[k] = gam[k] * rates[k] * (1 + kappa[k + 1]) / before[k]
    a = [rate * (1 + after) for rate, after in zip(rates, kappa[1:], strict=True)]
    J = [1 / (c[0] * (1 - gam[0] ** 2))]
    for k in range(K):
        J.append(gam[k] ** 2 * J[k] + 1 / c[k])
    weight = [growth * J[k + 1] * c[k] for k in range(K)]
    xi = known["zeta"] * largest(weight) - 1
    A = [zero, *(a[k] * f * weight[k] / (4 * theta) for k in range(K))]
    for k in reversed(range(K)):
        A[k] = A[k].max((A[k + 1] - known["abel"] * a[k] * f) / (y[k] * xi / (1 + xi)))
    at_start = start(known)
    phi, left = zero, []
    for k in reversed(range(K)):
        nu = t[k] * at_start["q_min"]
        psi = L * a[k] ** 2 * (gam[k] + flint.arb(1) / 2) + phi
        phi = gam[k] * psi + L * a[k] ** 2 * (gam[k] + 3 * gam[k] ** 2 / 2)
        phi += xi * A[k] * y[k] * L**2 * before[k] ** 2 / nu
        spent = (A[k + 1] - A[k] * y[k] * xi / (1 + xi)) / (a[k] * f)
        left.append(1 - theta - spent - growth * psi * f / (a[k] * (1 - gam[k]) * nu))
    y_bar = largest(y)
    more = {"A_0": A[0], "net": smallest(left), "a_min": smallest(a), "f": f, "T_t": total(t), "s": growth}
    more |= {"y_bar": y_bar, "z": 1 - y_bar, "c_max": largest(c)}
    return closed_l1()(**known, **at_start, **more)


@functools.cache
def closed_l1() -> Closed:
    return right_side(adam_norm_test_deterministic_schedule.master("l1"))


def weighted_test(known: Known, batches: Batches | None) -> Ball:
    v, G = vector(known["v"]), vector(known["G"])
    v = v * len(G) if len(v) == 1 else v
    signal = total(g**2 / x.sqrt() for g, x in zip(G, v, strict=True))
    symbols = {"s": 1 + known["eta"] ** 2, "signal": signal, "y": known["beta2"].sqrt()}
    return closed(sqrt_v_weighted_test.one_step, which="growth")(**symbols)


VALUES = {
    "adam_norm_test_deterministic_schedule": norm_test_schedule,
    "sqrt_v_weighted_test": weighted_test,
    "adam_token_half_life": plain,
    "adam_token_half_life_sharp": sharp,
    "adam_token_half_life_initial": initial,
    "adam_token_half_life_unnormalised": unnormalised,
    "adam_token_half_life_bias_corrected": bias_corrected,
    "adam_token_half_life_variance_aware": variance_aware,
    "adam_token_half_life_momentum": momentum,
    "adam_unnormalised": sums,
    "adam_unnormalised_momentum": sums_momentum,
    "adam_norm_test": norm_test,
    "adam_norm_test_log_route": norm_test_log,
    "adam_norm_test_token_half_life": norm_test_tokens,
}
