"""Running many recipes: grouped into stacks, spread over processes, every finished stack kept and reused."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from bstheory.errors import InputError
from bstheory.files import read_json, write_json
from bstheory.run import config_hash
from bstheory.training.stacked import Outcome, Recipe

WIDEST = 28  # models in a stack: beyond this the batched operations are bound by arithmetic


def stacks(recipes: Iterable[Recipe]) -> list[list[Recipe]]:
    """Distinct recipes grouped so that each group can train together, at most ``WIDEST`` in one."""
    groups: dict[Any, list[Recipe]] = {}
    for recipe in dict.fromkeys(recipes):
        groups.setdefault(recipe.stack_key(), []).append(recipe)
    return [group[i : i + WIDEST] for group in groups.values() for i in range(0, len(group), WIDEST)]


def _key(recipe: Recipe, corpus_sha: str) -> str:
    fields = dataclasses.asdict(recipe)
    model = fields.pop("model")
    return config_hash({"model": model, "corpus": corpus_sha, "recipe": fields, "version": 1})


def _to_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "tokens": list(outcome.tokens),
        # JSON has no infinity; None stands for a diverged run.
        "validation_loss": [x if math.isfinite(x) else None for x in outcome.validation_loss],
        "diverged_at_step": outcome.diverged_at_step,
    }


def _from_json(recipe: Recipe, entry: dict[str, Any]) -> Outcome:
    return Outcome(
        recipe=recipe,
        tokens=tuple(entry["tokens"]),
        validation_loss=tuple(math.inf if x is None else x for x in entry["validation_loss"]),
        diverged_at_step=entry["diverged_at_step"],
    )


def _start_worker() -> None:
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:  # workers of a killed parent must not train on
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _train(stack: Sequence[Recipe], text: str | None) -> list[dict[str, Any]]:
    from bstheory.models.configs import model_config
    from bstheory.problems.corpus import load_corpus
    from bstheory.training.stacked import train_stack
    from bstheory.training.study import held_out_rows

    corpus = load_corpus(None if text is None else Path(text))
    held_out = held_out_rows(corpus, model_config(stack[0].model).context)
    return [_to_json(o) for o in train_stack(stack, corpus, held_out)]


def run_recipes(
    recipes: Iterable[Recipe],
    *,
    folder: Path,
    text: Path | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[Recipe, Outcome]:
    """Train every distinct recipe once, reusing what ``folder`` already holds.

    Numbers depend on the recipes and the text alone: not on the number of workers, nor on interruptions.

    Args:
        folder: one JSON file a finished stack; each outcome is found by the hash of its own recipe.
        progress: called with (stacks done, stacks in all).
    """
    from bstheory.problems.corpus import load_corpus

    sha = load_corpus(text).sha256
    wanted = {_key(recipe, sha): recipe for recipe in recipes}
    found: dict[Recipe, Outcome] = {}
    for path in sorted(folder.glob("stack-*.json")):
        try:
            entries = read_json(path)
        except InputError:
            continue  # a damaged file is trained again
        found |= {wanted[k]: _from_json(wanted[k], e) for k, e in entries.items() if k in wanted}
    groups = stacks(recipe for recipe in wanted.values() if recipe not in found)
    # Most steps first, so that processes end together.
    groups.sort(key=lambda g: -sum(n for _, n in g[0].batch_sizes) * len(g))
    done = 0
    if progress is not None:
        progress(0, len(groups))
    if not groups:
        return found

    def keep(group: list[Recipe], entries: list[dict[str, Any]]) -> None:
        nonlocal done
        document = {_key(r, sha): e for r, e in zip(group, entries, strict=True)}
        write_json(folder / f"stack-{config_hash({'keys': sorted(document)})[:24]}.json", document)
        found.update({r: _from_json(r, e) for r, e in zip(group, entries, strict=True)})
        done += 1
        if progress is not None:
            progress(done, len(groups))

    count = min(2, os.cpu_count() or 1) if workers is None else workers
    if count == 0:
        for group in groups:
            keep(group, _train(group, None if text is None else str(text)))
        return found
    pool = concurrent.futures.ProcessPoolExecutor(
        count, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
    )
    try:
        pending = {pool.submit(_train, g, None if text is None else str(text)): g for g in groups}
        for future in concurrent.futures.as_completed(pending):
            keep(pending[future], future.result())
    except BaseException:
        for process in list(getattr(pool, "_processes", {}).values()):
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return found
