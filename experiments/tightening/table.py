"""What choosing the constants of each proof gains over the published choice: writes ``results.json``.

python experiments/tightening/table.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bstheory.files import write_json
from bstheory.theory import library

HERE = Path(__file__).resolve().parent
STEPS = 400
HALF_LIFE = {"alpha": 0.02, "h": 5e4, "eps": 1e-4, "R": 1.0, "L": 1.0, "d": 64, "Delta": 20.0}
NORM_TEST = {
    "alpha": 1e-4,
    "beta1": 0.9,
    "eta": 0.5,
    "L": 1.0,
    "Delta": 1.0,
    "v0": [1.0, 2.0],
    "G1": [1.0, 0.5],
}
SCHEDULES = {"constant 64": [64] * STEPS, "ramp 16 to 256": [16] * 200 + [64] * 100 + [256] * 100}
NOISE = {"G_inf": 0.5, "sigma": 2.0}
# Constants of one instance of each theorem that has a free constant; with None it has no schedule.
CASES: dict[str, tuple[dict[str, Any], Any]] = {
    "adam_token_half_life": (HALF_LIFE, SCHEDULES),
    "adam_token_half_life_bias_corrected": (HALF_LIFE, SCHEDULES),
    "adam_token_half_life_initial": (HALF_LIFE | {"v0": [0.5] * 64}, SCHEDULES),
    "adam_token_half_life_momentum": (HALF_LIFE | {"beta1": 0.9}, SCHEDULES),
    "adam_token_half_life_sharp": (HALF_LIFE, SCHEDULES),
    "adam_token_half_life_unnormalised": (HALF_LIFE | NOISE, SCHEDULES),
    "adam_token_half_life_variance_aware": (HALF_LIFE | NOISE, SCHEDULES),
    "adam_unnormalised": (
        {k: v for k, v in HALF_LIFE.items() if k != "h"} | {"beta2": 0.999},
        {"400 steps": [1] * STEPS},
    ),
    "adam_unnormalised_momentum": (
        {k: v for k, v in HALF_LIFE.items() if k != "h"} | {"beta1": 0.9, "beta2": 0.999},
        {"400 steps": [1] * STEPS},
    ),
    "adam_norm_test": (NORM_TEST | {"beta2": 0.999, "K": 100}, {"100 steps": None}),
    "adam_norm_test_log_route": (NORM_TEST | {"beta2": 0.999, "K": 100}, {"100 steps": None}),
    "adam_norm_test_deterministic_schedule": (NORM_TEST | {"h": 693.0}, {"constant 1": [1] * 100}),
    "adam_norm_test_token_half_life": (NORM_TEST | {"h": 693.0}, {"constant 1": [1] * 100}),
}


def main() -> None:
    free = {s for s in library.all_slugs() if any(p.free for p in library.get(s).parameters)}
    missing = sorted(free - set(CASES))
    if missing:
        raise SystemExit(f"no instance for {', '.join(missing)}")
    rows = []
    for slug, (constants, schedules) in CASES.items():
        bound = library.get(slug)
        published = {p.name: p.default for p in bound.parameters if p.free}
        for name, schedule in schedules.items():
            found = bound.tighten(constants=constants, schedule=schedule)
            rows.append(
                {
                    "slug": slug,
                    "schedule": name,
                    "published": published,
                    "published_value": float(found.published_value),
                    "chosen": {key: str(value) for key, value in found.choice.items()},
                    "value": float(found.value),
                    "gain": float(found.gain),
                }
            )
            row = rows[-1]
            chosen = ", ".join(f"{k} = {float(found.choice[k]):.4g}" for k in found.choice)
            before = ", ".join(f"{k} = {v:g}" for k, v in published.items())
            print(
                f"| `{slug}` | {name} | {before} | {row['published_value']:.4g} "
                f"| {chosen} | {row['value']:.4g} | {row['gain']:.4f} |"
            )
    write_json(HERE / "results.json", {"steps": STEPS, "rows": rows})


if __name__ == "__main__":
    main()
