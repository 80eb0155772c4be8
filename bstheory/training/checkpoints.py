"""Checkpoints: safetensors and JSON in one folder a step, complete or absent, never pickle.

    checkpoints/step-000000128/   model.safetensors  optimizer.safetensors  state.json

A checkpoint is written into a temporary folder, synced, and renamed, so a killed process leaves either all of
it or none. ``state.json`` carries the sha256 of both tensor files and of its own content. Tensors are stored
whole under the names of the parameters, so a run may continue with another number of processes or another
sharding.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from bstheory.errors import input_error
from bstheory.files import read_json, write_json
from bstheory.run import config_hash
from bstheory.training.parallel import World, like, whole

FORMAT = 2
FILES = ("model.safetensors", "optimizer.safetensors")
WRITING, REPLACED = ".writing-", ".replaced-"  # not yet, and no longer, one of the checkpoints


class Resumable(Protocol):
    """What a checkpoint needs of an optimizer: its torch optimizers by name, and a few counters."""

    parts: dict[str, torch.optim.Optimizer]

    def counters(self) -> dict[str, Any]: ...

    def load_counters(self, state: Any, /) -> None: ...


def parameter_names(model: nn.Module) -> dict[int, str]:
    """id of each parameter -> its name, wrappers of DDP and compile left out; a tied one has its first
    name."""
    return {id(p): clean(name) for name, p in model.named_parameters()}


def clean(name: str) -> str:
    """A parameter's name without the prefixes that wrappers add."""
    return name.replace("_orig_mod.", "").removeprefix("module.")


def _buffers(model: nn.Module) -> dict[str, Tensor]:
    """Persistent buffers by name, such as the running statistics of a batch norm."""
    kept = model.state_dict().keys()
    return {clean(name): buffer for name, buffer in model.named_buffers() if name in kept}


def _optimizer_tensors(optimizer: Resumable, names: Mapping[int, str]) -> dict[str, Tensor]:
    found = {}
    for part_name, part in optimizer.parts.items():
        for group in part.param_groups:
            for p in group["params"]:
                for key, value in part.state.get(p, {}).items():
                    if value is None:
                        continue
                    if id(p) not in names or not isinstance(value, Tensor):
                        raise input_error(
                            got=f"state {key!r} of type {type(value).__name__} in {type(part).__name__}, of "
                            + (names.get(id(p)) or "a parameter that is not the model's"),
                            rule="the optimizer's state is tensors of the model's parameters",
                            why="anything else would be missing after a resume",
                            do="use an optimizer such as Adam or SGD, over model.parameters()",
                        )
                    found[f"{part_name}/{names[id(p)]}/{key}"] = whole(value).contiguous()
    return found


