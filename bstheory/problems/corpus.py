"""Real text that every installation already has, as bytes with a fixed held-out part.

The language reference of the standard library (``pydoc_data.topics``) and the docstrings of the pinned
numpy, scipy, sympy and torch: a few megabytes of English technical prose. The packages' source files are
parsed, never imported or run. Nothing is shipped or downloaded; the text depends on the installed versions,
so its sha256 and size go into every run that used it. Any other text file can be used in its place.

A *document* is one docstring, one topic, or (in a text file) one stretch between ``<|endoftext|>`` marks.
Whole documents are held out, chosen by their own hash, after paragraphs that occurred before have been
dropped everywhere, so no paragraph of the validation text occurs in the training text.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib.util
import json
import os
import platform
import re
import warnings
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

import numpy as np

from bstheory.errors import input_error
from bstheory.files import atomic_write, read_json, write_json

PACKAGES = ("numpy", "scipy", "sympy", "torch")
PACKAGE_BYTES = (
    1_200_000  # of docstrings per package: enough for every tiny study, little enough to parse in seconds
)
SHORTEST = 200  # characters; shorter docstrings are labels rather than prose
HELD_OUT = 20  # one document in twenty
SEPARATOR = "<|endoftext|>"
PREPARE = "prepare it with bstheory data --validation FILES and pass its folder with --data"
END = b"\0"  # ends a document in the byte stream
FORMAT = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corpus:
    """Training and validation text as byte tokens.

    Attributes:
        name: ``"installed documentation"`` or the file's name.
        train, validation: uint8 arrays, documents ended by byte 0.
        sha256: of ``train + validation``, hexadecimal.
        size: bytes of both together.
        documents: how many, ``(train, validation)``.
    """

    name: str
    train: np.ndarray
    validation: np.ndarray
    sha256: str
    size: int
    documents: tuple[int, int]

    def describe(self) -> dict[str, object]:
        """What a run records about its text."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "bytes": self.size,
            "train_bytes": len(self.train),
            "validation_bytes": len(self.validation),
            "documents": list(self.documents),
        }


def cache_folder() -> Path:
    """``$BSTHEORY_CACHE``, else ``$XDG_CACHE_HOME/bstheory``, else ``~/.cache/bstheory``."""
    if chosen := os.environ.get("BSTHEORY_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bstheory"


def _docstrings(source: str) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other people's invalid escape sequences
        try:
            tree = ast.parse(source)
        except SyntaxError:  # templates and files for other Python versions
            return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=True)
            if text and len(text) >= SHORTEST:
                yield text


