"""The callbacks in Lightning's real Trainer: the batches it makes, and weights equal to a loop of one's own."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from bstheory import schedules
from bstheory.errors import InputError
from bstheory.training import BatchSizeScheduler, TokenHalfLife

lightning = pytest.importorskip("lightning.pytorch", reason="the extra [lightning] is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # other libraries' warnings are not ours

DIM, SEQ_LEN, HALF_LIFE = 5, 3, 60.0
SPEC, TOKENS, SIZES = "0:4 48:8 96:16", 192, [4] * 4 + [8] * 2 + [16] * 2


def rows(count: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, DIM, generator=generator), torch.randn(count, generator=generator)


class Module(lightning.LightningModule):
    def __init__(self, optimizer=torch.optim.AdamW) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.linspace(-1, 1, DIM))
        self.unused = torch.nn.Parameter(torch.zeros(2))
        self.optimizer = optimizer
        self.seen = 0

    def training_step(self, batch, index):
        x, y = batch
        self.seen += len(y)
        return (x @ self.weight - y).square().mean()

    def configure_optimizers(self):
        options = {} if self.optimizer is torch.optim.SGD else {"weight_decay": 0.0}
        return self.optimizer(self.parameters(), lr=0.05, **options)


def fit(folder, callbacks, *, module=None, count: int = 64, micro: int = 4, ckpt=None, **changes):
    module = module or Module()
    options = {
        "max_steps": 8,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        **changes,
    }
    trainer = lightning.Trainer(
        default_root_dir=str(folder),
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
        **options,
    )
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*rows(count)), batch_size=micro, drop_last=True
    )
    trainer.fit(module, loader, ckpt_path=ckpt)
    return module, trainer


def scheduler() -> BatchSizeScheduler:
    return BatchSizeScheduler(schedules.parse(SPEC), num_tokens=TOKENS, seq_len=SEQ_LEN, micro_batch_size=4)


def by_hand(sizes: list[int]) -> torch.Tensor:
    """The same rows in a loop of one's own (the loader does not shuffle)."""
    module, (x, y) = Module(), rows()
    adam = torch.optim.AdamW(module.parameters(), lr=0.05, weight_decay=0.0)
    half_life = TokenHalfLife(adam, beta2_half_life=HALF_LIFE)
    at = 0
    for size in sizes:
        (x[at : at + size] @ module.weight - y[at : at + size]).square().mean().backward()
        at += size
        half_life.step(tokens=size * SEQ_LEN)
        adam.zero_grad()
    return module.weight.detach()


def test_schedule_and_half_life_equal_a_loop_of_ones_own(tmp_path) -> None:
    from bstheory.training.lightning_callbacks import BatchScheduleCallback, TokenHalfLifeCallback

    half_life = TokenHalfLifeCallback(tokens_per_batch=4 * SEQ_LEN, beta2_half_life=HALF_LIFE)
    module, trainer = fit(tmp_path, [BatchScheduleCallback(scheduler()), half_life])
    assert trainer.global_step == 8 and module.seen == sum(SIZES)
    assert half_life.half_life.tokens == TOKENS
    assert half_life.half_life.last.beta2 == 2 ** (-16 * SEQ_LEN / HALF_LIFE)
    assert torch.allclose(module.weight, by_hand(SIZES), rtol=1e-5, atol=1e-6)


