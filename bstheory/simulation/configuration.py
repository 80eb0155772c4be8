"""Configurations as plain JSON: what ``bstheory simulate`` and ``bstheory sweep`` read, and what a sweep
hashes.

``{"problem": {"name": "cosine_sum", "dim": 8, "noise_scale": 0.5}, "algorithm": {"name": "adam", "beta1":
0.0, "half_life": 1000, ...}, "schedule": "0:16 10K:64", "tokens": 22800, "seeds": 64}``. A spectrum or a
noise vector may be written ``{"dim": 1000, "power": 1.0}``, meaning i^-power.
"""

from __future__ import annotations

import dataclasses
import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bstheory.errors import InputError, input_error, suggestion
from bstheory.problems import (
    Problem,
    cosine_sum,
    logistic,
    noisy_quadratic,
    phase_retrieval,
    pseudo_huber,
    rotated_quadratic,
)
from bstheory.simulation.optimizers import SGD, Adafactor, Adam, HeavyBall, Muon, Optimizer, Signum

PROBLEMS: dict[str, Callable[..., Problem]] = {
    "noisy_quadratic": noisy_quadratic,
    "cosine_sum": cosine_sum,
    "pseudo_huber": pseudo_huber,
    "rotated_quadratic": rotated_quadratic,
    "logistic": logistic,
    "phase_retrieval": phase_retrieval,
}
OPTIMIZERS: dict[str, type[Optimizer]] = {
    cls.name: cls for cls in (SGD, HeavyBall, Signum, Muon, Adafactor, Adam)
}
KEYS = ("problem", "algorithm", "schedule", "tokens", "seeds", "records", "dtype", "quantities")
REQUIRED = ("problem", "algorithm", "schedule")
MAX_DIM = 10**9  # one vector of 8 GB
MAX_STEPS = 10**9  # one column of 8 GB; the tables of a run hold several
DTYPES = {"float64": np.float64, "float32": np.float32}


