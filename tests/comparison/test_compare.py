"""Bounds against real simulations: the flagship holds, a false bound is refuted, the rest is inapplicable."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import bstheory as bst
from bstheory import problems, simulation
from bstheory.comparison import Comparison, audit, compare
from bstheory.errors import InputError
from bstheory.run import Run
from bstheory.schedules.rules import Rule
from bstheory.theory.bound import Bound
from bstheory.verdict import Verdict

FLAGSHIP: Bound = bst.theorems.adam_token_half_life
OPTIMIZER = simulation.RMSProp(
    learning_rate=0.3,
    half_life=500.0,
    eps=1e-2,
    learning_rate_rule="sqrt_one_minus_beta2",
    weight="sqrt_one_minus_beta2",
)
SCHEDULES = {
    "constant": np.full(400, 8),
    "ramp up": np.repeat([1, 4, 16], [400, 200, 125]),
    "ramp down": np.repeat([16, 4, 1], [125, 200, 400]),
    "saw-tooth": np.tile(np.repeat([2, 32], [32, 2]), 20),
}


def divided(bound: Bound, factor: float) -> Bound:
    """The same theorem with a right-hand side that is ``factor`` times smaller: a false claim."""

    def value(constants, batch_size):
        true = bound.value(constants, batch_size)
        return dataclasses.replace(true, value=true.value / factor)

    return dataclasses.replace(bound, value=value)


@pytest.fixture(scope="module")
def run() -> Run:
    problem = problems.cosine_sum(32, 0.5)
    return simulation.simulate(problem, OPTIMIZER, schedule=SCHEDULES["ramp up"], seeds=64)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_flagship_is_consistent_under_every_schedule(name: str) -> None:
    problem = problems.cosine_sum(32, 0.5)
    run = simulation.simulate(problem, OPTIMIZER, schedule=SCHEDULES[name], seeds=32)
    seen = compare(FLAGSHIP, run)
    assert seen.verdict is Verdict.CONSISTENT, seen.reason
    assert all(item.outcome == "holds" for item in seen.audit)
    # Typical of this technique: one to three orders of magnitude above the measurement.
    assert 1e-4 < seen.ratio < 0.1
    low, high = seen.interval
    assert 0 < low < seen.measured < high < seen.trivial_value


def test_the_bound_divided_by_1000_is_refuted(run: Run) -> None:
    true = compare(FLAGSHIP, run)
    assert true.ratio > 1e-3  # so that dividing by 1000 makes it false
    seen = compare(divided(FLAGSHIP, 1000.0), run)
    assert seen.verdict is Verdict.REFUTED
    assert seen.ratio == pytest.approx(1000.0 * true.ratio)
    assert "the mean is at least" in seen.reason


def test_the_bound_is_evaluated_from_the_recorded_configuration_alone(run: Run, tmp_path) -> None:
    loaded = Run.load(run.save(tmp_path / "run"))
    first, second = compare(FLAGSHIP, run), compare(FLAGSHIP, loaded)
    assert first.to_json() == second.to_json()
    by_hand = FLAGSHIP.evaluate(
        constants={
            "alpha": 0.3,
            "h": 500.0,
            "eps": 1e-2,
            "R": 1.5,
            "L": 1.0,
            "d": 32,
            "Delta": 32 * (1 - np.cos(2.0)),
        },
        schedule=SCHEDULES["ramp up"],
    )
    assert first.value == pytest.approx(float(by_hand.value), rel=1e-12)
    assert first.trivial_value == pytest.approx(float(by_hand.trivial_value), rel=1e-12)


def test_a_quadratic_with_gaussian_noise_is_inapplicable_with_the_reason() -> None:
    run = simulation.simulate(
        problems.noisy_quadratic([1.0, 0.5], 0.1), OPTIMIZER, schedule=np.full(50, 4), seeds=4
    )
    seen = compare(FLAGSHIP, run)
    assert seen.verdict is Verdict.INAPPLICABLE
    assert seen.reason == "bounded_gradient: Gaussian noise on noisy_quadratic is unbounded, so there is no R"
    assert seen.value is None and seen.measured is None


def test_a_batch_chosen_after_seeing_its_gradient_is_inapplicable_not_refuted(run: Run) -> None:
    peeking = dataclasses.replace(run, config={**run.config, "batch_rule": "present"})
    for bound in (FLAGSHIP, divided(FLAGSHIP, 1000.0)):
        seen = compare(bound, peeking)
        assert seen.verdict is Verdict.INAPPLICABLE and "not predictable" in seen.reason
    past = dataclasses.replace(run, config={**run.config, "batch_rule": "past"})
    assert compare(FLAGSHIP, past).verdict is Verdict.CONSISTENT
    unrecorded = dataclasses.replace(run, config={**run.config, "batch_rule": "somehow"})
    assert compare(FLAGSHIP, unrecorded).verdict is Verdict.UNDECIDED


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"beta1": 0.9}, "update"),
        ({"eps_placement": "outside"}, "update"),
        ({"weight_decay": 0.1}, "update"),
        ({"bias_correction": "exact"}, "second_moment"),
        ({"v0": 1.0}, "second_moment"),
        ({"learning_rate_rule": "constant"}, "half_life_rule"),
        ({"half_life": None, "beta2": 0.99}, "half_life_rule"),
        ({"weight": "learning_rate"}, "measured quantity"),
    ],
)
def test_another_algorithm_is_inapplicable(run: Run, change: dict, named: str) -> None:
    config = {**run.config, "algorithm": {**run.config["algorithm"], **change}}
    seen = compare(FLAGSHIP, dataclasses.replace(run, config=config))
    assert seen.verdict is Verdict.INAPPLICABLE
    assert seen.reason.startswith(f"{named}:")


@pytest.mark.parametrize(
    ("constant", "known", "verdict"),
    [
        ("L", None, Verdict.INAPPLICABLE),
        ("F_star", None, Verdict.INAPPLICABLE),
        ("R", "measured", Verdict.UNDECIDED),
    ],
)
def test_a_constant_that_is_missing_or_only_measured(
    run: Run, constant: str, known: str, verdict: Verdict
) -> None:
    constants = dict(run.config["problem"]["constants"])
    if known is None:
        del constants[constant]
    else:
        constants[constant] = {**constants[constant], "known": known}
    config = {**run.config, "problem": {**run.config["problem"], "constants": constants}}
    assert compare(FLAGSHIP, dataclasses.replace(run, config=config)).verdict is verdict


def test_a_published_R_that_the_run_contradicts_is_noticed(run: Run) -> None:
    constants = dict(run.config["problem"]["constants"])
    constants["R"] = {**constants["R"], "value": 0.1}
    config = {**run.config, "problem": {**run.config["problem"], "constants": constants}}
    seen = compare(FLAGSHIP, dataclasses.replace(run, config=config))
    assert seen.verdict is Verdict.INAPPLICABLE and "the published R is false" in seen.reason


def test_a_run_that_diverged_decides_nothing(run: Run) -> None:
    series = {name: values.copy() for name, values in run.series.items()}
    series["weighted_sq_gradient"][0, -1] = np.inf
    seen = compare(FLAGSHIP, dataclasses.replace(run, series=series))
    assert seen.verdict is Verdict.UNDECIDED and "not finite in 1 of 64 seeds" in seen.reason


def test_audit_of_a_problem_alone() -> None:
    items = {i.assumption: i.outcome for i in audit(FLAGSHIP, problems.cosine_sum(4, 0.5))}
    assert items["smooth"] == items["bounded_gradient"] == items["unbiased"] == "holds"
    assert items["predictable_batch"] == items["update"] == "unknown"
    gaussian = audit(FLAGSHIP, problems.cosine_sum(4, 0.5, noise_law="gaussian"))
    assert [i.assumption for i in gaussian if i.outcome == "fails"] == ["bounded_gradient"]


def test_every_assumption_of_every_theorem_that_can_be_compared_is_decided_by_a_check(run: Run) -> None:
    assert {i.outcome for i in audit(FLAGSHIP, run)} == {"holds"}


def test_json_is_plain_and_carries_what_readers_need(run: Run) -> None:
    document = json.loads(json.dumps(compare(FLAGSHIP, run).to_json(), allow_nan=False))
    assert {"slug", "verdict", "method", "value", "trivial_value", "measured", "interval", "ratio"} <= set(
        document
    )
    assert document["verdict"] == "consistent" and len(document["curves"]["bound"]) == len(
        document["curves"]["tokens"]
    )


@pytest.mark.parametrize("level", [0.0, 1.0, 1.5])
def test_level_is_checked(run: Run, level: float) -> None:
    with pytest.raises(InputError, match="level"):
        compare(FLAGSHIP, run, level=level)


def test_one_seed_is_not_a_sample() -> None:
    run = simulation.simulate(problems.cosine_sum(4, 0.5), OPTIMIZER, schedule=[4, 4], seeds=1)
    with pytest.raises(InputError, match="1 seed"):
        compare(FLAGSHIP, run)


def test_a_run_without_a_needed_constant_says_which(run: Run) -> None:
    constants = {k: v for k, v in run.config["problem"]["constants"].items() if k != "Delta"}
    config = {**run.config, "problem": {**run.config["problem"], "constants": constants}}
    with pytest.raises(InputError, match="without Delta"):
        compare(FLAGSHIP, dataclasses.replace(run, config=config))


def test_identities_are_refuted_from_both_sides(run: Run) -> None:
    # The true expectation is not known here, so take a value far below and far above every measurement.
    for factor, verdict in ((1e6, Verdict.REFUTED), (1e-2, Verdict.REFUTED)):
        claim = dataclasses.replace(divided(FLAGSHIP, factor), kind="identity")
        assert compare(claim, run).verdict is verdict


def test_public_names() -> None:
    assert bst.compare is compare and bst.audit is audit
    assert dataclasses.is_dataclass(Comparison)


def test_a_constant_vector_that_a_run_abbreviates_is_a_vector_again() -> None:
    # A run writes sigma_i = 0.3 for all i as one number; read as a scalar, |sigma|_1 would be 16 times too
    # small.
    problem = problems.noisy_quadratic(1.0 / np.arange(1, 17), 0.3)
    optimizer = simulation.Signum(learning_rate=1e-3, beta1=0.0)
    bound = bst.theorems.sign_sgd_batch_schedule
    run = simulation.simulate(
        problem, optimizer, schedule=np.full(200, 4), seeds=16, quantities=("weighted_l1_gradient",)
    )
    seen = compare(bound, run)
    assert np.shape(seen.constants["noise"]) == (16,)
    assert seen.verdict is Verdict.CONSISTENT and seen.ratio < 1


def test_a_sum_of_norms_has_a_lower_limit_without_any_range() -> None:
    problem = problems.noisy_quadratic(1.0 / np.arange(1, 17), 0.3)
    optimizer = simulation.SGD(learning_rate=0.1)
    run = simulation.simulate(problem, optimizer, schedule=np.full(200, 4), seeds=32)
    seen = compare(bst.theorems.sgd_nonconvex_batch_schedule, run)
    assert seen.verdict is Verdict.CONSISTENT and seen.method.startswith("betting lower limit")
    false = divided(bst.theorems.sgd_nonconvex_batch_schedule, 20.0)
    assert compare(false, run).verdict is Verdict.REFUTED


def test_a_learning_rate_outside_the_hypotheses_is_inapplicable() -> None:
    run = simulation.simulate(
        problems.cosine_sum(8, 1.0), simulation.SGD(learning_rate=3.0), schedule=np.full(64, 4), seeds=8
    )
    seen = compare(bst.theorems.sgd_nonconvex_batch_schedule, run)
    assert seen.verdict is Verdict.INAPPLICABLE and "step_size" in seen.reason


@pytest.mark.parametrize(
    ("slug", "change", "verdict"),
    [
        ("adam_token_half_life_bias_corrected", {"bias_correction": "exact"}, Verdict.CONSISTENT),
        ("adam_token_half_life_bias_corrected", {"bias_correction": "stock"}, Verdict.INAPPLICABLE),
        ("adam_token_half_life_bias_corrected", {}, Verdict.INAPPLICABLE),
        ("adam_token_half_life_initial", {"v0": 1.0}, Verdict.CONSISTENT),
        ("adam_token_half_life_initial", {}, Verdict.CONSISTENT),
        ("adam_token_half_life", {"v0": 1.0}, Verdict.INAPPLICABLE),
        ("adam_token_half_life_variance_aware", {}, Verdict.CONSISTENT),
    ],
)
def test_forms_of_the_flagship_apply_to_their_own_algorithm(
    slug: str, change: dict, verdict: Verdict
) -> None:
    run = simulation.simulate(
        problems.cosine_sum(16, 0.5),
        dataclasses.replace(OPTIMIZER, **change),
        schedule=SCHEDULES["ramp up"],
        seeds=16,
    )
    seen = compare(getattr(bst.theorems, slug), run)
    assert seen.verdict is verdict, seen.reason


def test_adaptive_batches_are_compared_at_their_common_end() -> None:
    rule = Rule(
        name="norm_test", initial=4, maximum=64, multiple=4, debias=True, signal_floor=0.01, shrink=True
    )
    run = simulation.simulate_rule(
        problems.cosine_sum(8, 1.0), OPTIMIZER, rule=rule, groups=4, tokens=2048, seeds=16
    )
    assert (
        len({tuple(path) for path in run.series["batch_size"].tolist()}) > 1
    )  # each path has its own schedule
    seen = compare(FLAGSHIP, run)
    assert seen.verdict is Verdict.CONSISTENT, seen.reason
    assert seen.curves["tokens"].tolist() == [2048]
    expected = FLAGSHIP.evaluate(constants=seen.constants, schedule=[1024, 1024])
    assert seen.value == pytest.approx(float(expected.value))  # tokens alone decide
    assert compare(divided(FLAGSHIP, 1e4), run).verdict is Verdict.REFUTED
    other = compare(bst.theorems.adam_token_half_life_variance_aware, run)
    assert other.verdict is Verdict.UNDECIDED and "each path of this run has its own" in other.reason


@pytest.mark.parametrize("factor", [np.nan, 0.0])
def test_a_bound_that_is_not_a_finite_number_decides_nothing(run: Run, factor: float) -> None:
    with np.errstate(divide="ignore"):
        seen = compare(divided(FLAGSHIP, factor), run)
    assert seen.verdict is Verdict.UNDECIDED and "finite" in seen.reason


@pytest.mark.parametrize("kind", ["lower", "prediction"])
def test_statements_that_no_run_tests_are_refused(run: Run, kind: str) -> None:
    with pytest.raises(InputError, match=f"kind '{kind}'"):
        compare(dataclasses.replace(FLAGSHIP, kind=kind), run)
