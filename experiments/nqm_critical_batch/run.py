"""Steps to a target loss over the batch size on the noisy quadratic model, by exact recursion."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
from rich.progress import track

from bstheory.reports.plots import figure
from bstheory.simulation.critical_batch import fit_hyperbola, fit_rate_laws, tuned_steps

HERE = Path(__file__).resolve().parent
CURVATURE = 1.0 / np.arange(1, 10_001)
TARGET = 0.01
BATCH_SIZES = [2**k for k in range(0, 21, 2)]
STATED = {1: 6.38e6, 256: 2.65e4}  # theory entry nqm_critical_batch
MOMENTA = (0.0, 0.9)


def measure() -> dict:
    """Tuned steps, fits and the comparison with the stated values."""
    out: dict = {"target": TARGET, "dim": len(CURVATURE), "batch_sizes": BATCH_SIZES, "momentum": {}}
    for beta1 in MOMENTA:
        tuned = []
        for batch in track(BATCH_SIZES, description=f"beta1 = {beta1}"):
            tuned += tuned_steps(
                CURVATURE,
                CURVATURE,
                np.ones_like(CURVATURE),
                target=TARGET,
                batch_sizes=[batch],
                learning_rates=(2.0 ** (np.arange(-40, 8) / 2)).tolist(),
                beta1=beta1,
            )
        batches, steps = [t.batch_size for t in tuned], [t.steps for t in tuned]
        laws = fit_rate_laws(batches, [t.learning_rate for t in tuned])
        out["momentum"][str(beta1)] = {
            "tuned": [dataclasses.asdict(t) for t in tuned],
            "hyperbola": dataclasses.asdict(fit_hyperbola(batches, steps)),
            "rate_laws": [dataclasses.asdict(law) for law in laws],
        }
    plain = {t["batch_size"]: t["steps"] for t in out["momentum"]["0.0"]["tuned"]}
    out["stated"] = {
        str(b): {"steps": plain[b], "stated": value, "relative_difference": plain[b] / value - 1}
        for b, value in STATED.items()
    }
    out["within_three_per_cent"] = all(abs(v["relative_difference"]) <= 0.03 for v in out["stated"].values())
    return out


def draw(found: dict) -> None:
    """Steps and tuned rate over the batch size."""
    drawn = figure(9.0, 3.6)
    left, right = drawn.subplots(1, 2)
    for beta1, data in found["momentum"].items():
        b = np.array([t["batch_size"] for t in data["tuned"]], dtype=float)
        label = "SGD" if beta1 == "0.0" else f"heavy ball {beta1}"
        line = left.loglog(b, [t["steps"] for t in data["tuned"]], "o", label=label)[0]
        fit = data["hyperbola"]
        curve = fit["s_min"] * (1 + fit["critical"] / b)
        left.loglog(b, curve, "-", color=line.get_color(), linewidth=0.8)
        right.loglog(
            b, [t["learning_rate"] for t in data["tuned"]], "o-", color=line.get_color(), label=label
        )
    stated = found["stated"]
    left.loglog([float(k) for k in stated], [v["stated"] for v in stated.values()], "kx", label="stated")
    left.set_xlabel("batch size")
    left.set_ylabel(f"steps to loss {TARGET} (line: hyperbola)")
    right.set_xlabel("batch size")
    right.set_ylabel("tuned learning rate")
    left.legend()
    right.legend()
    drawn.savefig(HERE / "figure.png", dpi=130)


def main() -> None:
    """Measure, store, draw, print the comparison."""
    found = measure()
    (HERE / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(found)
    for batch, row in found["stated"].items():
        difference = f"{row['relative_difference']:+.2%}"
        print(f"B = {batch}: {row['steps']} steps, stated {row['stated']:.3g}, {difference}")
    for beta1, data in found["momentum"].items():
        print(beta1, data["hyperbola"], data["rate_laws"][0])


if __name__ == "__main__":
    main()
