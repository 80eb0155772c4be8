"""Small damages of a certificate that must be noticed; the seeded campaign is ``checking.mutations``."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

from bstheory.checking import recheck_document
from bstheory.checking.mutations import edits
from bstheory.checking.rational import ExpressionError
from bstheory.checking.recheck import Checker
from bstheory.checking.recheck_rules import Invalid


def damaged(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Copies with a tightened claim, altered multipliers, or a flipped sign in a derived step."""

    def clone(index: int | None = None) -> dict[str, Any]:
        """The document with its own claim and steps, and with a step of its own at ``index``."""
        result = {key: value for key, value in document.items() if key != "claim_hash"}
        result["claim"], result["steps"] = dict(document["claim"]), list(document["steps"])
        if index is not None:
            result["steps"][index] = copy.deepcopy(document["steps"][index])
        return result

    for factor in ("999/1000", "1001/1000", "0"):
        tightened = clone()
        rhs = tightened["claim"]["rhs"]
        if rhs != "0":
            tightened["claim"]["rhs"] = f"({rhs})*{factor}"
            yield f"claim times {factor}", tightened
            # The same damage, made consistently in the last step: only the step can notice it.
            last = [step["name"] for step in document["steps"]].index(document["claim"]["fact"])
            consistent = clone(last)
            consistent["claim"]["rhs"] = f"({rhs})*{factor}"
            fact = consistent["steps"][last]
            fact["gap"] = f"({rhs})*{factor} - ({consistent['claim']['lhs']})"
            yield f"claim and last step times {factor}", consistent
    for index, step in enumerate(document["steps"]):
        if step["kind"] in ("assumption", "hypothesis") or step["gap"] == "0":
            continue
        flipped = clone(index)
        flipped["steps"][index]["gap"] = f"-({step['gap']})"
        if not (step["kind"] == "combine" and not step["uses"]):
            yield f"{step['name']}: sign flipped", flipped
        for position, (used, multiplier) in enumerate(
            step.get("uses", []) if step["kind"] == "combine" else []
        ):
            altered = clone(index)
            altered["steps"][index]["uses"][position] = [used, f"({multiplier}) + 1"]
            yield f"{step['name']}: multiplier of {used} altered", altered


def assert_damage_is_noticed(document: dict[str, Any]) -> int:
    """Every damaged copy, of every part, is invalid; returns how many there were."""
    if document.get("kind") == "parts":
        return sum(assert_damage_is_noticed(part) for part in document["parts"].values())
    if document.get("kind") == "enclosure":
        return 0
    zero = {s["name"] for s in document["steps"] if s["gap"] == "0"}
    count = 0
    intact, taken = Checker(document), 0
    for change, mutant in damaged(document):
        if any(f"'{name}'" in change for name in zero):
            continue
        changed = [i for i, step in enumerate(mutant["steps"]) if step != document["steps"][i]]
        if len(changed) == 1 and taken <= changed[0] and mutant["claim"] == document["claim"]:
            # Only this step differs, so the checker reaches it in the state that the intact steps leave.
            for step in document["steps"][taken : changed[0]]:
                intact.take(step)
            taken = changed[0]
            if rejected(intact, mutant["steps"][taken]):
                count += 1
                continue
        assert not recheck_document(mutant).valid, f"{document['slug']}: {change} passed"
        count += 1
    assert count > 0
    return count


def rejected(checker: Checker, step: dict[str, Any]) -> bool:
    """Whether the step does not follow from the facts that the checker holds; leaves these as they were."""
    facts, counterparts = dict(checker.facts), set(checker.counterparts)
    try:
        checker.take(step)
    except (Invalid, ExpressionError, ArithmeticError):
        return True
    finally:
        checker.facts, checker.counterparts = facts, counterparts
    return False


def few_damaged(document: dict[str, Any], *, count: int, seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """``count`` copies with one changed token in a derived claim, a multiplier or the conclusion."""
    rng = random.Random(seed)
    derived = [i for i, s in enumerate(document["steps"]) if s["kind"] not in ("assumption", "hypothesis")]
    for _ in range(count):
        clone = copy.deepcopy(document)
        clone.pop("claim_hash", None)
        step = clone["steps"][rng.choice(derived)]
        place: Any = (clone["claim"], "rhs") if rng.random() < 0.2 else (step, "gap")
        if place[0] is step and step["kind"] == "combine" and step["uses"] and rng.random() < 0.5:
            place = (rng.choice(step["uses"]), 1)
        holder, key = place
        edit = rng.choice(list(edits(holder[key])))
        holder[key] = edit.apply()
        yield f"{step['name']}: {edit.describe()}", clone
