"""The machinery that judges claims: statistics, a planted wrong claim, resumption, the written tables."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bstheory as bst
from bstheory.reproduction import adaptive_batch, command, small_batch
from bstheory.reproduction.arms import FACTORS, SEEDS, Tuned, grid, tuned
from bstheory.reproduction.claim import Claim, Finding, summary
from bstheory.reproduction.judging import larger
from bstheory.reproduction.runner import WIDEST, run_recipes, stacks
from bstheory.reproduction.statistics import difference, equivalence, holm, leave_one_out, superiority
from bstheory.training.stacked import Outcome, Recipe
from bstheory.verdict import Verdict


def outcomes(loss, recipes: list[Recipe]) -> dict[Recipe, Outcome]:
    """Synthetic results: ``loss(recipe)`` for each."""
    return {
        r: Outcome(recipe=r, tokens=(1,), validation_loss=(loss(r),), diverged_at_step=None) for r in recipes
    }


def batch_size(r: Recipe) -> int:
    return r.batch_sizes[0][0]


def test_superiority_and_equivalence() -> None:
    above, around, below = (difference([m - 0.01, m, m + 0.01, m + 0.002]) for m in (0.5, 0.0, -0.5))
    assert superiority(above) is Verdict.CONSISTENT
    assert superiority(around) is Verdict.UNDECIDED
    assert superiority(below) is Verdict.REFUTED
    assert equivalence(around, margin=0.1) is Verdict.CONSISTENT
    assert equivalence(above, margin=0.1) is Verdict.REFUTED
    assert equivalence(around, margin=0.005) is Verdict.UNDECIDED
    wide = difference([-1.0, 1.0, 0.1, -0.2])
    assert equivalence(wide, margin=0.1) is Verdict.UNDECIDED  # not significant is not equivalent


def test_difference_matches_scipy() -> None:
    from scipy import stats

    x = [0.1, 0.3, -0.05, 0.2, 0.12]
    found = difference(x)
    test = stats.ttest_1samp(x, 0.0, alternative="greater")
    assert found.p_above == pytest.approx(test.pvalue)
    low, high = stats.ttest_1samp(x, 0.0).confidence_interval(0.95)
    assert found.interval == pytest.approx((low, high))


def test_diverged_arms_do_not_hide() -> None:
    found = difference([math.inf] * 5)
    assert found.p_above == pytest.approx(1 / 32) and superiority(found) is Verdict.CONSISTENT
    assert superiority(difference([math.inf] * 4)) is Verdict.UNDECIDED  # four signs cannot reach 5 %
    assert superiority(difference([math.inf, -1.0, 0.0])) is Verdict.UNDECIDED
    with pytest.raises(bst.InputError, match="at least two seeds"):
        difference([1.0])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_tests_looser_than_alpha_nor_tighter_than_bonferroni_first(p: list[float]) -> None:
    levels = holm({str(i): value for i, value in enumerate(p)}, alpha=0.05)
    smallest = min(range(len(p)), key=lambda i: p[i])
    assert levels[str(smallest)] == pytest.approx(0.05 / len(p))
    assert all(0 <= level <= 0.05 for level in levels.values())


def test_leave_one_out_does_not_select_on_the_reported_seed() -> None:
    grid_losses = {0.1: [1.0, 5.0, 5.0], 0.2: [2.0, 2.0, 2.0]}
    losses, chosen = leave_one_out(grid_losses)
    assert chosen[0] == 0.2 and losses[0] == 2.0  # seed 0 would have picked 0.1 for itself


def test_a_planted_wrong_claim_is_refuted_by_the_same_machinery() -> None:
    """Synthetic results in which large batches win: the paper's C1 and C5 must come out refuted."""
    rng = np.random.default_rng(0)

    def loss(r: Recipe) -> float:
        base = 3.0 - 0.3 * math.log(batch_size(r)) + (0.0 if r.half_life else -0.5 / batch_size(r))
        return base + 0.01 * rng.standard_normal()

    for judge, recipes in ((small_batch.judge_c1, "c1"), (small_batch.judge_c5, "c5")):
        claim = next(c for c in small_batch.CLAIMS if c.name == recipes)
        findings = judge(outcomes(loss, claim.recipes()))
        assert findings[0].verdict is Verdict.REFUTED, findings[0]
        assert summary(findings).startswith("refuted")


