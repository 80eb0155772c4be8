"""Judges of the small-batch claims that train tiny models: from outcomes to findings, one section a claim."""

from __future__ import annotations

import math

import numpy as np

from bstheory.reproduction.arms import (
    ANCHOR_BATCH_SIZE,
    ANCHOR_BETA2,
    BATCH_SIZES,
    HALF_LIFE,
    SEEDS,
    centre,
    constant,
    grid,
)
from bstheory.reproduction.claim import Finding, Outcomes
from bstheory.reproduction.judging import LARGE, MARGIN, SMALL, Test, arm_grid, at, family, larger, means
from bstheory.reproduction.statistics import difference, leave_one_out
from bstheory.training.stacked import Recipe

# C1: smaller batches reach lower losses; the optimizers come together as B falls.

C1_ARMS = ("sgd", "adafactor", "adam", "muon")


def judge_c1(o: Outcomes) -> list[Finding]:
    arms = {(n, b): at(o, n, b) for n in C1_ARMS for b in BATCH_SIZES}
    statements = {
        f"{n}: batch size {SMALL} reaches a lower loss than {LARGE} on equal tokens": (
            arms[n, LARGE].losses - arms[n, SMALL].losses,
            means(small=arms[n, SMALL], large=arms[n, LARGE]),
        )
        for n in C1_ARMS
    }
    for worse, better in (("sgd", "adam"), ("adafactor", "adam"), ("adam", "muon")):
        gap = {b: arms[worse, b].losses - arms[better, b].losses for b in (SMALL, LARGE)}
        statements[f"the gap {worse} - {better} is wider at batch size {LARGE} than at {SMALL}"] = (
            gap[LARGE] - gap[SMALL],
            {"gap_small": float(gap[SMALL].mean()), "gap_large": float(gap[LARGE].mean())},
        )
    findings = larger(statements)
    table = {n: {str(b): float(np.mean(arms[n, b].losses)) for b in BATCH_SIZES} for n in C1_ARMS}
    return [
        Finding(statement=f.statement, verdict=f.verdict, numbers={**f.numbers, "table": table})
        for f in findings
    ]


# C2: robustness.

HALF_LIFE_POWERS = (-3, -2, -1, 0, 1, 2, 3)


def c2_variants(batch_size: int) -> dict[str, list[list[Recipe]]]:
    """One hyperparameter at a time around the centre, per value a list over seeds."""
    rate = centre("adam", batch_size)
    base = {"optimizer": "adam", "batch_sizes": constant(batch_size), "learning_rate": rate}

    def over_seeds(**fields: object) -> list[Recipe]:
        return [Recipe(seed=s, **{**base, "half_life": HALF_LIFE, **fields}) for s in SEEDS]  # type: ignore[arg-type]

    return {
        "half_life": [over_seeds(half_life=HALF_LIFE * 2.0**k) for k in HALF_LIFE_POWERS],
        "beta1": [over_seeds(beta1=b) for b in (0.0, 0.5, 0.8, 0.9, 0.95, 0.98)],
    }


def c2_recipes() -> list[Recipe]:
    variants = [r for b in (SMALL, LARGE) for rows in c2_variants(b).values() for row in rows for r in row]
    return variants + arm_grid([("adam", SMALL), ("adam", LARGE)])


def spread(o: Outcomes, rows: list[list[Recipe]]) -> np.ndarray:
    """Mean loss above the best value of the hyperparameter, per seed."""
    table = np.array([[min(o[r].validation_loss[-1], math.log(256)) for r in row] for row in rows])
    return table.mean(axis=0) - table.min(axis=0)


def judge_c2(o: Outcomes) -> list[Finding]:
    small, large = at(o, "adam", SMALL), at(o, "adam", LARGE)
    statements = {
        f"the loss varies less over a 64-fold range of learning rates at batch size {SMALL} than at "
        f"{LARGE}": (
            large.excess() - small.excess(),
            {"excess_small": float(small.excess().mean()), "excess_large": float(large.excess().mean())},
        )
    }
    for name in ("half_life", "beta1"):
        a, b = spread(o, c2_variants(SMALL)[name]), spread(o, c2_variants(LARGE)[name])
        statements[f"the loss varies less with {name} at batch size {SMALL} than at {LARGE}"] = (
            b - a,
            {"excess_small": float(a.mean()), "excess_large": float(b.mean())},
        )
    return larger(statements)


# C4: what should be fixed.


