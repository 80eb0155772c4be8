"""The callbacks in Hugging Face's real Trainer: the batches it makes, and weights equal to a loop of one's own."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from bstheory import schedules
from bstheory.errors import InputError
from bstheory.training import BatchSizeScheduler, TokenHalfLife

transformers = pytest.importorskip("transformers", reason="the extra [hf] is not installed")
pytest.importorskip("accelerate", reason="the extra [hf] is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # other libraries' warnings are not ours

DIM, SEQ_LEN, HALF_LIFE = 5, 3, 60.0
SPEC, TOKENS, SIZES = "0:4 48:8 96:16", 192, [4] * 4 + [8] * 2 + [16] * 2


class Rows(torch.utils.data.Dataset):
    def __init__(self, count: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(count, DIM, generator=generator)
        self.y = torch.randn(count, generator=generator)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"x": self.x[index], "labels": self.y[index], "index": torch.tensor(index)}


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.linspace(-1, 1, DIM))
        self.seen: list[list[int]] = []

    def forward(self, x, labels, index):
        if torch.is_grad_enabled():
            self.seen.append(index.tolist())
        return {"loss": (x @ self.weight - labels).square().mean()}


def scheduler(spec: str = SPEC, tokens: int = TOKENS) -> BatchSizeScheduler:
    return BatchSizeScheduler(schedules.parse(spec), num_tokens=tokens, seq_len=SEQ_LEN, micro_batch_size=4)


def trainer(folder, callbacks, *, model=None, rows: int = 64, **changes):
    options = {
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "max_steps": 8,
        "learning_rate": 0.05,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "dataloader_drop_last": True,
        **changes,
    }
    arguments = transformers.TrainingArguments(output_dir=str(folder), **options)
    return transformers.Trainer(
        model=model or Model(), args=arguments, train_dataset=Rows(rows), callbacks=callbacks
    )


def by_hand(seen: list[list[int]], sizes: list[int]) -> torch.Tensor:
    """The same micro-batches in a loop of one's own."""
    model, data = Model(), Rows(64)
    adam = torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.0)
    half_life = TokenHalfLife(adam, beta2_half_life=HALF_LIFE)
    at = 0
    for size in sizes:
        for rows in seen[at : at + size // 4]:
            ((data.x[rows] @ model.weight - data.y[rows]).square().mean() / (size // 4)).backward()
        at += size // 4
        half_life.step(tokens=size * SEQ_LEN)
        adam.zero_grad()
    assert at == len(seen)
    return model.weight.detach()


def test_schedule_and_half_life_equal_a_loop_of_ones_own(tmp_path) -> None:
    from bstheory.training.huggingface import BatchScheduleCallback, TokenHalfLifeCallback

    half_life = TokenHalfLifeCallback(seq_len=SEQ_LEN, beta2_half_life=HALF_LIFE)
    run = trainer(tmp_path, [BatchScheduleCallback(scheduler()), half_life])
    run.train()
    assert len(run.model.seen) == sum(SIZES) // 4
    assert len({i for rows in run.model.seen for i in rows}) == sum(SIZES), "a sample was used twice"
    assert half_life.half_life.tokens == TOKENS
    assert half_life.half_life.last.beta2 == 2 ** (-16 * SEQ_LEN / HALF_LIFE)
    assert torch.allclose(run.model.weight, by_hand(run.model.seen, SIZES), rtol=1e-5, atol=1e-6)
    assert run.args.gradient_accumulation_steps == 1


def test_half_life_alone_resumes_from_a_checkpoint(tmp_path) -> None:
    from bstheory.training.huggingface import TokenHalfLifeCallback

    def callback() -> TokenHalfLifeCallback:
        return TokenHalfLifeCallback(seq_len=SEQ_LEN, beta2_half_life=HALF_LIFE)

    options = {"gradient_accumulation_steps": 2, "save_strategy": "steps", "save_steps": 3}
    whole = trainer(tmp_path / "whole", [callback()], **options)
    whole.train()
    model = Model()
    resumed = trainer(tmp_path / "resumed", [callback()], model=model, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    assert torch.equal(model.weight, whole.model.weight)
    fresh = trainer(tmp_path / "other", [], **options)
    fresh.train()
    late = trainer(tmp_path / "late", [callback()], **options)
    with pytest.raises(InputError, match="without the history"):
        late.train(resume_from_checkpoint=str(tmp_path / "other" / "checkpoint-3"))


@pytest.mark.parametrize(
    ("changes", "rows", "message"),
    [
        ({"per_device_train_batch_size": 8}, 64, "per_device_train_batch_size=8"),
        ({"gradient_accumulation_steps": 2}, 64, "gradient_accumulation_steps=2"),
        ({"max_steps": 9}, 64, "max_steps=9"),
        ({}, 48, "12 micro-batches in an epoch"),
    ],
)
def test_settings_that_disagree_are_refused_before_the_first_step(tmp_path, changes, rows, message) -> None:
    from bstheory.training.huggingface import BatchScheduleCallback

    run = trainer(tmp_path, [BatchScheduleCallback(scheduler())], rows=rows, **changes)
    with pytest.raises(InputError, match=message):
        run.train()
    assert run.model.seen == []


def test_tokens_and_cut_batches_are_those_of_all_processes() -> None:
    from bstheory.training.huggingface import TokenHalfLifeCallback

    args = SimpleNamespace(per_device_train_batch_size=4, world_size=3, dataloader_drop_last=False)
    start = SimpleNamespace(global_step=0)
    weight = torch.nn.Parameter(torch.ones(2))
    adam = torch.optim.AdamW([weight], lr=0.1)

    def begin(rows: int) -> TokenHalfLifeCallback:
        callback = TokenHalfLifeCallback(seq_len=SEQ_LEN, beta2_half_life=HALF_LIFE)
        loader = SimpleNamespace(dataset=range(rows))
        callback.on_train_begin(args, start, None, train_dataloader=loader, optimizer=adam)
        return callback

    with pytest.raises(InputError, match="drop_last"):
        begin(64)  # whole on one process, cut over three
    callback = begin(60)
    callback.on_substep_end(args, start, None)
    callback.on_pre_optimizer_step(args, start, None)
    weight.grad = torch.ones(2)
    adam.step()
    callback.on_optimizer_step(args, start, None)
    assert callback.half_life is not None and callback.half_life.tokens == 2 * 4 * 3 * SEQ_LEN


def test_a_ramp_needs_the_epoch_that_the_trainer_counts_by_its_first_accumulation() -> None:
    """Micro-batches of later steps are more, but the Trainer ends an epoch by the first accumulation."""
    from bstheory.training.huggingface import BatchScheduleCallback

    falling = BatchSizeScheduler(schedules.parse("0:16 32:4"), num_tokens=64, micro_batch_size=4)
    callback = BatchScheduleCallback(falling)
    plan = callback.plan
    assert (plan.first, plan.steps, plan.micro_batches) == (4, 10, 16)
    args = SimpleNamespace(
        deepspeed=None,
        n_gpu=1,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=4,
        max_steps=10,
        world_size=1,
    )
    begin = partial(callback.on_train_begin, args, SimpleNamespace(global_step=0), None)
    with pytest.raises(InputError, match="needs 41 per rank"):
        begin(train_dataloader=range(40))
    begin(train_dataloader=range(41))


def test_another_optimizer_and_cut_batches_are_refused(tmp_path) -> None:
    from bstheory.training.huggingface import TokenHalfLifeCallback

    def callback() -> TokenHalfLifeCallback:
        return TokenHalfLifeCallback(seq_len=SEQ_LEN, beta2_half_life=HALF_LIFE)

    with pytest.raises(InputError, match="SGD"):
        trainer(tmp_path, [callback()], optim="sgd").train()
    with pytest.raises(InputError, match="drop_last"):
        trainer(tmp_path, [callback()], rows=63, dataloader_drop_last=False).train()
    with pytest.raises(InputError, match="seq_len"):
        TokenHalfLifeCallback(seq_len=0)


def test_the_example_of_the_page_runs(tmp_path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how_to" / "other_libraries.md").read_text()
    code = next(c for c in re.findall(r"```python\n(.*?)```", page, re.S) if "transformers.Trainer(" in c)
    code = code.replace("report_to=", "use_cpu=True, disable_tqdm=True, report_to=")
    space = {"folder": str(tmp_path), "model": Model(), "rows": Rows(64)}
    exec(code, space)
    assert len(space["model"].seen) == sum(SIZES) // 4
