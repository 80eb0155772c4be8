"""A norm test that chooses the batch size, and a token half-life, in a plain loop.

Run it with: torchrun --nproc-per-node 2 docs/tutorial/train_ddp.py (add --fsdp for FSDP2). Stop it, or kill a
rank, and start it again: it continues from the last checkpoint.
"""

import argparse
import pydoc_data.topics

import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from torch.nn import Embedding, Flatten, Linear, ReLU, Sequential
from torch.nn.parallel import DistributedDataParallel

from bstheory.schedules.rules import ddp_norm
from bstheory.training import BatchSizeScheduler, GradientStatistics, LoopCheckpoint, TokenHalfLife

flags = argparse.ArgumentParser(description=__doc__)
flags.add_argument("--fsdp", action="store_true")
flags.add_argument("--tokens", type=int, default=200_000)
flags.add_argument("--folder")
flags = flags.parse_args()
dist.init_process_group()  # gloo on CPUs, NCCL on GPUs
rank, world, context = dist.get_rank(), dist.get_world_size(), 16
text = "".join(pydoc_data.topics.topics.values()).encode()  # real text that every Python has
text = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()

torch.manual_seed(0)
model = Sequential(Embedding(256, 32), Flatten(), Linear(32 * context, 128), ReLU(), Linear(128, 256))
model = fully_shard(model) if flags.fsdp else DistributedDataParallel(model)
adam = torch.optim.AdamW(model.parameters(), lr=2e-3)
half_life = TokenHalfLife(adam, beta2_half_life=50_000)  # tokens, whatever the batch size
rule = ddp_norm(eta=1.0, scaling="unbiased", initial=16, maximum=512, multiple=8,
                smoothing=0.9, growth_cap=1.5, signal_floor=0.1)  # fmt: skip
scheduler = BatchSizeScheduler(rule, num_tokens=flags.tokens, seq_len=context, world_size=world,
                               max_micro_batch_size=32, last="overshoot")  # fmt: skip
statistics = GradientStatistics(model)
folder = flags.folder or f"runs/tutorial-{'fsdp' if flags.fsdp else 'ddp'}"
checkpoint = LoopCheckpoint(folder, model, adam, {"scheduler": scheduler, "half_life": half_life})
sizes = checkpoint.load().get("sizes", [])  # whatever was given to save(); empty at the start

while (plan := scheduler.plan()) is not None:
    statistics.start(plan)
    for index, samples in enumerate(plan.micro_batches(rank)):
        rows = torch.tensor([hash((7, i)) % (len(text) - context - 1) for i in samples])
        window = text[rows[:, None] + torch.arange(context + 1)]
        with statistics.synchronize(index == plan.accumulation - 1):
            loss = torch.nn.functional.cross_entropy(model(window[:, :-1]), window[:, -1])
            (loss / plan.accumulation).backward()
    seen = statistics.finish(loss=loss.item())  # two scalars; before clipping
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    half_life.step(tokens=plan.tokens_per_step)  # instead of adam.step()
    adam.zero_grad()
    scheduler.step(seen)
    sizes.append(plan.batch_size)
    if plan.step % 10 == 0 or scheduler.done:
        saved = checkpoint.save(plan.step, sizes=sizes)
        if rank == 0:
            print(f"step {plan.step:5d}  batch size {plan.batch_size:4d}  loss {seen.loss:.3f}", flush=True)
if rank == 0:
    print(f"finished; {saved}/state.json has the batch sizes that the rule chose")
dist.destroy_process_group()
