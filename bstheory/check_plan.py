"""What ``bstheory check`` does, as data: problems, optimizers, schedules and the verdicts declared before the
run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

FLAGSHIP = "adam_token_half_life"
EXACT_SLUGS = ("nqm_sgd", "nqm_heavy_ball")
LANGUAGE_MODEL = "tiny_lm"
LEVEL = 0.99

# A false claim must be caught: the flagship's right-hand side divided by this. The ratio measured / bound is
# about 0.005 to 0.02 in these simulations, so the divided bound is below the truth by a factor of at least
# five.
CONTROL_DIVISOR = 1000.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simulation:
    """One Monte-Carlo run: ``schedule`` is its specification, ``batch_size`` the realized sequence int64 [K].

    Where ``rule`` is given, each path chooses its own batches by it instead, for ``tokens`` in all.
    """

    name: str
    schedule: str
    problem: Any
    optimizer: Any
    seeds: int
    batch_size: np.ndarray | None = None
    rule: Any = None
    groups: int = 2
    tokens: int = 0


def schedules_of(tokens: int) -> dict[str, str]:
    """The four batch-size schedules of equal tokens that every bound is confronted with."""
    quarter = tokens // 4
    return {
        "constant": "16",
        "ramp up": f"geometric 4->64 over {tokens}",
        "ramp down": f"geometric 64->4 over {tokens}",
        "stages": f"0:4 {quarter}:16 {2 * quarter}:64",
    }


def _four(problem: Any, optimizer: Any, *, quick: bool) -> list[Simulation]:
    from bstheory import schedules

    tokens = tokens_of(quick)
    found = []
    for name, text in schedules_of(tokens).items():
        schedule = schedules.parse(text).rounded(multiple=1)
        found.append(
            Simulation(
                name=name,
                schedule=text,
                problem=problem,
                optimizer=optimizer,
                batch_size=schedule.batch_sizes(num_tokens=tokens, last="partial"),
                seeds=64 if quick else 128,
            )
        )
    return found


def tokens_of(quick: bool) -> int:
    """Tokens of each simulation of a bound."""
    return 32_768 if quick else 65_536


def flagship_simulations(*, quick: bool, **form: Any) -> list[Simulation]:
    """The flagship's algorithm on sum_i (1 - cos x_i) with two-point noise.

    The half-life is an eighth of the tokens, so the residual ln2 D/h is neither negligible nor dominant.
    ``form`` changes the optimizer into that of another form of the theorem.
    """
    from bstheory import problems
    from bstheory.simulation import RMSProp

    optimizer = RMSProp(
        learning_rate=0.1,
        half_life=tokens_of(quick) / 8,
        eps=1e-2,
        learning_rate_rule="sqrt_one_minus_beta2",
        weight="sqrt_one_minus_beta2",
        **form,
    )
    return _four(problems.cosine_sum(64, 1.0), optimizer, quick=quick)


def adaptive_simulation(*, quick: bool) -> Simulation:
    """The flagship's algorithm while a debiased norm test chooses every next batch, path by path."""
    from bstheory import problems
    from bstheory.schedules.rules import Rule
    from bstheory.simulation import RMSProp

    tokens = 4096 if quick else 16_384
    return Simulation(
        name="adaptive",
        schedule="norm test with tolerance 1, debiased, batch sizes 4 to 64",
        problem=problems.cosine_sum(16, 1.0),
        optimizer=RMSProp(
            learning_rate=0.1,
            half_life=tokens / 8,
            eps=1e-2,
            learning_rate_rule="sqrt_one_minus_beta2",
            weight="sqrt_one_minus_beta2",
        ),
        seeds=32,
        rule=Rule(
            name="norm_test", initial=4, maximum=64, multiple=4, debias=True, signal_floor=0.01, shrink=True
        ),
        groups=4,
        tokens=tokens,
    )


def bias_corrected_simulations(*, quick: bool) -> list[Simulation]:
    """The flagship's algorithm with the exact bias correction, right under any schedule."""
    return flagship_simulations(quick=quick, bias_correction="exact")


def initial_simulations(*, quick: bool) -> list[Simulation]:
    """The flagship's algorithm from v_0 = 1, a quarter of R^2."""
    return flagship_simulations(quick=quick, v0=1.0)


def sgd_simulations(*, quick: bool) -> list[Simulation]:
    """Plain SGD on the same function, eta L = 0.1: well inside the step-size condition of the theorem."""
    from bstheory import problems
    from bstheory.simulation import SGD

    return _four(problems.cosine_sum(64, 1.0), SGD(learning_rate=0.1), quick=quick)


def convex_simulations(*, quick: bool) -> list[Simulation]:
    """Plain SGD on a quadratic with a power-law spectrum, condition number 16."""
    from bstheory import problems
    from bstheory.simulation import SGD

    return _four(problems.noisy_quadratic(1.0 / np.arange(1, 17), 0.3), SGD(learning_rate=0.1), quick=quick)


def sign_simulations(*, quick: bool) -> list[Simulation]:
    """Sign descent (no momentum) on the same quadratic."""
    from bstheory import problems
    from bstheory.simulation import Signum

    quadratic = problems.noisy_quadratic(1.0 / np.arange(1, 17), 0.3)
    return _four(quadratic, Signum(learning_rate=1e-3, beta1=0.0), quick=quick)


# Bounds that are confronted with simulations; a new one is one line.
SIMULATIONS: dict[str, Callable[..., list[Simulation]]] = {
    FLAGSHIP: lambda *, quick: [*flagship_simulations(quick=quick), adaptive_simulation(quick=quick)],
    f"{FLAGSHIP}_bias_corrected": bias_corrected_simulations,
    f"{FLAGSHIP}_initial": initial_simulations,
    f"{FLAGSHIP}_variance_aware": flagship_simulations,
    "sgd_nonconvex_batch_schedule": sgd_simulations,
    "sgd_strongly_convex": convex_simulations,
    "sign_sgd_batch_schedule": sign_simulations,
}


def exact_simulations(*, quick: bool) -> dict[str, Simulation]:
    """SGD and heavy ball on a noisy quadratic with a power-law spectrum, a batch size that grows by
    stages."""
    from bstheory import problems
    from bstheory.simulation import SGD, HeavyBall

    problem = problems.noisy_quadratic(1.0 / np.arange(1, 65), 0.3)
    optimizers = {
        "nqm_sgd": SGD(learning_rate=0.1),
        "nqm_heavy_ball": HeavyBall(learning_rate=0.05, beta1=0.9),
    }
    return {
        slug: Simulation(
            name=slug,
            schedule="0:1 1000:4 3000:16",
            problem=problem,
            optimizer=optimizer,
            batch_size=np.repeat([1, 4, 16], [1000, 500, 300]),
            seeds=256 if quick else 2048,
        )
        for slug, optimizer in optimizers.items()
    }