def _named(kind: str, document: Any, known: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    if not isinstance(document, Mapping) or document.get("name") not in known:
        name = document.get("name") if isinstance(document, Mapping) else document
        raise input_error(
            got=f"{kind} {name!r}",
            rule=f"its name is one of {', '.join(known)}",
            do=f"{suggestion(str(name), known)}correct the configuration",
        )
    return known[document["name"]], {key: value for key, value in document.items() if key != "name"}


def _checked_call(
    kind: str, make: Callable[..., Any], arguments: dict[str, Any], allowed: Sequence[str]
) -> Any:
    unknown = sorted(set(arguments) - set(allowed))
    if unknown:
        raise input_error(
            got=f"{kind} argument {unknown[0]!r}",
            rule=f"it takes {', '.join(allowed)}",
            do=f"{suggestion(unknown[0], allowed)}remove it",
        )
    for name, value in arguments.items():
        flag = inspect.signature(make).parameters[name].annotation in (bool, "bool")
        if flag != _holds_bool(value):
            raise input_error(
                got=f"{kind} argument {name}={value!r}",
                rule="it is true or false" if flag else "true and false are no numbers",
                why="what is written in a configuration is not converted",
                do="correct it",
            )
    try:
        return make(**arguments)
    except (TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise input_error(
            got=f"{kind} arguments {sorted(arguments)}", rule=str(error), do="complete the configuration"
        ) from error
    except MemoryError as error:
        raise input_error(
            got=f"{kind} arguments {sorted(arguments)}",
            rule=f"the {kind} does not fit into memory ({error})",
            do="make it smaller",
        ) from error


def build_problem(document: Any) -> Problem:
    """A problem from ``{"name": ..., **arguments}``."""
    make, arguments = _named("problem", document, PROBLEMS)
    for name, value in arguments.items():
        if isinstance(value, Mapping):
            if set(value) != {"dim", "power"}:
                raise input_error(
                    got=f"{name}={dict(value)}",
                    rule="a vector is a list, or {dim, power} for i^-power",
                    do="correct it",
                )
            if _holds_bool(value["power"]):
                raise input_error(
                    got=f"{name}={dict(value)}", rule="power is a number, and true is none", do="correct it"
                )
            if not _whole(value["dim"]) or not 1 <= value["dim"] <= MAX_DIM:
                raise input_error(
                    got=f"{name}={dict(value)}",
                    rule=f"dim is a whole number from 1 to {MAX_DIM}",
                    do="correct it",
                )
            arguments[name] = np.arange(1, value["dim"] + 1, dtype=np.float64) ** -float(value["power"])
        elif name == "dim" and _whole(value) and value > MAX_DIM:
            raise input_error(got=f"dim={value}", rule=f"it is at most {MAX_DIM}", do="make it smaller")
    return _checked_call("problem", make, arguments, tuple(inspect.signature(make).parameters))


def build_optimizer(document: Any) -> Optimizer:
    """An optimizer from ``{"name": ..., **fields}``; inverse of :meth:`Optimizer.config`."""
    cls, arguments = _named("algorithm", document, OPTIMIZERS)
    return _checked_call("algorithm", cls, arguments, tuple(f.name for f in dataclasses.fields(cls)))


def build_schedule(document: Any) -> Any:
    """A schedule from its text, e.g. ``"0:16 10K:64"``, or from ``[[num_steps, batch_size], ...]``."""
    if isinstance(document, str):
        from bstheory import schedules

        return schedules.parse(document)
    try:
        if sum(count for count, _ in document) > MAX_STEPS:
            raise input_error(
                got=f"a schedule of {sum(count for count, _ in document)} steps",
                rule=f"a run has at most {MAX_STEPS}",
                do="simulate fewer steps, or use the exact recursions",
            )
        pairs = np.asarray(document, dtype=np.int64).reshape(-1, 2)
        good = len(pairs) > 0 and np.array_equal(pairs, np.asarray(document)) and pairs.min() >= 1
        good = good and not _holds_bool(document)
    except InputError:
        raise
    except (TypeError, ValueError, OverflowError):
        good = False
    if not good:
        raise input_error(
            got=f"schedule {document!r}",
            rule='it is a text such as "0:16 10K:64" or a list of whole [num_steps, batch_size] >= 1',
            do="correct it",
        )
    return np.repeat(pairs[:, 1], pairs[:, 0])


def check(config: Any) -> dict[str, Any]:
    """The configuration itself, after checking its keys; raises :class:`~bstheory.errors.InputError`."""
    if not isinstance(config, Mapping):
        raise input_error(
            got=f"a configuration of type {type(config).__name__}", rule="it is a mapping", do="fix it"
        )
    unknown = [key for key in config if key not in KEYS]
    missing = [key for key in REQUIRED if key not in config]
    if unknown or missing:
        raise input_error(
            got=f"a configuration with unknown {unknown} and without {missing}",
            rule=f"its keys are {', '.join(KEYS)}, of which {', '.join(REQUIRED)} are required",
            do="correct it",
        )
    dtype, seeds = config.get("dtype", "float64"), config.get("seeds", 1)
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise input_error(got=f"dtype {dtype!r}", rule="it is float64 or float32", do="choose one of these")
    words = config.get("quantities", ["loss"])
    good = {
        "tokens": "tokens" not in config or _whole(config["tokens"]),
        "records": _whole(config.get("records", 1)),
        "seeds": _whole(seeds) or (isinstance(seeds, list | tuple) and all(map(_whole, seeds))),
        "quantities": isinstance(words, list | tuple) and all(isinstance(word, str) for word in words),
    }
    for key, fits in good.items():
        if not fits:
            raise input_error(
                got=f"{key}={config[key]!r}",
                rule={
                    "seeds": "seeds are a whole number of them, or a list of whole numbers",
                    "quantities": "quantities are a list of names",
                }.get(key, f"{key} is a whole number"),
                why="nothing is rounded, and text is not read as a number",
                do="correct it",
            )
    return dict(config)


def _holds_bool(value: Any) -> bool:
    """Whether ``value``, or an entry of a list (also within lists), is true or false; Python takes these for
    1 and 0."""
    if isinstance(value, list | tuple):
        return any(map(_holds_bool, value))
    return isinstance(value, bool | np.bool_) or (isinstance(value, np.ndarray) and value.dtype == bool)


def _whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def num_steps(config: Mapping[str, Any]) -> int:
    """Steps of a configuration, counted by run lengths, before any vector of that length is made.

    Raises:
        InputError: more than ``MAX_STEPS``, or a schedule without tokens.
    """
    from bstheory import schedules

    schedule, steps = build_schedule(config["schedule"]), 0
    if isinstance(schedule, np.ndarray):
        return len(schedule)
    if config.get("tokens") is None:
        raise input_error(got="no tokens", rule="a schedule needs a token budget", do='add "tokens": 100000')
    for _, count in schedules.runs(schedule, num_tokens=config["tokens"]):
        steps += count
        if steps > MAX_STEPS:
            raise input_error(
                got=f"a configuration of {steps} steps or more",
                rule=f"a run has at most {MAX_STEPS}",
                do="simulate fewer tokens or larger batches, or use the exact recursions",
            )
    return steps


def simulate_configuration(config: Mapping[str, Any], *, threads: int = 1, **keywords: Any) -> Any:
    """Run one configuration and return its :class:`~bstheory.run.Run`; extra keywords go to ``simulate``."""
    from bstheory.simulation.runs import simulate

    config = check(config)
    num_steps(config)
    optional = {key: config[key] for key in ("tokens", "seeds", "records", "quantities") if key in config}
    return simulate(
        build_problem(config["problem"]),
        build_optimizer(config["algorithm"]),
        schedule=build_schedule(config["schedule"]),
        dtype=DTYPES[config.get("dtype", "float64")],
        threads=threads,
        **optional,
        **keywords,
    )


def grid(base: Mapping[str, Any], axes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """All combinations of ``axes``, whose keys are dotted paths into ``base``.

    Example:
        >>> base = {"algorithm": {"name": "sgd"}, "seeds": 4}
        >>> [c["algorithm"]["learning_rate"] for c in grid(base, {"algorithm.learning_rate": [0.1, 0.2]})]
        [0.1, 0.2]
    """
    if not isinstance(base, Mapping) or not isinstance(axes, Mapping):
        raise input_error(got="base or grid of another kind", rule="both are mappings", do="correct the file")
    for path, values in axes.items():
        if isinstance(values, str) or not isinstance(values, Sequence) or len(values) == 0:
            raise input_error(
                got=f"grid axis {path!r} with {values!r}", rule="an axis is a non-empty list", do="correct it"
            )
    out = []
    for values in itertools.product(*axes.values()):
        config: dict[str, Any] = {k: dict(v) if isinstance(v, Mapping) else v for k, v in base.items()}
        for path, value in zip(axes, values):
            *parents, leaf = path.split(".")
            if len(parents) > 1 or (parents and not isinstance(config.get(parents[0]), dict)):
                raise input_error(
                    got=f"grid axis {path!r}",
                    rule="an axis is a key of the configuration, or section.key",
                    do="correct the path",
                )
            target = config[parents[0]] if parents else config
            target[leaf] = value
        out.append(config)
    return out
