"""One tiny model whose batch size a closed-loop rule chooses, as J data-parallel workers would.

The batch of each step is split into J equal groups; every group's mean gradient is measured before the
update, and the rule sees exactly the statistics that J workers would exchange (two scalars).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bstheory.errors import InputError
from bstheory.files import read_json, write_json
from bstheory.models.configs import model_config
from bstheory.problems.corpus import Corpus, load_corpus
from bstheory.problems.tiny_lm import row_count
from bstheory.run import config_hash
from bstheory.schedules.rules import Rule
from bstheory.schedules.statistics import Statistics, from_groups
from bstheory.training.rows import permuted_rows
from bstheory.training.stacked import (
    Recipe,
    StackedGPT,
    StackedOptimizer,
    _gradient,
    _rows,
    evaluate,
    learning_rate_factor,
)
from bstheory.training.study import held_out_rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaptiveOutcome:
    """What an adaptive run left.

    Attributes:
        batch_sizes: of every step.
        noise_scale: sigma^2 / |G|^2 from averages of both over the run, in rows; None where the averaged
            signal is not positive.
        eta_effective: the tolerance that the published test really applied, per step (``published`` only).
        validation_loss: final, nats per byte; infinite after divergence.
    """

    batch_sizes: tuple[int, ...]
    noise_scale: float | None
    eta_effective: tuple[float, ...]
    validation_loss: float


def train_adaptive(
    recipe: Recipe,
    rule: Rule,
    corpus: Corpus,
    held_out: torch.Tensor,
    *,
    rows: int,
    groups: int,
    model: str = "tiny_study",
    every_statistic: bool = False,
) -> AdaptiveOutcome:
    """Train on ``rows`` rows; the last batch uses what is left, rounded down to a multiple of ``groups``.

    Args:
        recipe: optimizer, rate and seed; its ``batch_sizes`` only give the reference batch of ``lr_power``.
        rule: proposes the next batch; batch sizes are multiples of ``groups``.
        every_statistic: form the group gradients themselves, for rules that need more than two scalars. The
            first step then teaches the rule nothing, because Adam's v is still zero.
    """
    config = model_config(model)
    # The same model J times: each copy sees its own group, all copies get the mean gradient.
    stack = StackedGPT(config, [recipe.seed] * groups)
    optimizer = StackedOptimizer(stack, [recipe] * groups, config.context)
    order = permuted_rows(np.arange(rows), rows=row_count(corpus.train, config.context), seed=recipe.seed)
    budget = dataclasses.replace(recipe, batch_sizes=((1, rows),))
    first = recipe.batch_sizes[0][0]
    state = rule.init()
    before = step = 0
    sizes: list[int] = []
    noise = signal = 0.0
    tolerances: list[float] = []
    while rows - before >= groups:
        size = min(rule.value(state), (rows - before) // groups * groups)
        index = order[before : before + size].reshape(groups, size // groups)
        losses = stack.losses(_rows(corpus.train, index, config.context))
        if not bool(torch.isfinite(losses).all()):
            return AdaptiveOutcome(
                batch_sizes=tuple(sizes),
                noise_scale=None,
                eta_effective=tuple(tolerances),
                validation_loss=math.inf,
            )
        losses.sum().backward()
        full = _group_statistics(stack, optimizer, size, groups) if every_statistic and step else None
        norm = mean_norm = 0.0
        for p in stack.parameters.values():
            mean = p.grad.double().mean(dim=0)
            norm += float(mean.square().sum())
            mean_norm += float(p.grad.double().square().sum()) / groups
            p.grad = mean.float().expand_as(p.grad).clone()
        statistics = Statistics(
            batch_size=size, groups=groups, norm_sq=norm, mean_group_norm_sq=max(mean_norm, norm)
        )
        noise += statistics.noise
        signal += statistics.signal
        if rule.name == "published":
            tolerances.append(rule.tolerance * math.sqrt(size / (groups - 1)))
        factor = learning_rate_factor(budget, before, step, size) * (size / first) ** recipe.lr_power
        rate = torch.full((groups,), recipe.learning_rate * factor, dtype=torch.float64)
        optimizer.step(size, rate)
        if size == rule.value(state):  # a last, cut batch teaches the rule nothing
            if not every_statistic:
                state = rule.update(state, statistics)
            elif full is not None:
                state = rule.update(state, full)
        sizes.append(size)
        before += size
        step += 1
    loss = evaluate(stack, held_out)[0]
    return AdaptiveOutcome(
        batch_sizes=tuple(sizes),
        noise_scale=noise / signal if signal > 0 else None,
        eta_effective=tuple(tolerances),
        validation_loss=loss if math.isfinite(loss) else math.inf,
    )


@functools.cache
def _text() -> tuple[Corpus, torch.Tensor]:
    corpus = load_corpus(None)
    return corpus, held_out_rows(corpus)


class KeptRuns:
    """Closed-loop runs on the installed text, each trained once and kept as one file of a folder.

    An interrupted claim continues from the finished ones. A damaged file is trained again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[str, AdaptiveOutcome] = {}

    def __call__(
        self, recipe: Recipe, rule: Rule, *, rows: int, groups: int, every_statistic: bool = False
    ) -> AdaptiveOutcome:
        """See :func:`train_adaptive`."""
        corpus, held_out = _text()
        options = {"rows": rows, "groups": groups, "every_statistic": every_statistic}
        key = config_hash(
            {
                "corpus": corpus.sha256,
                "recipe": dataclasses.asdict(recipe),
                "rule": dataclasses.asdict(rule),
                "version": 1,
                **options,
            }
        )
        if key in self.known:
            return self.known[key]
        path = self.folder / f"closed-loop-{key[:24]}.json"
        found = _read(path) if path.exists() else None
        if found is None:
            found = train_adaptive(recipe, rule, corpus, held_out, **options)  # type: ignore[arg-type]
            finite = math.isfinite(found.validation_loss)
            # JSON has no infinity; None stands for a diverged run.
            write_json(
                path,
                {
                    **dataclasses.asdict(found),
                    "validation_loss": found.validation_loss if finite else None,
                },
            )
        self.known[key] = found
        return found


