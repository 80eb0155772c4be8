"""``TrainConfig``: everything that determines a training run, as one frozen JSON-able value."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from bstheory.errors import input_error
from bstheory.models.configs import GPTConfig, config_from_json
from bstheory.models.gpt import AttentionKernel
from bstheory.schedules import Schedule, parse
from bstheory.schedules.rules import Rule
from bstheory.training.optimizers import OptimizerConfig

DEFAULT_MICRO_BATCH = 64
EVALUATION_LOGITS = 2**28  # of one forward pass in validation, 1 GiB in float32
PRECISIONS = ("float32", "bfloat16_autocast", "bfloat16")
PARALLEL = ("ddp", "fsdp")
ATTENTION = tuple(kernel.value for kernel in AttentionKernel)
# What may differ between the run that saved a checkpoint and the one that resumes it, because none of these
# changes the mathematics (only the order of floating-point sums).
MECHANICS = (
    "micro_batch_size",
    "max_micro_batch_size",
    "parallel",
    "compile",
    "cuda_graphs",
    "max_autotune",
    "attention",
    "log_every_steps",
    "checkpoint_every_tokens",
    "keep_checkpoints",
)


def warmup_cosine(
    *, peak: float, tokens: int, warmup: int, final: float = 0.0, unit: str = "tokens"
) -> Schedule:
    """Linear from 0 to ``peak`` over ``warmup``, then cosine to ``final`` at ``tokens`` (both in
    ``unit``)."""
    if not 0 <= warmup < tokens:
        raise input_error(
            got=f"warmup={warmup} of {tokens} {unit}",
            rule="the warm-up ends before the run does",
            do="shorten it",
        )
    fall = Schedule(
        name="cosine",
        quantity="learning_rate",
        unit=unit,
        params={"start": peak, "end": final, "over": tokens - warmup, "begin": warmup},
    )
    if warmup == 0:
        return fall
    rise = Schedule(
        name="linear",
        quantity="learning_rate",
        unit=unit,
        params={"start": 0.0, "end": peak, "over": warmup},
    )
    return Schedule(
        name="join",
        quantity="learning_rate",
        unit=unit,
        params={"thresholds": (0, warmup), "schedules": (rise, fall)},
    )


def batch_size_schedule(spec: str | int) -> Schedule:
    """``64``, ``"0:8 1M:64"`` or a ramp (thresholds in tokens) as a schedule."""
    single = ":" not in str(spec) and "->" not in str(spec)
    return parse(f"0:{spec}" if single else str(spec), unit="tokens")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run.

    Attributes:
        name: short name, used for folders and tables.
        model: the decoder.
        tokens: token budget.
        batch_size: schedule of the global batch size in sequences, or a closed-loop rule.
        learning_rate: schedule of the learning rate.
        optimizer: see :class:`OptimizerConfig`.
        seq_len: tokens per sequence; default the model's context.
        seed: of the initial weights, the row order and stochastic rounding.
        block: rows of neighbouring text per block, see :class:`bstheory.training.shards.TokenRows`.
        micro_batch_size, max_micro_batch_size: sequences per forward pass and rank, fixed or as large as
            divides; by default the whole local batch in one pass (at most 64).
        last_batch: what happens when the last batch does not fit: ``raise``, ``partial`` or ``overshoot``.
        precision: ``float32``; ``bfloat16_autocast`` (float32 weights; products in bfloat16, and under FSDP
            the sums between the blocks too); ``bfloat16`` (weights too).
        grad_clip: bound on the global gradient norm; None does not clip.
        statistics: measure the gradient noise every step (two scalars; needs two ranks or micro-batches).
        eval_every_tokens: validation interval; None validates at the end only.
        eval_rows: rows of the fixed validation set.
        log_every_steps: steps per record of the run's series.
        checkpoint_every_tokens: None saves at the end only (and when interrupted).
        keep_checkpoints: how many to keep.
        parallel: ``ddp`` or ``fsdp`` when several processes run.
        compile: ``torch.compile`` the model; with it, ``cuda_graphs`` captures its passes on a GPU (for tiny
            steps), and ``max_autotune`` times several kernels for each matrix product (slow to start).
        attention: torch's kernel: ``auto`` (torch chooses), ``flash``, ``efficient``, ``cudnn`` or ``math``.

    Raises:
        InputError: a value out of range, or options that exclude each other.
    """

    name: str
    model: GPTConfig
    tokens: int
    batch_size: Schedule | Rule
    learning_rate: Schedule
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    seq_len: int | None = None
    seed: int = 0
    block: int = 1
    micro_batch_size: int | None = None
    max_micro_batch_size: int | None = None
    last_batch: str = "raise"
    precision: str = "float32"
    grad_clip: float | None = None
    statistics: bool = False
    eval_every_tokens: int | None = None
    eval_rows: int = 256
    log_every_steps: int = 1
    checkpoint_every_tokens: int | None = None
    keep_checkpoints: int = 2
    parallel: str = "ddp"
    compile: bool = False
    cuda_graphs: bool = False
    max_autotune: bool = False
    attention: str = "auto"

    def __post_init__(self) -> None:
        for name in ("tokens", "eval_rows", "log_every_steps", "keep_checkpoints", "block"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise input_error(got=f"{name}={value!r}", rule="it is a positive integer", do="pass one")
        for name in ("eval_every_tokens", "checkpoint_every_tokens", "seq_len"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise input_error(got=f"{name}={value!r}", rule="it is a positive integer", do="pass one")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**47:
            raise input_error(got=f"seed={self.seed!r}", rule="it is an integer in [0, 2^47)", do="pass one")
        if self.length > self.model.context:
            raise input_error(
                got=f"seq_len={self.seq_len}",
                rule=f"model {self.model.name!r} has a context of {self.model.context} tokens",
                do="shorten the sequences, or choose a model with a longer context",
            )
        choices = (("precision", PRECISIONS), ("parallel", PARALLEL), ("attention", ATTENTION))
        for name, options in choices:
            if getattr(self, name) not in options:
                raise input_error(
                    got=f"{name}={getattr(self, name)!r}",
                    rule=f"it is one of {', '.join(options)}",
                    do="choose one",
                )
        clip = self.grad_clip
        number = isinstance(clip, int | float) and not isinstance(clip, bool)
        if clip is not None and not (number and 0 < clip < math.inf):
            raise input_error(got=f"grad_clip={clip!r}", rule="a bound is a positive number", do="pass one")
        self._require_together()
        if self.optimizer.in_backward and (self.grad_clip is not None or self.statistics):
            raise input_error(
                got="in_backward with grad_clip or statistics",
                rule="both need all gradients at once, and in_backward frees each as it comes",
                do="leave one of them out",
            )

    def _require_together(self) -> None:
        """Raise for parts that do not fit each other."""
        if not isinstance(self.learning_rate, Schedule) or self.learning_rate.quantity != "learning_rate":
            raise input_error(
                got=f"learning_rate={self.learning_rate!r}"[:120],
                rule="it is a schedule of the quantity learning_rate",
                do="build one, for example with warmup_cosine",
            )
        if self.micro_batch_size is not None and self.max_micro_batch_size is not None:
            raise input_error(
                got=f"micro_batch_size={self.micro_batch_size} and "
                f"max_micro_batch_size={self.max_micro_batch_size}",
                rule="the micro-batch is fixed, or as large as divides",
                do="give one of the two",
            )
        for name in ("cuda_graphs", "max_autotune"):
            if getattr(self, name) and not self.compile:
                raise input_error(
                    got=f"{name} without compile",
                    rule=f"{name} is a mode of torch.compile",
                    why="it would have no effect",
                    do=f"add compile, or leave {name} out",
                )
        if isinstance(self.batch_size, Rule) and not self.statistics:
            raise input_error(
                got=f"the rule {self.batch_size.name} without statistics",
                rule="a rule sets the batch size from the gradient statistics of each step",
                do="add statistics=True",
            )

    @property
    def length(self) -> int:
        """Tokens per sequence."""
        return self.seq_len or self.model.context

    @property
    def rows_per_evaluation(self) -> int:
        """Rows of one forward pass in validation: the micro-batch; by default at most 64, and fewer where the
        vocabulary is so large that their logits would take more memory than training does."""
        if chosen := self.micro_batch_size or self.max_micro_batch_size:
            return chosen
        return max(1, min(DEFAULT_MICRO_BATCH, EVALUATION_LOGITS // (self.length * self.model.vocab_size)))

    def comparable(self) -> dict[str, Any]:
        """The part of it that determines the numbers; see :data:`MECHANICS`."""
        return {key: value for key, value in self.to_json().items() if key not in MECHANICS}

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; :func:`train_config_from_json` is its inverse."""
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        found["model"] = self.model.to_json()
        found["optimizer"] = dataclasses.asdict(self.optimizer)
        found["batch_size"] = (
            {"rule": dataclasses.asdict(self.batch_size)}
            if isinstance(self.batch_size, Rule)
            else self.batch_size.to_dict()
        )
        found["learning_rate"] = self.learning_rate.to_dict()
        return found


def train_config_from_json(document: Mapping[str, Any]) -> TrainConfig:
    """Rebuild a configuration, checking everything again; raises ``InputError`` on unknown or missing
    fields."""
    known = {f.name for f in dataclasses.fields(TrainConfig)}
    if set(document) != known:
        raise input_error(
            got=f"training configuration with fields {sorted(set(document) ^ known)} too many or missing",
            rule="it has exactly the fields of TrainConfig",
            do="use a configuration written by this version",
        )
    try:
        batch_size = document["batch_size"]
        rebuilt = (
            Rule(**batch_size["rule"]) if set(batch_size) == {"rule"} else Schedule.from_dict(batch_size)
        )
        parts = {
            "model": config_from_json(document["model"]),
            "optimizer": OptimizerConfig(**document["optimizer"]),
            "batch_size": rebuilt,
            "learning_rate": Schedule.from_dict(document["learning_rate"]),
        }
        return TrainConfig(**{**document, **parts})
    except (TypeError, KeyError, AttributeError) as error:
        raise input_error(
            got=f"a training configuration that cannot be rebuilt ({error})",
            rule="its parts have the fields and types that to_json writes",
            do="use a configuration written by this version",
        ) from error
