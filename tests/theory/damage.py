"""Damages of a derivation that must be noticed: each fact of each step matters; see also ``mutation``."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from bstheory.checking import recheck_document

MOST = 50  # damaged copies of one part, evenly spaced, so that a theorem's test stays fast


def damaged(document: dict[str, Any], seen: set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Copies with a tightened claim, altered multipliers, or a flipped sign in a derived step.

    Steps in ``seen`` are skipped, and those damaged are added to it.
    """
    zero = {step["name"] for step in document["steps"] if step["gap"] == "0"}

    def clone() -> dict[str, Any]:
        result = copy.deepcopy(document)
        result.pop("claim_hash", None)
        return result

    for factor in ("999/1000", "1001/1000", "0"):
        tightened = clone()
        rhs = tightened["claim"]["rhs"]
        if rhs != "0":
            tightened["claim"]["rhs"] = f"({rhs})*{factor}"
            yield f"claim times {factor}", tightened
            # The same damage, made consistently in the last step: only the step can notice it.
            consistent = clone()
            consistent["claim"]["rhs"] = f"({rhs})*{factor}"
            fact = next(s for s in consistent["steps"] if s["name"] == consistent["claim"]["fact"])
            fact["gap"] = f"({rhs})*{factor} - ({consistent['claim']['lhs']})"
            yield f"claim and last step times {factor}", consistent
    for index, step in enumerate(document["steps"]):
        key = json.dumps(step, sort_keys=True)
        if step["kind"] in ("assumption", "hypothesis") or step["gap"] == "0" or key in seen:
            continue
        seen.add(key)
        flipped = clone()
        flipped["steps"][index]["gap"] = f"-({step['gap']})"
        if not (step["kind"] == "combine" and not step["uses"]):
            yield f"{step['name']}: sign flipped", flipped
        used_facts = step.get("uses", []) if step["kind"] == "combine" else []
        for position, (used, multiplier) in enumerate(used_facts):
            if zero & set(used):  # the multiplier of 0 does not matter
                continue
            altered = clone()
            altered["steps"][index]["uses"][position] = [used, f"({multiplier}) + 1"]
            yield f"{step['name']}: multiplier of {used} altered", altered


def assert_damage_is_noticed(document: dict[str, Any], seen: set[str] | None = None) -> int:
    """Every damaged copy, of every part, is invalid; returns how many there were.

    Steps that parts share are damaged in one part only.
    """
    seen = set() if seen is None else seen
    if document.get("kind") == "parts":
        return sum(assert_damage_is_noticed(part, seen) for part in document["parts"].values())
    if document.get("kind") == "enclosure":
        return 0
    mutants = list(damaged(document, seen))
    stride = max(1, len(mutants) // MOST)
    for change, mutant in mutants[::stride]:
        assert not recheck_document(mutant).valid, f"{document['slug']}: {change} passed"
    assert mutants
    return len(mutants[::stride])
