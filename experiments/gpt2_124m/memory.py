"""(e) Peak memory, estimated against measured, for every optimizer: python experiments/gpt2_124m/memory.py
OUT.json

Needs a CUDA device for the measured column; without one only the estimates are written, and marked so. With
one, the folder ``memory`` beside OUT.json is the run that ``bstheory validate`` reads.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bstheory.files import write_json
from bstheory.models.configs import model_config
from bstheory.run import Run
from bstheory.training.memory import estimate_memory, workspace_bytes
from bstheory.training.optimizers import OptimizerConfig
from bstheory.training.parallel import device_name, world
from bstheory.training.throughput import measure_throughput

CASES: dict[str, tuple[OptimizerConfig, str]] = {
    "adamw_float32": (OptimizerConfig(), "float32"),
    "adamw_autocast": (OptimizerConfig(), "bfloat16_autocast"),
    "adamw_bfloat16_in_backward": (OptimizerConfig(in_backward=True), "bfloat16"),
    "adafactor_bfloat16_in_backward": (OptimizerConfig(name="adafactor", in_backward=True), "bfloat16"),
    "sgd_bfloat16_in_backward": (OptimizerConfig(name="sgd", beta1=0.0, in_backward=True), "bfloat16"),
    "muon_autocast": (OptimizerConfig(name="muon"), "bfloat16_autocast"),
}


def memory_run(summary: dict[str, Any], model: str, device: str) -> Run:
    """The measured peaks as a run without series, for ``bstheory validate``."""
    none = np.zeros(0, dtype=np.int64)
    return Run(
        name="memory",
        config={"model": model},
        seeds=(0,),
        steps=none,
        tokens=none,
        series={},
        summary={"device": device, **summary},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="gpt2_124m")
    parser.add_argument("--micro-batch-sizes", type=int, nargs="+", default=[1, 8, 32])
    options = parser.parse_args()
    model = model_config(options.model)
    rows: list[dict[str, Any]] = []
    summary: dict[str, Any] = {}
    with world() as here:
        cuda = here.device.type == "cuda"
        for name, (optimizer, precision) in CASES.items():
            for size in options.micro_batch_sizes:
                estimate = estimate_memory(
                    model,
                    optimizer=optimizer,
                    precision=precision,
                    micro_batch_size=size,
                    workspace=workspace_bytes(here.device),
                )
                measured = None
                if cuda and estimate.peak < torch.cuda.get_device_properties(here.device).total_memory:
                    (found,) = measure_throughput(
                        model,
                        batch_sizes=(size,),
                        here=here,
                        optimizer=optimizer,
                        precision=precision,
                        steps=3,
                    )
                    measured = found.peak_bytes
                ratio = None if measured is None else measured / estimate.peak
                rows.append(
                    {
                        "case": name,
                        "micro_batch_size": size,
                        "estimated_bytes": estimate.peak,
                        "measured_bytes": measured,
                        "measured_over_estimated": ratio,
                    }
                )
                shown = "not measured" if ratio is None else f"{ratio:.3f} of it measured"
                print(
                    f"{name:32s} {size:3d}  {estimate.peak / 2**30:7.2f} GiB estimated, {shown}", flush=True
                )
                if measured is not None:
                    where = "_in_backward" if optimizer.in_backward else ""
                    summary[f"peak_bytes_{optimizer.name}{where}_{precision}_{size}"] = measured
        if cuda:
            memory_run(summary, options.model, device_name(here.device)).save(options.out.parent / "memory")
        write_json(options.out, {"model": options.model, "device": device_name(here.device), "rows": rows})


if __name__ == "__main__":
    main()
