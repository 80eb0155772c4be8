"""Which claims a formal proof in Coq establishes, and whether a document still makes that claim.

``formal_proofs.json`` beside this module is written by ``tests/proofs/coqbridge.py``, which puts the right
side of each derivation to Coq first. It records the statement of the derivation as a hash; a document whose
symbols, hypotheses or conclusion are different is no longer the claim that was proved, and loses the label.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any, NamedTuple

from bstheory.checking.rational import ExpressionError, names, parse

FILE = "formal_proofs.json"
METHOD = "formal proof (Coq)"


class FormalProof(NamedTuple):
    """A Coq theorem and the file that proves it."""

    theorem: str
    file: str


def statement(document: Mapping[str, Any]) -> dict[str, Any]:
    """What one derivation claims: hypotheses, chains, conclusion, and the symbols that these speak of."""
    symbols = document["symbols"]
    hypotheses = [
        {key: step.get(key) for key in ("assumption", "gap", "relation", "by")}
        for step in document["steps"]
        if step["kind"] == "assumption"
    ]
    chains = document.get("chains", {})
    claim = {key: document["claim"][key] for key in ("lhs", "rhs")}
    waiting = [claim["lhs"], claim["rhs"], *(h["gap"] for h in hypotheses)]
    waiting += [text for chain in chains.values() for text in chain.values()]
    reached: dict[str, Any] = {}
    while waiting:
        for name in sorted(names(parse(waiting.pop())) - set(reached)):
            entry = symbols[name]
            reached[name] = {
                key: entry.get(key) for key in ("sign", "depends", "definition", "fixed", "meaning", "latex")
            }
            of = (entry["definition"] or {}).get("of", [])
            waiting += [of] if isinstance(of, str) else of
    words = {key: document.get(key) for key in ("title", "assumptions")}
    return {"symbols": reached, "hypotheses": hypotheses, "chains": chains, "claim": claim, **words}


def statement_hash(document: Mapping[str, Any]) -> str:
    """Sha256 of :func:`statement` in canonical JSON; the order of the hypotheses does not matter."""
    found = statement(document)
    found["hypotheses"].sort(key=lambda h: json.dumps(h, sort_keys=True))
    text = json.dumps(found, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@functools.lru_cache(maxsize=1)
def recorded() -> Mapping[str, Any]:
    """slug -> part ('' for a derivation without parts) -> theorem, file, statement hash."""
    text = resources.files("bstheory.checking").joinpath(FILE).read_text(encoding="utf-8")
    return json.loads(text)["theorems"]


def formal_proofs(document: Mapping[str, Any]) -> dict[str, FormalProof]:
    """The parts of a document whose claim Coq proves; '' is the name of the part of a single derivation."""
    known = recorded().get(str(document.get("slug")), {})
    parts = document["parts"] if document.get("kind") == "parts" else {"": document}
    found = {}
    for name, entry in known.items():
        part = parts.get(name)
        if part is None or part.get("kind", "derivation") != "derivation":
            continue
        try:
            same = statement_hash(part) == entry["statement_sha256"]
        except (ExpressionError, KeyError, TypeError, AttributeError, RecursionError):
            same = False  # a malformed document; the checker says what is wrong with it
        if same:
            found[name] = FormalProof(theorem=entry["theorem"], file=entry["file"])
    return found


def method(document: Mapping[str, Any], plain: str) -> str:
    """How a checked document is established: ``plain``, and the Coq theorems where there are any."""
    proofs = formal_proofs(document)
    if not proofs:
        return plain
    parts = document["parts"] if document.get("kind") == "parts" else {"": document}
    if set(proofs) == set(parts):
        theorems = ", ".join(f"{proof.theorem} in {proof.file}" for proof in proofs.values())
        return f"{METHOD}: {theorems}; {plain}"
    some = ", ".join(f"part {name}: {proof.theorem} in {proof.file}" for name, proof in proofs.items())
    return f"{plain}; {METHOD} of {some}"
