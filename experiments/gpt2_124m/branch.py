"""Critical batch size by branching: from each checkpoint of the noise run, train on with k times the batch.

    python experiments/gpt2_124m/branch.py --data DATA --out OUT --minutes 9 [--scale tiny]

Every branch sees the same number of tokens; the learning rate is the parent's there times sqrt(k), constant.
The critical batch size at a checkpoint is the largest k B whose loss stays within the tolerance of the branch
with k = 1 (Merrill et al. 2025, arXiv:2505.23971). Writes OUT/noise/branches.json and resumes where it
stopped; at the end OUT/noise/critical.json and the run OUT/critical, which ``bstheory validate`` reads. A
critical batch size at an end of the factors is a bound, not a measurement, and is called so.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from config import SCALES, noise_arms

from bstheory.errors import InputError, input_error
from bstheory.files import read_json, write_json
from bstheory.run import Run
from bstheory.schedules import Schedule
from bstheory.training.checkpoints import list_checkpoints, read_state
from bstheory.training.config import batch_size_schedule
from bstheory.training.parallel import device_name, world
from bstheory.training.records import NonFiniteError
from bstheory.training.shards import open_rows
from bstheory.training.trainer import Trainer

TOLERANCE = 0.01  # nats
FACTORS = (1, 2, 4, 8)
STEPS = 8  # of the branch with the largest batch; the others take more, on as many tokens


def critical_run(critical: dict[int, int], base: int, device: str) -> Run:
    """The first and the last critical batch size as a run's summary."""
    summary: dict[str, Any] = {"device": device}
    for name, at in (("first", min(critical)), ("last", max(critical))):
        end = {base: "_at_most", base * max(FACTORS): "_at_least"}.get(critical[at], "")
        summary[f"critical_batch_size_{name}{end}"] = critical[at]
    none = np.zeros(0, dtype=np.int64)
    config = {"tolerance": TOLERANCE, "factors": list(FACTORS), "base": base}
    return Run(
        name="critical", config=config, seeds=(0,), steps=none, tokens=none, series={}, summary=summary
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--scale", choices=SCALES, default="gpu")
    options = parser.parse_args()
    deadline = time.monotonic() + 60 * options.minutes
    scale = SCALES[options.scale]()
    parent = noise_arms(scale, 0)[0]
    target = options.out / "noise" / "branches.json"
    results = read_json(target) if target.exists() else {}
    base = scale.batch_sizes[-2]
    tokens = max(FACTORS) * base * scale.model.context * STEPS
    vocabulary, length = scale.model.vocab_size, scale.model.context
    held_out = open_rows(options.data / "val", seq_len=length, vocab_size=vocabulary)
    with world() as here:
        for checkpoint in list_checkpoints(options.out / "noise" / "noise-seed0" / "checkpoints")[:-1]:
            at = read_state(checkpoint)["scheduler"]["tokens"]
            for factor in FACTORS:
                key = f"{at}/{factor}"
                if key in results:
                    continue
                if time.monotonic() > deadline:
                    return 3
                peak = float(parent.learning_rate(at)) * math.sqrt(factor)
                constant = Schedule(
                    name="constant", quantity="learning_rate", unit="tokens", params={"value": peak}
                )
                config = dataclasses.replace(
                    parent,
                    name=f"branch_{at}_{factor}",
                    tokens=tokens,
                    batch_size=batch_size_schedule(base * factor),
                    learning_rate=constant,
                    statistics=False,
                    micro_batch_size=None,  # small ones served the statistics
                    max_micro_batch_size=scale.micro_batch_size,
                    seed=1,  # rows that the parent has not seen in this order
                    eval_every_tokens=None,
                    checkpoint_every_tokens=None,
                )
                rows = open_rows(options.data / "train", seq_len=length, vocab_size=vocabulary, seed=1)
                torch.compiler.reset()  # each branch compiles for its own batch size
                trainer = Trainer(config, data=rows, validation=held_out, here=here, branch_from=checkpoint)
                try:
                    results[key] = trainer.run().summary["final_validation_loss"]
                except NonFiniteError:
                    results[key] = None  # JSON has no infinity
                shown = "diverged" if results[key] is None else f"{results[key]:.4f}"
                print(f"{at:,} tokens, batch {base * factor}: {shown}", flush=True)
                write_json(target, results)
    loss = {key: math.inf if found is None else found for key, found in results.items()}
    starts = sorted({int(key.split("/")[0]) for key in loss})
    critical = {
        at: max(f for f in FACTORS if loss[f"{at}/{f}"] <= loss[f"{at}/1"] + TOLERANCE) * base
        for at in starts
        if math.isfinite(loss[f"{at}/1"])
    }
    if not critical:
        raise input_error(
            got=f"no checkpoint of the noise run in {str(options.out)!r} to branch from",
            rule="branches start from all of its checkpoints but the last",
            do="run the piece noise first, with the same --out and --scale",
        )
    write_json(target.with_name("critical.json"), {"tolerance": TOLERANCE, "critical_batch_size": critical})
    critical_run(critical, base, device_name(here.device)).save(options.out / "critical")
    print(critical)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        print(f"branch.py: {error}", file=sys.stderr)
        sys.exit(2)