def judge_c4(o: Outcomes) -> list[Finding]:
    logs = np.log(np.array(BATCH_SIZES, dtype=float))
    rates = np.array([np.log(at(o, "adam", b).optimal_rates()) for b in BATCH_SIZES])  # [B, seeds]
    slopes = np.array([np.polyfit(logs, column, 1)[0] for column in rates.T])
    numbers = {
        "exponent": difference(slopes).to_json(),
        "optimal_rates": {str(b): float(np.exp(r.mean())) for b, r in zip(BATCH_SIZES, rates, strict=True)},
        "on_edge": [b for b in BATCH_SIZES if at(o, "adam", b).on_edge],
    }
    statements = {
        "the tuned learning rate grows more slowly than the square root of the batch size": Test(
            values=0.5 - slopes, numbers=numbers
        ),
        "the tuned learning rate grows with the batch size": Test(values=slopes, numbers=numbers),
    }
    return family(statements | {k: v for b in (SMALL, LARGE) for k, v in anchored_half_life(o, b).items()})


def anchored_half_life(o: Outcomes, batch_size: int) -> dict[str, Test]:
    """The loss at the anchored half-life against that at the one which is best for the other seeds."""
    rows = c2_variants(batch_size)["half_life"]
    table = {
        2.0**k: [o[r].validation_loss[-1] for r in row] for k, row in zip(HALF_LIFE_POWERS, rows, strict=True)
    }
    best, chosen = leave_one_out(table)
    text = f"at batch size {batch_size} the anchored half-life is within {MARGIN} of the best of seven"
    return {
        text: Test(
            values=np.array(table[1.0]) - best, margin=MARGIN, numbers={"best_multipliers": sorted(chosen)}
        )
    }


# C5: the rule repairs small batches.


def judge_c5(o: Outcomes) -> list[Finding]:
    gain = {b: at(o, "adam_fixed", b).losses - at(o, "adam", b).losses for b in BATCH_SIZES}
    table = {str(b): float(g.mean()) for b, g in gain.items()}
    return larger(
        {
            f"at batch size {SMALL} the fixed half-life beats beta2 = 0.95": (gain[SMALL], {"gain": table}),
            f"the gain is larger at batch size {SMALL} than at 4": (gain[SMALL] - gain[4], {"gain": table}),
            "the gain is larger at batch size 4 than at the anchor": (
                gain[4] - gain[ANCHOR_BATCH_SIZE],
                {"gain": table},
            ),
        }
    )


# C6: vanilla SGD at batch size one.


def judge_c6(o: Outcomes) -> list[Finding]:
    sgd, adam = at(o, "sgd", SMALL), at(o, "adam", SMALL)
    factor, large = at(o, "adafactor", SMALL), at(o, "adam_fixed", LARGE)
    statements = {
        f"SGD at batch size {SMALL} does at least as well as Adam (beta2 0.95) at {LARGE}": (
            large.losses - sgd.losses,
            means(sgd=sgd, adam_large=large),
        ),
        f"Adam with a fixed half-life at batch size {SMALL} beats it": (
            large.losses - adam.losses,
            means(adam=adam, adam_large=large),
        ),
        f"Adafactor at batch size {SMALL} beats it": (
            large.losses - factor.losses,
            means(adafactor=factor, adam_large=large),
        ),
    }
    return larger(statements)


# C7: the same with both sides tuned, at GPT-2 scale.

C7_ARMS = (
    ("sgd", SMALL),
    ("adam", SMALL),
    ("adam_fixed", SMALL),
    ("adafactor", SMALL),
    ("adam_fixed", LARGE),
)


def judge_c7(o: Outcomes) -> list[Finding]:
    arms = {key: at(o, *key) for key in C7_ARMS}
    large, fixed = arms["adam_fixed", LARGE], arms["adam_fixed", SMALL]
    rates = np.log2(arms["adam", SMALL].optimal_rates() / fixed.optimal_rates())
    statements = {
        f"{label} at batch size {SMALL} reaches a loss at least as low as Adam at {LARGE}": Test(
            values=large.losses - arms[name, SMALL].losses,
            numbers=means(small=arms[name, SMALL], large=large),
        )
        for label, name in (("Adam with a fixed half-life", "adam"), ("Adafactor", "adafactor"))
    }
    statements |= {
        f"{label} at batch size {SMALL} reaches a higher loss than Adam at {LARGE}": Test(
            values=arms[name, SMALL].losses - large.losses,
            numbers=means(small=arms[name, SMALL], large=large),
        )
        for label, name in (("SGD", "sgd"), (f"Adam with beta2 = {ANCHOR_BETA2}", "adam_fixed"))
    }
    statements[
        f"at batch size {SMALL}, Adam with beta2 = {ANCHOR_BETA2} prefers a lower rate than with a half-life"
    ] = Test(values=rates, numbers={"unit": "log2 of the ratio of tuned rates"})
    return family(statements)


