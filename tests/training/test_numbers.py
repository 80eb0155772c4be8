"""Numbers of the trainer and of its optimizers against plain computations of the same."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bstheory.models.configs import model_config
from bstheory.models.gpt import GPT
from bstheory.training.config import batch_size_schedule
from bstheory.training.optimizers import OptimizerConfig, build_optimizer
from bstheory.training.parallel import World, rounding_seed
from bstheory.training.records import Record, crossed, run_of_records
from bstheory.training.trainer import Trainer

from .conftest import LENGTH, build, small_config


def loss_of(trainer: Trainer, tokens: np.ndarray) -> torch.Tensor:
    batch = torch.from_numpy(tokens)
    logits = trainer.model(batch[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


def gradient(trainer: Trainer, tokens: np.ndarray) -> torch.Tensor:
    found = torch.autograd.grad(loss_of(trainer, tokens), trainer.parameters)
    return torch.cat([g.flatten() for g in found]).double()


def test_validation_is_the_mean_over_the_validation_rows(shards: Path, here: World) -> None:
    """Ten rows in passes of four: the last pass has two, which count as two."""
    trainer = build(small_config(eval_rows=10), shards, here)
    val = np.fromfile(next((shards / "val").glob("*.bin")), dtype="<u2")[512:]
    count = (len(val) - 1) // LENGTH
    rows = np.linspace(0, count - 1, 10).astype(int)
    tokens = np.stack([val[row * LENGTH : row * LENGTH + LENGTH + 1] for row in rows]).astype(np.int64)
    with torch.no_grad():
        torch.nn.init.normal_(trainer.model.head.weight, std=0.5)  # so that rows differ
        expected = float(loss_of(trainer, tokens))
    assert trainer.validation_loss() == pytest.approx(expected, rel=1e-6)


def test_the_learning_rate_is_that_of_the_tokens_before_the_step(shards: Path, here: World) -> None:
    config = small_config()
    run = build(config, shards, here).run()
    before = np.array([0, *run.tokens[:-1]])
    expected = [config.learning_rate.value(float(tokens)) for tokens in before]
    assert np.allclose(run.series["learning_rate"][0], expected, rtol=1e-12)
    assert run.summary["epochs"] == pytest.approx(config.tokens / build(config, shards, here).data.tokens)


def test_noise_signal_and_norm_are_those_of_the_unclipped_gradients(shards: Path, here: World) -> None:
    """Four micro-batches of one row; the first step of an untrained model."""
    config = small_config(
        statistics=True, micro_batch_size=1, max_micro_batch_size=None, grad_clip=1e-3, eval_every_tokens=None
    )
    trainer = build(config, shards, here)
    rows = trainer.data.batch(range(4))
    groups = torch.stack([gradient(trainer, rows[k : k + 1]) for k in range(4)])
    mean = groups.mean(dim=0)
    noise = float((groups - mean).square().sum()) / 3
    record = trainer._record([trainer.train_step(trainer.scheduler.plan())])
    assert record.values["noise"] == pytest.approx(noise, rel=1e-4)
    assert record.values["signal"] == pytest.approx(float(mean.square().sum()) - noise / 4, rel=1e-3)
    assert record.values["grad_norm"] == pytest.approx(float(mean.norm()), rel=1e-4)


def test_seeds_draw_other_weights(shards: Path, here: World) -> None:
    one, other = (build(small_config(seed=seed), shards, here) for seed in (0, 1))
    assert not torch.equal(one.model.embedding.weight, other.model.embedding.weight)
    again = build(small_config(seed=1), shards, here)
    assert torch.equal(again.model.embedding.weight, other.model.embedding.weight)


def test_milestones_are_where_a_multiple_is_reached() -> None:
    assert [crossed(k, k + 1, 4) for k in range(8)] == [False, False, False, True] * 2
    assert crossed(3, 9, 4) and not crossed(4, 7, 4) and not crossed(0, 100, None)


def test_replicas_round_alike_and_shards_do_not() -> None:
    ranks = [World(rank=rank, size=2, device=torch.device("cpu")) for rank in (0, 1)]
    for parallel, equal in (("ddp", True), ("fsdp", False)):
        first, second = (rounding_seed(3, here, parallel=parallel) for here in ranks)
        assert (first == second) is equal
        assert rounding_seed(4, ranks[0], parallel=parallel) not in (first, second)


def test_muon_and_its_adamw_divide_the_weights_and_the_rates() -> None:
    model = GPT(model_config("tiny"), generator=torch.Generator().manual_seed(0))
    config = OptimizerConfig(
        name="muon", beta1_half_life=1000.0, eps=1e-5, weight_decay=0.1, embedding_lr_ratio=0.25
    )
    optimizer = build_optimizer(model, config)
    muon, adamw = optimizer.parts["muon"], optimizer.parts["adamw"]
    inside = [p for name, p in model.named_parameters() if name.startswith("blocks.") and p.dim() == 2]
    (group,) = muon.param_groups
    assert {id(p) for p in group["params"]} == {id(p) for p in inside} and not group["nesterov"]
    rest = [p for g in adamw.param_groups for p in g["params"]]
    assert len(inside) + len(rest) == len(list(model.parameters()))
    assert {(g["weight_decay"], g["params"][0].dim() >= 2) for g in adamw.param_groups} == {
        (0.1, True),
        (0.0, False),
    }
    assert all(g["eps"] == 1e-5 for g in adamw.param_groups)
    optimizer.set_learning_rate(0.4)
    assert group["lr"] == 0.4 and all(g["lr"] == 0.1 for g in adamw.param_groups)
    tokens = torch.zeros(1, 8, dtype=torch.int64)
    model(tokens, tokens).backward()
    optimizer.step(tokens=500)
    assert group["momentum"] == pytest.approx(2**-0.5)


def test_decay_of_the_lean_optimizer_leaves_vectors_alone() -> None:
    model = GPT(model_config("tiny"), generator=torch.Generator().manual_seed(0)).bfloat16()
    optimizer = build_optimizer(model, OptimizerConfig(weight_decay=0.1))
    decays = {
        (g["weight_decay"], p.dim() >= 2) for g in optimizer.parts["adamw"].param_groups for p in g["params"]
    }
    assert decays == {(0.1, True), (0.0, False)}


def test_two_steps_round_differently() -> None:
    """The same update of the same weights, twice: each step draws its own random numbers."""
    found = []
    for steps in (1, 2):
        weight = torch.nn.Parameter(torch.ones(4096, dtype=torch.bfloat16))
        optimizer = build_optimizer(
            torch.nn.ParameterList([weight]), OptimizerConfig(name="sgd", beta1=0.0), seed=5
        )
        optimizer.set_learning_rate(2.0**-10)  # an eighth of the spacing below 1
        for _ in range(steps):
            with torch.no_grad():
                weight.fill_(1.0)
            weight.grad = torch.ones_like(weight)
            optimizer.step(tokens=1)
        found.append(weight.detach().clone())
    assert not torch.equal(*found)
    for one in found:
        assert float(one.float().mean()) == pytest.approx(1 - 2.0**-10, abs=4 * 2.0**-8 / math.sqrt(4096))


def test_a_half_life_caps_its_beta_where_asked(shards: Path, here: World) -> None:
    """In the lean optimizer too: the weight of the newest gradient is 1 - cap."""
    optimizer = OptimizerConfig(name="adafactor", beta2_half_life=1e9, beta2_cap=0.75)
    config = small_config(optimizer=optimizer, batch_size=batch_size_schedule(4))
    trainer = build(config, shards, here)
    for _ in range(2):
        trainer.train_step(trainer.scheduler.plan())
    (state, *_) = trainer.optimizer.parts["adafactor"].state.values()
    assert float(state["weights"][1]) == pytest.approx(0.25 + 0.75 * 0.25)


def test_adafactor_moves_weights_at_zero_by_a_thousandth_of_the_rate() -> None:
    weight = torch.nn.Parameter(torch.zeros(8))
    optimizer = build_optimizer(torch.nn.ParameterList([weight]), OptimizerConfig(name="adafactor"))
    optimizer.set_learning_rate(0.5)
    weight.grad = torch.tensor([1.0, -2.0] * 4)
    optimizer.step(tokens=1)  # in the first step the average is g^2 itself, so the direction is the sign
    assert torch.allclose(weight, torch.tensor([-0.5e-3, 0.5e-3] * 4), rtol=1e-5)


def test_the_noise_scale_grows_from_the_first_third_to_the_last() -> None:
    values = [(2.0, 1.0)] * 3 + [(100.0, 1.0)] * 3 + [(16.0, 2.0)] * 3  # scales 2, 100 and 8
    records = [
        Record(step=k, tokens=k, values={"loss": 1.0, "noise": noise, "signal": signal})
        for k, (noise, signal) in enumerate(values)
    ]
    summary = {"device": "cpu", "tokens_per_second": 1.0, "world_size": 1, "finished": True}
    found = run_of_records(records, config=small_config(), provenance={}, summary=summary).summary
    assert (found["noise_scale_first"], found["noise_scale_last"]) == (2.0, 8.0)
    assert found["noise_scale_growth"] == 4.0
