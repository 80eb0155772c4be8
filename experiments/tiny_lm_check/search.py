"""Choose the study's learning rates: one grid for every Adam arm, one for SGD, seeds the study does not use.

python experiments/tiny_lm_check/search.py OUT.json
"""

from __future__ import annotations

import sys
from pathlib import Path

from bstheory.files import write_json
from bstheory.training.study import LEARNING_RATES, Plan, arm, study_plan, tiny_lm_study

ADAM_GRID = [2.0**k * 1e-3 for k in range(5)]
SGD_GRID = [2.0**k * 5e-2 for k in range(5)]
SEEDS = (100,)


def main(out: Path) -> None:
    table: dict[str, dict[str, list[float]]] = {name: {} for name in LEARNING_RATES}
    for k in range(len(ADAM_GRID)):
        rates = {n: (SGD_GRID if n.startswith("sgd") else ADAM_GRID)[k] for n in LEARNING_RATES}
        plan = Plan(
            arms=tuple(arm(n, learning_rate=r) for n, r in rates.items()),
            seeds=SEEDS,
            tokens=study_plan(quick=False).tokens,
        )
        for run in tiny_lm_study(plan=plan, resume_dir=out.parent / "search_runs" / str(k)):
            losses = [float(x) for x in run.series["validation_loss"][:, -1] if x < float("inf")]
            table[run.name][repr(rates[run.name])] = losses
            print(run.name, rates[run.name], losses, flush=True)
    write_json(out, {"seeds": list(SEEDS), "final_validation_loss": table})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