def test_the_same_machinery_confirms_when_it_is_so() -> None:
    rng = np.random.default_rng(1)

    def loss(r: Recipe) -> float:
        gain = 0.0 if r.half_life else 0.5 / batch_size(r)
        return 2.0 + 0.3 * math.log(batch_size(r)) + gain + 0.01 * rng.standard_normal()

    findings = small_batch.judge_c5(
        outcomes(loss, next(c for c in small_batch.CLAIMS if c.name == "c5").recipes())
    )
    assert {f.verdict for f in findings} == {Verdict.CONSISTENT}


def test_pure_noise_is_undecided_not_confirmed() -> None:
    rng = np.random.default_rng(2)
    recipes = next(c for c in small_batch.CLAIMS if c.name == "c5").recipes()
    findings = small_batch.judge_c5(outcomes(lambda r: 3 + 0.1 * rng.standard_normal(), recipes))
    assert Verdict.CONSISTENT not in {f.verdict for f in findings}


def test_the_optimal_rate_of_a_parabola_is_found() -> None:
    rates = np.array([0.01 * f for f in FACTORS])
    best = 0.013
    table = np.log(rates / best)[:, None] ** 2 + np.zeros((1, 2))
    t = Tuned(losses=table[0], rates=rates[:1], on_edge=False, table=table, grid_rates=rates)
    np.testing.assert_allclose(t.optimal_rates(), best, rtol=1e-9)


def test_grids_have_equal_budgets() -> None:
    for b in (1, 64):
        sizes = {len(grid(name, b)) for name in ("sgd", "adam", "adam_fixed", "adafactor", "muon")}
        assert sizes == {len(FACTORS) * len(SEEDS)}
        assert {r.rows for r in grid("adam", b)} == {3072}
    recipes = grid("adam", 1)
    found = tuned(outcomes(lambda r: r.learning_rate, recipes), recipes)
    assert found.on_edge


def test_stacks_are_bounded_and_complete() -> None:
    recipes = grid("adam", 64) + grid("adam_fixed", 64) + grid("sgd", 64) + grid("adam", 64)
    groups = stacks(recipes)
    assert max(map(len, groups)) <= WIDEST
    assert sorted(map(repr, {r for g in groups for r in g})) == sorted(map(repr, set(recipes)))
    assert sum(map(len, groups)) == len(set(recipes))


def test_runs_are_kept_reused_and_repaired(tmp_path: Path) -> None:
    recipes = [
        Recipe(optimizer="sgd", beta1=0.0, learning_rate=0.1, batch_sizes=((4, 3),), seed=s) for s in (0, 1)
    ]
    calls: list[tuple[int, int]] = []
    first = run_recipes(recipes, folder=tmp_path / "c", workers=0, progress=lambda *x: calls.append(x))
    assert calls == [(0, 1), (1, 1)]
    calls.clear()
    second = run_recipes(recipes, folder=tmp_path / "c", workers=0, progress=lambda *x: calls.append(x))
    assert second == first and calls == [(0, 0)]
    path = next((tmp_path / "c").glob("stack-*.json"))
    path.write_text(path.read_text()[:40])  # a truncated file is trained again, with the same numbers
    assert run_recipes(recipes, folder=tmp_path / "c", workers=0) == first


