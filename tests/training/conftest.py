"""Real text as shards, and a small configuration, for the trainer's tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bstheory.models.configs import model_config
from bstheory.training.config import TrainConfig, batch_size_schedule, warmup_cosine
from bstheory.training.optimizers import OptimizerConfig
from bstheory.training.parallel import World, world
from bstheory.training.prepare import prepare_text, tokenizer
from bstheory.training.shards import open_rows
from bstheory.training.trainer import Trainer

LENGTH = 32


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors: more threads only wait for each other, and much more so on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Byte shards of the language reference: ``train`` and ``val``."""
    from pydoc_data.topics import topics

    folder = tmp_path_factory.mktemp("data")
    text = folder / "topics.txt"
    text.write_text("<|endoftext|>".join(topics[key] for key in sorted(topics)), encoding="utf-8")
    prepare_text([text], folder, encoder=tokenizer("bytes"))
    return folder


def small_config(**changes: Any) -> TrainConfig:
    """48 steps: batch size 4, then 8 half way."""
    tokens = 32 * 4 * LENGTH + 16 * 8 * LENGTH
    base = TrainConfig(
        name="small",
        model=model_config("tiny_study"),
        tokens=tokens,
        batch_size=batch_size_schedule(f"0:4 {32 * 4 * LENGTH}:8"),
        learning_rate=warmup_cosine(peak=0.01, tokens=tokens, warmup=tokens // 10),
        optimizer=OptimizerConfig(beta2_half_life=5000.0, weight_decay=0.1),
        eval_rows=32,
        max_micro_batch_size=4,
    )
    return dataclasses.replace(base, **changes)


def build(config: TrainConfig, shards: Path, here: World, **options: Any) -> Trainer:
    vocabulary = config.model.vocab_size
    data = open_rows(
        shards / "train", seq_len=config.length, vocab_size=vocabulary, seed=config.seed, block=config.block
    )
    validation = open_rows(shards / "val", seq_len=config.length, vocab_size=vocabulary)
    return Trainer(config, data=data, validation=validation, here=here, **options)


@pytest.fixture
def here() -> Any:
    with world("cpu") as found:
        yield found
