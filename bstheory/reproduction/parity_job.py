"""Run by torchrun: the trainer under a closed-loop rule with DDP or FSDP2, its steps written as JSON.

torchrun --nproc-per-node=2 -m bstheory.reproduction.parity_job OUT.json ddp|fsdp published|unbiased
"""

from __future__ import annotations

import sys

TOKENS, CONTEXT, ETA = 2**17, 32, {"published": 0.15, "unbiased": 1.0}


def main(out: str, parallel: str, scaling: str) -> None:
    """Train ``tiny_study`` from batch size 8 and write batch sizes, noise, signal and loss of every step."""
    import torch

    from bstheory.files import write_json
    from bstheory.models.configs import model_config
    from bstheory.problems.corpus import load_corpus
    from bstheory.schedules.rules import ddp_norm
    from bstheory.training.config import TrainConfig, warmup_cosine
    from bstheory.training.optimizers import OptimizerConfig
    from bstheory.training.parallel import world
    from bstheory.training.shards import TokenRows
    from bstheory.training.trainer import Trainer

    torch.set_num_threads(1)
    policy = {"smoothing": 0.9, "signal_floor": 0.01, "growth_cap": 2.0} if scaling == "unbiased" else {}
    config = TrainConfig(
        name=f"parity-{parallel}",
        model=model_config("tiny_study"),
        tokens=TOKENS,
        batch_size=ddp_norm(eta=ETA[scaling], scaling=scaling, initial=8, maximum=256, multiple=2, **policy),
        learning_rate=warmup_cosine(peak=0.02, tokens=TOKENS, warmup=TOKENS // 16),
        optimizer=OptimizerConfig(beta2_half_life=7000.0),
        statistics=True,
        last_batch="partial",
        log_every_steps=1,
        parallel=parallel,
    )
    corpus = load_corpus(None)
    rows, held_out = (
        TokenRows(arrays=[part], seq_len=CONTEXT, vocab_size=256, seed=0)
        for part in (corpus.train, corpus.validation)
    )
    with world("cpu") as here:
        run = Trainer(config, data=rows, validation=held_out, here=here).run()
        if here.main:
            names = ("batch_size", "noise", "signal", "loss")
            document = {name: run.series[name][0].tolist() for name in names}
            write_json(out, {**document, "world_size": here.size})


if __name__ == "__main__":
    main(*sys.argv[1:])