def _prose_likely(source: str) -> bool:
    """Whether a tenth of the file is triple-quoted; parsing the others would cost most of the time."""
    quoted = sum(len(piece) for piece in source.split('"""')[1::2])
    return quoted >= max(SHORTEST, len(source) // 10)


def package_documents(package: str) -> list[str]:
    """Docstrings of an installed package, at most ``PACKAGE_BYTES``, in an order fixed by the file names."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return []
    root = Path(spec.origin).parent
    files = [
        p for p in root.rglob("*.py") if not {"tests", "testing", "test"} & set(p.relative_to(root).parts)
    ]
    # By the hash of the name, so that the budget is spread over the package instead of its first letters.
    files.sort(key=lambda p: hashlib.sha256(p.relative_to(root).as_posix().encode()).digest())
    found: list[str] = []
    total = 0
    for file in files:
        source = file.read_text(encoding="utf-8", errors="replace")
        if not _prose_likely(source):
            continue
        for text in _docstrings(source):
            found.append(text)
            total += len(text)
        if total >= PACKAGE_BYTES:
            break
    return found


def installed_documents() -> list[str]:
    """Topics of the language reference, then the docstrings of ``PACKAGES``, each in a fixed order."""
    from pydoc_data.topics import topics

    found = [topics[key] for key in sorted(topics)]
    for package in PACKAGES:
        found += package_documents(package)
    return found


def require_no_nul(document: str) -> None:
    """Raise ``InputError`` for a text with a NUL character, which bytes cannot tell from a document's end."""
    if "\0" in document:
        raise input_error(
            got=f"a document with a NUL character, after {document.partition(chr(0))[0][-40:]!r}",
            rule="a text that is read as bytes has none",
            why="byte 0 marks where a document ends, and nothing is left out of a text silently",
            do=f"remove it, or write {SEPARATOR} where a document ends",
        )


def split_documents(documents: Iterable[str]) -> tuple[bytes, bytes, tuple[int, int]]:
    """Drop repeated paragraphs, then hold out one document in ``HELD_OUT`` by its hash.

    Paragraphs are compared after joining white space, and only those of 40 characters or more count as
    repeats, so that headings survive.

    Returns:
        training bytes, validation bytes, and the number of documents in each.

    Raises:
        InputError: a document with a NUL character.
    """
    parts: tuple[list[bytes], list[bytes]] = ([], [])
    seen: set[bytes] = set()
    for document in documents:
        require_no_nul(document)
        kept = []
        for paragraph in re.split(r"\n\s*\n", document):
            words = " ".join(paragraph.split())
            if len(words) >= 40:
                key = hashlib.sha256(words.encode()).digest()
                if key in seen:
                    continue
                seen.add(key)
            kept.append(paragraph)
        text = "\n\n".join(kept).strip().encode()
        if len(text) >= SHORTEST:
            held_out = int.from_bytes(hashlib.sha256(text).digest()[:8], "big") % HELD_OUT == 0
            parts[held_out].append(text + END)
    return b"".join(parts[0]), b"".join(parts[1]), (len(parts[0]), len(parts[1]))


def _corpus(name: str, train: bytes, validation: bytes, documents: tuple[int, int]) -> Corpus:
    return Corpus(
        name=name,
        train=np.frombuffer(train, dtype=np.uint8),
        validation=np.frombuffer(validation, dtype=np.uint8),
        sha256=hashlib.sha256(train + validation).hexdigest(),
        size=len(train) + len(validation),
        documents=documents,
    )


def _versions() -> dict[str, str]:
    found = {"format": str(FORMAT), "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


def installed_corpus() -> Corpus:
    """The documentation of this installation; assembled once in a few seconds, then read from the cache.

    Raises:
        InputError: the cache folder cannot be written.
    """
    versions = _versions()
    stem = hashlib.sha256(json.dumps(versions, sort_keys=True).encode()).hexdigest()[:16]
    head_path, text_path = cache_folder() / f"corpus-{stem}.json", cache_folder() / f"corpus-{stem}.txt"
    name = "installed documentation"
    if head_path.exists() and text_path.exists():
        head, data = read_json(head_path), text_path.read_bytes()
        if hashlib.sha256(data).hexdigest() == head["sha256"]:
            train = head["train_bytes"]
            return _corpus(name, data[:train], data[train:], tuple(head["documents"]))
    train, validation, documents = split_documents(installed_documents())
    corpus = _corpus(name, train, validation, documents)
    atomic_write(text_path, train + validation)
    write_json(head_path, {"versions": versions, **corpus.describe()})
    return corpus


def text_corpus(path: Path | str, *, remedy: str = PREPARE) -> Corpus:
    """A user's text file (UTF-8), documents separated by ``<|endoftext|>``.

    Without separators, runs of paragraphs of about 2 kB are the documents, so that part of it can be held
    out. ``remedy`` says how the caller takes validation files, where too few documents are left to hold out.

    Raises:
        InputError: the file is missing, empty, not UTF-8, or too small to hold any document out.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise input_error(
            got=f"text file {str(path)!r}", rule=f"it cannot be read ({error.strerror})", do="check the path"
        ) from error
    except UnicodeDecodeError as error:
        raise input_error(
            got=f"text file {str(path)!r}",
            rule=f"it must be UTF-8 (byte {error.start} is not)",
            do="convert it, for example with iconv",
        ) from error
    if not text.strip():
        raise input_error(
            got=f"text file {str(path)!r}", rule="it has no text", do="pass a file with some text"
        )
    documents = text.split(SEPARATOR) if SEPARATOR in text else _stretches(text)
    train, validation, counts = split_documents(documents)
    if not counts[0] or not counts[1]:
        raise input_error(
            got=f"text file {str(path)!r} of {len(text):,} characters ({sum(counts)} documents)",
            rule=f"about one document in {HELD_OUT} is held out, and none was left on one side",
            do=f"{remedy}, or pass a text of more documents"
            if SEPARATOR in text
            else f"pass a longer text (100 kB or more), or {remedy}",
        )
    return _corpus(path.name, train, validation, counts)


def _stretches(text: str, size: int = 2000) -> Iterator[str]:
    piece: list[str] = []
    length = 0
    for paragraph in re.split(r"\n\s*\n", text):
        piece.append(paragraph)
        length += len(paragraph)
        if length >= size:
            yield "\n\n".join(piece)
            piece, length = [], 0
    if piece:
        yield "\n\n".join(piece)


def load_corpus(text: Path | str | None = None, *, remedy: str = PREPARE) -> Corpus:
    """``text_corpus(text)`` if a file is given, else :func:`installed_corpus`."""
    return installed_corpus() if text is None else text_corpus(text, remedy=remedy)
