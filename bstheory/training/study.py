"""The tiny-LM study: does a second-moment half-life fixed in tokens repair small batches, on real text?

Question (arXiv:2507.07101, claims C1, C4-C6 at the smallest scale): train one small byte-level decoder on
equal tokens with batch sizes 1, 4, 16 and 64. Adam's beta2 is either the same number at every batch size or
has the same half-life in tokens, anchored where the two coincide (beta2 = 0.95 at batch size 64).

Theory's reason. v averages about 1/(1 - beta2) past squared gradients, each a mean over B rows. At fixed
beta2 the tokens behind v shrink in proportion to B, so at B = 1 the denominator sqrt(v) is itself noisy and
correlated with the gradient it divides: large gradients are divided by their own size, which biases every
step and caps the usable learning rate. At a fixed half-life the tokens behind v are the same at every B.
The gain of the rule must therefore be largest at B = 1, shrink as B grows, and vanish at the anchor, where
the two arms are one run.

Protocol. The learning rates below were chosen before the study by a search with one grid for every arm,
seeds that the study does not use, and equal budget (``experiments/tiny_lm_check``). Rows are i.i.d. in a
fixed order that depends on the seed only, the validation rows are the same for every arm, and arms are
compared seed by seed (common initial weights and data order).
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import math
import multiprocessing
import os
import signal
import statistics
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bstheory.errors import input_error
from bstheory.half_life import beta_from_half_life, half_life_from_beta
from bstheory.models.configs import model_config
from bstheory.problems.corpus import Corpus, load_corpus
from bstheory.problems.tiny_lm import UNIFORM_LOSS, row_count, rows, tiny_model, validation_loss
from bstheory.run import Run, config_hash
from bstheory.training.predictions import Finding, Prediction, judge_contrast
from bstheory.training.rows import permuted_rows

MODEL = "tiny_study"
CONTEXT = 32
ANCHOR_BATCH_SIZE = 64
ANCHOR_BETA2 = 0.95
HALF_LIFE = half_life_from_beta(beta=ANCHOR_BETA2, tokens_per_step=ANCHOR_BATCH_SIZE * CONTEXT)
BETA1 = 0.9
EPS = 1e-8
WARMUP = 0.05  # fraction of the tokens over which the learning rate rises linearly; then cosine to zero
VALIDATION_ROWS = 256


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arm:
    """One training recipe: ``optimizer`` is ``"adam"`` or ``"sgd"``; ``beta2`` is None for SGD."""

    name: str
    optimizer: str
    batch_size: int
    learning_rate: float
    beta2: float | None = None


def half_life_beta2(batch_size: int) -> float:
    """beta2 with the anchor's half-life in tokens."""
    return beta_from_half_life(half_life=HALF_LIFE, tokens_per_step=batch_size * CONTEXT)


# Peak learning rates, from experiments/tiny_lm_check (grid of factors of two, same for every arm of a kind).
LEARNING_RATES = {
    "adam_fixed_1": 0.004,
    "adam_half_life_1": 0.004,
    "adam_fixed_4": 0.008,
    "adam_half_life_4": 0.008,
    "adam_fixed_16": 0.008,
    "adam_half_life_16": 0.032,
    "adam_anchor_64": 0.064,
    "sgd_1": 0.4,
}

DOUBLED = ("adam_fixed_1", "adam_half_life_1", "adam_fixed_16", "adam_half_life_16")
"""Arms that are also trained at twice their chosen rate, under the name ``…_x2``."""

