"""A model in a stack is the model alone: the same weights, the same updates, whatever its company."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import bstheory as bst
from bstheory.models.configs import model_config
from bstheory.models.gpt import GPT
from bstheory.problems.corpus import Corpus
from bstheory.problems.tiny_lm import row_count, rows
from bstheory.training import stacked
from bstheory.training.lean_optimizer import LeanOptimizer
from bstheory.training.rows import permuted_rows
from bstheory.training.stacked import (
    Recipe,
    StackedGPT,
    StackedOptimizer,
    learning_rate_factor,
    orthogonal,
    round_to_bf16,
    train_stack,
)

# Sums of some thousand float32 products in another order: relative rounding near 1e-6, grown over a few steps.
ROUNDING = 2e-5


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    text = np.frombuffer((b"the batch grows and the half-life in tokens stays. " * 400), dtype=np.uint8)
    return Corpus(
        name="test",
        train=text,
        validation=text[:4000].copy(),
        sha256="0" * 64,
        size=text.size,
        documents=(1, 1),
    )


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tiny operations: a second thread only adds hand-overs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def held_out(corpus: Corpus) -> torch.Tensor:
    return rows(corpus.validation, np.arange(8), 32)


def recipe(**fields: object) -> Recipe:
    return Recipe(
        **{"optimizer": "adam", "learning_rate": 0.01, "batch_sizes": ((2, 12),), "seed": 0, **fields}
    )


def test_losses_equal_those_of_the_single_model() -> None:
    config = model_config("tiny_study")
    stack = StackedGPT(config, [3, 5])
    batch = torch.randint(0, 256, (2, 4, 33), generator=torch.Generator().manual_seed(0))
    found = stack.losses(batch)
    for m, seed in enumerate((3, 5)):
        single = GPT(config, generator=torch.Generator().manual_seed(seed))
        alone = single(batch[m, :, :-1], batch[m, :, 1:])
        assert found[m].item() == pytest.approx(alone.item(), rel=ROUNDING)


def trained_alone(
    model: GPT, optimizer: torch.optim.Optimizer, one: Recipe, corpus: Corpus, held_out: torch.Tensor
) -> float:
    """Validation loss after the recipe's twelve steps of two rows with one model and its own optimizer."""
    order = permuted_rows(np.arange(24), rows=row_count(corpus.train, 32), seed=0)
    for step in range(12):
        batch = rows(corpus.train, order[2 * step : 2 * step + 2], 32)
        optimizer.param_groups[0]["lr"] = one.learning_rate * learning_rate_factor(one, 2 * step, step, 2)
        optimizer.zero_grad()
        model(batch[:, :-1], batch[:, 1:]).backward()
        optimizer.step()
    with torch.no_grad():
        return float(model(held_out[:, :-1], held_out[:, 1:]))


@pytest.mark.parametrize("decay", ["half_life", "power"])
def test_adafactor_equals_that_of_one_model(decay: str, corpus: Corpus, held_out: torch.Tensor) -> None:
    one = recipe(optimizer="adafactor", learning_rate=0.02, beta2=0.9)
    one = dataclasses.replace(one, exponent=0.8 if decay == "power" else None)
    found = train_stack([one, dataclasses.replace(one, seed=1)], corpus, held_out, records=1)[0]
    model = GPT(model_config("tiny_study"), generator=torch.Generator().manual_seed(0))
    optimizer = LeanOptimizer(
        model.parameters(), rule="adafactor", beta2=0.9, decay=decay, exponent=0.8, min_factored=2
    )
    alone = trained_alone(model, optimizer, one, corpus, held_out)
    assert found.validation_loss[-1] == pytest.approx(alone, rel=ROUNDING)


def test_muon_moves_tables_by_a_quarter_of_its_rate_and_a_loose_clip_does_nothing() -> None:
    config = model_config("tiny_study")
    tokens = torch.randint(0, 256, (2, 2, 33), generator=torch.Generator().manual_seed(0))
    moved = {}
    for clip in (None, 1e9):
        stack = StackedGPT(config, [3, 5])
        start = {name: p.detach().clone() for name, p in stack.parameters.items()}
        recipes = [recipe(optimizer="muon", seed=s, clip=clip, weight_decay=0.0) for s in (3, 5)]
        optimizer = StackedOptimizer(stack, recipes, config.context)
        stack.losses(tokens).sum().backward()
        optimizer.step(2, torch.tensor([0.01, 0.02], dtype=torch.float64))
        moved[clip] = {name: p.detach() - start[name] for name, p in stack.parameters.items()}
    largest = (
        moved[None]["head.weight"].abs().amax(dim=(1, 2))
    )  # Adam's first step is the sign of the gradient
    assert torch.allclose(largest, torch.tensor([0.0025, 0.005]), rtol=1e-3)
    assert all(torch.equal(moved[None][name], moved[1e9][name]) for name in moved[None])