def test_half_life_alone_resumes_from_a_checkpoint(tmp_path) -> None:
    from bstheory.training.lightning_callbacks import TokenHalfLifeCallback

    def callback() -> TokenHalfLifeCallback:
        return TokenHalfLifeCallback(tokens_per_batch=4 * SEQ_LEN, beta2_half_life=HALF_LIFE)

    # Three steps an epoch, resumed at the end of one: within an epoch Lightning starts the data again.
    options = {"accumulate_grad_batches": 2, "count": 24, "max_steps": -1, "max_epochs": 3}
    whole, _ = fit(tmp_path, [callback()], **options)
    _, first = fit(tmp_path, [callback()], **{**options, "max_epochs": 1})
    first.save_checkpoint(tmp_path / "half.ckpt", weights_only=False)
    resumed, second = fit(tmp_path, [after := callback()], ckpt=tmp_path / "half.ckpt", **options)
    assert second.global_step == 9 and after.half_life.steps == 9
    assert torch.equal(resumed.weight, whole.weight)
    _, plain = fit(tmp_path, [], **{**options, "max_epochs": 1})
    plain.save_checkpoint(tmp_path / "plain.ckpt", weights_only=False)
    with pytest.raises(InputError, match="belong together"):
        fit(tmp_path, [callback()], ckpt=tmp_path / "plain.ckpt", **options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"micro": 8}, "batch_size=8"),
        ({"max_steps": 9}, "max_steps=9"),
        ({"count": 48}, "12 micro-batches in an epoch"),
    ],
)
def test_settings_that_disagree_are_refused_before_the_first_step(tmp_path, changes, message) -> None:
    from bstheory.training.lightning_callbacks import BatchScheduleCallback

    module = Module()
    with pytest.raises(InputError, match=message):
        fit(tmp_path, [BatchScheduleCallback(scheduler())], module=module, **changes)
    assert module.seen == 0


def test_tokens_are_those_of_all_processes_and_a_strategy_may_not_accumulate() -> None:
    from bstheory.training.lightning_callbacks import BatchScheduleCallback, TokenHalfLifeCallback

    weight = torch.nn.Parameter(torch.ones(2))
    adam = torch.optim.AdamW([weight], lr=0.1)
    strategy = SimpleNamespace(optimizers=[adam], handles_gradient_accumulation=True)
    trainer = SimpleNamespace(strategy=strategy, world_size=3, global_step=0)
    module = SimpleNamespace(automatic_optimization=True)
    callback = TokenHalfLifeCallback(tokens_per_batch=12, beta2_half_life=HALF_LIFE)
    callback.on_fit_start(trainer, module)
    for index in range(2):
        callback.on_train_batch_start(trainer, module, None, index)
    weight.grad = torch.ones(2)

    def closure() -> None:
        callback.on_before_optimizer_step(trainer, module, adam)

    adam.step(closure)
    callback.on_train_batch_end(trainer, module, None, None, 1)
    assert callback.half_life is not None and callback.half_life.tokens == 2 * 12 * 3
    with pytest.raises(InputError, match="fixes the accumulation"):
        BatchScheduleCallback(scheduler()).on_train_start(trainer, module)


def test_another_optimizer_is_refused(tmp_path) -> None:
    from bstheory.training.lightning_callbacks import TokenHalfLifeCallback

    callback = TokenHalfLifeCallback(tokens_per_batch=12, beta2_half_life=HALF_LIFE)
    with pytest.raises(InputError, match="SGD"):
        fit(tmp_path, [callback], module=Module(torch.optim.SGD))
    with pytest.raises(InputError, match="tokens_per_batch"):
        TokenHalfLifeCallback(tokens_per_batch=0)


def test_a_step_whose_closure_forgets_the_tokens_is_an_error() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    adam = torch.optim.Adam([weight], lr=0.1)
    TokenHalfLife(adam, beta2_half_life=100.0, from_closure=True)

    def closure() -> torch.Tensor:
        loss = (weight - 1).square().sum()
        loss.backward()
        return loss

    with pytest.raises(InputError, match="outside TokenHalfLife"):
        adam.step(closure)


def test_the_example_of_the_page_runs(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how_to" / "other_libraries.md").read_text()
    code = next(c for c in re.findall(r"```python\n(.*?)```", page, re.S) if "lightning.Trainer(" in c)
    quiet = "enable_progress_bar=False, enable_model_summary=False, logger=False, accelerator='cpu'"
    code = code.replace("default_root_dir=folder", f"default_root_dir=folder, {quiet}")
    module = Module()
    exec(code, {"folder": str(tmp_path), "module": module, "rows": torch.utils.data.TensorDataset(*rows())})
    assert module.seen == sum(SIZES)