def test_the_command_writes_results_page_and_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = command.command("adaptive-batch", "condition", out=tmp_path, cache=tmp_path / "cache", json="-")
    assert code == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed[0]["summary"] == "refuted"
    stored = json.loads((tmp_path / "adaptive_batch" / "condition" / "results.json").read_text())
    assert stored["findings"] == printed[0]["findings"]
    assert "refuted" in (tmp_path / "README.md").read_text()
    assert "not run" in (tmp_path / "README.md").read_text()
    page = (tmp_path / "adaptive_batch" / "condition" / "README.md").read_text()
    assert "**Predicted.**" in page and "refuted" in page


def test_an_unknown_claim_gets_a_suggestion() -> None:
    with pytest.raises(bst.InputError, match="Did you mean warmup"):
        command.select("adaptive-batch", "warmupp")
    with pytest.raises(bst.InputError, match="experiments/gpt2_124m"):
        command.command("small-batch", scale="gpu")


def test_the_toy_problem_has_its_exact_factor() -> None:
    finding = small_batch.judge_c12({})[0]
    assert finding.numbers["mean_square_factor_small"][1] == pytest.approx(1.2176)
    assert finding.verdict is Verdict.PROVED


@pytest.mark.parametrize("claim", [*small_batch.CLAIMS, *adaptive_batch.CLAIMS], ids=lambda c: c.name)
def test_every_claim_states_predicts_and_limits(claim: Claim) -> None:
    assert claim.stated and claim.predicted and claim.protocol and claim.limits
    assert all(isinstance(r, Recipe) for r in claim.recipes())


def test_summary_words() -> None:
    def f(v: Verdict) -> Finding:
        return Finding(statement="", verdict=v, numbers={})

    assert summary([f(Verdict.CONSISTENT), f(Verdict.REFUTED)]) == "refuted (1 of 2)"
    assert summary([f(Verdict.CONSISTENT)]) == "consistent"
    assert summary([f(Verdict.UNDECIDED), f(Verdict.UNDECIDED)]) == "undecided"
    assert summary([]) == "undecided"


def test_the_same_seeds_give_the_same_table(tmp_path: Path) -> None:
    """Two runs of a claim that trains, from empty caches, write the same findings and the same page."""
    recipes = [
        Recipe(optimizer="adam", learning_rate=lr, batch_sizes=((16, 4),), seed=s)
        for lr in (0.01, 0.02)
        for s in (0, 1)
    ]
    claim = Claim(
        name="quick",
        title="quick",
        stated="s",
        predicted="p",
        protocol="p",
        limits="l",
        recipes=lambda: recipes,
        judge=lambda o: larger(
            {"the larger rate is better": (-np.diff(tuned(o, recipes).table, axis=0)[0], {})}
        ),
    )
    documents = []
    for name in ("a", "b"):
        found = run_recipes(recipes, folder=tmp_path / name, workers=0)
        document = command.document("small-batch", claim, claim.judge(found), 4, 0.0)
        documents.append((document["findings"], command.page(document)))
    assert documents[0] == documents[1]
    again = [small_batch.judge_c12({}), adaptive_batch.judge_scaling({})]
    assert again == [small_batch.judge_c12({}), adaptive_batch.judge_scaling({})]


def test_the_detectable_difference_is_found_with_about_its_power() -> None:
    rng = np.random.default_rng(3)
    found = difference(rng.standard_normal(30))
    shift = found.detectable()
    assert shift is not None
    scale = found.half_width / 2.0452 * math.sqrt(30)  # Student quantile at 29 degrees of freedom
    hits = [
        superiority(difference(shift + scale * rng.standard_normal(30))) is Verdict.CONSISTENT
        for _ in range(400)
    ]
    assert 0.73 < np.mean(hits) < 0.87  # 0.8 to three standard errors and a half of 400 trials
    assert difference([math.inf] * 4).detectable() is None
    wide = command.page(
        command.document(
            "small-batch",
            small_batch.CLAIMS[0],
            [Finding(statement="s", verdict=Verdict.UNDECIDED, numbers={"difference": found.to_json()})],
            0,
            0.0,
        )
    )
    assert f"| {found.detectable():.4f} |" in wide and "*Power*" in wide
