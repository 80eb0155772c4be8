"""Claims of *Adaptive Batch Size Schedules for Distributed Training* (arXiv:2412.21124), and its confounds.

Scale: as in ``small_batch``; J = 4 groups of one process stand for four workers.
"""

from __future__ import annotations

import math

import numpy as np

from bstheory.reproduction import adaptive_parity, adaptive_tests
from bstheory.reproduction.adaptive_loop import AdaptiveOutcome, KeptRuns, describe
from bstheory.reproduction.arms import HALF_LIFE, ROWS, SEEDS, centre, grid, tuned
from bstheory.reproduction.claim import Claim, Finding, Outcomes
from bstheory.reproduction.judging import MARGIN, Test, at, family, larger, means
from bstheory.schedules.rules import ddp_norm, published_fixed_point
from bstheory.schedules.statistics import Statistics
from bstheory.training.stacked import Recipe
from bstheory.verdict import Verdict

WORKERS = 4
LARGEST = 256
EARLY = ((16, 48), (64, 36))  # a quarter of the rows at 16, the rest at 64


def groups(b: int, noise_scale: float, rng: np.random.Generator, dimension: int = 64) -> Statistics:
    """Statistics of one step with Gaussian group gradients of a given noise scale (|G|^2 = 1)."""
    mean = np.zeros(dimension)
    mean[0] = 1.0
    scale = math.sqrt(noise_scale / dimension / (b / WORKERS))
    g = mean + scale * rng.standard_normal((WORKERS, dimension))
    average = g.mean(axis=0)
    return Statistics(
        batch_size=b,
        groups=WORKERS,
        norm_sq=float(average @ average),
        mean_group_norm_sq=float((g**2).sum() / WORKERS),
    )


def judge_scaling(_: Outcomes) -> list[Finding]:
    rng = np.random.default_rng(0)
    findings = []
    for b in (64, 512):
        spreads = np.array([groups(b, 1000.0, rng).spread for _i in range(4000)])
        expected = (WORKERS - 1) * 1000.0 / b
        error = spreads.std(ddof=1) / math.sqrt(spreads.size)
        z = (spreads.mean() - expected) / error
        findings.append(
            Finding(
                statement=f"E|V|_1 = (J - 1) sigma^2 / b at b = {b}, not sigma^2",
                verdict=Verdict.CONSISTENT if abs(z) < 4 else Verdict.REFUTED,
                numbers={"mean": float(spreads.mean()), "expected": expected, "z": float(z), "n": 4000},
            )
        )
    return findings


def closed_loop(
    scaling: str, *, eta: float, noise_scale: float, shrink: bool, seed: int, **policy: object
) -> list[int]:
    """Batch sizes of 400 steps on stationary Gaussian groups."""
    rule = ddp_norm(
        eta=eta,
        scaling=scaling,
        initial=256,
        maximum=8192,
        multiple=WORKERS,
        shrink=shrink,
        **policy,  # type: ignore[arg-type]
    )
    rng = np.random.default_rng(seed)
    state = rule.init()
    sizes = []
    for _step in range(400):
        state = rule.update(state, groups(rule.value(state), noise_scale, rng))
        sizes.append(rule.value(state))
    return sizes


