"""Run arms of one piece until the time is up; call again to go on. Exit code 0: all done, 3: more remains.

python experiments/gpt2_124m/run.py half_life --data DATA --out OUT --minutes 9 [--seeds 0 1] [--scale
tiny]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch
from config import PIECES, SCALES

from bstheory.errors import InputError
from bstheory.files import atomic_write, read_json
from bstheory.training.config import TrainConfig
from bstheory.training.parallel import World, world
from bstheory.training.records import NonFiniteError
from bstheory.training.shards import open_rows
from bstheory.training.trainer import Trainer


def finished(folder: Path) -> bool:
    return (folder / "run.json").exists() and bool(read_json(folder / "run.json")["summary"]["finished"])


def train(config: TrainConfig, data: Path, folder: Path, here: World, seconds: float) -> tuple[str, bool]:
    """Train one arm for at most ``seconds``; what happened, in words, and whether the arm is over."""
    vocabulary = config.model.vocab_size
    rows = open_rows(data / "train", seq_len=config.length, vocab_size=vocabulary, seed=config.seed)
    held_out = open_rows(data / "val", seq_len=config.length, vocab_size=vocabulary)
    try:
        trainer = Trainer(config, data=rows, validation=held_out, here=here, folder=folder, resume=True)
        run = trainer.run(stop_after_seconds=seconds)
    except NonFiniteError as error:
        if here.main:
            atomic_write(folder / "diverged.txt", f"{error}\n")
        return f"diverged: {error}", True
    over = bool(run.summary["finished"])
    state = "finished" if over else f"stopped at {run.tokens[-1]:,} tokens"
    speed, loss = run.summary["tokens_per_second"], run.series["loss"][0, -1]
    return f"{state}, {speed:,.0f} tokens/s, loss {loss:.4f}", over


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("piece", choices=PIECES, help="which arms; README.md lists them")
    parser.add_argument("--data", type=Path, required=True, help="folder that bstheory data wrote")
    parser.add_argument("--out", type=Path, required=True, help="runs go to OUT/PIECE/ARM-seedS")
    parser.add_argument("--minutes", type=float, default=9.0, help="save and stop after these (default 9)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="default 0 1")
    parser.add_argument(
        "--scale",
        choices=SCALES,
        default="gpu",
        help="gpu, or tiny: the scripts on a CPU, with bytes",
    )
    options = parser.parse_args()
    if options.scale == "gpu" and not torch.cuda.is_available():
        parser.error("--scale gpu trains GPT-2 124M and needs a CUDA device; --scale tiny runs on a CPU")
    try:
        return run(options)
    except InputError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2


def run(options: argparse.Namespace) -> int:
    """Every arm of the piece, one after another."""
    deadline = time.monotonic() + 60 * options.minutes
    scale = SCALES[options.scale]()
    with world() as here:
        for seed in options.seeds:
            for config in PIECES[options.piece](scale, seed):
                folder = options.out / options.piece / f"{config.name}-seed{seed}"
                # Processes agree on what they have seen: rank 0 may just have written the file.
                if here.any(finished(folder) or (folder / "diverged.txt").exists()):
                    continue
                torch.compiler.reset()  # each arm compiles for its own batch sizes
                left = deadline - time.monotonic()
                if here.any(left <= 0):
                    return 3
                words, over = train(config, options.data, folder, here, left)
                if here.main:
                    print(f"{config.name} seed {seed}: {words}", flush=True)
                if not over:
                    return 3
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        print(f"run.py: {error}", file=sys.stderr)
        sys.exit(2)
