"""Checkpoints of a user's own loop: weights, optimizer and plain-number states, complete or absent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import nn

from bstheory.errors import input_error
from bstheory.training.checkpoints import list_checkpoints, load_checkpoint, read_state, save_checkpoint
from bstheory.training.parallel import World


class HasState(Protocol):
    """Anything whose state is plain JSON: ``BatchSizeScheduler``, ``TokenHalfLife``, a data order."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Any, /) -> None: ...


class _OneOptimizer:
    """A stock optimizer in the form that checkpoints are written from.

    Its counters are what tensors and plain numbers of a group leave out: pairs such as ``betas``, and a
    learning rate held in a tensor.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.parts = {"optimizer": optimizer}

    def counters(self) -> dict[str, Any]:
        return {"groups": [_other_values(group) for group in self.parts["optimizer"].param_groups]}

    def load_counters(self, state: Mapping[str, Any]) -> None:
        for group, values in zip(self.parts["optimizer"].param_groups, state["groups"], strict=True):
            for key, value in values.items():
                if isinstance(group.get(key), torch.Tensor):
                    group[key].fill_(value)
                else:
                    group[key] = tuple(value) if isinstance(value, list) else value


def _other_values(group: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in group.items():
        if key != "params" and isinstance(value, torch.Tensor) and value.numel() == 1:
            found[key] = value.item()
        elif key != "params" and isinstance(value, tuple | list):
            if not all(isinstance(x, bool | int | float | str | None) for x in value):
                raise input_error(
                    got=f"{key}={value!r} in a group of the optimizer",
                    rule="a group holds plain values and tuples of them",
                    why="anything else would be missing after a resume",
                    do="pass numbers to the optimizer",
                )
            found[key] = list(value)
    return found


class LoopCheckpoint:
    """Save and restore a loop of your own; safetensors and JSON, no pickle.

    A checkpoint is one folder ``step-…``, renamed into place when it is whole: a loop killed at any moment
    leaves the last complete one. It holds the model's parameters and persistent buffers, the optimizer's
    tensors and the values of its groups; random-number generators are the loop's own, and a data order that
    depends on the plan alone needs none. Tensors are stored unsharded under the parameters' names, so a run
    may go on with another number of processes, or change between DDP and FSDP2. Under torchrun every rank
    calls both methods; rank 0 writes.

    Args:
        folder: where the checkpoints go.
        model: plain, in DDP, or sharded by FSDP2.
        optimizer: any torch optimizer whose state is tensors.
        parts: by name, whatever else has a state: the scheduler, the half-life.
        keep: how many checkpoints stay.
    """

    def __init__(
        self,
        folder: Path | str,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        parts: Mapping[str, HasState],
        *,
        keep: int = 2,
    ) -> None:
        if not isinstance(keep, int) or keep < 1:
            raise input_error(got=f"keep={keep}", rule="at least one checkpoint stays", do="use keep >= 1")
        self.folder, self.keep = Path(folder), keep
        self.model, self.optimizer, self.parts = model, _OneOptimizer(optimizer), dict(parts)
        started = dist.is_available() and dist.is_initialized()
        device = next(model.parameters()).device
        rank, size = (dist.get_rank(), dist.get_world_size()) if started else (0, 1)
        self.here = World(rank=rank, size=size, device=device)

    def save(self, step: int, **notes: Any) -> Path:
        """Write a checkpoint after ``step`` steps; ``notes`` are plain JSON values of the caller.

        Raises:
            InputError: the folder cannot be written or the disk is full, a step that is not a count, notes or
                a part's state that are not JSON, or an optimizer whose state is not tensors; earlier
                checkpoints are untouched.
        """
        if not isinstance(step, int) or isinstance(step, bool) or step < 0:
            raise input_error(
                got=f"step={step!r}", rule="it is an integer of at least 0", do="pass the count"
            )
        states = {name: part.state_dict() for name, part in self.parts.items()}
        for name, value in {**states, **notes}.items():
            _require_json(name, value)
        return save_checkpoint(
            self.folder,
            step=step,
            model=self.model,
            optimizer=self.optimizer,
            state={"parts": states, "notes": notes, "optimizer": self._optimizer_name()},
            here=self.here,
            keep=self.keep,
        )

    def load(self) -> dict[str, Any]:
        """Restore everything from the newest checkpoint and return its notes; ``{}`` where there is none.

        Raises:
            InputError: a damaged checkpoint, or one of another model, optimizer, schedule or set of parts;
                a part that was not restored keeps its state.
        """
        found = list_checkpoints(self.folder)
        if not found:
            return {}
        document = read_state(found[-1])
        if document.get("optimizer") != self._optimizer_name():
            raise input_error(
                got=f"checkpoint {str(found[-1])!r} of the optimizer {document.get('optimizer')}",
                rule=f"this loop uses {self._optimizer_name()}",
                why="one optimizer's state means nothing to another",
                do="use the saved run's optimizer, or start a new folder",
            )
        saved = document.get("parts")
        if not isinstance(saved, Mapping) or set(saved) != set(self.parts):
            raise input_error(
                got=f"checkpoint {str(found[-1])!r} with the parts {', '.join(saved or ['none'])}",
                rule=f"this loop has {', '.join(self.parts) or 'none'}",
                do="give the same parts, or start a new folder",
            )
        for name, part in self.parts.items():  # first those that refuse another experiment
            part.load_state_dict(saved[name])
        state = load_checkpoint(found[-1], model=self.model, optimizer=self.optimizer)
        return state["notes"]

    def _optimizer_name(self) -> str:
        return type(self.optimizer.parts["optimizer"]).__name__


def _require_json(name: str, value: Any) -> None:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise input_error(
            got=f"{name} of type {type(value).__name__}",
            rule=f"it is plain JSON ({error})",
            do="pass numbers, words, lists and dictionaries of them",
        ) from error
