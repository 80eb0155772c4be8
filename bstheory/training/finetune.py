"""Fine-tuning in little memory: our checkpoints, or any Hugging Face causal language model (extra ``[hf]``).

The question of arXiv:2507.07101 section 6: full fine-tuning at a small batch with Adafactor or SGD, bfloat16
weights and stochastic rounding needs about the memory of LoRA, because neither gradients (updated in the
backward pass) nor moments are kept. This module puts the methods side by side: what each needs (from the
parameters' shapes) and how each does (the same trainer, the same rows).
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bstheory.errors import input_error
from bstheory.models.configs import GPTConfig, Init, Norm, config_from_json
from bstheory.models.gpt import GPT
from bstheory.problems.corpus import load_corpus
from bstheory.training.checkpoints import list_checkpoints, load_weights, read_state, require_entries
from bstheory.training.memory import FLOAT32, state_of_shapes
from bstheory.training.optimizers import OptimizerConfig
from bstheory.training.prepare import require_disjoint, text_documents
from bstheory.training.shards import TokenRows

METHODS = ("full", "lora")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A model to start from.

    Attributes:
        model: ``model(tokens, targets)`` is the mean loss.
        description: its sizes (and, for our own, all of it).
        encode: text to token ids, end of document included.
        source: where it came from.
        save: writes the model and its tokenizer in the Hugging Face format into a folder (LoRA: the adapters
            only); None for our own models, whose checkpoints :func:`load_pretrained` reads.
    """

    model: nn.Module
    description: GPTConfig
    encode: Any
    source: str
    save: Callable[[Path], None] | None = None