def judge_reachable(_: Outcomes) -> list[Finding]:
    findings = []
    for eta, noise_scale in ((0.2, 3000.0), (0.2, 1e6)):
        fixed = published_fixed_point(noise_scale=noise_scale, eta=eta, workers=WORKERS)
        tails = [
            np.mean(closed_loop("published", eta=eta, noise_scale=noise_scale, shrink=True, seed=s)[200:])
            for s in range(8)
        ]
        reached = [
            max(closed_loop("published", eta=eta, noise_scale=noise_scale, shrink=False, seed=s))
            for s in range(8)
        ]
        cap = (WORKERS - 1) / eta**2
        numbers = {
            "mean_field_fixed_point": fixed,
            "mean_batch_with_shrinking": float(np.mean(tails)),
            "cap_when_noise_dominates": cap,
            "largest_with_ratchet": [int(x) for x in reached],
        }
        findings.append(
            Finding(
                statement=f"as printed (eta {eta}, noise scale {noise_scale:g}), 256 does not grow to 8192 in 400 steps",
                verdict=Verdict.CONSISTENT if max(reached) < 8192 else Verdict.REFUTED,
                numbers=numbers,
            )
        )
    unbiased = [
        closed_loop(
            "unbiased", eta=0.2, noise_scale=3000.0, shrink=False, seed=s, smoothing=0.9, signal_floor=0.01
        )
        for s in range(8)
    ]
    findings.append(
        Finding(
            statement="with the unbiased scaling and the same eta the maximum 8192 is reached",
            verdict=Verdict.CONSISTENT if all(max(s) == 8192 for s in unbiased) else Verdict.REFUTED,
            numbers={"step_at_maximum": [s.index(8192) if 8192 in s else None for s in unbiased]},
        )
    )
    return findings


def judge_condition(_: Outcomes) -> list[Finding]:
    findings = []
    for eta in (0.05, 0.2):
        right = math.sqrt(0.95) - 8 * (1 + eta**2) * (1 - 0.95) / 0.95**2
        findings.append(
            Finding(
                statement=f"the runs' (beta1, beta2) = (0.9, 0.95) satisfy the theorem's condition at eta = {eta}",
                verdict=Verdict.CONSISTENT if right >= 0.9 else Verdict.REFUTED,
                numbers={"beta1": 0.9, "right_hand_side": right},
            )
        )
    return findings


# Warm-up counted in samples or in steps.

WARMUP_STEPS = 10


def warmup_recipes() -> list[Recipe]:
    return (
        grid("adam", 64, warmup=0.01)
        + grid("adam", 64, warmup=WARMUP_STEPS, warmup_index="steps")
        + grid("adam", 16, warmup=0.01)
    )


def judge_warmup(o: Outcomes) -> list[Finding]:
    tokens = at(o, "adam", 64, warmup=0.01)
    steps = at(o, "adam", 64, warmup=WARMUP_STEPS, warmup_index="steps")
    return larger(
        {
            "at a large constant batch, a warm-up of 1 % of the samples (half a step) is worse than one of "
            f"{WARMUP_STEPS} steps": (tokens.losses - steps.losses, means(samples=tokens, steps=steps))
        }
    )


# beta2 and learning rate along a ramp.


def ramp(**more: object) -> list[Recipe]:
    return grid("adam", 16, batch_sizes=EARLY, **more)  # type: ignore[arg-type]


def ramp_recipes() -> list[Recipe]:
    return (
        ramp() + ramp(half_life=None, beta2=0.95) + ramp(lr_power=0.5) + grid("adam", 16) + grid("adam", 64)
    )


def judge_ramp(o: Outcomes) -> list[Finding]:
    base = tuned(o, ramp())
    fixed = tuned(o, ramp(half_life=None, beta2=0.95))
    scaled = tuned(o, ramp(lr_power=0.5))
    small, large = at(o, "adam", 16), at(o, "adam", 64)
    return family(
        {
            "a ramp 16 -> 64 beats constant 64 on equal tokens": Test(
                values=large.losses - base.losses, numbers=means(ramp=base, constant=large)
            ),
            "a ramp 16 -> 64 beats constant 16 on equal tokens": Test(
                values=small.losses - base.losses, numbers=means(ramp=base, constant=small)
            ),
            "scaling the rate with sqrt(B) along the ramp helps": Test(
                values=base.losses - scaled.losses, numbers=means(unscaled=base, scaled=scaled)
            ),
            f"keeping beta2 = 0.95 along a ramp of a factor 4 changes the loss by less than {MARGIN}": Test(
                values=fixed.losses - base.losses,
                margin=MARGIN,
                numbers=means(half_life=base, fixed=fixed),
            ),
        }
    )


