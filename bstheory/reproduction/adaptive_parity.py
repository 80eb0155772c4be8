"""DDP-Norm equals FSDP-Norm: two real two-process jobs on gloo, their batch sizes and statistics compared."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import bstheory
from bstheory.errors import input_error
from bstheory.files import read_json
from bstheory.reproduction.claim import Finding, Outcomes
from bstheory.verdict import Verdict

SCALINGS = ("published", "unbiased")
KINDS = ("ddp", "fsdp")
TOLERANCE = 1e-3  # relative, of the loss; float32 sums in two orders, grown over a hundred steps


def measure(folder: Path, _: Outcomes | None = None) -> dict[str, dict[str, Any]]:
    """``[scaling][kind]`` -> what the job wrote; finished jobs are kept."""
    root = str(Path(bstheory.__file__).resolve().parent.parent)
    path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH", "")) if p)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, Any]] = {scaling: {} for scaling in SCALINGS}
    for scaling in SCALINGS:
        for kind in KINDS:
            out = folder / f"{scaling}-{kind}.json"
            if not out.exists():
                done = subprocess.run(
                    [
                        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
                        *("--nproc-per-node=2", "-m", "bstheory.reproduction.parity_job"),
                        *(str(out), kind, scaling),
                    ],
                    env=environment,
                    capture_output=True,
                    text=True,
                )
                if done.returncode:
                    raise input_error(
                        got=f"a {kind} job that ended with {done.returncode}: {done.stderr[-600:]}",
                        rule="two processes can talk over gloo on this machine",
                        do="run it by hand: torchrun --nproc-per-node=2 -m bstheory.reproduction.parity_job",
                    )
            found[scaling][kind] = read_json(out)
    return found


def judge(found: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    """Same batch sizes at every step, and the statistics agree to rounding until they part."""
    findings = []
    for scaling, pair in found.items():
        sizes = [list(map(int, pair[kind]["batch_size"])) for kind in KINDS]
        shared = min(len(s) for s in sizes)
        apart = next((k for k in range(shared) if sizes[0][k] != sizes[1][k]), None)
        same = apart is None and len(sizes[0]) == len(sizes[1])
        until = shared if apart is None else apart
        gaps = {
            name: float(np.max(np.abs(a - b) / np.maximum(np.abs(a), 1e-12)))
            for name in ("noise", "loss")
            for a, b in [[np.array(pair[kind][name][:until]) for kind in KINDS]]
            if until
        }
        moved = len(set(sizes[0])) > 1
        numbers = {
            "steps": [len(s) for s in sizes],
            "batch_sizes": sizes[0],
            "first_step_apart": apart,
            "largest_relative_difference": gaps,
            "world_size": pair["ddp"]["world_size"],
        }
        verdict = Verdict.CONSISTENT if same else Verdict.REFUTED
        findings.append(
            Finding(
                statement=f"{scaling} rule: DDP and FSDP2 choose the same batch size at every step",
                # Two constant sequences would agree whatever the rule does.
                verdict=verdict if moved or not same else Verdict.UNDECIDED,
                numbers=numbers,
            )
        )
        close = bool(gaps) and max(gaps.values()) <= TOLERANCE
        findings.append(
            Finding(
                statement=f"{scaling} rule: noise and losses agree within {TOLERANCE:g} at every step",
                verdict=Verdict.CONSISTENT if close and same else Verdict.REFUTED,
                numbers=numbers,
            )
        )
    return findings
