"""The corpus: deterministic, cached, split by document without repeats across, clear about bad files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from bstheory.errors import InputError
from bstheory.problems import corpus as module
from bstheory.problems.corpus import (
    installed_corpus,
    load_corpus,
    package_documents,
    split_documents,
    text_corpus,
)


def prose(count: int) -> list[str]:
    """Distinct paragraphs of real text: sections of the language reference."""
    from pydoc_data.topics import topics

    whole = "\n\n".join(topics[key] for key in sorted(topics))
    pieces = list(dict.fromkeys(p.strip() for p in whole.split("\n\n") if len(p) > 250))
    assert len(pieces) >= count
    return pieces[:count]


def test_the_installed_corpus_is_several_megabytes_and_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BSTHEORY_CACHE", str(tmp_path))
    # One small package instead of four: the same code, in a fraction of the time.
    monkeypatch.setattr(module, "PACKAGES", ("numpy",))
    first = installed_corpus()
    assert first.size == len(first.train) + len(first.validation) > 1_000_000
    assert 0.02 < len(first.validation) / first.size < 0.10
    data = first.train.tobytes() + first.validation.tobytes()
    assert first.sha256 == hashlib.sha256(data).hexdigest()
    json.dumps(first.describe(), allow_nan=False)
    monkeypatch.setattr(module, "installed_documents", lambda: pytest.fail("assembled twice"))
    again = installed_corpus()
    assert again.sha256 == first.sha256 and again.documents == first.documents


def test_a_damaged_cache_is_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BSTHEORY_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "PACKAGES", ())
    first = installed_corpus()
    (text,) = tmp_path.glob("*.txt")
    text.write_bytes(text.read_bytes()[:-100])
    assert installed_corpus().sha256 == first.sha256


def test_docstrings_are_read_without_importing_the_package() -> None:
    import subprocess
    import sys

    program = (
        "import sys; from bstheory.problems.corpus import package_documents;"
        "n = len(package_documents('sympy')); print(n, 'sympy' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    count, imported = out.split()
    assert int(count) > 100 and imported == "False"
    assert package_documents("no_such_package_here") == []


def test_no_paragraph_of_the_validation_text_occurs_in_the_training_text() -> None:
    documents = ["\n\n".join(prose(460)[i : i + 3]) for i in range(0, 460, 2)]  # neighbours overlap
    train, validation, counts = split_documents(documents)
    assert counts[1] > 0

    def paragraphs(data: bytes) -> set[str]:
        text = data.decode().replace("\0", "\n\n")
        return {" ".join(p.split()) for p in text.split("\n\n") if len(" ".join(p.split())) >= 40}

    assert not paragraphs(train) & paragraphs(validation)
    assert split_documents(documents) == (train, validation, counts)


def test_the_side_of_a_document_does_not_depend_on_the_others() -> None:
    documents = prose(300)
    _, all_held_out, _ = split_documents(documents)
    _, some_held_out, _ = split_documents(documents[:150])
    assert all_held_out.startswith(some_held_out)


def test_a_text_file_with_and_without_separators(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("<|endoftext|>".join(prose(300)), encoding="utf-8")
    marked = load_corpus(path)
    assert marked.name == "text.txt" and b"endoftext" not in marked.train.tobytes()
    path.write_text("\n\n".join(prose(460)), encoding="utf-8")
    plain = text_corpus(path)
    assert plain.documents[1] >= 1 and np.count_nonzero(plain.train == 0) == plain.documents[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"", "has no text"),
        (b" \n\n ", "has no text"),
        (b"\xff\xfe\x00", "must be UTF-8"),
        (b"a short text that cannot be split " * 20, "Pass a longer text"),
        (b"a text with a NUL\x00 in it, " * 20, "NUL character, after 'a text with a NUL'"),
    ],
)
def test_bad_text_files_are_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_corpus(path)
