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
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bstheory.errors import input_error
from bstheory.half_life import beta_from_half_life, half_life_from_beta
from bstheory.problems.corpus import Corpus, load_corpus
from bstheory.problems.tiny_lm import UNIFORM_LOSS, row_count, rows
from bstheory.run import Run, config_hash
from bstheory.training.predictions import Finding, Prediction, judge_contrast
from bstheory.training.stacked import Recipe, train_stack

MODEL = "tiny_study"
CONTEXT = 32
ANCHOR_BATCH_SIZE = 64
ANCHOR_BETA2 = 0.95
HALF_LIFE = half_life_from_beta(beta=ANCHOR_BETA2, tokens_per_step=ANCHOR_BATCH_SIZE * CONTEXT)
BETA1 = 0.9
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
        "trained": "stacked",
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


def _recipe(arm: Arm, plan: Plan, seed: int) -> Recipe:
    return Recipe(
        optimizer=arm.optimizer,
        learning_rate=arm.learning_rate,
        batch_sizes=((arm.batch_size, plan.tokens // CONTEXT // arm.batch_size),),
        seed=seed,
        beta1=BETA1 if arm.optimizer == "adam" else 0.0,
        beta2=arm.beta2 or 0.0,
        warmup=WARMUP,
        model=MODEL,
    )


def stacks(plan: Plan) -> list[tuple[Arm, ...]]:
    """The arms that can train together (same optimizer and batch size), most steps first."""
    groups: dict[tuple[str, int], list[Arm]] = {}
    for one in plan.arms:
        groups.setdefault((one.optimizer, one.batch_size), []).append(one)
    steps_and_width = sorted(groups.values(), key=lambda arms: (arms[0].batch_size, -len(arms)))
    return [tuple(arms) for arms in steps_and_width]


def train_arms(
    arms: Sequence[Arm],
    plan: Plan,
    corpus: Corpus,
    progress: Callable[[int], None] | None = None,
) -> list[Run]:
    """Train all seeds of arms that share an optimizer and a batch size, at once, on one thread.

    A non-finite training loss ends its own run only: the remaining validation losses of that run are
    recorded as infinite and the summary says at which step it happened.

    Args:
        arms: one of :func:`stacks`.
        plan: seeds and budget.
        corpus: the text.
        progress: called with the tokens trained since the last call, over all runs together.

    Returns:
        One run an arm and seed.
    """
    every = [(one, seed) for one in arms for seed in plan.seeds]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # one order of summation everywhere, and no oversubscribed cores
    try:
        outcomes = train_stack(
            [_recipe(one, plan, seed) for one, seed in every],
            corpus,
            held_out_rows(corpus),
            records=plan.records,
            progress=None if progress is None else lambda n: progress(n * CONTEXT * len(every)),
        )
    finally:
        torch.set_num_threads(threads)
    described = corpus.describe()
    return [
        Run(
            name=one.name,
            config=_config(one, plan, described),
            seeds=(seed,),
            steps=np.array(outcome.tokens, dtype=np.int64) // (one.batch_size * CONTEXT),
            tokens=np.array(outcome.tokens, dtype=np.int64),
            series={"validation_loss": np.array([outcome.validation_loss])},
            summary={"uniform_loss": UNIFORM_LOSS, "diverged_at_step": outcome.diverged_at_step},
        )
        for (one, seed), outcome in zip(every, outcomes)
    ]


_TOKENS: Any = None  # in a worker: the counter that all workers share with their parent


def _start_worker(tokens: Any) -> None:
    global _TOKENS
    _TOKENS = tokens
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    parent = multiprocessing.parent_process()
    if parent is not None:  # a parent that was killed cannot stop its workers: they watch it instead
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _count(tokens: int) -> None:
    with _TOKENS.get_lock():
        _TOKENS.value += tokens


def _work(arms: tuple[Arm, ...], plan: Plan, text: Path | None) -> list[Run]:
    return train_arms(arms, plan, load_corpus(text), _count)


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
    todo: Sequence[tuple[Arm, ...]],
    plan: Plan,
    text: Path | None,
    corpus: Corpus,
    workers: int,
    advanced: Callable[[int], None],
) -> Iterator[list[Run]]:
    """Runs of each stack as it finishes; ``advanced`` is told the tokens trained so far."""
    if workers == 0:
        done = 0

        def add(tokens: int) -> None:
            nonlocal done
            done += tokens
            advanced(done)

        for arms in todo:
            yield train_arms(arms, plan, corpus, add)
        return
    spawn = multiprocessing.get_context("spawn")
    tokens = spawn.Value("q", 0)
    pool = concurrent.futures.ProcessPoolExecutor(
        workers, mp_context=spawn, initializer=_start_worker, initargs=(tokens,)
    )
    try:
        pending = {pool.submit(_work, arms, plan, text) for arms in todo}
        while pending:
            finished, pending = concurrent.futures.wait(
                pending, timeout=0.5, return_when=concurrent.futures.FIRST_COMPLETED
            )
            advanced(tokens.value)
            for future in finished:
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

    All arms of one optimizer and batch size train at once, on one thread (:func:`stacks`): at this width a
    step costs launches of operations, not arithmetic. A stack depends on the plan and the text alone, so
    neither the number of worker processes nor an interruption changes a number.

    Args:
        quick: the short plan.
        text: a UTF-8 text file instead of the installed documentation.
        resume_dir: folder for one sub-folder a (arm, seed), written as each stack finishes; finished stacks
            found there are read back instead of trained again.
        progress: called with (tokens done, tokens in all, label), about twice a second and after each stack.
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
    for arms in stacks(plan):
        read = {
            (one.name, seed): folder
            and _stored(folder / f"{one.name}-seed{seed}", _config(one, plan, described))
            for one in arms
            for seed in plan.seeds
        }
        kept = {key: run for key, run in read.items() if run}
        if len(kept) == len(read):
            finished |= kept
        else:  # a stack is trained whole: its numbers may depend, in the last bit, on how wide it is
            todo.append(arms)
    total = plan.tokens * len(plan.arms) * len(plan.seeds)
    before = plan.tokens * len(finished)
    furthest = 0

    def tell(done: int, label: str) -> None:
        nonlocal furthest
        furthest = max(furthest, done)  # a stored stack counts less than what is trained of the others
        if progress:
            progress(furthest, total, label)

    tell(before, "tiny LM")
    workers = min(2, os.cpu_count() or 1) if workers is None else workers
    results = _results(
        todo, plan, text, corpus, min(workers, len(todo)), lambda n: tell(before + n, "tiny LM")
    )
    for runs in results:
        for run in runs:
            if folder:
                run.save(folder / f"{run.name}-seed{run.seeds[0]}")
            finished[run.name, run.seeds[0]] = run
        names = ", ".join(dict.fromkeys(run.name for run in runs))
        tell(plan.tokens * len(finished), f"tiny LM: {names}")
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