# Adaptive against constant and stage-wise.


def adaptive_run(kept: KeptRuns, scaling: str, eta: float, half_life: bool, seed: int) -> AdaptiveOutcome:
    """One adaptive run from batch size 16."""
    recipe = Recipe(
        optimizer="adam",
        learning_rate=centre("adam", 16),
        batch_sizes=((16, 1),),
        seed=seed,
        half_life=HALF_LIFE if half_life else None,
        beta2=0.95,
    )
    policy = {"smoothing": 0.9, "signal_floor": 0.01, "growth_cap": 2.0} if scaling == "unbiased" else {}
    rule = ddp_norm(eta=eta, scaling=scaling, initial=16, maximum=LARGEST, multiple=WORKERS, **policy)
    return kept(recipe, rule, rows=ROWS, groups=WORKERS)


def judge_adaptive(found: tuple[Outcomes, KeptRuns]) -> list[Finding]:
    o, kept = found
    constant = {b: at(o, "adam", b, factors=(1.0,)).table[0] for b in (16, 64)}
    arms = {
        (scaling, eta): [adaptive_run(kept, scaling, eta, True, s) for s in SEEDS]
        for scaling, eta in (("published", 0.2), ("unbiased", 1.0))
    }
    losses = {key: np.array([r.validation_loss for r in runs]) for key, runs in arms.items()}
    drift = np.array([adaptive_run(kept, "unbiased", 1.0, False, s).validation_loss for s in SEEDS])
    details = {f"{k[0]} eta {k[1]}": [describe(r) for r in runs] for k, runs in arms.items()}
    effective = [max(r.eta_effective) for r in arms["published", 0.2]]
    findings = larger(
        {
            "published rule: lower loss than constant 64 on equal tokens": (
                constant[64] - losses["published", 0.2],
                details,
            ),
            "unbiased rule: lower loss than constant 64 on equal tokens": (
                constant[64] - losses["unbiased", 1.0],
                {},
            ),
            "unbiased rule: lower loss than constant 16 on equal tokens": (
                constant[16] - losses["unbiased", 1.0],
                {},
            ),
            "unbiased rule: a half-life for beta2 beats beta2 = 0.95": (drift - losses["unbiased", 1.0], {}),
        }
    )
    findings.append(
        Finding(
            statement="the published test stays inside the analysed range eta < 1 throughout the runs",
            verdict=Verdict.CONSISTENT if max(effective) < 1 else Verdict.REFUTED,
            numbers={"largest_effective_eta": effective},
        )
    )
    return findings


def adaptive_recipes() -> list[Recipe]:
    return grid("adam", 16) + grid("adam", 64)


