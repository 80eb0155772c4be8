"""Damaged copies of every derivation of the library, and what the checker says: writes ``results.json``.

    python experiments/mutations/campaign.py [--each 12] [--seed 0]

Slugs that ``results.json`` already holds with the same settings are not repeated, so an interrupted campaign
goes on where it stopped. A survivor is an accepted copy; the reason why it is true is found, not typed.
"""

from __future__ import annotations

import argparse
import collections
import json
import random
from pathlib import Path
from typing import Any

from bstheory.checking.formal import statement
from bstheory.checking.mutations import damages_of
from bstheory.checking.recheck import recheck_document
from bstheory.files import write_json
from bstheory.theory import library
from bstheory.theory.render import parts

HERE = Path(__file__).resolve().parent
KINDS = ("constant", "sign before", "dropped", "divided by", "leading minus", "doubled", "plus one")


def kind(change: str) -> str:
    """The kind of a damage, from its description."""
    if change == "step dropped" or change.startswith("fact "):
        return "step or fact dropped"
    return next((k for k in KINDS if change.startswith(k)), change)


def reason(original: Any, mutant: Any, where: str, change: str) -> str:
    """Why an accepted copy is true, or '' where this function cannot tell."""
    if change == "inequality stated as equality":
        steps = {s["name"]: s for _, part in parts(original) for s in part.get("steps", [])}
        if steps[where.rpartition("step ")[2]]["kind"] == "assumption":
            return "a hypothesis made stronger, from which the same conclusion follows"
        return "the step gives an equality"
    if change == "declared known before the draw":
        return "the special case in which the symbol is not random"
    before, after = (dict(parts(d)) for d in (original, mutant))
    name = next(name for name in before if before[name] != after[name])
    old, new = statement(before[name]), statement(after[name])
    if old == new:
        return "same hypotheses and same conclusion, by other steps"
    if old["claim"] == new["claim"] and len(new["hypotheses"]) < len(old["hypotheses"]):
        return "same conclusion from fewer hypotheses"
    if old["claim"] == new["claim"] and old["hypotheses"] == new["hypotheses"]:
        return "an auxiliary symbol is defined otherwise, and every step holds for it"
    if old["claim"] == new["claim"]:
        return "another hypothesis, from which the conclusion follows: " + where
    return ""


def campaign(slug: str, each: int, seed: int) -> dict[str, Any]:
    """Counts and survivors of one theorem."""
    document = library.get(slug).document()
    every = list(damages_of(document))
    chosen = random.Random(f"{slug} {seed}").sample(every, min(each, len(every)))
    kinds: collections.Counter[str] = collections.Counter()
    survivors = []
    for damage in chosen:
        mutant = damage.to(document)
        kinds[kind(mutant.change)] += 1
        if recheck_document(mutant.document).valid:
            why = reason(document, mutant.document, mutant.where, mutant.change)
            survivors.append({"where": mutant.where, "change": mutant.change, "reason": why})
    return {
        "possible": len(every),
        "tried": len(chosen),
        "rejected": len(chosen) - len(survivors),
        "kinds": dict(sorted(kinds.items())),
        "survivors": survivors,
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--each", type=int, default=12, help="damaged copies of each theorem")
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    path, settings = HERE / "results.json", {"each": given.each, "seed": given.seed}
    found = json.loads(path.read_text()) if path.exists() else {}
    rows = found.get("theorems", {}) if found.get("settings") == settings else {}
    for slug in library.all_slugs():
        if slug in rows or library.get(slug).derive is None:
            continue
        rows[slug] = campaign(slug, given.each, given.seed)
        print(f"{slug}: {rows[slug]['rejected']} of {rows[slug]['tried']} rejected", flush=True)
        write_json(path, {"settings": settings, "theorems": dict(sorted(rows.items()))})


if __name__ == "__main__":
    main()