def _group_values(optimizer: Resumable) -> dict[str, list[dict[str, Any]]]:
    plain = (bool, int, float, str, type(None))
    return {
        name: [{k: v for k, v in group.items() if isinstance(v, plain)} for group in part.param_groups]
        for name, part in optimizer.parts.items()
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def list_checkpoints(folder: Path | str) -> list[Path]:
    """Complete checkpoints, oldest first."""
    found: dict[int, Path] = {}
    for prefix in (REPLACED, ""):  # one that was put aside counts until another has taken its place
        for path in Path(folder).glob(f"{prefix}step-*"):
            step = path.name.removeprefix(f"{prefix}step-")
            if step.isdecimal() and (path / "state.json").exists():
                found[int(step)] = path
    return [found[step] for step in sorted(found)]  # as numbers: names have nine digits or more


def all_finite(parameters: Iterable[Tensor]) -> bool:
    """Whether every weight that this process holds is finite."""
    shards = (p.to_local() if isinstance(p, DTensor) else p for p in parameters)
    return all(bool(shard.isfinite().all()) for shard in shards)


def require_same_run(
    state: Mapping[str, Any], config: Mapping[str, Any], provenance: Mapping[str, Any], folder: Path
) -> None:
    """Raise ``InputError`` unless the checkpoint's state is of this configuration and data set."""
    require_entries(state, {"config": dict, "provenance": dict, "scheduler": dict, "records": list}, folder)
    saved = state["config"]
    different = [k for k in config if config_hash({"": config[k]}) != config_hash({"": saved.get(k)})]
    if different or state["provenance"] != provenance:
        raise input_error(
            got=f"a checkpoint with another {', '.join(different) or 'data set'} in {str(folder)!r}",
            rule="resuming continues the same experiment",
            do="use the configuration in its state.json, or start a new folder",
        )


def require_entries(state: Mapping[str, Any], kinds: Mapping[str, type], where: Path) -> None:
    """Raise ``InputError`` unless the state has these entries: other loops write states of their own."""
    wrong = [name for name, kind in kinds.items() if not isinstance(state.get(name), kind)]
    if wrong:
        raise input_error(
            got=f"a checkpoint without {', '.join(wrong)} in {str(where)!r}",
            rule=f"its state.json has {', '.join(kinds)}",
            why="another program wrote it",
            do="continue it with the program that wrote it",
        )


def save_checkpoint(
    folder: Path | str,
    *,
    step: int,
    model: nn.Module,
    optimizer: Resumable,
    state: Mapping[str, Any],
    here: World,
    keep: int,
) -> Path:
    """Write ``folder/step-…`` and remove all but the newest ``keep``. Every rank calls it; rank 0 writes.

    Raises:
        InputError: the folder cannot be written or the disk is full; earlier checkpoints are untouched.
    """
    folder = Path(folder)
    target = folder / f"step-{step:09d}"
    names = parameter_names(model)
    weights = {names[id(p)]: whole(p).contiguous() for p in model.parameters()}
    weights |= {name: whole(buffer).contiguous() for name, buffer in _buffers(model).items()}
    moments = _optimizer_tensors(optimizer, names)
    failure = ""
    if here.main:
        temporary = ""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for unfinished in folder.glob(f"{WRITING}*"):  # what a killed process had begun
                shutil.rmtree(unfinished, ignore_errors=True)
            temporary = tempfile.mkdtemp(dir=folder, prefix=WRITING)
            hashes = {}
            for name, tensors in zip(FILES, (weights, moments), strict=True):
                save_file(tensors, Path(temporary) / name)
                with (Path(temporary) / name).open("rb") as stream:
                    os.fsync(stream.fileno())
                hashes[name] = _sha256(Path(temporary) / name)
            document = {
                "format": FORMAT,
                "step": step,
                "sha256": hashes,
                "groups": _group_values(optimizer),
                "counters": optimizer.counters(),
                **state,
            }
            write_json(Path(temporary) / "state.json", document | {"content_sha256": config_hash(document)})
            aside = folder / f"{REPLACED}{target.name}"
            if target.exists():  # the same step again
                if aside.exists():
                    _remove(aside)
                os.rename(target, aside)
            os.rename(temporary, target)
            temporary = ""
            for old in [*folder.glob(f"{REPLACED}*"), *list_checkpoints(folder)[:-keep]]:
                if old.exists():
                    _remove(old)
        except (OSError, ValueError, TypeError, safetensors.SafetensorError) as error:
            failure = str(getattr(error, "strerror", None) or error)
        finally:
            if temporary:
                shutil.rmtree(temporary, ignore_errors=True)
    if here.any(bool(failure)):
        raise input_error(
            got=f"checkpoint folder {str(folder)!r}",
            rule=f"the checkpoint cannot be written ({failure or 'see the error of rank 0'})",
            do="free disk space or choose another folder, then resume from the last complete checkpoint",
        )
    return target


def _remove(checkpoint: Path) -> None:
    """Remove a checkpoint so that a process killed meanwhile leaves no half of one among the others."""
    doomed = checkpoint.with_name(f"{WRITING}{checkpoint.name}")
    os.rename(checkpoint, doomed)
    shutil.rmtree(doomed)


def read_state(path: Path | str) -> dict[str, Any]:
    """``state.json`` of a checkpoint, after checking that its tensor files are the ones it was written with.

    Raises:
        InputError: a missing, truncated or altered file.
    """
    path = Path(path)
    state = read_json(path / "state.json")
    written = state.get("format") if isinstance(state, dict) else None
    if written != FORMAT:
        raise input_error(
            got=f"checkpoint {str(path)!r} of format {written!r}",
            rule=f"this version reads format {FORMAT}",
            do="read it with the version that wrote it",
        )
    content = {key: value for key, value in state.items() if key != "content_sha256"}
    if state.get("content_sha256") != config_hash(content):
        raise input_error(
            got=f"checkpoint {str(path)!r}",
            rule="state.json does not have the sha256 that it carries",
            why="it was altered",
            do="remove this folder and resume from the one before it",
        )
    for name in FILES:
        if not (path / name).exists() or _sha256(path / name) != state["sha256"][name]:
            raise input_error(
                got=f"checkpoint {str(path)!r}",
                rule=f"{name} is missing or its sha256 is not the recorded one",
                why="it was cut short or altered",
                do="remove this folder and resume from the one before it",
            )
    return state


def load_weights(path: Path | str, model: nn.Module) -> None:
    """Load the model's weights and persistent buffers only.

    Raises:
        InputError: other names or shapes than the model has.
    """
    tensors = load_file(Path(path) / FILES[0])
    mine = {clean(name): p for name, p in model.named_parameters()} | _buffers(model)
    shapes = {name: list(p.shape) for name, p in mine.items()}
    wrong = [n for n in {*shapes, *tensors} if n not in tensors or list(tensors[n].shape) != shapes.get(n)]
    if wrong:
        raise input_error(
            got=f"checkpoint {str(path)!r}",
            rule=f"its tensors are not the model's ({', '.join(sorted(wrong)[:3])} ...)",
            why="it was written by another model configuration",
            do="use the configuration stored in its state.json",
        )
    with torch.no_grad():
        for name, parameter in mine.items():
            parameter.copy_(like(tensors[name].to(parameter.dtype), parameter))


def load_checkpoint(
    path: Path | str, *, model: nn.Module, optimizer: Resumable, settings: bool = True
) -> dict[str, Any]:
    """Restore model and optimizer; returns the state document.

    Without ``settings`` the optimizer's groups keep their own coefficients and take only the step counts, so
    that the averages go on under another configuration.

    Raises:
        InputError: a damaged checkpoint, or one of another model or optimizer.
    """
    path = Path(path)
    state = read_state(path)
    tensors = load_file(path / FILES[1])
    if set(state["groups"]) != set(optimizer.parts):
        raise input_error(
            got=f"checkpoint {str(path)!r} of the optimizer {'+'.join(state['groups'])}",
            rule=f"this run uses {'+'.join(optimizer.parts)}",
            do="use the configuration stored in its state.json",
        )
    for part_name, part in optimizer.parts.items():
        saved_groups = state["groups"][part_name]
        if len(saved_groups) != len(part.param_groups):
            raise input_error(
                got=f"checkpoint {str(path)!r} with {len(saved_groups)} parameter groups in {part_name}",
                rule=f"this optimizer has {len(part.param_groups)}",
                do="build the optimizer as it was built for the saved run",
            )
    load_weights(path, model)
    names = parameter_names(model)
    by_parameter: dict[tuple[str, str], dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        part, name, entry = key.split("/")
        by_parameter.setdefault((part, name), {})[entry] = tensor
    for part_name, part in optimizer.parts.items():
        for group, values in zip(part.param_groups, state["groups"][part_name], strict=True):
            group.update(values if settings else {k: v for k, v in values.items() if k == "steps"})
            for p in group["params"]:
                found = by_parameter.get((part_name, names[id(p)]), {})
                part.state[p] = {
                    key: value if _stays_on_cpu(key, group) else like(value, p)
                    for key, value in found.items()
                }
                if not found:
                    del part.state[p]
    optimizer.load_counters(state["counters"])
    return state


def _stays_on_cpu(key: str, group: Mapping[str, Any]) -> bool:
    """Step counts and weights of averages: torch keeps the former on the device for fused updates only."""
    return key == "weights" or (key == "step" and not (group.get("fused") or group.get("capturable")))
