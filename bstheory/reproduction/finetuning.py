"""C9 at tiny scale: LoRA against full fine-tuning at batch size 1 and Adam at batch size 16.

A two-layer byte-level decoder is trained on prose (the installed documentation) and fine-tuned on another
kind of text (source files of the standard library) through ``bstheory finetune``. Pretrained model and
fine-tuned runs are kept below the cache folder, so an interrupted command continues.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import math
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bstheory.errors import InputError
from bstheory.files import atomic_write, read_json, write_json
from bstheory.half_life import half_life_from_beta
from bstheory.reproduction.claim import Finding, Outcomes
from bstheory.reproduction.judging import Test, family
from bstheory.reproduction.statistics import leave_one_out

MODEL, CONTEXT = "tiny_llama", 64
PRETRAINING_TOKENS = 2**20
TOKENS = 2**15  # of fine-tuning: 512 steps at batch size 1, 32 at 16
TEXT_BYTES = 300_000
LARGE = 16
HALF_LIFE = round(half_life_from_beta(beta=0.95, tokens_per_step=LARGE * CONTEXT))
SEEDS = (0, 1, 2, 3)
FACTORS = tuple(4.0**k for k in (-2, -1, 0, 1, 2))
RANK = 4
MARGIN = 0.03  # nats per byte
_SMALL = {"batch_size": "1", "beta2_half_life": str(HALF_LIFE)}
ARMS: dict[str, tuple[float, dict[str, Any]]] = {
    # name -> (centre of the grid of rates, options of the command)
    "lora": (0.004, {**_SMALL, "method": "lora", "lora_rank": RANK, "precision": "float32"}),
    "adafactor_1": (0.004, {**_SMALL, "optimizer": "adafactor"}),
    "sgd_1": (0.06, {"batch_size": "1", "optimizer": "sgd"}),
    "adam_1": (0.0005, {**_SMALL, "optimizer": "adamw", "precision": "float32"}),
    "adam_16": (0.002, {"batch_size": str(LARGE), "optimizer": "adamw", "precision": "float32"}),
}


def source_text(folder: Path) -> Path:
    """Source files of the standard library, in an order of their own hash, as one text."""
    path = folder / "source.txt"
    if path.exists():
        return path
    found = sorted(
        (hashlib.sha256(p.name.encode()).hexdigest(), p)
        for p in Path(sysconfig.get_paths()["stdlib"]).glob("*.py")
    )
    parts, size = [], 0
    for _, source in found:
        if size >= TEXT_BYTES:
            break
        parts.append(source.read_text(encoding="utf-8", errors="strict")[:20_000])
        size += len(parts[-1])
    atomic_write(path, "<|endoftext|>".join(parts))
    return path


def pretrained(folder: Path) -> Path:
    """Checkpoint of the base model, trained here when it is not there yet."""
    from bstheory.models.configs import model_config
    from bstheory.problems.corpus import load_corpus
    from bstheory.training.config import TrainConfig, batch_size_schedule, warmup_cosine
    from bstheory.training.optimizers import OptimizerConfig
    from bstheory.training.parallel import world
    from bstheory.training.shards import TokenRows
    from bstheory.training.trainer import Trainer

    path = folder / "base"
    if (path / "run.json").exists():
        return path
    corpus = load_corpus(None)
    config = TrainConfig(
        name="base",
        model=model_config(MODEL),
        tokens=PRETRAINING_TOKENS,
        batch_size=batch_size_schedule(LARGE),
        learning_rate=warmup_cosine(
            peak=0.004, tokens=PRETRAINING_TOKENS, warmup=PRETRAINING_TOKENS // 20 // CONTEXT * CONTEXT
        ),
        optimizer=OptimizerConfig(beta2_half_life=float(HALF_LIFE)),
        log_every_steps=50,
        checkpoint_every_tokens=PRETRAINING_TOKENS // 4,
    )
    rows, held_out = (
        TokenRows(arrays=[part], seq_len=CONTEXT, vocab_size=256, seed=0)
        for part in (corpus.train, corpus.validation)
    )
    with world("cpu") as here:
        trainer = Trainer(
            config,
            data=rows,
            validation=held_out,
            here=here,
            folder=path,
            resume=(path / "log.jsonl").exists(),
        )
        trainer.run()
    return path


def tune(base: Path, text: Path, folder: Path, arm: str, factor: float, seed: int) -> dict[str, Any]:
    """One fine-tuning run through the command; kept as JSON."""
    from bstheory.training.finetune_command import finetune

    path = folder / f"{arm}-{factor:g}-{seed}.json"
    if path.exists():
        return read_json(path)
    centre, options = ARMS[arm]
    captured = io.StringIO()
    try:
        with contextlib.redirect_stdout(captured):
            finetune(
                str(base),
                str(text),
                out=str(folder / f"run-{arm}-{factor:g}-{seed}"),
                tokens=str(TOKENS),
                learning_rate=centre * factor,
                seed=seed,
                eval_rows=256,
                device="cpu",
                json="-",
                resume=any((folder / f"run-{arm}-{factor:g}-{seed}").glob("checkpoints/step-*")),
                **options,
            )
        found = json.loads(captured.getvalue())
        kept = {
            "loss": found["final_validation_loss"],
            "before": found["validation_loss_before"],
            "memory": {m["method"]: m["total"] for m in found["memory"]},
        }
    except InputError as error:
        if "finite" not in str(error):
            raise
        kept = {"loss": None, "before": None, "memory": {}}  # diverged
    write_json(path, kept)
    return kept


def measure(folder: Path, _: Outcomes | None = None) -> dict[str, Any]:
    """All runs: ``losses[arm][factor]`` over seeds, None after a divergence."""
    import torch

    torch.set_num_threads(1)  # tiny tensors
    base, text = pretrained(folder), source_text(folder)
    losses: dict[str, dict[str, list[float | None]]] = {arm: {} for arm in ARMS}
    before, memory = 0.0, {}
    for arm, factor in itertools.product(ARMS, FACTORS):
        runs = [tune(base, text, folder, arm, factor, seed) for seed in SEEDS]
        losses[arm][str(factor)] = [run["loss"] for run in runs]
        for run in runs:
            before, memory = run["before"] or before, run["memory"] or memory
    return {
        "losses": losses,
        "before": before,
        "memory": memory,
        "text_sha256": hashlib.sha256(text.read_bytes()).hexdigest(),
    }


def judge(found: Mapping[str, Any]) -> list[Finding]:
    """Tuned losses of the arms, the rate chosen by the other seeds."""
    tuned, details = {}, {}
    for arm, grid in found["losses"].items():
        table = {
            ARMS[arm][0] * float(f): [math.inf if x is None else x for x in row] for f, row in grid.items()
        }
        finite = {rate: row for rate, row in table.items() if np.isfinite(row).all()}
        losses, rates = leave_one_out(finite)
        tuned[arm] = np.array(losses)
        details[arm] = {
            "loss": float(np.mean(losses)),
            "learning_rate": float(np.median(rates)),
            "on_edge": bool({min(table), max(table)} & set(rates)),
        }
    shared = {
        "arms": details,
        "validation_loss_before": found["before"],
        "memory_bytes": found["memory"],
        "text_sha256": found["text_sha256"],
    }
    statements = {
        "Adafactor at batch size 1 reaches a lower loss than LoRA": Test(
            values=tuned["lora"] - tuned["adafactor_1"], numbers=shared
        ),
        "Adam at batch size 1 reaches a lower loss than Adam at 16": Test(
            values=tuned["adam_16"] - tuned["adam_1"], numbers=shared
        ),
        "SGD at batch size 1 reaches a lower loss than LoRA": Test(
            values=tuned["lora"] - tuned["sgd_1"], numbers=shared
        ),
    }
    for arm, other in (("adafactor_1", "adam_16"), ("adafactor_1", "adam_1")):
        statements[f"{arm} is within {MARGIN} of {other}"] = Test(
            values=tuned[arm] - tuned[other], margin=MARGIN, numbers=shared
        )
    return family(statements)