class CausalLM(nn.Module):
    """A Hugging Face causal language model behind the interface of :class:`bstheory.models.gpt.GPT`."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, tokens: Tensor, targets: Tensor | None = None) -> Tensor:
        logits = self.inner(input_ids=tokens, use_cache=False).logits
        if targets is None:
            return logits
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.reshape(-1))


def _need(package: str, extra: str, what: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise input_error(
            got=what,
            rule=f"it needs the package {package}, which is not installed",
            do=f"run pip install 'bstheory[{extra}]'",
        )


def load_pretrained(source: Path | str) -> Pretrained:
    """One of our checkpoint folders (``step-…`` or a run with checkpoints), the run of a fine-tuned Hugging
    Face model, else a Hugging Face path or name.

    Raises:
        InputError: neither, a damaged checkpoint, or the extra ``[hf]`` is missing.
    """
    path = Path(source)
    if (path / "model").is_dir():  # a fine-tuned Hugging Face model
        path = source = path / "model"
    ours = [path, *list_checkpoints(path / "checkpoints")[-1:]]
    for folder in ours:
        if (folder / "state.json").exists():
            return _load_ours(folder)
    _require_not_a_missing_folder(path)
    _need("transformers", "hf", f"model {str(source)!r}")
    import transformers

    try:
        inner = transformers.AutoModelForCausalLM.from_pretrained(str(source), dtype=torch.float32)
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(source))
    except Exception as error:  # the tokenizers library raises nothing narrower on a damaged file
        raise input_error(
            got=f"model {str(source)!r}",
            rule=f"it is neither a checkpoint nor a Hugging Face model ({_first_line(error)})",
            do="check the path or name, and the network if it is a name",
        ) from error

    if not tokenizer("a b, 1", add_special_tokens=False)["input_ids"]:
        raise input_error(
            got=f"model {str(source)!r} without a tokenizer",
            rule="the one that is loaded encodes no text",
            why="transformers makes an empty one where the vocabulary is missing",
            do="save the tokenizer beside the model: tokenizer.save_pretrained(folder)",
        )

    def encode(text: str) -> np.ndarray:
        end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        return np.array([*tokenizer(text, add_special_tokens=False)["input_ids"], *end], dtype=np.int64)

    model = CausalLM(inner)

    def save(folder: Path) -> None:
        # Complete or absent: a folder that is there can be loaded.
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            model.inner.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
            if folder.exists():
                shutil.rmtree(folder)
            os.rename(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    return Pretrained(
        model=model,
        description=describe(inner.config, str(source)),
        encode=encode,
        source=str(source),
        save=save,
    )


def _require_not_a_missing_folder(path: Path) -> None:
    """A mistyped path would be asked for on the network, again and again for a minute."""
    parts = [part for part in path.parts if part != "/"]
    local = path.is_absolute() or len(parts) > 2 or parts[:1] == [".."]
    if not path.exists() and (local or (len(parts) == 2 and path.parent.is_dir())):
        raise input_error(
            got=f"model {str(path)!r}",
            rule="there is no such folder",
            do="check the path; a Hugging Face name that begins with a folder's name here needs another "
            "working directory",
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _load_ours(folder: Path) -> Pretrained:
    from bstheory.training.prepare import tokenizer

    state = read_state(folder)
    require_entries(state, {"config": dict}, folder)
    config = config_from_json(state["config"]["model"])
    model = GPT(config)
    load_weights(folder, model)
    encoder = tokenizer("bytes" if config.vocab_size == 256 else "gpt2")
    return Pretrained(model=model, description=config, encode=encoder.encode, source=str(folder))


def describe(config: Any, name: str) -> GPTConfig:
    """Sizes of a Hugging Face configuration; the kind of normalization and so on is not translated."""
    heads = config.num_attention_heads
    width = config.hidden_size
    return GPTConfig(
        name=name,
        vocab_size=config.vocab_size,
        context=getattr(config, "max_position_embeddings", 1024),
        layers=config.num_hidden_layers,
        width=width,
        heads=heads,
        head_size=getattr(config, "head_dim", None) or width // heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        ffn=getattr(config, "intermediate_size", None) or 4 * width,
        norm=Norm.RMS,
        learned_positions=True,
        qk_norm=False,
        swiglu=False,
        bias=False,
        tied=bool(getattr(config, "tie_word_embeddings", False)),
        init=Init.LLAMA,
    )


def linear_maps(model: nn.Module) -> dict[str, nn.Module]:
    """Linear maps inside a model, the head left out; GPT-2 of transformers has its own class for them."""
    return {
        name: module
        for name, module in model.named_modules()
        if (isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D") and "head" not in name
    }


def add_lora(
    pretrained: Pretrained, *, rank: int = 16, alpha: float = 16.0, base: str = "float32"
) -> Pretrained:
    """Freeze the model and add low-rank adapters (float32) to its linear maps, through peft.

    Args:
        pretrained: the model, changed in place.
        rank, alpha: of the adapters, whose scale is alpha / rank.
        base: dtype of the frozen weights, ``float32`` or ``bfloat16``.

    Raises:
        InputError: peft is missing, or the rank is not positive.
    """
    _need("peft", "hf", "method 'lora'")
    if rank < 1:
        raise input_error(got=f"rank={rank}", rule="a rank is at least 1", do="pass one")
    import peft

    pretrained.model.to({"float32": torch.float32, "bfloat16": torch.bfloat16}[base])
    inner = pretrained.model.inner if isinstance(pretrained.model, CausalLM) else pretrained.model
    maps = linear_maps(inner)
    names = sorted({name.rsplit(".", 1)[-1] for name in maps})
    if not names:
        raise input_error(
            got=f"method 'lora' for a {type(inner).__name__}",
            rule="adapters are added to the linear maps inside a model, and it has none",
            do="use the method full",
        )
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=names,
        lora_dropout=0.0,
        fan_in_fan_out=any(not isinstance(m, nn.Linear) for m in maps.values()),
    )
    if isinstance(pretrained.model, CausalLM):
        pretrained.model.inner = peft.get_peft_model(inner, config)  # in place: save looks there
        model: nn.Module = pretrained.model
    else:
        model = peft.inject_adapter_in_model(config, inner)
    for name, parameter in model.named_parameters():
        adapter = "lora_" in name
        parameter.requires_grad_(adapter)
        if adapter:
            parameter.data = parameter.data.float()
    return dataclasses.replace(pretrained, model=model)


def open_documents(
    pretrained: Pretrained,
    path: Path | str,
    *,
    seq_len: int | None,
    seed: int,
    eval_rows: int,
    validation: Sequence[Path | str] = (),
) -> tuple[TokenRows, TokenRows, dict[str, Any]]:
    """Training and validation rows of a text file, every token a target, and what to record of it.

    Without ``validation`` files about one document in twenty is held out.

    Raises:
        InputError: unreadable or too short text.
    """
    if validation:
        require_disjoint([path], validation)
        parts = [list(text_documents(files)) for files in ([path], validation)]
        content = "\0\0".join("\0".join(documents) for documents in parts)
        facts: dict[str, Any] = {
            "name": Path(path).name,
            "validation_files": [Path(file).name for file in validation],
            "sha256": hashlib.sha256(content.encode()).hexdigest(),
            "documents": [len(documents) for documents in parts],
        }
    else:
        corpus = load_corpus(path, remedy="pass --validation FILES")
        facts = dict(corpus.describe())
        parts = [
            [d for d in part.tobytes().decode().split("\0") if d]
            for part in (corpus.train, corpus.validation)
        ]
    shape = pretrained.description
    length = seq_len or min(shape.context, 1024)
    arrays = [encode_documents(pretrained, documents) for documents in parts]
    rows, held_out = (
        TokenRows(arrays=[a], seq_len=length, vocab_size=shape.vocab_size, seed=s)
        for a, s in zip(arrays, (seed, 0), strict=True)
    )
    return rows, held_out, {"corpus": facts}


def encode_documents(pretrained: Pretrained, documents: list[str]) -> np.ndarray:
    """All documents as one token array.

    Raises:
        InputError: no text.
    """
    if not documents:
        raise input_error(got="no documents", rule="there is nothing to train on", do="check the text file")
    return np.concatenate([pretrained.encode(text) for text in documents])


@dataclasses.dataclass(frozen=True, kw_only=True)
class MethodMemory:
    """Bytes that a method keeps between and during steps, activations (the same for all) left out."""

    method: str
    weights: int
    gradients: int
    state: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.state


def method_memory(model: nn.Module, *, rank: int = 16) -> list[MethodMemory]:
    """Weights, gradients and optimizer state of the methods beside each other, from the parameters' shapes.

    Adam is the conventional one (float32 weights, gradients and moments; with accumulation the gradients
    outlive the backward pass as well, which here is the same buffer). The small-batch ones keep bfloat16
    weights, update in the backward pass (one gradient at a time) and hold float32 state. LoRA: a frozen
    bfloat16 base, float32 adapters of the given rank on every linear map inside the model, Adam on them.
    """
    seen = {id(p): (n, tuple(p.shape)) for n, p in model.named_parameters()}
    shapes = list(seen.values())
    numel = sum(int(np.prod(s)) for _, s in shapes)
    largest = max(int(np.prod(s)) for _, s in shapes)
    adapters = sum(rank * sum(m.weight.shape) for m in linear_maps(model).values())

    def state(name: str) -> int:
        return state_of_shapes(shapes, OptimizerConfig(name=name, beta1=0.9 if name == "adamw" else 0.0))

    return [
        MethodMemory(method="adam_float32", weights=4 * numel, gradients=4 * numel, state=state("adamw")),
        MethodMemory(
            method="adam_bfloat16_small_batch", weights=2 * numel, gradients=2 * largest, state=state("adamw")
        ),
        MethodMemory(
            method="adafactor_small_batch", weights=2 * numel, gradients=2 * largest, state=state("adafactor")
        ),
        MethodMemory(method="sgd_small_batch", weights=2 * numel, gradients=2 * largest, state=state("sgd")),
        MethodMemory(
            method=f"lora_{rank}",
            weights=2 * numel + FLOAT32 * adapters,
            gradients=FLOAT32 * adapters,
            state=2 * FLOAT32 * adapters,
        ),
    ]
