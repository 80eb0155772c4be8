"""Closed-loop rules inside the simulation."""

from __future__ import annotations

import numpy as np
import pytest

from bstheory.errors import InputError
from bstheory.problems import cosine_sum, logistic, noisy_quadratic
from bstheory.run import Run
from bstheory.schedules.rules import Rule, ddp_norm, published_fixed_point
from bstheory.schedules.statistics import from_groups
from bstheory.simulation import SGD, Adam, RMSProp, coefficients, sgd_moments, simulate_rule
from bstheory.simulation.optimizers import coefficients_across
from bstheory.simulation.runs import from_run_lengths
from bstheory.theory.library import get


def test_a_rule_that_never_moves_is_the_open_loop() -> None:
    h, sigma, paths, steps = np.array([1.0, 0.3]), np.array([0.4, 0.2]), 500, 15
    problem = noisy_quadratic(h, sigma)
    rule = Rule(name="norm_test", initial=8, maximum=8, multiple=4)
    run = simulate_rule(problem, SGD(learning_rate=0.3), rule=rule, groups=4, tokens=8 * steps, seeds=paths)
    exact = sgd_moments(
        h, sigma**2, problem.x0**2, learning_rate=np.full(steps, 0.3), batch_size=np.full(steps, 8)
    )[-1]
    loss = run.series["loss"][:, -1]
    assert abs(loss.mean() - 0.5 * h @ exact) <= 4 * loss.std(ddof=1) / np.sqrt(paths)
    assert run.summary["batch_sizes"] == [[steps, 8]]


def test_every_path_consumes_its_budget_with_predictable_batches(tmp_path) -> None:
    problem = cosine_sum(dim=3, noise_scale=1.0, x0=2.0)
    rule = ddp_norm(eta=0.8, scaling="unbiased", initial=4, maximum=64, multiple=4, signal_floor=0.01)
    optimizer = Adam(learning_rate=0.05, beta1=0.9, half_life=100.0)
    run = simulate_rule(problem, optimizer, rule=rule, groups=4, tokens=1003, seeds=6)
    batches = from_run_lengths(run.summary["batch_sizes"])
    assert batches.sum() == 1003 and np.all(batches[:-1] % 4 == 0) and batches[-1] <= 64
    assert run.tokens[-1] == 1003
    assert np.all(np.diff(run.series["batch_size"], axis=1) >= 0)  # a ratchet
    assert run.series["batch_size"][:, -1].mean() > 4
    assert len(np.unique(run.series["step"][:, -1])) > 1  # each path its own schedule
    again = simulate_rule(problem, optimizer, rule=rule, groups=4, tokens=1003, seeds=[3])
    np.testing.assert_array_equal(again.series["loss"][0], run.series["loss"][3])
    assert Run.load(run.save(tmp_path)).config == run.config


def test_published_rule_settles_near_its_fixed_point_and_the_debiased_at_the_noise_scale() -> None:
    # Nearly flat quadratic far from its minimum: |G| and the noise stay constant over the run.
    d, groups, eta = 200, 8, 0.25
    signal = 1.0
    problem = noisy_quadratic(np.full(d, 1e-6), np.sqrt(400.0 / d), x0=np.sqrt(signal / d) / 1e-6)
    noise_scale = 400.0 / signal
    free = {"shrink": True, "maximum": 8192, "multiple": groups, "initial": 64, "smoothing": 0.95}
    run = simulate_rule(
        problem,
        SGD(learning_rate=1e-9),
        rule=ddp_norm(eta=eta, scaling="published", **free),
        groups=groups,
        tokens=60_000,
        seeds=4,
    )
    settled = run.series["batch_size"][:, 32:].mean()
    assert settled == pytest.approx(
        published_fixed_point(noise_scale=noise_scale, eta=eta, workers=groups), rel=0.15
    )
    unbiased = simulate_rule(
        problem,
        SGD(learning_rate=1e-9),
        rule=ddp_norm(eta=1.0, scaling="unbiased", signal_floor=0.01, **free),
        groups=groups,
        tokens=60_000,
        seeds=4,
    )
    assert unbiased.series["batch_size"][:, 32:].mean() == pytest.approx(noise_scale, rel=0.2)


def test_the_flagship_bound_holds_for_batches_that_a_rule_chooses() -> None:
    problem = cosine_sum(dim=4, noise_scale=0.5, x0=2.0)
    optimizer = RMSProp(
        learning_rate=0.3,
        half_life=500.0,
        eps=1e-2,
        learning_rate_rule="sqrt_one_minus_beta2",
        weight="sqrt_one_minus_beta2",
    )
    rule = ddp_norm(eta=0.5, scaling="published", initial=4, maximum=128, multiple=4, shrink=True)
    run = simulate_rule(problem, optimizer, rule=rule, groups=4, tokens=1000, seeds=40)
    bound = get("adam_token_half_life").evaluate(
        constants={
            "alpha": 0.3,
            "h": 500.0,
            "eps": 1e-2,
            "R": problem.value("R"),
            "L": 1.0,
            "d": 4,
            "Delta": problem.value("Delta"),
        },
        schedule=from_run_lengths(run.summary["batch_sizes"]),  # only its sum enters
    )
    seen = run.series["weighted_sq_gradient"][:, -1]
    assert seen.mean() + 4 * seen.std() / np.sqrt(40) < bound.value
    assert len(np.unique(run.series["batch_size"])) > 3


