"""Token shards: two common ``.bin`` formats, memory-mapped, and the rows a run reads from them.

``llm.c`` format: 256 little-endian int32 (magic 20240520, version 1, number of tokens), then uint16 tokens.
Raw format: uint16 tokens only. Which of the two a file is, its magic decides. A *row* is ``seq_len`` inputs
and the token after each as its target, so consecutive rows share one token and a shard of n tokens holds ``(n
- 1) // seq_len`` rows; rows do not cross shards.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bstheory.errors import input_error
from bstheory.files import atomic_write, read_json
from bstheory.training.rows import permuted_rows

MAGIC = 20240520
VERSION = 1
HEADER = 256  # int32 words
LARGEST_TOKEN = 2**16 - 1
PADDING = 128  # a vocabulary is rounded up to a multiple of at most this
UNFINISHED = "unfinished.json"  # lies in a folder while `bstheory data` writes there
CHUNK = 8192  # samples whose order is computed at once


def open_shard(path: Path | str) -> np.ndarray:
    """Memory-map the tokens of one shard, uint16.

    Raises:
        InputError: missing, empty or odd-sized file; unknown version; a token count that is not the file's.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        words = np.fromfile(path, dtype="<i4", count=HEADER)
    except OSError as error:
        raise input_error(
            got=f"shard {str(path)!r}", rule=f"it cannot be read ({error.strerror})", do="check the path"
        ) from error
    offset = 0
    if len(words) >= 3 and words[0] == MAGIC:
        offset = 4 * HEADER
        if words[1] != VERSION:
            raise input_error(
                got=f"shard {str(path)!r} of version {words[1]}",
                rule=f"version {VERSION} (uint16 tokens) is the one that is read",
                do="write it again with `bstheory data`",
            )
        expected = offset + 2 * int(words[2])
        if size != expected:
            raise input_error(
                got=f"shard {str(path)!r} of {size:,} bytes",
                rule=f"its header announces {words[2]:,} tokens, that is {expected:,} bytes",
                why="it was cut short or is still being written" if size < expected else "",
                do="copy or prepare it again",
            )
    elif words.size and words[0] == MAGIC:
        raise input_error(
            got=f"shard {str(path)!r} of {size} bytes",
            rule=f"its magic number announces a header of {4 * HEADER} bytes",
            why="it was cut short or is still being written",
            do="copy or prepare it again",
        )
    elif words.size == HEADER and words[0] != 0 and not words[3:].any():
        raise input_error(
            got=f"shard {str(path)!r} that begins with a header of magic number {words[0]}",
            rule=f"the one that is read has {MAGIC}, and no text begins with {2 * (HEADER - 3)} tokens of 0",
            why="it was written for another program or another token width",
            do="write it again with `bstheory data`",
        )
    if size - offset < 2 or (size - offset) % 2:
        raise input_error(
            got=f"shard {str(path)!r} with {size - offset:,} bytes of tokens",
            rule="a token has two bytes, and there is a whole number of them, at least one",
            do="check that it is a file of uint16 tokens",
        )
    return np.memmap(path, dtype="<u2", mode="r", offset=offset)


def write_shard(path: Path | str, tokens: np.ndarray, *, raw: bool = False) -> Path:
    """Write tokens [n] as one shard, atomically; ``raw`` leaves the header out.

    Raises:
        InputError: a token below 0 or above 65535, or raw tokens that would read as a header.
    """
    tokens = np.asarray(tokens)
    if tokens.size and (tokens.min() < 0 or tokens.max() > LARGEST_TOKEN):
        raise input_error(
            got=f"token ids from {tokens.min()} to {tokens.max()}",
            rule=f"a shard stores uint16, 0 to {LARGEST_TOKEN}",
            do="use a tokenizer with a vocabulary of at most 65,536",
        )
    body = tokens.astype("<u2").tobytes()
    if raw:
        if body[:4] == np.int32(MAGIC).astype("<i4").tobytes():
            raise input_error(
                got="raw tokens that begin with the bytes of the llm.c magic number",
                rule="the reader would take them for a header",
                do="write the shard with a header",
            )
        return atomic_write(path, body)
    header = np.zeros(HEADER, dtype="<i4")
    header[:3] = MAGIC, VERSION, tokens.size
    return atomic_write(path, header.tobytes() + body)


