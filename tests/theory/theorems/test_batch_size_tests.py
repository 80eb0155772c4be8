"""Each rule's inequality holds exactly from the batch it asks for on."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from bstheory.theory.theorems.batch_size_tests import BOUND, RULES
from tests.theory.checks import assert_established


def test_it_is_proved_and_damage_is_noticed() -> None:
    # A law of the inner product that is known before the draw is still a law, and its mean is given as G^2.
    still_true = ("declared known before the draw", "orthogonality: definition of mean_inner")
    assert_established(BOUND, still_true=still_true)


def test_every_derived_rule_names_a_part_or_a_theorem() -> None:
    parts = set(BOUND.derivation())
    from bstheory.theory.library import all_slugs

    for rule in RULES:
        kind, _, where = rule.provenance.partition(": ")
        assert (kind == "derived" and where in parts | set(all_slugs())) or rule.provenance == "memory"


def test_the_factor_without_replacement_by_enumeration() -> None:
    data = [Fraction(x) for x in (3, -1, 4, 1, -5, 9)]
    mean, n = sum(data, Fraction(0)) / len(data), len(data)
    noise = sum(((x - mean) ** 2 for x in data), Fraction(0)) / n
    for b in range(1, n + 1):
        subsets = list(itertools.combinations(data, b))
        variance = sum(((sum(s) / b - mean) ** 2 for s in subsets), Fraction(0)) / len(subsets)
        assert variance == noise / b * (n - b) / (n - 1)
        found = BOUND.evaluate(
            constants={"sigma_sq": float(noise), "norm_sq": 1.0, "theta": 1.0, "b": b, "population": n}
        )
        assert found.parts["variance_without_replacement"] == pytest.approx(float(variance))


def test_the_norm_test_passes_from_its_batch_on() -> None:
    constants = {"sigma_sq": 30.0, "norm_sq": 2.0, "theta": 0.5}
    asked = BOUND.evaluate(constants=constants).value
    assert asked == pytest.approx(60.0)
    for b, passes in ((59.9, False), (60.1, True)):
        assert bool(BOUND.evaluate(constants={**constants, "b": b}).parts["passes"]) is passes


def test_the_debiased_rule_asks_for_more_and_says_so_when_it_cannot() -> None:
    constants = {"sigma_sq": 30.0, "norm_sq": 2.0, "theta": 0.5, "b": 60.0}
    found = BOUND.evaluate(constants=constants)
    assert (
        found.parts["corrected"] == pytest.approx(30 / (0.25 * 1.5))
        and found.parts["corrected"] > found.value
    )
    assert BOUND.evaluate(constants={**constants, "b": 10.0}).parts["corrected"] == np.inf


@pytest.mark.parametrize("S", [1, 2, 64])
def test_the_gain_lies_between_one_and_the_factor(S: int) -> None:
    for noise, signal in ((1.0, 0.0), (1.0, 1.0), (1e-6, 1.0)):
        assert 1 - 1e-12 <= (noise + signal) / (noise / S + signal) <= S + 1e-12