def test_one_path_replayed_step_by_step() -> None:
    """The same draws through a loop spelt out here: Adam on half-lives, CABS, a partial last batch."""
    groups, tokens, seed, rate = 2, 151, 5, 0.05
    problem = cosine_sum(dim=3, noise_scale=1.0, x0=2.0)
    rule = Rule(name="cabs", initial=4, minimum=2, maximum=64, multiple=2, shrink=True)
    optimizer = Adam(learning_rate=rate, half_life1=20.0, half_life=100.0, weight="sqrt_one_minus_beta2")
    run = simulate_rule(problem, optimizer, rule=rule, groups=groups, tokens=tokens, seeds=[seed])

    rng, state, x = np.random.default_rng([seed, 0xB5]), rule.init(), problem.x0.copy()
    m, v, seen, sizes, weighted, weight = np.zeros(3), np.zeros(3), 0, [], 0.0, 0.0
    while seen < tokens:
        batch = rule.value(state)
        size = min(batch, tokens - seen)
        beta1, beta2 = 2.0 ** (-size / 20.0), 2.0 ** (-size / 100.0)
        w = np.sqrt(1 - beta2)
        weighted, weight = weighted + w * np.sum(problem.full_gradient(x) ** 2), weight + w
        if size == batch:
            parts = np.stack([problem.gradient(x, size // groups, rng) for _ in range(groups)])
            statistics = from_groups(parts, batch_size=size, loss=float(problem.loss(x)), learning_rate=rate)
            state, g = rule.update(state, statistics), parts.mean(axis=0)
        else:  # the budget's rest: the rule does not see it
            g = problem.gradient(x, size, rng)
        seen += size
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        m_hat, v_hat = m / (1 - 2.0 ** (-seen / 20.0)), v / (1 - 2.0 ** (-seen / 100.0))
        x = x - rate * m_hat / (np.sqrt(v_hat) + 1e-8)
        sizes.append(size)
    assert len(set(sizes)) > 3 and sizes[-1] < batch and sizes[-1] % groups
    np.testing.assert_array_equal(from_run_lengths(run.summary["batch_sizes"]), sizes)
    last = {name: values[0, -1] for name, values in run.series.items()}
    assert last["loss"] == pytest.approx(float(problem.loss(x)), rel=1e-10)
    assert last["weighted_sq_gradient"] == pytest.approx(weighted, rel=1e-10)
    assert last["weight"] == pytest.approx(weight, rel=1e-10)


def test_finite_sums_have_rules_too() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 3))
    problem = logistic(rows, np.sign(rows @ np.ones(3) + 0.2))
    rule = Rule(name="noise_scale", initial=4, maximum=64, multiple=2, debias=True, signal_floor=0.05)
    run = simulate_rule(problem, SGD(learning_rate=0.5), rule=rule, groups=2, tokens=400, seeds=3)
    assert run.summary["num_diverged"] == 0
    assert np.all(run.series["loss"][:, -1] < run.series["loss"][:, 0])


@pytest.mark.parametrize("correction", ["none", "exact", "stock"])
def test_coefficients_across_paths_are_those_along_each(correction: str) -> None:
    optimizer = Adam(learning_rate=0.1, beta1=0.9, half_life=30.0, bias_correction=correction)
    batches = np.random.default_rng(0).integers(1, 20, size=(12, 5))
    carried = np.zeros((2, 5))
    rows = []
    for step in range(12):
        table, carried = coefficients_across(optimizer, batches[step], step=step, carried=carried)
        rows.append(table)
    for path in range(5):
        along, _ = coefficients(optimizer, batches[:, path])
        np.testing.assert_allclose(np.stack(rows)[:, path], along, rtol=1e-12)


def test_divergence_is_reported() -> None:
    rule = Rule(name="norm_test", initial=2, maximum=2, multiple=2)
    run = simulate_rule(
        noisy_quadratic([1.0], 0.1), SGD(learning_rate=50.0), rule=rule, groups=2, tokens=1000, seeds=2
    )
    assert run.summary["num_diverged"] == 2 and "diverged at step" in run.summary["diverged"][0]
    assert not np.any(np.isnan(run.series["loss"]))


def test_invalid_arguments() -> None:
    problem, optimizer = noisy_quadratic([1.0], 0.1), SGD(learning_rate=0.1)
    with pytest.raises(InputError, match="multiples of 2"):
        simulate_rule(
            problem,
            optimizer,
            rule=Rule(name="norm_test", initial=2, maximum=4, multiple=2),
            groups=4,
            tokens=10,
        )
    with pytest.raises(InputError, match="max_steps=3"):
        simulate_rule(
            problem,
            optimizer,
            rule=Rule(name="norm_test", initial=2, maximum=2, multiple=2),
            groups=2,
            tokens=100,
            max_steps=3,
        )
