"""What every theorem's test asks first: the declared verdict, and damaged copies rejected."""

from __future__ import annotations

import fractions
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import bstheory as bst
from bstheory.checking.mutations import Damage, damages_of
from bstheory.checking.recheck import recheck_document


def assert_established(
    bound: Any,
    *,
    count: int = 40,
    still_true: tuple[str, ...] = (),
    parts: tuple[str, ...] = (),
    seed: int = 0,
) -> Any:
    """The certificate has the declared verdict, and no sampled damaged copy is accepted.

    Args:
        still_true: beginnings or ends of the descriptions of damages that leave a true statement, e.g. an
            equality that was stated as an inequality.
        parts: names of the parts to damage; by default three are drawn.
    """
    # An inequality that holds with equality, or an assumption made stronger, is no damage.
    still_true = (*still_true, "inequality stated as equality")
    certificate = bst.check(bound)
    assert certificate.verdict.word == bound.declared, certificate.reason
    document = dict(certificate.evidence)
    if parts:
        document["parts"] = {name: document["parts"][name] for name in parts}
    left = survivors(document, count=count, seed=seed)
    unexplained = [what for what in left if not any(piece in what for piece in still_true)]
    assert not unexplained, unexplained
    return certificate


def survivors(document: dict[str, Any], *, count: int, seed: int = 0) -> list[str]:
    """Descriptions of the damaged copies, out of a seeded sample of ``count``, that are still accepted.

    Of a document of several parts, three drawn ones are damaged.
    """
    rng = random.Random(seed)
    parts = {"": document}
    if document.get("kind") == "parts":
        parts = dict(rng.sample(sorted(document["parts"].items()), min(3, len(document["parts"]))))
    found = []
    for name, part in parts.items():
        every = list(damaged(part))
        for damage in rng.sample(every, min(-(-count // len(parts)), len(every))):
            what, mutant = damage()
            if recheck_document(mutant).valid:
                found.append(f"{name}: {what}")
    return found


def damaged(document: dict[str, Any]) -> Iterator[Callable[[], tuple[str, dict[str, Any]]]]:
    """All single damages of a derivation, or of every bound in an enclosure, each made when called."""

    def made(damage: Damage) -> tuple[str, dict[str, Any]]:
        mutant = damage.to(document)
        return f"{mutant.where}: {mutant.change}", mutant.document

    if document.get("kind", "derivation") == "enclosure":
        for pair in damaged_enclosure(document):
            yield partial(tuple, pair)
    else:
        for damage in damages_of(document):
            yield partial(made, damage)


def damaged_enclosure(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """An interval moved beside itself, or an inequality turned around."""
    for claim in document["claims"]:
        ends = [key for key in ("lower", "upper", "value_lower", "value_upper") if key in claim]
        if claim["type"] == "integral":
            ends = ["value_lower", "value_upper"]
        changed: dict[str, str] = {}
        if claim["type"] == "positive":
            changed = {"expression": f"-({claim['expression']})"}
        elif claim["type"] == "monotone":
            other = {"increasing": "decreasing", "decreasing": "increasing"}
            changed = {"direction": other[claim["direction"]]}
        else:
            low, high = (fractions.Fraction(claim[key]) for key in ends)
            width = (high - low) or 1
            changed = {ends[0]: str(low + width), ends[1]: str(high + width)}
        mutant = {**document, "claims": [{**claim, **changed}]}  # the others are true and only cost time
        yield f"claim {claim['name']}: {changed}", mutant
