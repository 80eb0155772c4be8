"""Cost of the gradient statistics, of the batch scheduler and of TokenHalfLife, as ratios in one run.

    torchrun --nproc-per-node 2 experiments/benchmarks/gradient_statistics.py [--wrap ddp|fsdp2] [--json FILE]
    torchrun --nproc-per-node 8 experiments/benchmarks/gradient_statistics.py --device cuda --sequences 8

One step of a 124M-parameter GPT-2 with and without measuring, alternately; the overhead is the median of
the paired differences over the median plain step, once in wall time and once in CPU time (which other load
on the machine disturbs less; on a GPU it only says what the host does). gloo on a CPU, NCCL on GPUs. The
scheduler's cost is that of plan() and step() through a ramp that changes its batch size all the time.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from bstheory import schedules
from bstheory.files import write_json
from bstheory.models.configs import model_config
from bstheory.models.gpt import GPT
from bstheory.training import BatchSizeScheduler, GradientStatistics, TokenHalfLife
from bstheory.training.gradient_statistics import square_sum


def scheduler_cost(steps: int = 20_000) -> float:
    """Microseconds per step of a linear ramp rounded to multiples of 8."""
    ramp = schedules.parse(f"linear 8->65536 over {steps * 30000}").rounded(multiple=8)
    scheduler = BatchSizeScheduler(ramp, num_tokens=steps * 40000, micro_batch_size=8, last="overshoot")
    begin, done = time.process_time(), 0
    while scheduler.plan() is not None and done < steps:
        scheduler.step()
        done += 1
    return (time.process_time() - begin) / done * 1e6


def half_life_cost(steps: int = 200) -> tuple[float, float]:
    """Microseconds that TokenHalfLife adds to a fused AdamW step over 148 tensors, and the plain step."""
    weights = [torch.nn.Parameter(torch.zeros(64)) for _ in range(148)]
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    plain = torch.optim.AdamW(weights, fused=True)
    ours = TokenHalfLife(torch.optim.AdamW(weights, fused=True), beta2_half_life=1e6)
    times: dict[str, list[float]] = {"plain": [], "ours": []}
    for step in range(steps):
        for name, call in (("plain", plain.step), ("ours", lambda n=step: ours.step(tokens=1 + n))):
            begin = time.process_time()
            call()
            times[name].append(time.process_time() - begin)
    medians = {name: statistics.median(values) * 1e6 for name, values in times.items()}
    return medians["ours"] - medians["plain"], medians["plain"]


def overhead(pairs: list[tuple[float, float]]) -> float:
    """Median of the paired differences over the median plain step."""
    return statistics.median(b - a for a, b in pairs) / statistics.median(a for a, _ in pairs)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--wrap", choices=("ddp", "fsdp2"), default="ddp")
    flags.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    flags.add_argument("--model", default="gpt2_124m")
    flags.add_argument("--sequences", type=int, default=1, help="per rank and micro-batch")
    flags.add_argument("--seq-len", type=int, default=1024)
    flags.add_argument("--rounds", type=int, default=4)
    flags.add_argument("--json", type=Path)
    options = flags.parse_args()
    dist.init_process_group("nccl" if options.device == "cuda" else "gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    device = torch.device(options.device, rank if options.device == "cuda" else None)
    if options.device == "cuda":
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(1)
    config = model_config(options.model)
    net = GPT(config, generator=torch.Generator().manual_seed(0)).to(device)
    parameters = sum(p.numel() for p in net.parameters())
    wrap = DistributedDataParallel if options.wrap == "ddp" else fully_shard
    bare, measured = wrap(copy.deepcopy(net)), wrap(net)
    seen = GradientStatistics(measured)
    x = torch.randint(0, config.vocab_size, (options.sequences, options.seq_len), device=device)

    def step(model: Any, stats: GradientStatistics | None) -> tuple[float, float]:
        model.zero_grad()
        synchronize(device)
        dist.barrier()
        begin, used = time.perf_counter(), time.process_time()
        if stats is not None:
            stats.start(batch_size=options.sequences * world, accumulation=1)
        logits = model(x)
        torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), x.flatten()).backward()
        if stats is not None:
            stats.finish()
        synchronize(device)
        return time.perf_counter() - begin, time.process_time() - used

    step(bare, None), step(measured, seen)
    pairs = [(step(bare, None), step(measured, seen)) for _ in range(options.rounds)]
    wall, cpu = ([(a[i], b[i]) for a, b in pairs] for i in range(2))
    # What is added, timed alone: a pass over the local gradient and one over this rank's share of the mean.
    alone = []
    for _ in range(5):
        used = time.process_time()
        for p in measured.parameters():
            square_sum(p.grad.to_local() if hasattr(p.grad, "to_local") else p.grad)
        alone.append(time.process_time() - used)
    passes = (1 + 1 / world) if options.wrap == "ddp" else (world + 1)  # of what a rank holds in .grad
    plain_cpu = statistics.median(a for a, _ in cpu)
    extra, plain_step = half_life_cost()
    result = {
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
        "wrap": options.wrap,
        "ranks": world,
        "parameters": parameters,
        "tokens_per_rank": options.sequences * options.seq_len,
        "overhead": overhead(wall),
        "overhead_cpu_time": overhead(cpu),
        "overhead_passes_alone": passes * statistics.median(alone) / plain_cpu,
        "wall_seconds": wall,
        "cpu_seconds": cpu,
        "scheduler_microseconds_per_step": scheduler_cost(),
        "token_half_life_microseconds_per_step": extra,
        "optimizer_microseconds_per_step": plain_step,
    }
    if rank == 0:
        for name, value in result.items():
            print(f"{name:40} {value}")
        if options.json:
            write_json(options.json, result)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