CLAIMS = (
    Claim(
        name="scaling",
        title="the worker-variance statistic and its scale",
        stated="Algorithm 1 treats |V|_1, V = (1/J) sum (g_j - g)^2, as the per-sample variance",
        predicted="E|V|_1 = (J - 1) sigma^2 / b (`worker_variance_scaling`)",
        protocol="4,000 steps of Gaussian groups, J = 4",
        limits="Gaussian groups",
        recipes=list,
        judge=judge_scaling,
    ),
    Claim(
        name="reachable",
        title="can the printed rule reach 8192?",
        stated="the tables report batches growing from 256 to 8192 with eta = 0.15 to 0.275",
        predicted="the printed rule has the fixed point b* = (N/2)(sqrt(1 + 4(J-1)/(eta^2 N)) - 1), at most "
        "(J - 1)/eta^2 when noise dominates (`worker_variance_scaling`): 8192 is out of reach",
        protocol="closed loop on stationary Gaussian groups, 400 steps, 8 seeds, with and without the ratchet",
        limits="a stationary noise scale",
        recipes=list,
        judge=judge_reachable,
    ),
    Claim(
        name="condition",
        title="do the runs satisfy the theorem's condition?",
        stated="Theorem 1 needs beta1 <= sqrt(beta2) - 8 (1 + eta^2)(1 - beta2)/beta2^2; the runs use (0.9, 0.95)",
        predicted="the right-hand side is about 0.53: violated (`adam_norm_test`)",
        protocol="arithmetic",
        limits="none",
        recipes=list,
        judge=judge_condition,
    ),
    Claim(
        name="warmup",
        title="confound: warm-up indexed by samples",
        stated="warm-up over 20,000 samples for every scheme: 2.4 steps at 8192, 78 at 256",
        predicted="a large constant batch without warm-up steps starts badly, which flatters adaptive runs",
        protocol="constant batch 64, warm-up of 1 % of the samples against 10 steps; tuned rates, paired seeds",
        limits="48 steps in all",
        recipes=warmup_recipes,
        judge=judge_warmup,
    ),
    Claim(
        name="ramp",
        title="stage-wise growth, learning-rate scaling and beta2 drift",
        stated="stage-wise and adaptive growth are reported to beat constant large batches; rate and beta2 fixed",
        predicted="on equal tokens small batches are never worse in steps (`sgd_schedule_families`, limit (c)): the "
        "ramp beats the large constant batch and not the small one; sqrt scaling is what the bound keeps fixed",
        protocol="a quarter of the rows at 16, the rest at 64; tuned rates, paired seeds",
        limits="one ramp",
        recipes=ramp_recipes,
        judge=judge_ramp,
    ),
    Claim(
        name="adaptive",
        title="DDP-Norm as printed and corrected, on equal tokens",
        stated="adaptive batches beat constant large ones at equal samples (tables, one run a row)",
        predicted="the printed rule leaves eta < 1 as b exceeds J - 1 (`worker_variance_scaling`); both start at 16 "
        "and so have more steps than constant 64, fewer than constant 16",
        protocol="batch 16 to at most 256, J = 4 groups, one rate for all arms (the centre at 16), four seeds",
        limits="rates are not tuned per rule",
        recipes=adaptive_recipes,
        measure=lambda folder, o: (o, KeptRuns(folder)),
        judge=judge_adaptive,
    ),
    Claim(
        name="ddp-equals-fsdp",
        title="DDP-Norm and FSDP-Norm choose the same batches",
        stated="the two are the same algorithm on different parallelism",
        predicted="both statistics are two scalars of the same local gradients, so the batch sizes are equal step by step "
        "as long as rounding does not move a ceiling",
        protocol="the trainer on a tiny decoder in two real processes over gloo, DDP and FSDP2, 131k tokens from batch "
        "size 8, printed and unbiased scaling; batch sizes, noise and loss of every step compared",
        limits="two CPU processes; a rule that never moved the batch would count as undecided",
        recipes=list,
        measure=adaptive_parity.measure,
        judge=adaptive_parity.judge,
    ),
    Claim(
        name="tests",
        title="coordinate-wise, scalar and sqrt(v)-weighted norm tests",
        stated="the theorem analyses the coordinate-wise test, the scalar one is run",
        predicted="most coordinates have a small mean, so a high quantile of sigma_i^2/g_i^2 is far above the ratio of "
        "the sums: the coordinate-wise test runs to the maximum at tolerance 1 and is worse on equal tokens; 1/sqrt(v) "
        "weighs up coordinates that are quiet, whose noise ratio is larger: larger batches than the scalar test, no "
        "lower loss after tuning",
        protocol="Adam on 1,536 rows from batch size 16 to at most 256, J = 4 groups, smoothing 0.9, growth at most "
        "twofold, no debiasing; three tolerances x three rates x three seeds for each test, a seed's setting chosen by "
        "the other seeds; 0.9 quantile for the coordinate-wise test; Holm over the statements",
        limits="three seeds, one starting batch; equal tokens favour small batches",
        recipes=list,
        measure=lambda folder, _: KeptRuns(folder),
        judge=adaptive_tests.judge,
    ),
)