def test_contiguous_rows_are_neighbours(
    corpus: Corpus, held_out: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, read = [], stacked._rows
    monkeypatch.setattr(stacked, "_rows", lambda *given: seen.append(given[1]) or read(*given))
    train_stack([dataclasses.replace(recipe(), contiguous=True)], corpus, held_out, records=1)
    available = row_count(corpus.train, 32)
    assert seen and all(((np.diff(index, axis=-1) % available) == 1).all() for index in seen)


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_training_equals_stock_torch(kind: str, corpus: Corpus, held_out: torch.Tensor) -> None:
    """Constant beta2, so that stock bias correction is exact too."""
    one = recipe(optimizer=kind, beta2=0.9, beta1=0.8, learning_rate=0.01 if kind == "adam" else 0.1)
    other = dataclasses.replace(one, seed=1, learning_rate=0.003)
    found = train_stack([one, other], corpus, held_out, records=1)[0]
    config = model_config("tiny_study")
    model = GPT(config, generator=torch.Generator().manual_seed(0))
    optimizer = (
        torch.optim.Adam(model.parameters(), lr=0.0, betas=(0.8, 0.9), eps=1e-8)
        if kind == "adam"
        else torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.8)
    )
    alone = trained_alone(model, optimizer, one, corpus, held_out)
    assert found.validation_loss[-1] == pytest.approx(alone, rel=ROUNDING)


@pytest.mark.parametrize(
    "fields",
    [
        {"optimizer": "signum"},
        {"optimizer": "adafactor", "half_life": 500.0},
        {"optimizer": "adafactor", "exponent": 0.8},
        {"optimizer": "muon", "half_life": 500.0},
        {"clip": 0.5, "weight_decay": 0.1},
        {"weights": "bf16_stochastic"},
        {"contiguous": True},
    ],
)
def test_company_does_not_matter(fields: dict, corpus: Corpus, held_out: torch.Tensor) -> None:
    one = recipe(**fields)
    crowd = [one, *(dataclasses.replace(one, seed=s, learning_rate=0.02) for s in (1, 2, 3))]
    alone = train_stack([one], corpus, held_out, records=2)[0]
    together = train_stack(crowd, corpus, held_out, records=2)[0]
    # Signs and roundings can flip on the last bit, so these two formats get a looser, still small, margin.
    loose = one.optimizer == "signum" or one.weights != "float32"
    np.testing.assert_allclose(together.validation_loss, alone.validation_loss, rtol=1e-3 if loose else 1e-4)
    assert alone.tokens == (12 * 32, 24 * 32)


def test_a_diverged_model_leaves_the_others_alone(corpus: Corpus, held_out: torch.Tensor) -> None:
    good = recipe(optimizer="sgd", beta1=0.0, learning_rate=0.1)
    bad = dataclasses.replace(good, learning_rate=1e38)
    first, second = train_stack([good, bad], corpus, held_out, records=1)
    alone = train_stack([good], corpus, held_out, records=1)[0]
    assert second.diverged_at_step is not None and second.validation_loss[-1] == float("inf")
    assert first.diverged_at_step is None
    assert first.validation_loss[-1] == pytest.approx(alone.validation_loss[-1], rel=1e-4)


def test_stochastic_rounding_is_unbiased_and_nearest_is_not() -> None:
    x = torch.full((200_000,), 1.0 + 2.0**-10)  # a quarter of the way to the next bfloat16 above 1
    generator = torch.Generator().manual_seed(0)
    rounded = round_to_bf16(x, stochastic=True, generator=generator)
    assert set(rounded.unique().tolist()) == {1.0, 1.0 + 2.0**-7}
    share = float((rounded > 1).double().mean())
    assert abs(share - 2.0**-3) < 4 * (0.125 * 0.875 / 200_000) ** 0.5
    assert float(round_to_bf16(x, stochastic=False, generator=generator).mean()) == 1.0


def test_newton_schulz_brings_singular_values_near_one() -> None:
    m = torch.randn(3, 32, 64, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonal(m))
    assert float(values.min()) > 0.5 and float(values.max()) < 1.3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"optimizer": "lion"}, "optimizer='lion'"),
        ({"weights": "fp8"}, "weights='fp8'"),
        ({"learning_rate": 0.0}, "must be positive"),
        ({"batch_sizes": ((0, 3),)}, "at least 1"),
        ({"batch_sizes": ()}, "at least 1"),
    ],
)
def test_bad_recipes(fields: dict, message: str) -> None:
    with pytest.raises(bst.InputError, match=message):
        recipe(**fields)


def test_recipes_that_cannot_share_a_stack(corpus: Corpus, held_out: torch.Tensor) -> None:
    with pytest.raises(bst.InputError, match="shares them"):
        train_stack([recipe(), recipe(optimizer="sgd")], corpus, held_out)
    with pytest.raises(bst.InputError, match="small-batch family"):
        StackedGPT(model_config("tiny_llama"), [0])