def judge_sgd(o: Outcomes) -> list[Finding]:
    gain = {b: at(o, "sgd", b).losses - at(o, "sgd_momentum", b).losses for b in (SMALL, LARGE)}
    clip = at(o, "sgd", SMALL).losses - at(o, "sgd_clip", SMALL).losses
    gains = {"gain_small": float(gain[SMALL].mean()), "gain_large": float(gain[LARGE].mean())}
    return family(
        {
            f"momentum gains more at batch size {LARGE} than at {SMALL}": Test(
                values=gain[LARGE] - gain[SMALL], numbers=gains
            ),
            f"at batch size {SMALL} momentum changes the loss of SGD by less than {MARGIN}": Test(
                values=gain[SMALL], margin=MARGIN
            ),
            f"at batch size {SMALL} clipping at norm 1 changes the loss of SGD by less than {MARGIN}": Test(
                values=clip, margin=MARGIN
            ),
        }
    )


# C3: the region of good settings.

C3_BETA1 = (0.0, 0.5, 0.9, 0.97)


def c3_recipes() -> list[Recipe]:
    return [
        r for b in (SMALL, LARGE) for beta1 in C3_BETA1 for r in grid("adam", b, seeds=SEEDS[:3], beta1=beta1)
    ]


def judge_c3(o: Outcomes) -> list[Finding]:
    cells = {}
    best = {}
    for b in (SMALL, LARGE):
        table = np.array([at(o, "adam", b, seeds=SEEDS[:3], beta1=beta1).table for beta1 in C3_BETA1])
        least = table.min(axis=(0, 1))
        cells[b] = (table < least + 0.05).mean(axis=(0, 1))
        best[b] = float(least.mean())
    return larger(
        {
            f"the share of (learning rate, beta1) cells within 0.05 of the best is larger at {SMALL} than at "
            f"{LARGE}": (
                cells[SMALL] - cells[LARGE],
                {
                    "share_small": float(cells[SMALL].mean()),
                    "share_large": float(cells[LARGE].mean()),
                    "best": best,
                },
            )
        }
    )


# Adafactor's two meanings of its decay.


def judge_adafactor(o: Outcomes) -> list[Finding]:
    statements = {}
    for b in (SMALL, LARGE):
        power, half = at(o, "adafactor_power", b), at(o, "adafactor", b)
        text = f"at batch size {b} the power law of the code and the half-life of the text match within"
        statements[f"{text} {MARGIN}"] = Test(
            values=power.losses - half.losses, margin=MARGIN, numbers=means(power=power, half_life=half)
        )
    return family(statements)


# C10: bfloat16 weights.

C10_FORMATS = ("float32", "bf16_nearest", "bf16_stochastic")
C10_BATCH_SIZES = (SMALL, 16)


def c10_recipes() -> list[Recipe]:
    return [r for b in C10_BATCH_SIZES for w in C10_FORMATS for r in grid("adafactor", b, weights=w)]


def judge_c10(o: Outcomes) -> list[Finding]:
    arms = {(w, b): at(o, "adafactor", b, weights=w) for w in C10_FORMATS for b in C10_BATCH_SIZES}
    harm = {b: arms["bf16_nearest", b].losses - arms["float32", b].losses for b in C10_BATCH_SIZES}
    table = {w: {str(b): float(np.mean(arms[w, b].losses)) for b in C10_BATCH_SIZES} for w in C10_FORMATS}
    close = arms["bf16_stochastic", SMALL].losses - arms["float32", SMALL].losses
    return family(
        {
            f"nearest rounding hurts at batch size {SMALL}": Test(
                values=harm[SMALL], numbers={"table": table}
            ),
            f"nearest rounding hurts more at batch size {SMALL} than at 16": Test(
                values=harm[SMALL] - harm[16], numbers={"table": table}
            ),
            f"stochastic rounding is within {MARGIN} of float32 at batch size {SMALL}": Test(
                values=close, margin=MARGIN, numbers={"table": table}
            ),
        }
    )


# Open: rows of a batch that are neighbours in the text.

CONTIGUOUS_BATCH_SIZES = (4, 16)


def contiguous_recipes() -> list[Recipe]:
    return [r for b in CONTIGUOUS_BATCH_SIZES for c in (False, True) for r in grid("adam", b, contiguous=c)]


def judge_contiguous(o: Outcomes) -> list[Finding]:
    statements = {}
    for b in CONTIGUOUS_BATCH_SIZES:
        apart, together = at(o, "adam", b), at(o, "adam", b, contiguous=True)
        statements[
            f"at batch size {b}, rows that are neighbours in the text reach a higher loss than i.i.d. rows"
        ] = (
            together.losses - apart.losses,
            means(iid=apart, contiguous=together),
        )
    return larger(statements)
