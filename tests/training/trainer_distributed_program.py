"""Run under torchrun by test_trainer_distributed.py: train the small configuration, write what was recorded."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from bstheory.training.optimizers import OptimizerConfig
from bstheory.training.parallel import Interrupted, World, whole, world
from bstheory.training.trainer import Trainer
from tests.training.conftest import build, small_config


def main(shards: str, folder: str, out: str, changes: str) -> None:
    torch.set_num_threads(1)
    options = json.loads(changes)
    stop_at = options.pop("stop_at", None)
    asked = options.pop("ask_the_last_process_to_stop_at", None)
    if "optimizer" in options:
        options["optimizer"] = OptimizerConfig(**options["optimizer"])
    with world("cpu") as here:
        trainer = build(small_config(**options), Path(shards), here, folder=folder, resume=True)
        if asked is not None:
            return stop(trainer, here, asked, Path(out))
        if stop_at is not None:
            while trainer.scheduler.position.step < stop_at:
                trainer._log(trainer._record([trainer.train_step(trainer.scheduler.plan())]))
            trainer.save()
        run = trainer.run() if stop_at is None else trainer.result()
        weights = torch.cat([whole(p).float().flatten() for p in trainer.parameters])
        every = [torch.empty_like(weights) for _ in range(here.size)]
        if here.size > 1:
            dist.all_gather(every, weights)
        if here.main:
            document = {
                "loss": run.series["loss"][0].tolist(),
                "validation": run.summary["final_validation_loss"],
                "world_size": here.size,
                "drift": max((float((other - weights).abs().max()) for other in every[1:]), default=0.0),
            }
            Path(out).write_text(json.dumps(document))


def stop(trainer: Trainer, here: World, step: int, out: Path) -> None:
    """Run until one process alone is asked to stop; write where each of them stood then."""

    def ask(tokens: int, budget: int, label: str) -> None:
        if here.rank == here.size - 1 and trainer.scheduler.position.step == step:
            trainer._request_stop()

    try:
        trainer.run(progress=ask)
        interrupted = False
    except Interrupted:
        interrupted = True
    mine = torch.tensor([trainer.scheduler.position.step, int(interrupted)])
    every = [torch.empty_like(mine) for _ in range(here.size)]
    dist.all_gather(every, mine)
    if here.main:
        out.write_text(json.dumps({"stopped": [found.tolist() for found in every]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
