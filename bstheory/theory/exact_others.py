"""What stands for which symbol in the bounds of SGD, sign and Muon, and in the half-life identities."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flint
import sympy as sp

from bstheory.theory import lmo_lemmas
from bstheory.theory.exact import (
    Ball,
    Closed,
    Known,
    left_side,
    ln2,
    one_minus_beta,
    per_step,
    right_side,
    total,
)
from bstheory.theory.theorems import (
    adam_clipped_scaling,
    bias_correction_tokens,
    critical_batch_sfo,
    expected_strong_growth,
    half_life_definition,
    half_life_transfer,
    momentum_lag_constants,
    momentum_variance,
    scaling_rule_relations,
    sgd_inner_product_test,
    sgd_nonconvex_batch_schedule,
    sgd_pl_norm_test,
    sign_sgd_batch_schedule,
    skewness_bias,
    token_ess,
    v_lag_after_ramp,
    v_tails,
    zero_order_hold,
)

Batches = list[int]


@functools.cache
def closed(derive: Callable[[], Any], part: str = "", side: str = "right") -> Closed:
    d = derive()[part] if part else derive()
    return right_side(d) if side == "right" else left_side(d)


def started(known: Known, **more: Ball) -> dict[str, Ball]:
    """F_start - F_star = Delta."""
    return {**known, "F_start": known["Delta"], "F_star": flint.arb(0), **more}


def nonconvex(known: Known, batches: Batches) -> Ball:
    eta = per_step(known["eta"], batches)
    top = functools.reduce(lambda x, y: x.max(y), eta)
    noise = total(rate**2 / batch for rate, batch in zip(eta, batches, strict=True))
    symbols = started(known, room=2 - known["L"] * top, noise=noise)
    return closed(sgd_nonconvex_batch_schedule.derive)(**symbols)


def sign_descent(known: Known, batches: Batches) -> Ball:
    delta, sigma = per_step(known["delta"], batches), known["noise"]
    more = {
        "sigma_1": total(sigma if isinstance(sigma, list) else [sigma]),
        "squares": total(step**2 for step in delta),
        "noise_sum_over_steps": total(
            step / flint.arb(batch).sqrt() for step, batch in zip(delta, batches, strict=True)
        ),
    }
    return closed(sign_sgd_batch_schedule.biased)(**started(known, **more))


def linear_rate(derive: Callable[[], Any], known: Known, batches: Batches) -> Ball:
    decay = flint.arb(1)
    for rate in per_step(known["eta"], batches):
        decay *= 1 - known["mu"] * rate
    return known["F_star"] + closed(derive, "linear_rate")(**started(known, decay=decay))


def norm_test(known: Known, batches: Batches) -> Ball:
    return linear_rate(sgd_pl_norm_test.derive, known, batches)


def inner_product_test(known: Known, batches: Batches) -> Ball:
    return linear_rate(sgd_inner_product_test.derive, known, batches)


def strong_growth(known: Known, batches: Batches) -> Ball:
    return closed(expected_strong_growth.derive, "rate")(**started(known))


def clipped(known: Known, batches: Batches) -> Ball:
    more = {
        "beta": 1 - known["beta1"],
        "error_start": known["delta0"],
        "inverse_batches": total(1 / flint.arb(batch) for batch in batches),
    }
    return closed(adam_clipped_scaling.derive)(**started(known, **more))


def lmo(known: Known, batches: Batches) -> Ball:
    eta, t1 = per_step(known["eta"], batches), known["t1"]
    b = V = lag = drift = noise = flint.arb(0)
    for step, (rate, batch) in enumerate(zip(eta, batches, strict=True)):
        gamma = one_minus_beta(batch, t1) if step else flint.arb(1)
        b, V = (1 - gamma) * (b + known["L"] * lag), (1 - gamma) ** 2 * V + gamma**2 / batch
        lag = rate
        drift, noise = drift + rate * b, noise + rate * V.sqrt()
    more = {
        "sigma": known["sigma_sq"].sqrt(),
        "squares": total(rate**2 for rate in eta),
        "drifts": drift,
        "noises": noise,
    }
    return closed(lmo_lemmas.schedule)(**started(known, **more))


@functools.cache
def fewest_samples(exponent: float) -> Closed:
    part = critical_batch_sfo.linear() if exponent == 1.0 else critical_batch_sfo.root()
    return Closed(part.closed_form(sp.Symbol("N_min")))


def critical(known: Known, batches: Batches | None) -> Ball:
    return fewest_samples(float(known["exponent"]))(**known, e=known["eps"] - known["C3"])


def weights(batches: Batches, t: Ball) -> tuple[list[Ball], Ball]:
    """w_n = (1 - beta_n) 2^(-(D_N - D_n)/t) and 2^(-D_N/t)."""
    found, after = [], 0
    for batch in reversed(batches):
        found.append(one_minus_beta(batch, t) * (-ln2() * after / t).exp())
        after += batch
    return found[::-1], (-ln2() * after / t).exp()


def half_life(known: Known, batches: Batches | None) -> Ball:
    return closed(half_life_definition.derive, "half_life_of_beta")(**known) / -known["beta"].log()


def transfer(known: Known, batches: Batches | None) -> Ball:
    t = known["B"] * ln2() / -known["beta"].log()
    return closed(half_life_transfer.derive)(**known, t=t).exp()


def bias(known: Known, batches: Batches) -> Ball:
    return closed(bias_correction_tokens.derive, "mass")(**known, D=flint.arb(sum(batches)))


def variance_of_momentum(known: Known, batches: Batches) -> Ball:
    w, phi = weights(batches, known["t"])
    S = total(x**2 / batch for x, batch in zip(w, batches, strict=True))
    return closed(momentum_variance.derive, "variance")(**known, S=S) / (1 - phi) ** 2


def sample_size(known: Known, batches: Batches) -> Ball:
    symbols = {"D": flint.arb(sum(batches)), "S": flint.arb(1), "B_max": flint.arb(max(batches))}
    return closed(token_ess.derive, "upper")(**known, **symbols)


def lag_after_ramp(known: Known, batches: Batches | None) -> Ball:
    return closed(v_lag_after_ramp.derive, "lag")(**known, D=known["a"])


def held(known: Known, batches: Batches) -> Ball:
    return closed(zero_order_hold.derive, "moving")(**known, B_max=flint.arb(max(batches)))


def tail(known: Known, batches: Batches) -> Ball:
    return closed(v_tails.derive, "upper_tail")(**known, root_x=known["x"].sqrt()).exp()


def skewness(known: Known, batches: Batches | None) -> Ball:
    b1, b2 = known["beta1"], known["beta2"]
    return closed(skewness_bias.derive)(**known, b1=b1, b2=b2, room=1 - b1 * b2)


def square_root_rule(known: Known, batches: Batches | None) -> Ball:
    return closed(scaling_rule_relations.derive, "square_root_upper")(**known, c=1 - known["beta"])


def lag_errors(known: Known, batches: Batches | None) -> Ball:
    beta1, beta = known["beta1"], 1 - one_minus_beta(known["B"], known["h"])
    return closed(momentum_lag_constants.derive, "errors")(c1=1 - beta1, cq=1 - beta1 / beta)


VALUES = {
    "momentum_lag_constants": lag_errors,
    "sgd_nonconvex_batch_schedule": nonconvex,
    "sign_sgd_batch_schedule": sign_descent,
    "sgd_pl_norm_test": norm_test,
    "sgd_inner_product_test": inner_product_test,
    "expected_strong_growth": strong_growth,
    "adam_clipped_scaling": clipped,
    "lmo_token_half_life": lmo,
    "critical_batch_sfo": critical,
    "half_life_definition": half_life,
    "half_life_transfer": transfer,
    "bias_correction_tokens": bias,
    "momentum_variance": variance_of_momentum,
    "token_ess": sample_size,
    "v_lag_after_ramp": lag_after_ramp,
    "zero_order_hold": held,
    "v_tails": tail,
    "skewness_bias": skewness,
    "scaling_rule_relations": square_root_rule,
}
