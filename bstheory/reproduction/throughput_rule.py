"""C11: gradient accumulation on equal FLOPs and in memory, and "the smallest batch of full throughput".

Throughput is modelled, not timed, so that the same seeds give the same numbers: a step of B rows costs
B + c rows, throughput B/(B + c). The rule then asks for the smallest B with, say, 90 % of the peak: B = 9c.
"""

from __future__ import annotations

from bstheory.memory import training_memory
from bstheory.reproduction.arms import HALF_LIFE, Tuned, centre, tuned
from bstheory.reproduction.beyond_tiny_lm import batch_sizes
from bstheory.reproduction.claim import Finding, Outcomes
from bstheory.reproduction.judging import LARGE, SMALL, Test, arm_grid, at, family, means
from bstheory.reproduction.small_batch_exact import GPT3_13B
from bstheory.training.stacked import Recipe
from bstheory.verdict import Verdict

STEP_COST = 16  # rows
SHARE = 0.9
FULL = round(STEP_COST * SHARE / (1 - SHARE))  # smallest batch size at 90 % of the peak
SIZES = (4, STEP_COST, LARGE, FULL)
BUDGET = 6144  # modelled wall-clock, rows
FACTORS = (0.125, 0.25, 0.5, 1.0, 2.0)
SEEDS = (30, 31, 32, 33, 34, 35)  # of no other claim


def accumulation_recipes() -> list[Recipe]:
    return arm_grid([("adam", SMALL), ("adam", LARGE)])


def judge_accumulation(o: Outcomes) -> list[Finding]:
    """Equal FLOPs by training, memory by the analytic model."""
    small, large = at(o, "adam", SMALL), at(o, "adam", LARGE)
    findings = family(
        {
            f"on equal FLOPs, Adam without accumulation (batch size {SMALL}) beats accumulation to "
            f"{LARGE}": Test(
                values=large.losses - small.losses, numbers=means(small=small, accumulated=large)
            )
        }
    )
    with_it, without = (
        training_memory(**GPT3_13B, seq_len=2048, optimizer="adam", accumulation=a) for a in (True, False)
    )
    saved = with_it.total - without.total
    findings.append(
        Finding(
            statement="without accumulation Adam at 13B saves exactly one copy of the parameters",
            verdict=Verdict.PROVED if saved == without.weights else Verdict.REFUTED,
            numbers={
                "saved_bytes": saved,
                "weights_bytes": without.weights,
                "ratio": with_it.total / without.total,
            },
        )
    )
    return findings


def arm(size: int) -> list[Recipe]:
    """A constant batch over the steps that the budget pays for."""
    return [
        Recipe(
            optimizer="adam",
            learning_rate=centre("adam", size) * f,
            batch_sizes=batch_sizes("constant", size, budget=BUDGET, step_cost=STEP_COST),
            half_life=HALF_LIFE,
            seed=s,
        )
        for f in FACTORS
        for s in SEEDS
    ]


def recipes() -> list[Recipe]:
    return [r for size in SIZES for r in arm(size)]


def judge(o: Outcomes) -> list[Finding]:
    """Losses at equal modelled wall-clock."""
    arms: dict[int, Tuned] = {size: tuned(o, arm(size)) for size in SIZES}
    numbers = {
        **means(**{f"batch_size_{size}": found for size, found in arms.items()}),
        "share_of_peak_throughput": {str(size): size / (size + STEP_COST) for size in SIZES},
        "tokens": {str(size): arm(size)[0].rows * 32 for size in SIZES},
    }
    at_rule = f"{FULL}, the smallest with 90 % of the peak throughput"
    return family(
        {
            f"at equal modelled wall-clock batch size {at_rule}, does at least as well as "
            f"{STEP_COST} (50 %)": Test(values=arms[STEP_COST].losses - arms[FULL].losses, numbers=numbers),
            f"at equal modelled wall-clock batch size {FULL} beats {LARGE} (80 %)": Test(
                values=arms[LARGE].losses - arms[FULL].losses, numbers=numbers
            ),
            f"at equal modelled wall-clock batch size {STEP_COST} (50 %) beats 4 (20 %)": Test(
                values=arms[4].losses - arms[STEP_COST].losses, numbers=numbers
            ),
        }
    )
