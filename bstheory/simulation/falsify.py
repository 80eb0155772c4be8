"""Search for an instance that violates a bound, with a false-alarm rate that the search cannot spoil.

1. *Search.* Differential evolution polished by Nelder-Mead (scipy), or hypothesis ``target()``, maximizes the
   ratio mean(left-hand side) / bound over problem constants, noise laws, schedules and initial points, with a
   few exploration seeds.
2. *Confirmation.* The most promising instances are tested on seeds that the search never saw, one after
   another, by the betting test of :mod:`.sequential` with levels alpha / (j (j+1)). However the search chose
   the instances, the probability of declaring a true bound refuted is at most alpha.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import optimize

from bstheory.errors import input_error
from bstheory.simulation.attack import Claim
from bstheory.simulation.sequential import Sequential, mean_at_most_one, share
from bstheory.verdict import Verdict

Array = np.ndarray
EAGER_TESTS = 16  # tests spent during the search; each makes the next one stricter
CONFIRMATION_SEEDS = 1 << 40  # exploration seeds lie below


@dataclasses.dataclass(frozen=True, kw_only=True)
class Witness:
    """An instance that anyone can simulate again: its point, its seeds, and what the test saw."""

    point: dict[str, Any]
    first_seed: int
    num_seeds: int
    measured: float
    bound: float
    ratio: float
    ratio_se: float
    log_wealth: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attack:
    """Outcome of an attack on one claim.

    Attributes:
        slug, statement: of the claim.
        verdict: ``REFUTED`` with a witness, or ``CONSISTENT``: no violation in this budget at this level.
        alpha: probability bound of a false alarm, over the whole search.
        evaluated: instances simulated in the search.
        worst: the instance tested on fresh seeds with the largest ratio less two standard errors.
        candidates: how many instances were tested on fresh seeds.
        explored_ratio: largest ratio less two standard errors seen while searching (biased by the selection).
    """

    slug: str
    statement: str
    verdict: Verdict
    alpha: float
    evaluated: int
    worst: Witness
    candidates: int
    explored_ratio: float

    def document(self) -> dict[str, Any]:
        """Plain JSON."""
        return dataclasses.asdict(self) | {"verdict": self.verdict.word, "method": "sequential betting test"}


class _Found(Exception):
    """Raised inside a search to stop it."""


def falsify(
    claim: Claim,
    *,
    budget: int = 2000,
    alpha: float = 1e-3,
    search: str = "evolution",
    seeds: int = 8,
    confirm_seeds: int = 4096,
    candidates: int = 4,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> Attack:
    """Attack a claim.

    Args:
        claim: see :mod:`bstheory.simulation.attack`.
        budget: instances that the search may simulate.
        alpha: false-alarm probability of the whole attack.
        search: ``evolution`` or ``hypothesis`` (needs that package).
        seeds: exploration seeds per instance.
        confirm_seeds: at most so many fresh seeds per tested instance.
        candidates: instances tested when the search ends without a violation.
        seed: of the search.
        progress: called with (instances simulated, best ratio).

    Raises:
        InputError: an unknown search, or a budget below 1.
    """
    if budget < 1 or seeds < 1 or candidates < 1:
        raise input_error(
            got=f"budget={budget}, seeds={seeds}, candidates={candidates}",
            rule="each is at least 1",
            do="raise it",
        )
    if search not in SEARCHES:
        raise input_error(got=f"search={search!r}", rule=f"it is one of {sorted(SEARCHES)}", do="choose one")
    seen: dict[tuple[float, ...], tuple[float, dict[str, Any]]] = {}
    tested: list[tuple[Witness, Sequential]] = []
    evaluated, best = 0, 0.0

    def explore(units: Array) -> float:
        nonlocal evaluated, best
        if evaluated >= budget:
            raise _Found
        evaluated += 1
        point = claim.point(units)
        ratios = _ratios(claim, point, range(seeds))
        # Two standard errors below the mean: otherwise the search climbs the noise of a few seeds.
        value = float(np.mean(ratios))
        if seeds > 1 and math.isfinite(value):
            value -= 2.0 * float(np.std(ratios, ddof=1)) / math.sqrt(seeds)
        seen[tuple(np.asarray(units, dtype=float))] = (value, point)
        best = max(best, value)
        if progress is not None:
            progress(evaluated, best)
        # Worth testing at once: above the bound, and more promising than what has failed its test already.
        untested = all(value > 1.05 * witness.ratio for witness, _ in tested)
        promising = value > 1.0 and untested and len(tested) < EAGER_TESTS
        if promising and confirm(point).rejected:
            raise _Found
        return -math.log(max(value, 1e-300)) if math.isfinite(value) else -700.0

    def confirm(point: dict[str, Any]) -> Sequential:
        level = share(alpha, len(tested) + 1)
        first = CONFIRMATION_SEEDS + len(tested) * confirm_seeds
        outcome = mean_at_most_one(
            lambda start, stop: _ratios(claim, point, range(first + start, first + stop)),
            alpha=level,
            max_samples=confirm_seeds,
        )
        bound = float(claim.bound(claim.build(point)))
        tested.append(
            (
                Witness(
                    point=point,
                    first_seed=first,
                    num_seeds=outcome.num_samples,
                    measured=outcome.mean * bound,
                    bound=bound,
                    ratio=outcome.mean,
                    ratio_se=outcome.standard_error,
                    log_wealth=outcome.log_wealth,
                ),
                outcome,
            )
        )
        return outcome

    with contextlib.suppress(_Found):
        SEARCHES[search](explore, len(claim.space), budget, seed)
    refuted = bool(tested) and tested[-1][1].rejected
    if not refuted:
        for _, point in sorted(seen.values(), key=lambda item: -item[0])[:candidates]:
            if all(point != witness.point for witness, _ in tested) and confirm(point).rejected:
                refuted = True
                break
    worst = (
        tested[-1][0] if refuted else max((w for w, _ in tested), key=lambda w: w.ratio - 2.0 * w.ratio_se)
    )
    return Attack(
        slug=claim.slug,
        statement=claim.statement,
        verdict=Verdict.REFUTED if refuted else Verdict.CONSISTENT,
        alpha=alpha,
        evaluated=evaluated,
        worst=worst,
        candidates=len(tested),
        explored_ratio=best,
    )


def replay(claim: Claim, witness: Witness) -> float:
    """Simulate a witness again: the mean of measured / bound over its seeds."""
    seeds = range(witness.first_seed, witness.first_seed + witness.num_seeds)
    return float(np.mean(_ratios(claim, witness.point, seeds)))


def _ratios(claim: Claim, point: dict[str, Any], seeds: range) -> Array:
    case = claim.build(point)
    bound = float(claim.bound(case))
    samples = case.samples(seeds)
    if bound <= 0:
        return np.where(samples > 0, np.inf, 0.0)
    return samples / bound


def _evolution(explore: Callable[[Array], float], dimensions: int, budget: int, seed: int) -> None:
    population = 5
    rounds = max(1, int(0.6 * budget) // (population * dimensions) - 1)
    best = optimize.differential_evolution(
        explore,
        [(0.0, 1.0)] * dimensions,
        maxiter=rounds,
        popsize=population,
        init="latinhypercube",
        polish=False,
        tol=0.0,
        mutation=(0.4, 0.9),
        recombination=0.8,
        rng=seed,
    ).x
    # Polish on the same exploration seeds until the budget is spent, each time from the best point so far.
    rng = np.random.default_rng(seed)
    while True:
        simplex = np.clip(best + 0.1 * rng.standard_normal((dimensions + 1, dimensions)), 0.0, 1.0)
        simplex[0] = best
        best = optimize.minimize(
            explore,
            best,
            method="Nelder-Mead",
            bounds=[(0.0, 1.0)] * dimensions,
            options={
                "initial_simplex": simplex,
                "maxfev": budget,
                "xatol": 1e-3,
                "fatol": 1e-4,
                "adaptive": True,
            },
        ).x


def _hypothesis(explore: Callable[[Array], float], dimensions: int, budget: int, seed: int) -> None:
    try:
        import hypothesis
        from hypothesis import strategies
    except ImportError as error:
        raise input_error(
            got="search='hypothesis' without that package",
            rule="this search needs it",
            do="pip install hypothesis, or use search='evolution'",
        ) from error

    stopped = False  # hypothesis would shrink and regroup an exception, so the end is kept from it

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=budget,
        database=None,
        deadline=None,
        phases=(hypothesis.Phase.generate, hypothesis.Phase.target),
        suppress_health_check=list(hypothesis.HealthCheck),
        print_blob=False,
    )
    @hypothesis.given(strategies.tuples(*[strategies.floats(0.0, 1.0)] * dimensions))
    def attack(units: tuple[float, ...]) -> None:
        nonlocal stopped
        if not stopped:
            try:
                hypothesis.target(-explore(np.array(units)))
            except _Found:
                stopped = True

    attack()


SEARCHES: dict[str, Callable[[Callable[[Array], float], int, int, int], None]] = {
    "evolution": _evolution,
    "hypothesis": _hypothesis,
}
