"""The trainer against a hand-written plain loop, as ratios in one run.

    python experiments/benchmarks/training.py [--model tiny] [--batch-sizes 1 4 16 64] [--compile] [--json
    FILE]

The plain loop is the stock recipe: the same model, ``torch.optim.AdamW(fused=True)``, the same autocast,
clipping at 1.0, the batch read from a token array by slicing, no logging, no schedule but a constant learning
rate. Both are measured alternately for many short rounds, the order swapped from round to round; the ratio is
the median of the rounds' ratios, with its distribution-free 95 % interval (order statistics). On one CPU
thread it is CPU time, so that waiting for a busy machine does not enter (its caches still do). On a CUDA
device the plain loop is the nanoGPT recipe (compiled, bfloat16 autocast), so run with --compile there.
--cuda-graphs, --max-autotune and --attention change the trainer only: they are what it offers beyond the
stock recipe.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binom

from bstheory.files import write_json
from bstheory.models.configs import GPTConfig, model_config
from bstheory.models.gpt import GPT
from bstheory.run import environment
from bstheory.training.config import TrainConfig, batch_size_schedule, warmup_cosine
from bstheory.training.parallel import World, device_name, world
from bstheory.training.shards import TokenRows
from bstheory.training.throughput import flops_per_token, peak_flops
from bstheory.training.trainer import Trainer


class Plain:
    """The hand-written loop."""

    def __init__(
        self, model: GPTConfig, batch_size: int, here: World, precision: str, compiled: bool
    ) -> None:
        self.model = GPT(model, generator=torch.Generator().manual_seed(0)).to(here.device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.0, fused=True
        )
        self.forward: Any = torch.compile(self.model) if compiled else self.model
        self.size, self.length, self.here = batch_size, model.context, here
        self.autocast = precision == "bfloat16_autocast"
        self.data = np.random.default_rng(0).integers(0, model.vocab_size, 1 << 20).astype(np.uint16)
        self.rng = np.random.default_rng(1)

    def step(self) -> None:
        starts = self.rng.integers(0, len(self.data) - self.length - 1, self.size)
        batch = torch.from_numpy(
            np.stack([self.data[s : s + self.length + 1].astype(np.int64) for s in starts])
        )
        if self.here.device.type == "cuda":
            batch = batch.pin_memory().to(self.here.device, non_blocking=True)
        context: Any = contextlib.nullcontext()
        if self.autocast:
            context = torch.autocast(self.here.device.type, dtype=torch.bfloat16)
        with context:
            loss = self.forward(batch[:, :-1], batch[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


class Ours:
    """The trainer with the same settings, and what it offers beyond them."""

    def __init__(
        self,
        model: GPTConfig,
        batch_size: int,
        here: World,
        precision: str,
        compiled: bool,
        **beyond: Any,
    ) -> None:
        tokens = 10**6 * batch_size * model.context
        config = TrainConfig(
            name="benchmark",
            model=model,
            tokens=tokens,
            batch_size=batch_size_schedule(batch_size),
            learning_rate=warmup_cosine(peak=1e-4, tokens=tokens, warmup=0),
            micro_batch_size=batch_size,
            precision=precision,
            grad_clip=1.0,
            compile=compiled,
            eval_rows=1,
            **beyond,
        )
        noise = np.random.default_rng(0).integers(0, model.vocab_size, 1 << 20).astype(np.uint16)
        data = TokenRows(arrays=[noise], seq_len=model.context, vocab_size=model.vocab_size)
        self.trainer = Trainer(config, data=data, validation=data, here=here)

    def step(self) -> None:
        plan = self.trainer.scheduler.plan()
        assert plan is not None
        self.trainer.train_step(plan)


def seconds(loop: Any, steps: int, cuda: bool) -> float:
    if cuda:
        torch.cuda.synchronize()
    clock = time.perf_counter if cuda or torch.get_num_threads() > 1 else time.process_time
    start = clock()
    for _ in range(steps):
        loop.step()
    if cuda:
        torch.cuda.synchronize()
    return (clock() - start) / steps


def median_interval(values: list[float]) -> tuple[float, float, float]:
    """Median and its distribution-free interval at 95 % or a little more (binomial order statistics)."""
    ordered, count = sorted(values), len(values)
    below = int(binom.ppf(0.025, count, 0.5))
    low, high = ordered[max(0, below - 1)], ordered[min(count - 1, count - below)]
    return statistics.median(ordered), low, high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--cuda-graphs", action="store_true")
    parser.add_argument("--max-autotune", action="store_true")
    parser.add_argument("--attention", default="auto")
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--seconds", type=float, default=0.15, help="per round and loop")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = model_config(options.model)
    beyond = {
        "cuda_graphs": options.cuda_graphs,
        "max_autotune": options.max_autotune,
        "attention": options.attention,
    }
    rows = []
    with world() as here:
        cuda = here.device.type == "cuda"
        peak = peak_flops(device_name(here.device), options.precision)
        for size in options.batch_sizes:
            if options.compile:
                torch.compiler.reset()  # kernels for this batch size, not for any
            settings = (model, size, here, options.precision, options.compile)
            loops = [Plain(*settings), Ours(*settings, **beyond)]
            for loop in loops:
                seconds(loop, 3, cuda)
            steps = max(1, round(options.seconds / seconds(loops[0], 3, cuda)))
            rounds = []
            for number in range(options.rounds):
                order = (0, 1) if number % 2 else (1, 0)
                found = {k: seconds(loops[k], steps, cuda) for k in order}
                rounds.append((found[0], found[1]))
            plain, ours = (statistics.median(r[k] for r in rounds) for k in (0, 1))
            best_plain, best_ours = (min(r[k] for r in rounds) for k in (0, 1))
            ratio, low, high = median_interval([a / b for a, b in rounds])
            tokens = size * model.context
            row = {
                "batch_size": size,
                "plain_tokens_per_second": tokens / plain,
                "trainer_tokens_per_second": tokens / ours,
                "ratio": ratio,
                "interval": [low, high],
                "rounds": len(rounds),
                "ratio_of_best": best_plain / best_ours,
                "mfu": None if peak is None else tokens / ours * flops_per_token(model) / peak,
            }
            rows.append(row)
            del loops
            print(
                f"B={size:<4d} plain {tokens / plain:>10,.0f}  trainer {tokens / ours:>10,.0f} tokens/s  "
                f"ratio {ratio:.3f} [{low:.3f}, {high:.3f}] (of best rounds {row['ratio_of_best']:.3f})",
                flush=True,
            )
        if options.json:
            write_json(
                options.json,
                {
                    "model": model.name,
                    "device": device_name(here.device),
                    "precision": options.precision,
                    "compile": options.compile,
                    "trainer_only": beyond,
                    "threads": options.threads,
                    "environment": dict(environment()),
                    "rows": rows,
                },
            )


if __name__ == "__main__":
    main()