def find_shards(where: Path | str) -> list[Path]:
    """The shard itself, or every ``*.bin`` of a folder in the order of their names.

    Raises:
        InputError: nothing there.
    """
    where = Path(where)
    found = sorted(where.glob("*.bin")) if where.is_dir() else [where] if where.exists() else []
    if not found:
        raise input_error(
            got=f"data path {str(where)!r}",
            rule="there is no .bin shard",
            do="prepare one with `bstheory data`, or check the path",
        )
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenRows:
    """Rows over one or more token arrays, in a fixed random order.

    Attributes:
        arrays: tokens of each shard.
        seq_len: T.
        vocab_size: every token read must be below it.
        seed: of the order.
        block: rows per block of consecutive text. 1 gives i.i.d. rows. With m > 1, blocks of m neighbouring
            rows
            are permuted and each block is read in order: the loader of arXiv:2507.07101 (its microbatches of
            up to 16 neighbouring sequences), kept to measure what it does to gradient diversity.
    """

    arrays: Sequence[np.ndarray]
    seq_len: int
    vocab_size: int
    seed: int = 0
    block: int = 1
    _chunk: dict[int, np.ndarray] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.seq_len < 1 or self.block < 1:
            raise input_error(
                got=f"seq_len={self.seq_len}, block={self.block}", rule="both are at least 1", do="correct it"
            )
        if self.count < self.block:
            tokens = sum(map(len, self.arrays))
            raise input_error(
                got=f"{tokens:,} tokens in {len(self.arrays)} shards",
                rule=f"one block needs {self.block} rows of seq_len + 1 = {self.seq_len + 1} tokens",
                do="use more data or shorter rows",
            )

    @functools.cached_property
    def _ends(self) -> np.ndarray:
        """Rows up to and including each shard."""
        return np.cumsum([max(0, (len(a) - 1) // self.seq_len) for a in self.arrays])

    @property
    def count(self) -> int:
        """Number of rows."""
        return int(self._ends[-1]) if len(self.arrays) else 0

    @property
    def tokens(self) -> int:
        """Input tokens of one epoch, those of an incomplete last block left out."""
        return self.count // self.block * self.block * self.seq_len

    def rows_of(self, samples: np.ndarray | range) -> np.ndarray:
        """Row numbers of sample indices [B]: a pure function of (seed, index)."""
        if isinstance(samples, range) and samples.step == 1 and len(samples):
            return self._consecutive(samples)
        index = np.asarray(samples, dtype=np.int64)
        place = permuted_rows(index // self.block, rows=self.count // self.block, seed=self.seed)
        return place * self.block + index % self.block

    def _consecutive(self, samples: range) -> np.ndarray:
        """The same for a range, from chunks of the order that are computed once."""
        parts = []
        start = samples.start
        while start < samples.stop:
            number, offset = divmod(start, CHUNK)
            if number not in self._chunk:
                self._chunk.clear()
                self._chunk[number] = self.rows_of(np.arange(number * CHUNK, (number + 1) * CHUNK))
            stop = min(samples.stop, (number + 1) * CHUNK)
            parts.append(self._chunk[number][offset : offset + stop - start])
            start = stop
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Tokens of rows [B] as int64 [B, seq_len + 1].

        Raises:
            InputError: a token id that is not below ``vocab_size``.
        """
        out = np.empty((len(rows), self.seq_len + 1), dtype=np.int64)
        several = len(self.arrays) > 1
        for k, row in enumerate(rows.tolist()):
            shard = int(np.searchsorted(self._ends, row, side="right")) if several else 0
            start = (row - (int(self._ends[shard - 1]) if shard else 0)) * self.seq_len
            out[k] = self.arrays[shard][start : start + self.seq_len + 1]
        if out.size and (largest := int(out.max())) >= self.vocab_size:
            raise input_error(
                got=f"token id {largest} in the data",
                rule=f"the model's vocabulary has {self.vocab_size} entries",
                why="the data were prepared with another tokenizer",
                do="choose a model with that vocabulary, or prepare the data again",
            )
        return out

    def batch(self, samples: np.ndarray | range) -> np.ndarray:
        """Tokens of sample indices [B], int64 [B, seq_len + 1]."""
        return self.read(self.rows_of(samples))

    def spread(self, count: int) -> np.ndarray:
        """``count`` rows spaced evenly over the data (all, if there are fewer): a fixed validation set."""
        return np.linspace(0, self.count - 1, min(count, self.count)).astype(np.int64)

    def fingerprint(self) -> str:
        """Sha256 of lengths and of 64 KiB samples of every shard: cheap, and enough to tell data sets
        apart."""
        digest = hashlib.sha256()
        for array in self.arrays:
            digest.update(str(len(array)).encode())
            step = max(1, len(array) // 32)
            for start in range(0, len(array), step):
                digest.update(np.ascontiguousarray(array[start : start + 1024]).astype("<i4").tobytes())
        return digest.hexdigest()


def require_description(where: Path | str, vocab_size: int) -> dict[str, int]:
    """Compare what ``data.json`` beside the shards records with the model's vocabulary; its shards and their
    tokens, where there is one.

    Raises:
        InputError: a vocabulary that is larger than the model's, or smaller by more than padding explains.
    """
    path = Path(where) / "data.json"
    if not path.is_file():
        return {}
    found = read_json(path)
    if not isinstance(found, dict):
        raise input_error(
            got=f"{str(path)!r}",
            rule="it is no JSON object",
            do="prepare the data again with `bstheory data`",
        )
    size = found.get("vocab_size")
    if isinstance(size, int) and not size <= vocab_size < size + PADDING:
        raise input_error(
            got=f"data {str(where)!r} with the {size} tokens of the tokenizer {found.get('tokenizer')!r}",
            rule=f"the model has a vocabulary of {vocab_size}, and padding adds fewer than {PADDING}",
            do="choose a model with that vocabulary, or prepare the data with another tokenizer",
        )
    return {entry["name"]: entry["tokens"] for entry in found.get("shards", ())}


def open_rows(
    where: Path | str, *, seq_len: int, vocab_size: int, seed: int = 0, block: int = 1
) -> TokenRows:
    """Rows over every shard at ``where``; see :class:`TokenRows`.

    Raises:
        InputError: a damaged shard, shards that are still being written, or a ``data.json`` beside them that
            names another vocabulary or other shards.
    """
    if (Path(where) / UNFINISHED).exists():
        raise input_error(
            got=f"data {str(where)!r}",
            rule="it is complete before it is read",
            why="`bstheory data` is still writing it, or was killed",
            do="wait for that command, or give it again",
        )
    described = require_description(where, vocab_size)
    paths = find_shards(where)
    arrays = [open_shard(path) for path in paths]
    present = {path.name: len(array) for path, array in zip(paths, arrays, strict=True)}
    if described and present != described:
        different = sorted(dict(present.items() ^ described.items()))
        raise input_error(
            got=f"data {str(where)!r} where {', '.join(different[:3])} is not as data.json describes",
            rule="it lists every shard with its tokens",
            why="a shard was removed, added or replaced",
            do="restore the shards, or prepare the data again",
        )
    return TokenRows(arrays=arrays, seq_len=seq_len, vocab_size=vocab_size, seed=seed, block=block)
