"""Token shards: both formats, every kind of damage, rows, the order of blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bstheory.errors import InputError
from bstheory.files import write_json
from bstheory.training.shards import HEADER, MAGIC, TokenRows, find_shards, open_rows, open_shard, write_shard

TOKENS = np.arange(1000, dtype=np.uint16) * 61 % 50257


@pytest.mark.parametrize("raw", [False, True])
def test_what_is_written_is_read(tmp_path: Path, raw: bool) -> None:
    path = write_shard(tmp_path / "a.bin", TOKENS, raw=raw)
    found = open_shard(path)
    assert isinstance(found, np.memmap) and np.array_equal(found, TOKENS)
    assert path.stat().st_size == 2 * len(TOKENS) + (0 if raw else 4 * HEADER)


def test_the_header_is_the_common_one(tmp_path: Path) -> None:
    header = np.fromfile(write_shard(tmp_path / "a.bin", TOKENS), dtype="<i4", count=256)
    assert list(header[:3]) == [20240520, 1, 1000] and not header[3:].any()


def damaged(path: Path, kind: str) -> None:
    data = write_shard(path, TOKENS).read_bytes()
    header = np.frombuffer(data[: 4 * HEADER], dtype="<i4").copy()
    if kind == "truncated":
        path.write_bytes(data[:-10])
    elif kind == "longer":
        path.write_bytes(data + b"xx")
    elif kind == "version":
        header[1] = 2
        path.write_bytes(header.tobytes() + data[4 * HEADER :])
    elif kind == "odd":
        path.write_bytes(data[4 * HEADER :] + b"x")
    elif kind == "magic":  # that of another program's shards, which have the same header otherwise
        header[0] = 20240801
        path.write_bytes(header.tobytes() + data[4 * HEADER :])
    elif kind == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated", "announces 1,000 tokens.*cut short"),
        ("longer", "announces 1,000 tokens"),
        ("version", "of version 2"),
        ("magic", "magic number 20240801"),
        ("odd", "there is a whole number of them"),
        ("empty", "0 bytes of tokens"),
        ("missing", "cannot be read"),
    ],
)
def test_damaged_shards_are_refused(tmp_path: Path, kind: str, message: str) -> None:
    path = tmp_path / "a.bin"
    damaged(path, kind)
    with pytest.raises(InputError, match=message):
        open_shard(path)


def test_tokens_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="uint16"):
        write_shard(tmp_path / "a.bin", np.array([0, 70000]))
    with pytest.raises(InputError, match="uint16"):
        write_shard(tmp_path / "a.bin", np.array([-1, 5]))
    magic = np.frombuffer(np.int32(MAGIC).astype("<i4").tobytes() + b"abcd", dtype="<u2")
    with pytest.raises(InputError, match="take them for a header"):
        write_shard(tmp_path / "a.bin", magic, raw=True)


def test_folders_files_and_nothing(tmp_path: Path) -> None:
    for name in ("00001.bin", "00000.bin"):
        write_shard(tmp_path / name, TOKENS)
    assert [p.name for p in find_shards(tmp_path)] == ["00000.bin", "00001.bin"]
    assert find_shards(tmp_path / "00001.bin") == [tmp_path / "00001.bin"]
    with pytest.raises(InputError, match=r"no \.bin shard"):
        find_shards(tmp_path / "absent")


def test_rows_share_one_token_and_do_not_cross_shards(tmp_path: Path) -> None:
    write_shard(tmp_path / "0.bin", TOKENS[:25])
    write_shard(tmp_path / "1.bin", TOKENS[25:60])
    rows = open_rows(tmp_path, seq_len=8, vocab_size=50257)
    assert rows.count == 3 + 4
    found = rows.read(np.arange(7))
    assert np.array_equal(found[0], TOKENS[:9]) and np.array_equal(found[1], TOKENS[8:17])
    assert np.array_equal(found[2], TOKENS[16:25]) and np.array_equal(found[3], TOKENS[25:34])
    assert np.array_equal(found[6], TOKENS[49:58])


def test_an_epoch_reads_every_row_once_and_the_next_differently() -> None:
    rows = TokenRows(arrays=[TOKENS], seq_len=9, vocab_size=50257, seed=3)
    first = rows.rows_of(range(rows.count))
    second = rows.rows_of(range(rows.count, 2 * rows.count))
    assert sorted(first) == sorted(second) == list(range(rows.count)) and list(first) != list(second)


def test_blocks_of_neighbouring_rows_stay_together() -> None:
    rows = TokenRows(arrays=[TOKENS], seq_len=3, vocab_size=50257, seed=3, block=16)
    order = rows.rows_of(range(64)).reshape(4, 16)
    assert np.array_equal(order - order[:, :1], np.tile(np.arange(16), (4, 1)))
    assert len(set(order[:, 0])) == 4
    scattered = TokenRows(arrays=[TOKENS], seq_len=3, vocab_size=50257, seed=3).rows_of(range(64))
    assert np.count_nonzero(np.diff(scattered) == 1) < 16


def test_a_token_beyond_the_vocabulary_is_refused() -> None:
    rows = TokenRows(arrays=[TOKENS], seq_len=10, vocab_size=256)
    with pytest.raises(InputError, match="vocabulary has 256 entries"):
        rows.batch(range(8))
    edge = np.full(1000, 256, dtype=np.uint16)  # the first id that is too large
    with pytest.raises(InputError, match="token id 256 in the data"):
        TokenRows(arrays=[edge], seq_len=10, vocab_size=256).batch(range(8))
    TokenRows(arrays=[edge], seq_len=10, vocab_size=257).batch(range(8))


@pytest.mark.parametrize(
    ("recorded", "model", "fits"),
    [(50257, 50257, True), (50257, 50304, True), (256, 256, True), (256, 50304, False), (50257, 256, False)],
)
def test_the_recorded_vocabulary_is_compared_with_the_models(
    tmp_path: Path, recorded: int, model: int, fits: bool
) -> None:
    """Bytes in a model for 50,304 tokens would train without an error and mean nothing."""
    write_shard(tmp_path / "0.bin", TOKENS % 256)
    write_json(tmp_path / "data.json", {"tokenizer": "some", "vocab_size": recorded})
    if fits:
        assert open_rows(tmp_path, seq_len=8, vocab_size=model).count > 0
        return
    with pytest.raises(InputError, match=f"with the {recorded} tokens .* vocabulary of {model}"):
        open_rows(tmp_path, seq_len=8, vocab_size=model)


def test_too_little_data_is_refused() -> None:
    with pytest.raises(InputError, match="one block needs"):
        TokenRows(arrays=[TOKENS[:10]], seq_len=10, vocab_size=50257)
    with pytest.raises(InputError, match="both are at least 1"):
        TokenRows(arrays=[TOKENS], seq_len=0, vocab_size=50257)


def test_the_fingerprint_tells_data_apart() -> None:
    one = TokenRows(arrays=[TOKENS], seq_len=10, vocab_size=50257).fingerprint()
    other = TOKENS.copy()
    other[0] += 1
    assert one != TokenRows(arrays=[other], seq_len=10, vocab_size=50257).fingerprint()
    assert one == TokenRows(arrays=[TOKENS.copy()], seq_len=5, vocab_size=50257, seed=9).fingerprint()


def test_a_header_that_was_cut_short_is_not_read_as_tokens(tmp_path: Path) -> None:
    data = write_shard(tmp_path / "a.bin", TOKENS).read_bytes()
    for size in (4, 8):  # the magic number is there, the count is not
        (tmp_path / "a.bin").write_bytes(data[:size])
        with pytest.raises(InputError, match="announces a header of 1024 bytes"):
            open_shard(tmp_path / "a.bin")
