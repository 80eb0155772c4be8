"""Exact recursions against simulated paths; a wrong recursion is refuted."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bstheory import problems, simulation
from bstheory.comparison import compare_exact
from bstheory.errors import InputError
from bstheory.verdict import Verdict

PROBLEM = problems.noisy_quadratic(1.0 / np.arange(1, 17), 0.3)
SCHEDULE = np.repeat([1, 4, 16], [300, 100, 50])
OPTIMIZERS = {
    "nqm_sgd": simulation.SGD(learning_rate=0.1),
    "nqm_heavy_ball": simulation.HeavyBall(learning_rate=0.05, beta1=0.9),
}


def paths(optimizer, problem=PROBLEM, seeds=256):
    return simulation.simulate(problem, optimizer, schedule=SCHEDULE, seeds=seeds, quantities=("loss",))


@pytest.mark.parametrize("slug", OPTIMIZERS)
def test_paths_agree_with_the_recursion(slug: str) -> None:
    seen = compare_exact(PROBLEM, paths(OPTIMIZERS[slug]))
    assert seen.slug == slug and seen.kind == "identity"
    assert seen.verdict is Verdict.CONSISTENT, seen.reason
    assert seen.ratio == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("slug", OPTIMIZERS)
def test_a_recursion_with_five_percent_more_noise_is_refuted(slug: str) -> None:
    wrong = dataclasses.replace(PROBLEM, params={**PROBLEM.params, "noise": PROBLEM.params["noise"] * 1.05})
    seen = compare_exact(wrong, paths(OPTIMIZERS[slug], seeds=2048))
    assert seen.verdict is Verdict.REFUTED and "standard errors away" in seen.reason


def test_false_alarms_are_as_rare_as_stated() -> None:
    run = paths(OPTIMIZERS["nqm_sgd"], seeds=40 * 32)
    alarms = 0
    for k in range(40):
        part = slice(32 * k, 32 * (k + 1))
        piece = dataclasses.replace(run, seeds=run.seeds[part], series={"loss": run.series["loss"][part]})
        alarms += compare_exact(PROBLEM, piece, level=0.9).verdict is Verdict.REFUTED
    assert alarms <= 4  # at most 10 % each; Birgé's inequality and Bonferroni make it far rarer


def test_another_noise_law_or_problem_is_inapplicable() -> None:
    two_point = problems.noisy_quadratic(1.0 / np.arange(1, 17), 0.3, noise_law="two_point")
    seen = compare_exact(two_point, paths(OPTIMIZERS["nqm_sgd"], two_point, seeds=4))
    assert seen.verdict is Verdict.INAPPLICABLE and "gaussian_noise" in seen.reason
    smaller = problems.noisy_quadratic([1.0, 0.5], 0.3)
    assert compare_exact(smaller, paths(OPTIMIZERS["nqm_sgd"], seeds=4)).verdict is Verdict.INAPPLICABLE


def test_what_has_no_exact_recursion_is_refused() -> None:
    run = paths(simulation.RMSProp(learning_rate=0.1, beta2=0.9), seeds=4)
    with pytest.raises(InputError, match="adam on noisy_quadratic"):
        compare_exact(PROBLEM, run)
    nesterov = simulation.HeavyBall(learning_rate=0.05, beta1=0.9, nesterov=True)
    with pytest.raises(InputError, match="heavy_ball"):
        compare_exact(PROBLEM, paths(nesterov, seeds=4))
