"""Momentum through a linear minimisation oracle (sign, Muon) with a token half-life.

Algorithm: m_t = beta_t m_{t-1} + (1 - beta_t) g_t, m_0 = g_0, beta_t = 2^(-B_t/t1) for t >= 1, and
x_{t+1} = x_t - eta_t lmo(m_t), where |lmo(m)| <= 1 and <m, lmo(m)> = |m|_*: the sign with the max-norm and
the 1-norm, Muon with the spectral and the nuclear norm. F is L-smooth in that norm, |.|_* <= rho |.|_2, and
E|g_t - grad F|_2^2 <= sigma^2/B_t with sigma^2 of one token.

**Upper** bound, part ``schedule``, for any schedule fixed in advance: with b_0 = 0, V_0 = 1/B_0,
b_t = beta_t (b_{t-1} + L eta_{t-1}) and V_t = beta_t^2 V_{t-1} + (1 - beta_t)^2/B_t,

    sum_t eta_t E|grad F(x_t)|_* <= Delta + (L/2) sum_t eta_t^2 + 2 sum_t eta_t (b_t + rho sigma sqrt(V_t)).

Constant batch B, with lambda = ln2/t1 (parts ``constant_noise`` and ``constant_drift``):

    sum_{t<K} sqrt(V_t) <= K sqrt(lambda/2) + 1/(sqrt(B) (1 - beta)),    b_t <= L eta/(lambda B):

the noise carries no batch size. With r = eta/B and D = K B tokens the bound on the mean is, to leading order,
Delta/(r D) + 2 L r/lambda + 2 rho sigma sqrt(lambda/2); its minimum over r and lambda is exactly
4 sqrt(rho sigma) (L Delta/D)^(1/4), at lambda* = (2/(rho sigma)) sqrt(L Delta/D) and
r* = sqrt(Delta lambda*/(2 L D)) (parts ``optimum`` and ``optimum_attained``). That batches up to about
4/lambda* cost nothing is a prediction from the leading order.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from bstheory.errors import input_error
from bstheory.references import MUON_CRITICAL_BATCH, SMALL_BATCH
from bstheory.theory import lmo_lemmas
from bstheory.theory.bound import Assumption, Bound, Constants, Evaluation, Parameter
from bstheory.theory.derivation import Derivation
from bstheory.theory.half_life_lemmas import produced as produced_part
from bstheory.theory.pruning import pruned
from bstheory.theory.sgd_lemmas import BOUNDED_BELOW, FIXED_RATE, nonnegative_parameter, per_step, produced

SLUG = lmo_lemmas.SLUG
ASSUMPTIONS = (
    Assumption(
        name="smooth_in_norm",
        statement="|grad F(x) - grad F(y)|_* <= L |x - y| for the norm of the oracle",
        constants=("L",),
    ),
    BOUNDED_BELOW,
    Assumption(
        name="oracle",
        statement="|lmo(m)| <= 1 and <m, lmo(m)> = |m|_*; |y|_* <= rho |y|_2 for all y",
    ),
    Assumption(
        name="momentum",
        statement="m_0 = g_0, m_t = beta_t m_{t-1} + (1 - beta_t) g_t, x_{t+1} = x_t - eta_t lmo(m_t)",
    ),
    Assumption(name="half_life_rule", statement="beta_t = 2^(-B_t/t1) for t >= 1"),
    Assumption(name="unbiased", statement="E[g_t | past] = grad F(x_t)"),
    Assumption(
        name="variance",
        statement="E[|g_t - grad F(x_t)|_2^2 | past] <= sigma^2/B_t, sigma^2 of one token",
        constants=("sigma_sq",),
    ),
    FIXED_RATE,
)


def derive() -> dict[str, Derivation]:
    """Any schedule; the two sequences at a constant batch; the best rate and half-life."""
    return {
        "schedule": lmo_lemmas.schedule(),
        "constant_noise": pruned(lmo_lemmas.constant_noise()),
        "constant_drift": pruned(lmo_lemmas.constant_drift()),
        "optimum": lmo_lemmas.optimum("least"),
        "optimum_attained": lmo_lemmas.optimum("attained"),
    }


@functools.cache
def right_hand_side() -> Any:
    """The produced right-hand side of ``schedule``."""
    return produced(lmo_lemmas.schedule(), "Delta L rho sigma squares drifts noises")


noise_of_constant_batch = produced_part(derive, ("B", "t", "c", "K"), "constant_noise")
drift_of_constant_batch = produced_part(derive, ("L", "eta", "B", "t"), "constant_drift")


def sequences(batch_size: np.ndarray, eta: np.ndarray, L: Any, t1: Any) -> tuple[np.ndarray, np.ndarray]:
    """b_t and V_t, [..., K], for beta_0 = 0 and beta_t = 2^(-B_t/t1)."""
    shape = np.broadcast_shapes(np.shape(L), np.shape(t1), eta.shape[:-1])
    b, V, lag = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    drifts, factors = [], []
    for t, batch in enumerate(batch_size):
        beta = np.exp2(-batch / t1) if t else np.zeros(shape)
        gamma = -np.expm1(-np.log(2.0) * batch / t1) if t else np.ones(shape)
        b = beta * (b + L * lag)
        V = beta**2 * V + gamma**2 / batch
        lag = eta[..., t]
        drifts.append(b)
        factors.append(V)
    return np.stack(np.broadcast_arrays(*drifts), axis=-1), np.stack(np.broadcast_arrays(*factors), axis=-1)


def value(constants: Constants, batch_size: np.ndarray | None) -> Evaluation:
    """The bound on sum eta_t E|grad F(x_t)|_*; its parts, and for a constant batch the closed form."""
    if batch_size is None:
        raise input_error(
            got="no schedule", rule=f"{SLUG} needs the tokens of every step", do="pass schedule=[B_0, ...]"
        )
    names = ("L", "rho", "sigma_sq", "Delta", "t1")
    L, rho, sigma_sq, delta, t1 = (np.asarray(constants[n], dtype=float) for n in names)
    sigma = np.sqrt(sigma_sq)
    eta = per_step(constants["eta"], len(batch_size), "eta")
    drifts, factors = sequences(batch_size, eta, L, t1)
    squares, weight = (eta**2).sum(axis=-1), eta.sum(axis=-1)
    drift = (eta * drifts).sum(axis=-1)
    noise = (eta * np.sqrt(factors)).sum(axis=-1)
    total = np.asarray(right_hand_side()(delta, L, rho, sigma, squares, drift, noise))
    tokens = float(batch_size.sum())
    strength = rho * sigma
    parts = {
        "weight": weight,
        "weighted_mean": total / weight,
        "drift": 2 * drift,
        "noise": 2 * strength * noise,
        "curvature": L * squares / 2,
    }
    with np.errstate(divide="ignore", invalid="ignore"):
        best = 2 / strength * np.sqrt(L * delta / tokens)
        parts["best_half_life"] = np.log(2.0) / best
        parts["best_step_per_token"] = np.sqrt(delta * best / (2 * L * tokens))
        parts["best_mean_leading_order"] = 4 * np.sqrt(strength) * (L * delta / tokens) ** 0.25
    if np.all(batch_size == batch_size[0]) and np.all(eta == eta[..., :1]):
        B, rate, K = float(batch_size[0]), eta[..., 0], len(batch_size)
        forget = -np.expm1(-np.log(2.0) * B / t1)
        parts["constant_noise"] = 2 * strength * rate * noise_of_constant_batch(B, t1, forget, K)
        parts["constant_drift"] = 2 * rate * K * drift_of_constant_batch(L, rate, B, t1)
    return Evaluation(
        value=total[()],
        trivial_value=np.asarray(weight * np.sqrt(2 * L * delta))[()],
        parts={name: np.asarray(part)[()] for name, part in parts.items()},
    )


BOUND = Bound(
    slug=SLUG,
    title="Sign and Muon momentum with a token half-life under any fixed batch schedule",
    algorithm="x_{t+1} = x_t - eta_t lmo(m_t), m an average with half-life t1 in tokens, m_0 = g_0",
    quantity="",
    quantity_latex=r"\sum_{t<K}\eta_t\,\mathbb E\|\nabla F(x_t)\|_*",
    statement_latex=r"\sum_{t<K}\eta_t\,\mathbb E\|\nabla F(x_t)\|_*\le\Delta"
    r"+\frac L2\sum_{t<K}\eta_t^2"
    r"+2\sum_{t<K}\eta_t\big(b_t+\rho\sigma\sqrt{V_t}\big),\quad"
    r"b_t=\beta_t(b_{t-1}+L\eta_{t-1}),\ V_t=\beta_t^2V_{t-1}+\frac{(1-\beta_t)^2}{B_t}",
    kind="upper",
    assumptions=ASSUMPTIONS,
    parameters=(
        Parameter(name="eta", meaning="step length, one number or one per step", unit="param"),
        Parameter(name="t1", meaning="half-life of the momentum", unit="tokens"),
        Parameter(name="L", meaning="smoothness in the norm of the oracle", unit="loss/param^2"),
        Parameter(name="rho", meaning="dual norm over 2-norm, at most", unit="1"),
        nonnegative_parameter("sigma_sq", "gradient variance of one token", "grad^2*tokens"),
        nonnegative_parameter("Delta", "F(x_0) - F_*", "loss"),
    ),
    derive=derive,
    value=value,
    references=(SMALL_BATCH, MUON_CRITICAL_BATCH),
    notes=(
        "For the sign, L is the sum of the coordinates' smoothness and rho = sqrt(d); for Muon on a matrix "
        "of rank r, rho = sqrt(r).",
        "The best half-life and step, and the critical batch of about 4/lambda*, are of leading order.",
        "The trivial value is the weight times sqrt(2 L Delta), the most that the start point alone allows.",
        "The proof takes sigma > 0; sigma = 0 is its limit.",
    ),
)
