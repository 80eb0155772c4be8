"""Run the study and judge its predictions: `python experiments/tiny_lm_check/run.py OUT.json [--quick]`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from bstheory.files import write_json
from bstheory.training.study import judge_study, tiny_lm_study


def main(out: Path, quick: bool) -> None:
    start = time.monotonic()
    runs = tiny_lm_study(
        quick=quick,
        resume_dir=out.parent / f"{out.stem}_runs",
        progress=lambda done, total, label: print(f"{done / total:4.0%} {label}", flush=True),
    )
    findings = judge_study(runs)
    for prediction, verdict, numbers in findings:
        print(f"{verdict.word:12s} {prediction.name}: {numbers.get('effect')} {numbers.get('interval')}")
    write_json(
        out,
        {
            "seconds": time.monotonic() - start,
            "corpus": runs[0].config["corpus"],
            "environment": dict(runs[0].environment),
            "seeds": list(runs[0].seeds),
            "final_validation_loss": {
                run.name: [float(x) for x in run.series["validation_loss"][:, -1]] for run in runs
            },
            "findings": [
                {"prediction": p.name, "statement": p.statement, "verdict": v.word, **n}
                for p, v, n in findings
            ],
        },
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), quick="--quick" in sys.argv[2:])
