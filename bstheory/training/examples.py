"""Prompts and completions: fine-tuning data whose loss counts the completions only.

A ``.jsonl`` file has one JSON object a line with the strings ``prompt`` and ``completion``. Each example is a
row of its own, so examples do not attend to each other: the prompt, the completion, the end of the document,
then padding. A place that is no target (prompt, padding) is stored as ~id, the bitwise complement, which is
negative; :func:`completion_loss` gives the model the ids back and leaves those places out.

**The loss.** A batch of B rows has the loss (sum over its completion tokens of -log p) / (B c), where c is
the mean number of completion tokens of a row over the whole data set. Dividing by the count of each
micro-batch instead would make the gradient depend on how a batch is cut into micro-batches. Over the
validation rows the value is the mean per completion token exactly.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bstheory.errors import input_error
from bstheory.training.prepare import require_disjoint
from bstheory.training.shards import TokenRows

HELD_OUT = 20  # one example in so many is for validation, chosen by its hash
IGNORED = -100  # what cross_entropy leaves out
TokenPair = tuple[np.ndarray, np.ndarray]  # ids of the prompt and of the completion


class Example(NamedTuple):
    """What is given and what is learned."""

    prompt: str
    completion: str


class ExampleSet(NamedTuple):
    """Training and held-out examples of one file, and the hash of its content."""

    train: list[Example]
    validation: list[Example]
    sha256: str


def is_examples(path: Path | str) -> bool:
    """Whether the file is read as prompts and completions rather than as text."""
    return Path(path).suffix == ".jsonl"


def read_examples(path: Path | str, *, validation: Sequence[Path | str] = ()) -> ExampleSet:
    """Examples of a ``.jsonl`` file; one in twenty is held out by its hash, equal ones on the same side.
    With ``validation`` files all of it is trained on, and all of theirs are the validation set.

    Raises:
        InputError: unreadable, a line that is not such an object (named by its number), or too few examples.
    """
    require_disjoint([path], validation)
    parts: tuple[list[Example], list[Example]] = ([], [])
    content, examples = _lines(Path(path))
    for example in examples:
        digest = hashlib.sha256("\0".join(example).encode()).digest()
        parts[int.from_bytes(digest[:8], "big") % HELD_OUT == 0 and not validation].append(example)
    for file in validation:
        more, examples = _lines(Path(file))
        content += more
        parts[1].extend(examples)
    if not parts[0] or not parts[1]:
        raise input_error(
            got=f"{len(parts[0]) + len(parts[1])} examples in {str(path)!r}",
            rule="about one in twenty is held out, and none was left on one side"
            if not validation
            else "there is at least one to train on, and one to validate on",
            do="pass --validation FILES, or more examples",
        )
    return ExampleSet(*parts, hashlib.sha256(content).hexdigest())


def _lines(path: Path) -> tuple[bytes, list[Example]]:
    """The content of a file and the examples in it."""
    try:
        content = path.read_bytes()
        lines = content.decode().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise input_error(
            got=f"examples {str(path)!r}", rule=f"they cannot be read as UTF-8 ({error})", do="check the path"
        ) from error
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    return content, [_example(line, where=f"line {number} of {str(path)!r}") for number, line in numbered]


def _example(line: str, *, where: str) -> Example:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if (
        not isinstance(found, dict)
        or not all(isinstance(found.get(key), str) for key in Example._fields)
        or not found["prompt"]
        or not found["completion"]
    ):
        raise input_error(
            got=f"{where}: {line[:60]!r}",
            rule="a line is a JSON object with the strings prompt and completion, neither empty",
            do="correct the line",
        )
    return Example(found["prompt"], found["completion"])


def tokenize(pretrained: Any, examples: Sequence[Example]) -> list[TokenPair]:
    """(prompt ids, completion ids with the end of the document) of each example.

    Prompt and completion are encoded apart, so that no token straddles what is learned and what is not.
    """
    ends = len(pretrained.encode(""))
    found = []
    for prompt, completion in examples:
        given = pretrained.encode(prompt)
        found.append(
            (given[: len(given) - ends].astype(np.int64), pretrained.encode(completion).astype(np.int64))
        )
    return found


def longest(tokens: Sequence[TokenPair]) -> int:
    """Tokens of the longest example."""
    return max(len(given) + len(learned) for given, learned in tokens)


def example_rows(tokens: Sequence[TokenPair], *, seq_len: int) -> tuple[np.ndarray, float]:
    """One array for :class:`bstheory.training.shards.TokenRows` with a row an example, and c.

    Args:
        tokens: from :func:`tokenize`.
        seq_len: T; the row of example k begins at k T, and its last target, the first token of the next
            prompt, is none.

    Raises:
        InputError: an example that is longer than ``seq_len``, or whose prompt has no token.
    """
    out = np.full(len(tokens) * seq_len + 1, ~0, dtype=np.int64)
    for number, (given, learned) in enumerate(tokens):
        length = len(given) + len(learned)
        if length > seq_len or not len(given):
            raise input_error(
                got=f"example {number + 1} with {len(given)} tokens of prompt and {length} in all",
                rule=f"a prompt has one token or more, and an example at most seq_len = {seq_len}",
                why="nothing is cut off silently",
                do="pass a larger --seq-len (up to the model's context), or leave the example out",
            )
        start = number * seq_len
        out[start : start + len(given)] = ~given
        out[start + len(given) : start + length] = learned
    return out, float(np.mean([len(learned) for _, learned in tokens]))


def open_examples(
    pretrained: Any,
    path: Path | str,
    *,
    seq_len: int | None,
    seed: int,
    eval_rows: int,
    validation: Sequence[Path | str] = (),
) -> tuple[TokenRows, TokenRows, dict[str, Any]]:
    """Training and validation rows of a ``.jsonl`` file and what to record of it; the model's loss becomes
    that of the completions.

    Args:
        pretrained: a :class:`bstheory.training.finetune.Pretrained`, whose model is changed in place.
        path: the file.
        seq_len: tokens per row; default the longest example, at most the model's context.
        seed: of the rows' order. eval_rows: rows of the validation set that the trainer will take.
        validation: files whose examples are the validation set; without them one in twenty is held out.

    Raises:
        InputError: as :func:`read_examples` and :func:`example_rows`.
    """
    found = read_examples(path, validation=validation)
    shape = pretrained.description
    tokens = [tokenize(pretrained, part) for part in (found.train, found.validation)]
    length = seq_len or min(max(map(longest, tokens)), shape.context)
    built = [example_rows(part, seq_len=length) for part in tokens]
    rows, held_out = (
        TokenRows(arrays=[array], seq_len=length, vocab_size=shape.vocab_size, seed=s)
        for (array, _), s in zip(built, (seed, 0), strict=True)
    )
    targets = held_out.read(held_out.spread(eval_rows))[:, 1:]
    completion_loss(
        pretrained.model,
        train_count=built[0][1],
        validation_count=float((targets >= 0).sum(axis=1).mean()),
    )
    facts = {
        "name": Path(path).name,
        "sha256": found.sha256,
        "examples": [len(found.train), len(found.validation)],
        "completion_share_of_tokens": built[0][1] / length,
    }
    return rows, held_out, {"corpus": facts}


def completion_loss(model: nn.Module, *, train_count: float, validation_count: float) -> nn.Module:
    """The same model, its loss that of the module's first page.

    The method is replaced on the object rather than the model wrapped, so that the parameters' names, and
    with them the checkpoints, stay the model's own.

    Args:
        model: ``model(tokens)`` are logits [B, T, V].
        train_count, validation_count: c of the training and of the validation rows (training mode decides).
    """
    plain = model.forward

    def forward(tokens: Tensor, targets: Tensor | None = None) -> Tensor:
        logits = plain(torch.where(tokens < 0, ~tokens, tokens))
        if targets is None:
            return logits
        wanted = torch.where(targets < 0, IGNORED, targets).flatten()
        total = F.cross_entropy(logits.flatten(0, 1).float(), wanted, ignore_index=IGNORED, reduction="sum")
        return total / (len(tokens) * (train_count if model.training else validation_count))

    model.forward = forward
    return model