def _read(path: Path) -> AdaptiveOutcome | None:
    try:
        entry = read_json(path)
    except InputError:
        return None
    loss = entry["validation_loss"]
    return AdaptiveOutcome(
        batch_sizes=tuple(entry["batch_sizes"]),
        noise_scale=entry["noise_scale"],
        eta_effective=tuple(entry["eta_effective"]),
        validation_loss=math.inf if loss is None else loss,
    )


def _group_statistics(stack: StackedGPT, optimizer: StackedOptimizer, size: int, groups: int) -> Statistics:
    """Everything from the group gradients, weighted by Adam's corrected second moments."""
    rows = torch.cat([_gradient(p).reshape(groups, -1) for p in stack.parameters.values()], dim=1)
    correct = float(-torch.expm1(optimizer.log_beta2[0]))
    v = torch.cat([state["v"][0].reshape(-1) for state in optimizer.state.values()])
    # A coordinate that has had no gradient yet carries no signal either: it must not divide by zero.
    moments = v.double().numpy() / correct + 1e-16
    return from_groups(rows.double().numpy(), batch_size=size, second_moment=moments)


def describe(outcome: AdaptiveOutcome) -> dict[str, Any]:
    """Plain JSON for a finding."""
    sizes = list(outcome.batch_sizes)
    return {
        "steps": len(sizes),
        "first_batch_size": next(iter(sizes), None),
        "last_batch_size": sizes[max(len(sizes) - 2, 0)],
        "mean_batch_size": sum(sizes) / len(sizes),
        "noise_scale": outcome.noise_scale,
        "eta_effective_last": outcome.eta_effective[-1] if outcome.eta_effective else None,
        "validation_loss": outcome.validation_loss if math.isfinite(outcome.validation_loss) else None,
    }
