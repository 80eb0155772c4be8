"""The trainer: one loop for a byte-level model on a laptop, GPT-2 on one GPU, and many GPUs under torchrun.

Everything that determines a run is in its :class:`TrainConfig` and the data; batch size, learning rate and
half-lives are functions of what has been consumed, and rows are a function of (seed, sample index). So
resuming needs the weights, the optimizer's averages and three integers, and gives the same numbers bit for
bit on a CPU, also across a change of the batch size. Under another number of processes only the order of
floating-point sums changes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bstheory.errors import InputError, input_error
from bstheory.models.gpt import GPT
from bstheory.run import Run
from bstheory.training.batch_scheduler import BatchPlan, BatchSizeScheduler
from bstheory.training.checkpoints import (
    all_finite,
    list_checkpoints,
    load_checkpoint,
    read_state,
    require_same_run,
    save_checkpoint,
)
from bstheory.training.config import DEFAULT_MICRO_BATCH, TrainConfig
from bstheory.training.execution import choose_attention, compiled, own_gradients
from bstheory.training.gradient_statistics import GradientStatistics
from bstheory.training.optimizers import build_optimizer
from bstheory.training.parallel import (
    Interrupted,
    World,
    device_name,
    last_backward,
    rounding_seed,
    settle,
    stop_signals,
    wrap,
)
from bstheory.training.records import (
    Record,
    append_log,
    crossed,
    finished_run,
    non_finite_error,
    rewrite_log,
    run_of_records,
)
from bstheory.training.requirements import require_memory, require_rows, require_updates
from bstheory.training.shards import TokenRows


class Trainer:
    """See the module.

    Args:
        config: what to train.
        data: training rows; their order must be the configuration's seed and block.
        validation: validation rows; ``config.eval_rows`` of them, evenly spread, are the fixed set.
        here: this process, from :func:`bstheory.training.parallel.world`.
        folder: where ``run.json``, ``metrics.parquet``, ``log.jsonl`` and checkpoints go; None keeps nothing.
        resume: continue from the newest complete checkpoint in ``folder``.
        branch_from: start from the weights and averages of another run's checkpoint, under this
            configuration (for branching at another batch size).
        model: train this one (``model(tokens, targets)`` is the mean loss) in the dtypes that it has instead
            of building the configuration's, whose sizes then only describe it.
        provenance: more facts for ``Run.config`` (the data's name and fingerprint).

    Raises:
        InputError: rows of another order or vocabulary, a folder that holds another run, nothing to
            resume, or a batch that the device's memory cannot hold.
    """

    def __init__(
        self,
        config: TrainConfig,
        *,
        data: TokenRows,
        validation: TokenRows,
        here: World,
        folder: Path | str | None = None,
        resume: bool = False,
        branch_from: Path | str | None = None,
        provenance: dict[str, Any] | None = None,
        model: nn.Module | None = None,
    ) -> None:
        self.given_model = model
        self.config, self.data, self.here = config, data, here
        self.folder = None if folder is None else Path(folder)
        self.provenance = {"data": data.fingerprint(), **(provenance or {})}
        require_rows(config, data, validation)
        micro, largest = config.micro_batch_size, config.max_micro_batch_size or DEFAULT_MICRO_BATCH
        self.scheduler = BatchSizeScheduler(
            config.batch_size,
            num_tokens=config.tokens,
            seq_len=config.length,
            world_size=here.size,
            micro_batch_size=micro,
            max_micro_batch_size=largest if micro is None else None,
            last=config.last_batch,
        )
        require_updates(config, self.scheduler, here)
        if model is None:
            require_memory(config, self.scheduler, here)
        self.model = self._build_model()
        choose_attention(self.model, config, here.device)
        trainable = wrap(self.model, here, parallel=config.parallel, precision=config.precision)
        rounding = rounding_seed(config.seed, here, parallel=config.parallel)
        self.optimizer = build_optimizer(trainable, config.optimizer, seed=rounding)
        self.statistics = GradientStatistics(trainable) if config.statistics else None
        self.wrapped = trainable
        self.parameters = [p for p in trainable.parameters() if p.requires_grad]
        self.forward = compiled(trainable, config)
        self.held_out = torch.from_numpy(validation.read(validation.spread(config.eval_rows)))
        self.records: list[Record] = []
        self.stop_requested = False
        if branch_from is not None:
            load_checkpoint(branch_from, model=self.wrapped, optimizer=self.optimizer, settings=False)
        self._open_folder(resume)

    def _build_model(self) -> nn.Module:
        config = self.config
        if self.given_model is not None:
            return self.given_model.to(self.here.device)
        model = GPT(config.model, generator=torch.Generator().manual_seed(config.seed))
        dtype = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
        return model.to(device=self.here.device, dtype=dtype)

    def _open_folder(self, resume: bool) -> None:
        if self.folder is None:
            return
        saved = list_checkpoints(self.folder / "checkpoints")
        if not resume:
            if saved or (self.folder / "run.json").exists():
                raise input_error(
                    got=f"output folder {str(self.folder)!r}",
                    rule="it already holds a run",
                    do="pass --resume to continue it, or choose another folder",
                )
            return
        if not saved:  # killed before its first checkpoint: from the beginning
            if (self.folder / "run.json").exists():
                raise input_error(
                    got=f"output folder {str(self.folder)!r} with a run.json and no checkpoint",
                    rule="resuming continues from a checkpoint",
                    why="training from the beginning would overwrite that run",
                    do="choose another folder, or restore its checkpoints",
                )
            if self.here.main and (self.folder / "log.jsonl").exists():
                rewrite_log(self.folder, [])
            return
        state = read_state(saved[-1])
        require_same_run(state, self.config.comparable(), self.provenance, self.folder)
        load_checkpoint(saved[-1], model=self.wrapped, optimizer=self.optimizer)
        self.scheduler.load_state_dict(state["scheduler"])
        self.records = [Record(**record) for record in state["records"]]
        if self.here.main:
            rewrite_log(self.folder, self.records)

    def run(
        self,
        *,
        stop_after_seconds: float | None = None,
        progress: Callable[[int, int, str], None] | None = None,
        observe: Callable[[Record], None] | None = None,
    ) -> Run:
        """Train to the end of the token budget, or until the time is up; returns what was recorded.

        Args:
            stop_after_seconds: save and return after this long; ``summary["finished"]`` is then False.
            progress: called with (tokens, budget, label) at every record.
            observe: called with every record, by the process that writes files.

        Raises:
            NonFiniteError: a loss, the gradient norm or a weight is not finite.
            Interrupted: Ctrl-C or SIGTERM; the checkpoint of the last finished step has been written.
        """
        if self.scheduler.done and (finished := finished_run(self.folder)):
            return finished
        tell = progress or (lambda *_: None)
        start, begun_at = time.perf_counter(), self.scheduler.position.tokens
        pending: list[tuple[BatchPlan, float, Tensor, Tensor | None, Any]] = []
        saved_at = self.scheduler.position.tokens
        with stop_signals(self._request_stop):
            while (plan := self.scheduler.plan()) is not None:
                pending.append(self.train_step(plan))
                tokens = self.scheduler.position.tokens
                over = stop_after_seconds is not None and time.perf_counter() - start > stop_after_seconds
                leaving = self.here.any(self.stop_requested or over) if self._may_stop else False
                done = self.scheduler.done
                validate = done or crossed(plan.tokens, tokens, self.config.eval_every_tokens)
                save_every = self.config.checkpoint_every_tokens
                checkpoint = done or leaving or crossed(plan.tokens, tokens, save_every)
                if validate or checkpoint or len(pending) >= self.config.log_every_steps:
                    record, pending = self._record(pending), []
                    if validate:
                        tell(plan.tokens, self.config.tokens, "validating")
                        found = self.validation_loss()
                        self._require_finite(record.step, "validation loss", found)
                        record.values["validation_loss"] = found
                    self._log(record)
                    if observe and self.here.main:
                        observe(record)
                    tell(tokens, self.config.tokens, f"loss {record.values['loss']:.3f}")
                if checkpoint:
                    self.save()
                    saved_at = tokens
                if leaving:
                    break
        if saved_at != self.scheduler.position.tokens:
            self.save()
        seconds = time.perf_counter() - start
        run = self.result(seconds=seconds, tokens=self.scheduler.position.tokens - begun_at)
        if self.folder and self.here.main:
            run.save(self.folder)
        if self.here.any(self.stop_requested):
            raise Interrupted
        return run

    def train_step(self, plan: BatchPlan) -> tuple[BatchPlan, float, Tensor, Tensor | None, Any]:
        """One optimizer step; what it left (loss and norm still on the device) is for ``_record``."""
        config = self.config
        schedule = config.learning_rate
        rate = float(schedule.value(float(self.scheduler.position.clock(schedule.unit))))
        self.optimizer.set_learning_rate(rate)
        losses, norm, seen = [], None, None
        if self.statistics:
            self.statistics.start(plan)
        with self.optimizer.one_step(plan.tokens_per_step):
            for index, samples in enumerate(plan.micro_batches(self.here.rank)):
                batch = self._to_device(torch.from_numpy(self.data.batch(samples)))
                is_last = index == plan.accumulation - 1
                if config.cuda_graphs:
                    torch.compiler.cudagraph_mark_step_begin()
                with last_backward(self.wrapped, is_last):
                    with self._autocast():
                        loss = self.forward(batch[:, :-1], batch[:, 1:])
                    (loss / plan.accumulation if plan.accumulation > 1 else loss).backward()
                # A captured graph writes its next loss and gradients to the same addresses.
                losses.append(loss.detach().clone() if config.cuda_graphs else loss.detach())
                if config.cuda_graphs and index == 0 and not is_last:
                    own_gradients(self.parameters)
            if self.statistics:
                seen = self._finish_statistics(plan.step, losses)
            if config.grad_clip is not None:
                norm = nn.utils.clip_grad_norm_(self.parameters, config.grad_clip)
        self.optimizer.zero_grad()
        self.scheduler.step(seen)
        mean = losses[0] if len(losses) == 1 else torch.stack(losses).mean()
        return plan, rate, mean, norm, seen

    def _finish_statistics(self, step: int, losses: list[Tensor]) -> Any:
        """The step's statistics; where they are not finite, which number broke first."""
        try:
            return self.statistics.finish()
        except InputError:
            self._require_finite(step, "loss", float(self.here.mean(torch.stack(losses).mean())))
            local = all_finite(p.grad for p in self.parameters if p.grad is not None)
            self._require_finite(step, "gradient norm", math.nan if self.here.any(not local) else 0.0)
            raise

    def _record(self, pending: list[tuple[BatchPlan, float, Tensor, Tensor | None, Any]]) -> Record:
        """Fetch what the steps left on the device (the only synchronization) and check that it is finite."""
        losses = self.here.mean(torch.stack([loss for _, _, loss, _, _ in pending])).tolist()
        norms = [
            n.full_tensor() if hasattr(n, "full_tensor") else n for _, _, _, n, _ in pending if n is not None
        ]
        values = {"gradient norm": torch.stack(norms).tolist()} if norms else {}
        for name, series in ({"loss": losses} | values).items():
            for (plan, *_), value in zip(pending, series, strict=True):
                self._require_finite(plan.step, name, value)
        plan, rate, _, _, seen = pending[-1]
        position = self.scheduler.position
        found = {
            "loss": float(np.mean(losses)),
            "batch_size": float(plan.batch_size),
            "learning_rate": rate,
        }
        if norms:
            found["grad_norm"] = float(np.mean(values["gradient norm"]))
        for half_life in self.optimizer.half_lives.values():
            if half_life.last is not None:
                found["beta2"] = half_life.last.beta2
        if seen is not None and seen.groups > 1:
            measured = [s for *_, s in pending]
            found["noise"] = float(np.mean([s.noise for s in measured]))
            found["signal"] = float(np.mean([s.signal for s in measured]))
            found["grad_norm"] = float(np.mean([math.sqrt(s.norm_sq) for s in measured]))
        return Record(step=position.step, tokens=position.tokens, values=found)

    def _require_finite(self, step: int, name: str, value: float) -> None:
        if not math.isfinite(value):
            raise non_finite_error(self.folder, step, name, value)

    @torch.no_grad()
    def validation_loss(self) -> float:
        """Mean cross-entropy over the fixed rows, nats per token; every rank evaluates its share."""
        self.wrapped.eval()
        # Equal counts on every rank, because sharded forward passes communicate; spare ones get weight 0.
        total = torch.zeros(2, dtype=torch.float64, device=self.here.device)
        chunk = self.config.rows_per_evaluation
        count = len(self.held_out)
        for start in range(0, count, chunk * self.here.size):
            low = start + chunk * self.here.rank
            part = self.held_out[low : min(low + chunk, count)]
            weight = len(part)
            batch = self._to_device(part if weight else self.held_out[:1])
            with self._autocast():
                loss = self.wrapped(batch[:, :-1], batch[:, 1:])
            total += weight * torch.stack((loss.double(), torch.ones_like(total[0])))
        total = self.here.mean(total)
        self.wrapped.train()
        settle(self.wrapped)
        return float(total[0] / total[1])

    def save(self) -> None:
        """Write a checkpoint of the present position (nothing without a folder).

        Raises:
            NonFiniteError: a weight is not finite; the checkpoints before stay.
        """
        if self.folder is None:
            return
        position = self.scheduler.position
        # The loss is measured before the update: a last step that ruined the weights shows only in them.
        broken = self.here.any(not all_finite(self.parameters))
        self._require_finite(position.step, "a weight", math.nan if broken else 0.0)
        save_checkpoint(
            self.folder / "checkpoints",
            step=position.step,
            model=self.wrapped,
            optimizer=self.optimizer,
            here=self.here,
            keep=self.config.keep_checkpoints,
            state={
                "config": self.config.comparable(),
                "provenance": self.provenance,
                "scheduler": self.scheduler.state_dict(),
                "records": [dataclasses.asdict(record) for record in self.records],
            },
        )

    def result(self, *, seconds: float = 0.0, tokens: int = 0) -> Run:
        """What has been recorded so far, as a :class:`Run` (one seed)."""
        return run_of_records(
            self.records,
            config=self.config,
            provenance=self.provenance,
            summary={
                "finished": self.scheduler.done,
                "epochs": self.scheduler.position.tokens / self.data.tokens,
                "validation_rows": len(self.held_out),
                "world_size": self.here.size,
                "device": device_name(self.here.device),
                "tokens_per_second": tokens / seconds if seconds else None,
                "peak_bytes": torch.cuda.max_memory_allocated() if self.here.device.type == "cuda" else None,
            },
        )

    def _log(self, record: Record) -> None:
        self.records.append(record)
        if self.folder and self.here.main:
            append_log(self.folder, record)

    def _to_device(self, batch: Tensor) -> Tensor:
        if self.here.device.type == "cuda":
            return batch.pin_memory().to(self.here.device, non_blocking=True)
        return batch

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        sharded = self.config.parallel == "fsdp" and self.here.size > 1  # its own mixed-precision policy
        if self.config.precision != "bfloat16_autocast" or sharded:
            return contextlib.nullcontext()
        return torch.autocast(self.here.device.type, dtype=torch.bfloat16)

    def _request_stop(self) -> None:
        self.stop_requested = True

    @property
    def _may_stop(self) -> bool:
        """Ranks agree on stopping every few steps only, because agreeing costs a synchronization."""
        return self.here.size == 1 or self.scheduler.position.step % 8 == 0
