"""Choose the study's learning rates: one grid for every Adam arm, one for SGD, a seed the study does not use.

    python experiments/tiny_lm_check/search.py OUT.json

Five factors of two for every arm; an arm whose best value lies on an edge is continued there until it does
not. Interrupted searches resume from the folder beside OUT.json.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

from bstheory.files import write_json
from bstheory.training.study import LEARNING_RATES, Plan, arm, study_plan, tiny_lm_study

BASE = {"adam": 1e-3, "sgd": 5e-2}
SEED = 100
FIRST = range(5)


def rate(name: str, k: int) -> float:
    return BASE[name.partition("_")[0]] * 2.0**k


def evaluate(k: int, names: list[str], folder: Path) -> dict[str, float]:
    plan = Plan(
        arms=tuple(arm(name, learning_rate=rate(name, k)) for name in names),
        seeds=(SEED,),
        tokens=study_plan(quick=False).tokens,
    )
    runs = tiny_lm_study(plan=plan, resume_dir=folder / str(k))
    losses = {run.name: float(run.series["validation_loss"][0, -1]) for run in runs}
    for name, loss in losses.items():
        print(f"{name:20s} {rate(name, k):8g} {loss:.4f}", flush=True)
    return losses


def main(out: Path) -> None:
    table: dict[str, dict[int, float]] = {name: {} for name in LEARNING_RATES}
    todo = {k: list(table) for k in FIRST}
    while todo:
        for k, names in sorted(todo.items()):
            for name, loss in evaluate(k, names, out.parent / "search_runs").items():
                table[name][k] = loss
        todo = {}
        for name, losses in table.items():
            best = min(losses, key=lambda k: losses[k])
            edge = best + 1 if best == max(losses) else best - 1 if best == min(losses) else None
            if edge is not None:
                todo.setdefault(edge, []).append(name)
    losses = {
        name: {f"{rate(name, k):g}": x for k, x in sorted(found.items()) if math.isfinite(x)}
        for name, found in table.items()
    }
    chosen = {name: float(min(found, key=lambda r: found[r])) for name, found in losses.items()}
    write_json(out, {"seed": SEED, "final_validation_loss": losses, "chosen": chosen})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