PREDICTIONS = (
    Prediction(
        name="gain_at_1",
        statement="at batch size 1 the fixed half-life reaches a lower loss than beta2 = 0.95",
        reason="at beta2 = 0.95 the second moment averages 1/64 of the tokens it averages at the anchor",
        worse={"adam_fixed_1": 1},
        better={"adam_half_life_1": 1},
        declared=("undecided", "consistent"),
    ),
    Prediction(
        name="gain_shrinks_1_to_4",
        statement="the gain of the half-life rule is smaller at batch size 4 than at 1",
        reason="at batch size 4 the fixed-beta2 average is four times longer in tokens",
        worse={"adam_fixed_1": 1, "adam_half_life_4": 1},
        better={"adam_half_life_1": 1, "adam_fixed_4": 1},
        declared=("undecided", "consistent"),
    ),
    Prediction(
        name="gain_shrinks_1_to_16",
        statement="the gain of the half-life rule is smaller at batch size 16 than at 1",
        reason="towards the anchor the two rules become the same optimizer",
        worse={"adam_fixed_1": 1, "adam_half_life_16": 1},
        better={"adam_half_life_1": 1, "adam_fixed_16": 1},
        declared=("undecided", "consistent"),
    ),
    Prediction(
        name="gain_at_1_doubled_rate",
        statement="at batch size 1 and twice the best learning rate the fixed half-life wins",
        reason="the short average caps the usable learning rate, so its deficit grows with the rate",
        worse={"adam_fixed_1_x2": 1},
        better={"adam_half_life_1_x2": 1},
    ),
    Prediction(
        name="gain_shrinks_1_to_16_doubled_rate",
        statement="at twice the best learning rate the gain is smaller at batch size 16 than at 1",
        reason="towards the anchor the two rules become the same optimizer, at any learning rate",
        worse={"adam_fixed_1_x2": 1, "adam_half_life_16_x2": 1},
        better={"adam_half_life_1_x2": 1, "adam_fixed_16_x2": 1},
        declared=("undecided", "consistent"),
    ),
    Prediction(
        name="small_batch_wins",
        statement="with the fixed half-life, batch size 1 reaches a lower loss than 64 on equal tokens",
        reason="below the critical batch size, more and noisier steps on equal tokens lose nothing",
        worse={"adam_anchor_64": 1},
        better={"adam_half_life_1": 1},
    ),
    Prediction(
        name="adam_beats_sgd_at_1",
        statement="at batch size 1 Adam with the fixed half-life reaches a lower loss than plain SGD",
        reason="the gap between optimizers shrinks with the batch size but keeps its sign (claim C1)",
        worse={"sgd_1": 1},
        better={"adam_half_life_1": 1},
    ),
    Prediction(
        name="sgd_at_1_beats_large_batch",
        statement="plain SGD at batch size 1 reaches a lower loss than Adam at batch size 64 on equal tokens",
        reason="at this budget batch size 64 has 96 steps: steps, not preconditioning, are scarce there",
        worse={"adam_anchor_64": 1},
        better={"sgd_1": 1},
    ),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Arms, seeds and budget of a study; equal tokens for every arm."""

    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    tokens: int
    records: int = 4

    @property
    def predictions(self) -> tuple[Prediction, ...]:
        """The predictions that these arms can judge."""
        names = {arm.name for arm in self.arms}
        return tuple(p for p in PREDICTIONS if p.arms <= names)


def arm(name: str, *, learning_rate: float | None = None) -> Arm:
    """The arm of a name: a key of ``LEARNING_RATES``, or one of ``DOUBLED`` with ``_x2`` appended.

    Args:
        name: which arm.
        learning_rate: another peak rate than the chosen one.
    """
    base = name.removesuffix("_x2")
    kind, _, size = base.rpartition("_")
    batch_size = int(size)
    beta2 = {"adam_fixed": ANCHOR_BETA2, "adam_anchor": ANCHOR_BETA2, "sgd": None}.get(
        kind, half_life_beta2(batch_size)
    )
    chosen = LEARNING_RATES[base] * (2 if name != base else 1)
    return Arm(
        name=name,
        optimizer=kind.partition("_")[0],
        batch_size=batch_size,
        learning_rate=chosen if learning_rate is None else learning_rate,
        beta2=beta2,
    )


def study_plan(*, quick: bool) -> Plan:
    """The study: 12 arms, 3 seeds, 196,608 tokens each. Its quick form: 4 arms, 3 seeds, 32,768 tokens."""
    doubled = tuple(arm(f"{name}_x2") for name in DOUBLED)
    if quick:
        return Plan(arms=doubled, seeds=(0, 1, 2), tokens=1024 * CONTEXT)
    chosen = tuple(arm(name) for name in LEARNING_RATES)
    return Plan(arms=(*chosen, *doubled), seeds=(0, 1, 2), tokens=6144 * CONTEXT)


def learning_rate_factor(fraction: float) -> float:
    """Linear from 0 to 1 over ``WARMUP`` of the tokens, then cosine to 0; ``fraction`` of tokens consumed."""
    if fraction < WARMUP:
        return fraction / WARMUP
    return 0.5 * (1 + math.cos(math.pi * (fraction - WARMUP) / (1 - WARMUP)))


def held_out_rows(corpus: Corpus, context: int = CONTEXT) -> torch.Tensor:
    """The validation rows of every arm, int64 [R, context + 1]: spread evenly over the held-out documents.

    Their number keeps the tokens at ``VALIDATION_ROWS`` rows of the study's context.
    """
    available = row_count(corpus.validation, context)
    count = max(1, VALIDATION_ROWS * CONTEXT // context)
    spread = np.linspace(0, available - 1, min(count, available)).astype(np.int64)
    return rows(corpus.validation, spread, context)


def _config(arm: Arm, plan: Plan, corpus: Mapping[str, object]) -> dict[str, Any]:
    return {
        "study": "tiny_lm",
        "model": MODEL,
        "context": CONTEXT,
        "tokens": plan.tokens,
        "records": plan.records,
        "beta1": BETA1 if arm.optimizer == "adam" else None,
        "half_life": HALF_LIFE,
        "warmup": WARMUP,
        "validation_rows": VALIDATION_ROWS,
        "corpus": dict(corpus),
        **dataclasses.asdict(arm),
    }


def train_arm(arm: Arm, plan: Plan, seed: int, corpus: Corpus) -> Run:
    """Train one arm with one seed on this process, single-threaded, and record the validation loss.

    A non-finite training loss ends the run: its remaining validation losses are recorded as infinite and the
    summary says at which step it happened.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # one order of summation everywhere, and no oversubscribed cores
    try:
        return _train(arm, plan, seed, corpus)
    finally:
        torch.set_num_threads(threads)


def _train(arm: Arm, plan: Plan, seed: int, corpus: Corpus) -> Run:
    model = tiny_model(seed=seed, config=model_config(MODEL))
    parameters = list(model.parameters())
    if arm.optimizer == "adam":
        optimizer: torch.optim.Optimizer = torch.optim.Adam(
            parameters, lr=0.0, betas=(BETA1, arm.beta2 or 0.0), eps=EPS, fused=True
        )
    else:
        optimizer = torch.optim.SGD(parameters, lr=0.0, fused=True)
    held_out = held_out_rows(corpus)
    total_rows = plan.tokens // CONTEXT
    steps = total_rows // arm.batch_size
    order = permuted_rows(np.arange(total_rows), rows=row_count(corpus.train, CONTEXT), seed=seed)
    milestones = [steps * (k + 1) // plan.records for k in range(plan.records)]
    validation: list[float] = []
    training: list[float] = []
    recent: list[float] = []
    diverged_at = None
    for step in range(steps):
        batch = rows(corpus.train, order[step * arm.batch_size : (step + 1) * arm.batch_size], CONTEXT)
        # Midpoint of the step's tokens, so that neither the first nor the last step is a step of size zero.
        factor = learning_rate_factor((step + 0.5) / steps)
        for group in optimizer.param_groups:
            group["lr"] = arm.learning_rate * factor
        loss = model(batch[:, :-1], batch[:, 1:])
        recent.append(loss.item())
        if not math.isfinite(recent[-1]):
            diverged_at = step
            break
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step + 1 == milestones[len(validation)]:
            found = validation_loss(model, held_out)
            validation.append(found if math.isfinite(found) else math.inf)
            training.append(statistics.fmean(recent))
            recent = []
    missing = plan.records - len(validation)
    return Run(
        name=arm.name,
        config=_config(arm, plan, corpus.describe()),
        seeds=(seed,),
        steps=np.array(milestones, dtype=np.int64),
        tokens=np.array(milestones, dtype=np.int64) * arm.batch_size * CONTEXT,
        series={
            "validation_loss": np.array([validation + [math.inf] * missing]),
            "training_loss": np.array([training + [math.inf] * missing]),
        },
        summary={"uniform_loss": UNIFORM_LOSS, "diverged_at_step": diverged_at},
    )


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    parent = multiprocessing.parent_process()
    if parent is not None:  # a parent that was killed cannot stop its workers: they watch it instead
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _work(arm: Arm, plan: Plan, seed: int, text: Path | None) -> Run:
    return train_arm(arm, plan, seed, load_corpus(text))


def _finish_order(plan: Plan) -> list[tuple[Arm, int]]:
    """Longest runs first, so that processes end together; seed by seed, so that a cut study is balanced."""
    return [(a, s) for s in plan.seeds for a in sorted(plan.arms, key=lambda a: a.batch_size)]


def _stored(folder: Path, config: Mapping[str, Any]) -> Run | None:
    if not (folder / "run.json").exists():
        return None
    run = Run.load(folder)
    if run.hash != config_hash(config):
        raise input_error(
            got=f"{str(folder)!r} from a study with another configuration or text",
            rule="a study resumes only itself",
            do="choose another folder, or remove this one",
        )
    return run


def _results(
    todo: Sequence[tuple[Arm, int]], plan: Plan, text: Path | None, corpus: Corpus, workers: int
) -> Iterator[Run]:
    if workers == 0:
        for one, seed in todo:
            yield train_arm(one, plan, seed, corpus)
        return
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
    )
    try:
        pending = [pool.submit(_work, one, plan, seed, text) for one, seed in todo]
        for future in concurrent.futures.as_completed(pending):
            yield future.result()
    except BaseException:
        for process in list(getattr(pool, "_processes", {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def merge_seeds(runs: Sequence[Run]) -> Run:
    """One run with all seeds of one arm, in the order of the seeds."""
    runs = sorted(runs, key=lambda run: run.seeds)
    return dataclasses.replace(
        runs[0],
        seeds=tuple(seed for run in runs for seed in run.seeds),
        series={n: np.concatenate([r.series[n] for r in runs]) for n in runs[0].series},
        summary={
            "uniform_loss": UNIFORM_LOSS,
            "diverged_at_step": [run.summary["diverged_at_step"] for run in runs],
        },
    )


def tiny_lm_study(
    *,
    quick: bool = False,
    text: Path | str | None = None,
    resume_dir: Path | str | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    plan: Plan | None = None,
    workers: int | None = None,
) -> list[Run]:
    """Train every arm with every seed and return one :class:`Run` an arm, seeds merged.

    Every run is single-threaded and depends on its arm, seed and text alone, so neither the number of worker
    processes nor an interruption changes a number.

    Args:
        quick: the short plan.
        text: a UTF-8 text file instead of the installed documentation.
        resume_dir: folder for one sub-folder a (arm, seed), written as each finishes; finished ones found
            there are read back instead of trained again.
        progress: called with (tokens done, tokens in all, label) after each run.
        plan: another plan.
        workers: processes; default two, or the number of cores if that is less; 0 trains in this process.

    Raises:
        InputError: unreadable or too short text; a ``resume_dir`` of another study.
        KeyboardInterrupt: Ctrl-C; whatever had finished is in ``resume_dir``.
    """
    plan = plan or study_plan(quick=quick)
    text = None if text is None else Path(text)
    corpus = load_corpus(text)
    described = corpus.describe()
    row_count(corpus.validation, CONTEXT)
    folder = None if resume_dir is None else Path(resume_dir)
    finished: dict[tuple[str, int], Run] = {}
    todo = []
    for one, seed in _finish_order(plan):
        stored = folder and _stored(folder / f"{one.name}-seed{seed}", _config(one, plan, described))
        if stored:
            finished[one.name, seed] = stored
        else:
            todo.append((one, seed))
    total = plan.tokens * len(plan.arms) * len(plan.seeds)
    if progress:
        progress(plan.tokens * len(finished), total, "tiny LM")
    workers = min(2, os.cpu_count() or 1) if workers is None else workers
    if todo:
        for run in _results(todo, plan, text, corpus, min(workers, len(todo))):
            if folder:
                run.save(folder / f"{run.name}-seed{run.seeds[0]}")
            finished[run.name, run.seeds[0]] = run
            if progress:
                progress(plan.tokens * len(finished), total, f"tiny LM: {run.name}, seed {run.seeds[0]}")
    return [merge_seeds([finished[one.name, seed] for seed in plan.seeds]) for one in plan.arms]


def judge_study(runs: Sequence[Run], predictions: Sequence[Prediction] | None = None) -> list[Finding]:
    """Confront the predictions with the final validation losses, paired seed by seed.

    See :func:`bstheory.training.predictions.judge_contrast` for the rule.

    Args:
        runs: the study's runs.
        predictions: those to judge; default all that these arms can judge.
    """
    final = {
        run.name: {s: float(x) for s, x in zip(run.seeds, np.asarray(run.series["validation_loss"])[:, -1])}
        for run in runs
    }
    chosen = [p for p in PREDICTIONS if p.arms <= set(final)] if predictions is None else predictions
    return [judge_contrast(prediction, final) for prediction in chosen]
