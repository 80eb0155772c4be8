"""A theorem's slug names its places; a theorem without one of the required ones fails here."""

from __future__ import annotations

import json

import pytest

from bstheory.chain import links, places
from bstheory.cli import main
from bstheory.errors import InputError
from bstheory.theory.library import all_slugs

FLAGSHIP = "adam_token_half_life"


@pytest.mark.parametrize("slug", all_slugs())
def test_every_theorem_has_its_module_and_test(slug: str) -> None:
    found = {link["part"]: link for link in places(slug)}
    assert found["module"]["ok"], found["module"]
    assert found["test"]["ok"], found["test"]


def test_the_forms_of_one_theorem_may_share_a_test() -> None:
    found = {link["part"]: link for link in places("adam_token_half_life_initial")}
    assert found["test"]["path"].endswith("test_adam_token_half_life_forms.py") and found["test"]["ok"]


def test_what_is_missing_is_named(tmp_path) -> None:
    module = tmp_path / "bstheory" / "theory" / "theorems" / f"{FLAGSHIP}.py"
    module.parent.mkdir(parents=True)
    module.write_text("")
    found = {link["part"]: link for link in links(FLAGSHIP, tmp_path)}
    assert found["module"]["ok"] and found["module"]["state"] == "exists; derivation proved"
    assert not found["test"]["ok"] and found["test"]["state"] == "missing"
    assert not found["page"]["ok"]
    assert found["experiment"]["ok"] and found["experiment"]["state"] == "none"


def test_the_experiment_says_its_verdict(tmp_path) -> None:
    folder = tmp_path / "experiments" / FLAGSHIP
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps({"verdict": "consistent"}))
    found = {link["part"]: link for link in links(FLAGSHIP, tmp_path)}
    assert found["experiment"]["state"] == "exists; consistent"


def test_the_command_prints_every_place_and_json(capsys) -> None:
    with pytest.raises(SystemExit) as left:
        main(["chain", FLAGSHIP, "--json", "-"])
    document = json.loads(capsys.readouterr().out)
    assert document["slug"] == FLAGSHIP
    assert left.value.code == (0 if all(link["ok"] for link in document["links"]) else 1)
    assert {"module", "test", "page", "simulation"} <= {link["part"] for link in document["links"]}


def test_an_unknown_slug_is_named() -> None:
    with pytest.raises(InputError, match="adam_token_half_life"):
        links("adam_token_halflife")
