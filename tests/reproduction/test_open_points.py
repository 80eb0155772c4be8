"""The judges of what the papers left open find a planted answer, refute its opposite, and confirm no noise."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest

from bstheory.models.configs import model_config
from bstheory.reproduction import (
    beta2_floor,
    far_from_convergence,
    fresh_seeds,
    half_life_units,
    throughput_rule,
)
from bstheory.reproduction import small_batch as claims
from bstheory.reproduction.arms import HALF_LIFE
from bstheory.reproduction.claim import Finding
from bstheory.reproduction.judging import Test as Statement
from bstheory.reproduction.judging import family
from bstheory.reproduction.runner import _key, run_recipes
from bstheory.reproduction.statistics import difference, equivalence, p_within
from bstheory.training.stacked import Outcome, Recipe
from bstheory.verdict import Verdict


def outcomes(loss: Callable[[Recipe], float], recipes: list[Recipe]) -> dict[Recipe, Outcome]:
    return {
        r: Outcome(recipe=r, tokens=(1,), validation_loss=(loss(r),), diverged_at_step=None) for r in recipes
    }


def verdicts(findings: list[Finding], part: str) -> set[Verdict]:
    found = {f.verdict for f in findings if part in f.statement}
    assert found, part
    return found


def planted(law: Callable[[Recipe], float], *, noise: float = 0.002, seed: int = 0) -> list[Finding]:
    """Loss: a parabola in log half-life around ``law(recipe)`` times the anchored one, rate 1 the best."""
    rng = np.random.default_rng(seed)

    def loss(r: Recipe) -> float:
        assert r.half_life is not None
        away = math.log2(r.half_life / (HALF_LIFE * law(r)))
        rate = abs(math.log2(r.learning_rate / 0.0112))
        return 3 + 0.01 * away**2 + 0.05 * rate + noise * rng.standard_normal()

    return half_life_units.judge(outcomes(loss, half_life_units.recipes()))


def test_a_half_life_in_tokens_is_recognised() -> None:
    findings = planted(lambda r: 1.0)
    assert len(findings) == 9
    assert verdicts(findings, "") == {Verdict.CONSISTENT}
    assert abs(findings[0].numbers["exponent_not_tested"]) < 0.1


def test_a_half_life_that_is_a_share_of_the_run_is_recognised() -> None:
    def tokens(r: Recipe) -> float:
        return r.rows * model_config(r.model).context / half_life_units.BASE.tokens

    findings = planted(tokens)
    assert verdicts(findings, "number of training tokens times 0.25") == {Verdict.REFUTED}  # it costs 0.04
    assert verdicts(findings, "to the sequence length") == {Verdict.CONSISTENT}
    numbers = next(f.numbers for f in findings if "number of training" in f.statement)
    assert numbers["exponent_not_tested"] == pytest.approx(1, abs=0.1)


def test_half_lives_of_noise_are_not_decided() -> None:
    """A flat loss confirms no law: this is why exponents of an argmin are not tested."""
    for seed in range(5):
        assert verdicts(planted(lambda r: 1.0, noise=1.0, seed=seed), "") == {Verdict.UNDECIDED}


def test_settings_differ_in_the_named_factor_only() -> None:
    for axis in half_life_units.AXES.values():
        for factor, setting in axis:
            config = model_config(setting.model)
            assert setting.batch_size * config.context == half_life_units.STEP
            assert setting.steps * half_life_units.STEP == setting.tokens
            if setting.tokens == half_life_units.BASE.tokens and factor != 1.0:
                base = model_config("tiny_study")
                assert (config.width / base.width == factor) != (config.context / base.context == factor)


def test_a_wall_at_beta1_squared_makes_the_floor_win() -> None:
    rng = np.random.default_rng(1)

    def wall(r: Recipe) -> float:
        return 3 + (0.5 if r.beta2 < r.beta1**2 - 1e-9 else 0.0) + 0.002 * rng.standard_normal()

    findings = beta2_floor.judge(outcomes(wall, beta2_floor.recipes()))
    assert verdicts(findings, "") == {Verdict.CONSISTENT}

    def high(r: Recipe) -> float:  # the floor hurts
        return 3 + 0.5 * r.beta2 + 0.002 * rng.standard_normal()

    findings = beta2_floor.judge(outcomes(high, beta2_floor.recipes()))
    assert verdicts(findings, "lowers the loss") == {Verdict.REFUTED}


def test_the_penalty_of_large_batches_over_the_budget() -> None:
    rng = np.random.default_rng(2)

    def loss(sign: float) -> Callable[[Recipe], float]:
        def one(r: Recipe) -> float:
            size = r.batch_sizes[0][0]
            penalty = 0.1 * (size > 4) * (4 + sign * math.log2(r.rows / 768))
            return 3 + penalty + 0.002 * rng.standard_normal()

        return one

    recipes = far_from_convergence.recipes()
    assert verdicts(far_from_convergence.judge(outcomes(loss(-1), recipes)), "") == {Verdict.CONSISTENT}
    assert verdicts(far_from_convergence.judge(outcomes(loss(1), recipes)), "") == {Verdict.REFUTED}


def test_the_throughput_rule_is_judged_at_equal_modelled_cost() -> None:
    assert pytest.approx(0.9) == throughput_rule.FULL / (throughput_rule.FULL + throughput_rule.STEP_COST)
    for size in throughput_rule.SIZES:
        (stage,) = throughput_rule.arm(size)[0].batch_sizes
        cost = stage[1] * (stage[0] + throughput_rule.STEP_COST)
        assert abs(cost - throughput_rule.BUDGET) <= 0.5 * (size + throughput_rule.STEP_COST)
    rng = np.random.default_rng(3)
    best = {4: 0.3, 16: 0.0, 64: 0.1, 144: 0.2}
    found = outcomes(
        lambda r: 3 + best[r.batch_sizes[0][0]] + 0.002 * rng.standard_normal(), throughput_rule.recipes()
    )
    assert [f.verdict for f in throughput_rule.judge(found)] == [
        Verdict.REFUTED,
        Verdict.REFUTED,
        Verdict.CONSISTENT,
    ]


def test_repetitions_use_seeds_of_their_own() -> None:
    by_name = {c.name: c for c in claims.CLAIMS}
    for name in ("c4", "c5"):
        first = {r.seed for r in by_name[name].recipes()}
        again = {r.seed for r in by_name[f"{name}-fresh-seeds"].recipes()}
        assert not first & again and len(again) == 12
    # Equal numbers of settings for all arms of the momentum claim at one batch size.
    arms = {(r.beta1, r.clip, r.optimizer, r.batch_sizes): 0 for r in fresh_seeds.momentum_recipes()}
    for r in fresh_seeds.momentum_recipes():
        arms[r.beta1, r.clip, r.optimizer, r.batch_sizes] += 1
    assert {n for (*_, sizes), n in arms.items() if sizes[0][0] == 1} == {32}
    assert {n for (*_, sizes), n in arms.items() if sizes[0][0] == 64} == {40}


def test_every_numbered_claim_has_an_entry() -> None:
    names = {c.name for c in claims.CLAIMS}
    assert {f"c{i}" for i in range(1, 14)} <= names
    assert len(names) == len(claims.CLAIMS)


def test_one_family_controls_matches_and_superiority_together() -> None:
    weak = np.array([0.01, 0.05, 0.02, 0.04])  # one-sided p near 0.025
    assert 0.0125 < difference(weak).p_above < 0.05
    alone = family({"a": Statement(values=weak)})
    assert alone[0].verdict is Verdict.CONSISTENT
    noise = Statement(values=np.array([-1.0, 1.0, 0.5, -0.5]), margin=0.1)
    together = family({"a": Statement(values=weak), "b": noise, "c": noise})
    assert [f.verdict for f in together] == [Verdict.UNDECIDED] * 3
    refuted = family({"a": Statement(values=-weak), "b": Statement(values=weak * 0 + 0.3, margin=0.1)})
    assert [f.verdict for f in refuted] == [Verdict.REFUTED, Verdict.REFUTED]


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.2, -0.3])
def test_p_values_of_a_match_agree_with_intervals(shift: float) -> None:
    from scipy import stats

    x = np.array([0.02, -0.01, 0.03, 0.0, 0.01]) + shift
    inside, outside = p_within(difference(x), margin=0.1)
    low = stats.ttest_1samp(x, -0.1, alternative="greater").pvalue
    high = stats.ttest_1samp(x, 0.1, alternative="less").pvalue
    assert inside == pytest.approx(max(low, high))
    assert outside == pytest.approx(min(1.0, 2 * min(1 - low, 1 - high)))
    verdict = equivalence(difference(x), margin=0.1)
    assert verdict is (Verdict.CONSISTENT if abs(shift) < 0.1 else Verdict.REFUTED)
    assert p_within(difference([math.inf] * 6), margin=0.1) == (1.0, 2 * 0.5**6)
    assert p_within(difference([0.0] * 3), margin=0.1) == (0.0, 1.0)


def test_the_margin_with_power_is_met_with_about_its_power() -> None:
    rng = np.random.default_rng(5)
    unit = difference(rng.standard_normal(30))
    margin = unit.resolvable()
    assert margin is not None
    scale = unit.half_width / 2.0452 * math.sqrt(30)  # Student quantile at 29 degrees of freedom
    hits = [
        equivalence(difference(scale * rng.standard_normal(30)), margin=margin) is Verdict.CONSISTENT
        for _ in range(400)
    ]
    assert 0.73 < np.mean(hits) < 0.87  # 0.8 to three standard errors and a half of 400 trials


def test_other_models_train_and_have_keys_of_their_own(tmp_path) -> None:
    one = Recipe(optimizer="adam", learning_rate=0.01, batch_sizes=((4, 3),), seed=0)
    other = dataclasses.replace(one, model="tiny_study_t8")
    assert _key(one, "x") != _key(other, "x")
    found = run_recipes([one, other], folder=tmp_path, workers=0)
    assert found[one].tokens[-1] == 4 * found[other].tokens[-1] == 4 * 3 * 32
    assert all(math.isfinite(o.validation_loss[-1]) for o in found.values())
