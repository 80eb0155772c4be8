"""A claim bears the name of a Coq theorem only as long as it is the claim that Coq proved."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

import bstheory as bst
from bstheory.checking import formal, recheck_document
from bstheory.theory import library

FLAGSHIP = "adam_token_half_life"
DOCUMENT = library.get(FLAGSHIP).document()
RECORDED = [(slug, part) for slug, parts in formal.recorded().items() for part in parts]


@pytest.mark.parametrize(("slug", "part"), RECORDED)
def test_each_recorded_claim_is_the_derivations(slug: str, part: str) -> None:
    document = library.get(slug).document()
    assert part in formal.formal_proofs(document), "run python tests/proofs/coqbridge.py"


def test_the_flagship_is_established_by_a_formal_proof() -> None:
    report = recheck_document(DOCUMENT)
    assert report.method.startswith("formal proof (Coq): adam_token_half_life in docs/proofs/Adam.v; exact")
    assert bst.check(library.get(FLAGSHIP)).method == report.method


def test_a_theorem_of_which_coq_proves_one_part_says_which() -> None:
    method = recheck_document(library.get("adam_token_half_life_initial").document()).method
    assert method.startswith("exact identities")
    assert "formal proof (Coq) of part first_batch: adam_token_half_life_first_batch" in method
    assert "any_start" not in method


def test_a_theorem_without_a_formal_proof_does_not_say_so() -> None:
    assert "Coq" not in recheck_document(library.get("sgd_nonconvex_batch_schedule").document()).method


def weaker(document: dict) -> None:
    """A correct proof of a weaker claim: the right side grows by d."""
    step = document["steps"][-1]
    assert step["name"] == document["claim"]["fact"]
    document["steps"].append(
        {
            **{key: step[key] for key in ("relation", "why")},
            "name": "weaker",
            "kind": "combine",
            "gap": f"({step['gap']}) + d",
            "uses": [[[step["name"]], "1"]],
            "squares": [],
            "slack": "d",
        }
    )
    document["claim"] = {**document["claim"], "fact": "weaker", "rhs": f"({document['claim']['rhs']}) + d"}


def another_hypothesis(document: dict) -> None:
    step = next(s for s in document["steps"] if s["kind"] == "assumption")
    document["steps"].append({**step, "name": "extra", "gap": "1 - R", "relation": ">="})


def another_meaning(document: dict) -> None:
    document["symbols"]["R"]["meaning"] = "bound on the mean gradient"


def another_title(document: dict) -> None:
    document["title"] = "Adam converges"


def no_words(document: dict) -> None:
    document["assumptions"] = []


def another_symbol(document: dict) -> None:
    document["symbols"]["R"]["latex"] = "0"


@pytest.mark.parametrize(
    "drift", [weaker, another_hypothesis, another_meaning, another_title, no_words, another_symbol]
)
def test_a_drifted_claim_loses_the_label_although_it_checks(drift) -> None:
    document = copy.deepcopy(DOCUMENT)
    drift(document)
    report = recheck_document(document)
    assert report.valid, report.reason
    assert formal.formal_proofs(document) == {}
    assert report.method.startswith("exact identities with decided signs")


def test_another_proof_of_the_same_claim_keeps_the_label() -> None:
    document = copy.deepcopy(DOCUMENT)
    for step in document["steps"]:
        step["why"] = "for another reason"
    document["steps"].reverse()
    assert "" in formal.formal_proofs(document)


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d.update(title="Adam converges"),
        lambda d: d["assumptions"][0].__setitem__(1, "nothing at all"),
        lambda d: d["assumptions"].pop(),
        lambda d: d["steps"][0].update(why="because"),
    ],
)
def test_the_claim_hash_covers_title_and_assumptions(edit, tmp_path: Path) -> None:
    content = bst.check(library.get(FLAGSHIP)).to_json()
    path = tmp_path / "certificate.json"
    path.write_text(json.dumps(content))
    assert bst.recheck(path).valid
    edit(content["evidence"])
    path.write_text(json.dumps(content))
    report = bst.recheck(path)
    assert not report.valid
    assert "claim_hash" in report.reason


def test_every_assumed_inequality_is_shown() -> None:
    """A step that is assumed under another assumption's name is at least visible."""
    document = copy.deepcopy(DOCUMENT)
    another_hypothesis(document)
    step = next(s for s in document["steps"] if s["kind"] == "assumption")
    before, after = recheck_document(DOCUMENT).assumes, recheck_document(document).assumes
    assert set(after) - set(before) == {f"{step['assumption']}: 1 - R >= 0"}


def test_a_certificate_without_its_hash_and_an_unknown_format_are_invalid(tmp_path: Path) -> None:
    """Without the stated hash an edited word would go unnoticed."""
    content = bst.check(library.get("half_life_definition")).to_json()
    path = tmp_path / "certificate.json"
    path.write_text(json.dumps(content))
    assert bst.recheck(path).valid
    del content["claim_hash"]
    path.write_text(json.dumps(content))
    report = bst.recheck(path)
    assert not report.valid and "claim_hash is None" in report.reason

    document = library.get("adam_token_half_life_unnormalised").document()
    assert document["kind"] == "parts" and recheck_document(document).valid
    report = recheck_document(document | {"format": 2})
    assert not report.valid and "format 2 is not 1" in report.reason
