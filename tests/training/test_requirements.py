"""What the trainer refuses before the first step, and what it says of the first number that breaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from bstheory.errors import InputError
from bstheory.schedules import Schedule
from bstheory.schedules.rules import ddp_norm
from bstheory.training.config import batch_size_schedule, train_config_from_json
from bstheory.training.optimizers import OptimizerConfig
from bstheory.training.parallel import World
from bstheory.training.records import NonFiniteError
from bstheory.training.shards import open_rows
from bstheory.training.trainer import Trainer

from .conftest import LENGTH, build, small_config

IN_BACKWARD = OptimizerConfig(name="sgd", beta1=0.0, in_backward=True)


def test_updates_in_the_backward_pass_do_not_accumulate(shards: Path, here: World) -> None:
    """The later batch of 8 in two passes of 4 would be two updates, each by half of the rows."""
    with pytest.raises(InputError, match=r"batch of 8 in 2 micro-batches.*update the weights by its own"):
        build(small_config(optimizer=IN_BACKWARD), shards, here)
    build(small_config(optimizer=IN_BACKWARD, max_micro_batch_size=8), shards, here)


def test_statistics_need_two_groups_in_some_step(shards: Path, here: World) -> None:
    with pytest.raises(InputError, match="statistics with every batch in one forward pass"):
        build(small_config(statistics=True, max_micro_batch_size=8), shards, here)
    build(small_config(statistics=True, max_micro_batch_size=4), shards, here)  # the batch of 8


@pytest.mark.parametrize("length", [16, 64])
def test_validation_rows_have_the_length_of_training(length: int, shards: Path, here: World) -> None:
    config = small_config()
    data = open_rows(shards / "train", seq_len=config.length, vocab_size=256)
    other = open_rows(shards / "val", seq_len=length, vocab_size=256)
    with pytest.raises(InputError, match=f"validation rows of length {length}"):
        Trainer(config, data=data, validation=other, here=here)


def diverging(**changes: object) -> object:
    rates = {"thresholds": (0, 20), "values": (0.01, 1e30)}
    return small_config(
        optimizer=OptimizerConfig(name="sgd", beta1=0.0),
        learning_rate=Schedule(name="stages", quantity="learning_rate", unit="steps", params=rates),
        statistics=True,
        max_micro_batch_size=2,
        checkpoint_every_tokens=1024,
        **changes,
    )


def test_with_statistics_a_broken_loss_is_named_with_its_step(
    shards: Path, here: World, tmp_path: Path
) -> None:
    with pytest.raises(NonFiniteError, match=r"loss = nan at step 21,.*step-000000016"):
        build(diverging(), shards, here, folder=tmp_path).run()


def test_with_statistics_a_broken_gradient_of_a_finite_loss_is_named(shards: Path, here: World) -> None:
    trainer = build(diverging(), shards, here)
    weight = trainer.parameters[0]
    weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(NonFiniteError, match=r"gradient norm = nan at step 0,"):
        trainer.run()


def test_a_first_batch_that_the_budget_does_not_hold_is_refused(shards: Path, here: World) -> None:
    config = {"batch_size": batch_size_schedule(1000), "last_batch": "partial", "tokens": 10 * LENGTH}
    with pytest.raises(InputError, match=r"first batch of 1,000 sequences.*holds 10 of 32"):
        build(small_config(**config), shards, here)
    build(small_config(**{**config, "batch_size": batch_size_schedule(10)}), shards, here)


def test_a_micro_batch_of_zero_is_named(shards: Path, here: World) -> None:
    with pytest.raises(InputError, match="micro_batch_size=0"):
        build(small_config(micro_batch_size=0, max_micro_batch_size=None), shards, here)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": -1}, "seed=-1"),
        ({"seed": 1.5}, r"seed=1\.5"),
        ({"seed": True}, "seed=True"),
        ({"grad_clip": "1"}, "grad_clip='1'"),
        ({"grad_clip": True}, "grad_clip=True"),
        ({"eval_every_tokens": True}, "eval_every_tokens=True"),
        ({"learning_rate": batch_size_schedule(4)}, "schedule of the quantity learning_rate"),
        ({"learning_rate": 0.1}, "schedule of the quantity learning_rate"),
        ({"micro_batch_size": 2}, "micro_batch_size=2 and max_micro_batch_size=4"),
        ({"cuda_graphs": True}, "cuda_graphs without compile"),
        (
            {"batch_size": ddp_norm(eta=1.0, scaling="unbiased", initial=4, maximum=8)},
            "rule .* without statistics",
        ),
    ],
)
def test_configurations_that_could_not_do_what_they_say(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small_config(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adafactor_exponent": 0.9}, "adafactor_exponent=0.9 for the optimizer 'adamw'"),
        ({"name": "sgd", "beta2_half_life": 100.0}, "beta2_half_life=100.0 for the optimizer 'sgd'"),
        ({"name": "signum", "beta2_cap": 0.9}, "beta2_cap=0.9"),
        ({"name": "sign_sgd", "beta1_half_life": 9.0}, "beta1_half_life=9.0"),
        ({"name": "adafactor", "beta1_half_life": 9.0}, "beta1_half_life=9.0"),
        ({"name": "adafactor", "beta2_half_life": 9.0, "adafactor_exponent": 0.9}, "replaces beta2"),
        ({"name": "muon", "embedding_lr_ratio": float("nan")}, "embedding_lr_ratio=nan"),
    ],
)
def test_what_an_optimizer_would_not_use_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        OptimizerConfig(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": {"rate": 1}},
        {"batch_size": 3},
        {"batch_size": {"rule": {"a": 1}}},
        {"learning_rate": None},
        {"model": []},
        {"tokens": None},
    ],
)
def test_a_configuration_that_cannot_be_rebuilt_is_one_error(changes: dict[str, object]) -> None:
    with pytest.raises(InputError):
        train_config_from_json({**small_config().to_json(), **changes})
