"""``bstheory check``: derivations, simulations, a tiny language model and controls, each with its verdict.

A run directory keeps what has finished (``check.json``, ``certificates/``, ``runs/``, ``tiny_lm/``), so an
interrupted check is finished by ``--resume`` with the same numbers.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json as json_module
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import bstheory
from bstheory import check_plan as plan
from bstheory.errors import input_error, suggestion
from bstheory.files import write_json
from bstheory.run import Run, commit, environment
from bstheory.verdict import Certificate, Verdict

Progress = Callable[[float], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What one check covers; written to ``check.json`` and read back by ``--resume``."""

    slugs: tuple[str, ...] = ()
    quick: bool = False
    text: str | None = None


def settings_json(settings: Settings) -> dict[str, Any]:
    """Plain JSON of the settings."""
    return dataclasses.asdict(settings) | {"slugs": list(settings.slugs)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Link:
    """One link of the chain from theorem to measurement, and what became of it.

    Attributes:
        slug: the theorem, recursion or study.
        part: ``derivation``, ``simulation``, ``exact recursion``, ``language model`` or ``control``.
        name: which one of its part.
        verdict: found. declared: what it may be, said beforehand; usually one verdict.
        method, reason: how it was established, and the finding in one sentence.
        value, trivial_value, measured, interval, ratio: numbers, where there are any.
        seconds: time taken.
        detail: the certificate, comparison or finding behind it; not part of the JSON.
    """

    slug: str
    part: str
    name: str
    verdict: Verdict
    declared: tuple[Verdict, ...]
    method: str
    reason: str = ""
    value: float | None = None
    trivial_value: float | None = None
    measured: float | None = None
    interval: tuple[float, float] | None = None
    ratio: float | None = None
    seconds: float = 0.0
    detail: Any = None

    @property
    def as_declared(self) -> bool:
        """Whether the verdict is a declared one."""
        return self.verdict in self.declared

    @property
    def declared_words(self) -> str:
        """The declared verdicts in words."""
        return " or ".join(verdict.word for verdict in self.declared)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, verdicts as words."""
        document = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "detail"}
        return document | {
            "verdict": self.verdict.word,
            "declared": self.declared_words,
            "as_declared": self.as_declared,
            "interval": None if self.interval is None else list(self.interval),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """All links of one check. ``studies`` holds the language-model runs, for plots."""

    settings: Settings
    links: tuple[Link, ...]
    studies: tuple[Run, ...] = ()
    folder: Path | None = None

    @property
    def as_declared(self) -> bool:
        """Whether every verdict is as declared."""
        return all(link.as_declared for link in self.links)

    def derivations(self) -> dict[Verdict, list[Link]]:
        """Derivations by verdict."""
        found: dict[Verdict, list[Link]] = {}
        for link in self.links:
            if link.part == "derivation":
                found.setdefault(link.verdict, []).append(link)
        return found

    def simulations(self) -> dict[str, dict[str, Link]]:
        """Theorem to schedule (``constant``, ``ramp up`` ...) to link."""
        found: dict[str, dict[str, Link]] = {}
        for link in self.links:
            if link.part == "simulation":
                found.setdefault(link.slug, {})[link.name.partition(":")[0]] = link
        return found

    def others(self) -> list[Link]:
        """Exact recursions, controls and the language model."""
        return [link for link in self.links if link.part not in ("derivation", "simulation")]

    def to_json(self) -> dict[str, Any]:
        """The document of ``--json``."""
        return {
            "format": 1,
            "bstheory": bstheory.__version__,
            "settings": settings_json(self.settings),
            "as_declared": self.as_declared,
            "results": [link.to_json() for link in self.links],
            "environment": dict(environment()),
            "commit": commit(),
        }


@dataclasses.dataclass(frozen=True)
class Task:
    """A piece of work that yields links; ``work`` reports its progress as a fraction.

    ``apart`` marks work done in processes of its own: it runs beside the others.
    """

    title: str
    work: Callable[[Progress], list[Link]]
    apart: bool = False


def run_check(
    settings: Settings, folder: Path, watch: Callable[[int, int, str, float, list[Link]], None] | None = None
) -> Result:
    """Do everything that ``settings`` covers, keeping finished parts in ``folder``.

    Args:
        settings: what to cover.
        folder: the run directory; parts found there are read back instead of computed again.
        watch: called with (task number, number of tasks, title, fraction done, links of the task when
            finished).

    Raises:
        InputError: a mistake in ``settings``, or a folder that cannot be written.
        KeyboardInterrupt: what had finished is in ``folder``.
    """
    studies: list[Run] = []
    tasks = list(_tasks(settings, folder, studies))
    found: dict[int, list[Link]] = {}

    def do(number: int) -> None:
        task = tasks[number]

        def progress(fraction: float) -> None:
            if watch:
                watch(number + 1, len(tasks), task.title, fraction, [])

        progress(0.0)
        found[number] = task.work(progress)
        if watch:
            watch(number + 1, len(tasks), task.title, 1.0, found[number])

    children = set(multiprocessing.active_children())
    with concurrent.futures.ThreadPoolExecutor(1) as aside:
        try:
            waiting = [aside.submit(do, number) for number, task in enumerate(tasks) if task.apart]
            for number, task in enumerate(tasks):
                if not task.apart:
                    do(number)
            for one in waiting:
                # A wait without an end would not notice Ctrl-C where the signal reaches another thread first.
                while not one.done():
                    concurrent.futures.wait([one], timeout=0.2)
                one.result()
        except BaseException:
            # The thread waits for its worker processes; without them it ends, with an error nobody asks for.
            for child in set(multiprocessing.active_children()) - children:
                child.terminate()
            raise
    links = tuple(link for number in sorted(found) for link in found[number])
    result = Result(settings=settings, links=links, studies=tuple(studies), folder=folder)
    write_json(folder / "results.json", result.to_json())
    return result


def _tasks(settings: Settings, folder: Path, studies: list[Run]) -> Iterator[Task]:
    slugs, chosen = theorem_slugs(), covered(settings)
    for slug in chosen:
        if slug in slugs:
            yield Task(f"derivation of {slug}", lambda progress, slug=slug: [_derivation(slug, folder)])
    for slug in chosen:
        for item in plan.SIMULATIONS[slug](quick=settings.quick) if slug in plan.SIMULATIONS else ():
            yield Task(
                f"{slug}, {item.name}",
                lambda progress, slug=slug, item=item: [_simulation(slug, item, folder, progress)],
            )
    for slug, item in plan.exact_simulations(quick=settings.quick).items():
        if slug in chosen:
            yield Task(
                f"exact recursion, {slug}", lambda progress, item=item: [_exact(item, folder, progress)]
            )
    if plan.FLAGSHIP in chosen:
        yield Task("controls", lambda progress: _controls(settings, folder, progress))
    if plan.LANGUAGE_MODEL in chosen:
        yield Task(
            "tiny language model",
            lambda progress: _language_model(settings, folder, studies, progress),
            apart=True,
        )


def covered(settings: Settings) -> tuple[str, ...]:
    """The slugs of one check: those asked for; else all, or when quick those with a simulation."""
    if settings.slugs:
        return settings.slugs
    library = tuple(plan.SIMULATIONS) if settings.quick else theorem_slugs()
    return tuple(dict.fromkeys((plan.FLAGSHIP, *library, *plan.EXACT_SLUGS, plan.LANGUAGE_MODEL)))


def theorem_slugs() -> tuple[str, ...]:
    """Slugs of the library, without importing a theorem."""
    from bstheory.theory.library import all_slugs

    return all_slugs()


def check_slugs(words: tuple[str, ...]) -> tuple[str, ...]:
    """``words`` themselves, each a known name.

    Raises:
        InputError: unknown; the message names the nearest one.
    """
    known = sorted({*theorem_slugs(), *plan.EXACT_SLUGS, plan.LANGUAGE_MODEL})
    for word in words:
        if word not in known:
            raise input_error(
                got=f"slug {word!r}",
                rule=f"the slugs are {', '.join(known)}",
                do=f"{suggestion(word, known)}pick one of them",
            )
    return tuple(dict.fromkeys(words))


def _derivation(slug: str, folder: Path) -> Link:
    from bstheory.checking import check
    from bstheory.theory.library import get

    bound = get(slug)
    certificate: Certificate = check(bound)
    write_json(folder / "certificates" / f"{slug}.json", certificate.to_json())
    return Link(
        slug=slug,
        part="derivation",
        name=bound.title,
        verdict=certificate.verdict,
        declared=(Verdict.from_word(bound.declared),),
        method=certificate.method,
        reason=certificate.reason or certificate.verdict.value,
        seconds=certificate.seconds,
        detail=certificate,
    )


def _simulated(slug: str, item: plan.Simulation, folder: Path, progress: Progress, **options: Any) -> Run:
    """The run of a simulation, from ``folder`` where it has been done with this very configuration."""
    place = folder / "runs" / slug / item.name.replace(" ", "_")
    if (place / "run.json").exists():
        stored = Run.load(place)
        if stored.config["schedule_text"] == item.schedule and len(stored.seeds) == item.seeds:
            return stored
    from bstheory.simulation import simulate, simulate_rule

    common = {
        "seeds": item.seeds,
        "name": item.name,
        "progress": lambda done, total: progress(done / total),
    }
    if item.rule is not None:
        run = simulate_rule(
            item.problem, item.optimizer, rule=item.rule, groups=item.groups, tokens=item.tokens, **common
        )
    else:
        run = simulate(item.problem, item.optimizer, schedule=item.batch_size, **common, **options)
    run = dataclasses.replace(run, config={**run.config, "schedule_text": item.schedule})
    run.save(place)
    return run


def _quantities(quantity: str) -> tuple[str, ...]:
    """What a run records for a bound on ``quantity``: always the loss besides."""
    return tuple(dict.fromkeys(("loss", quantity)))


def _compared(seen: Any, part: str, name: str, declared: Verdict, started: float) -> Link:
    return Link(
        slug=seen.slug,
        part=part,
        name=name,
        verdict=seen.verdict,
        declared=(declared,),
        method=seen.method,
        reason=seen.reason,
        value=seen.value,
        trivial_value=seen.trivial_value,
        measured=seen.measured,
        interval=seen.interval,
        ratio=seen.ratio,
        seconds=time.perf_counter() - started,
        detail=seen,
    )


def _simulation(slug: str, item: plan.Simulation, folder: Path, progress: Progress) -> Link:
    from bstheory.comparison import compare
    from bstheory.theory.library import get

    started = time.perf_counter()
    run = _simulated(slug, item, folder, progress, quantities=_quantities(get(slug).quantity))
    seen = compare(get(slug), run, level=plan.LEVEL)
    return _compared(seen, "simulation", f"{item.name}: {item.schedule}", Verdict.CONSISTENT, started)


def _exact(item: plan.Simulation, folder: Path, progress: Progress) -> Link:
    from bstheory.comparison import compare_exact

    started = time.perf_counter()
    run = _simulated(item.name, item, folder, progress, quantities=("loss",))
    seen = compare_exact(item.problem, run, level=plan.LEVEL)
    return _compared(seen, "exact recursion", f"stages: {item.schedule}", Verdict.CONSISTENT, started)


def _controls(settings: Settings, folder: Path, progress: Progress) -> list[Link]:
    """Three things that must be rejected: an altered proof, a false bound, a problem outside the
    hypotheses."""
    from bstheory import problems
    from bstheory.checking import recheck_document
    from bstheory.comparison import compare
    from bstheory.simulation import simulate
    from bstheory.theory.library import get

    bound = get(plan.FLAGSHIP)
    started = time.perf_counter()
    report = recheck_document(altered(bound.document()))
    links = [
        Link(
            slug=plan.FLAGSHIP,
            part="control",
            name="the derivation with one multiplier doubled",
            verdict=Verdict.PROVED if report.valid else Verdict.INVALID,
            declared=(Verdict.INVALID,),
            method="the same independent checker",
            reason=report.reason,
            seconds=time.perf_counter() - started,
        )
    ]
    progress(0.4)
    started = time.perf_counter()
    item = plan.flagship_simulations(quick=settings.quick)[0]
    quantities = _quantities(bound.quantity)
    run = _simulated(plan.FLAGSHIP, item, folder, lambda fraction: None, quantities=quantities)

    def smaller(constants: Mapping[str, Any], batch_size: Any) -> Any:
        true = bound.value(constants, batch_size)
        return dataclasses.replace(true, value=true.value / plan.CONTROL_DIVISOR)

    seen = compare(dataclasses.replace(bound, value=smaller), run, level=plan.LEVEL)
    name = f"the bound divided by {plan.CONTROL_DIVISOR:g}, {item.name} batch size"
    links.append(_compared(seen, "control", name, Verdict.REFUTED, started))
    progress(0.8)
    started = time.perf_counter()
    quadratic = problems.noisy_quadratic([1.0, 0.5], 0.3)
    foreign = simulate(quadratic, item.optimizer, schedule=[16] * 64, seeds=8, name="foreign")
    seen = compare(bound, foreign, level=plan.LEVEL)
    name = "the bound on a quadratic with unbounded gradients"
    links.append(_compared(seen, "control", name, Verdict.INAPPLICABLE, started))
    return links


def altered(document: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a derivation document in which the first multiplier of an inequality is doubled."""
    copy = json_module.loads(json_module.dumps(document))
    for step in copy["steps"]:
        if step["kind"] == "combine" and step["relation"] == ">=" and step["uses"]:
            step["uses"][0][1] = f"2*({step['uses'][0][1]})"
            return copy
    raise AssertionError("a derivation has at least one combined inequality")


def _language_model(settings: Settings, folder: Path, studies: list[Run], progress: Progress) -> list[Link]:
    from bstheory.training.study import judge_study, tiny_lm_study

    started = time.perf_counter()
    runs = tiny_lm_study(
        quick=settings.quick,
        text=settings.text,
        resume_dir=folder / "tiny_lm",
        progress=lambda done, total, label: progress(done / total),
    )
    studies += runs
    findings = judge_study(runs)
    each = (time.perf_counter() - started) / max(len(findings), 1)
    links = []
    for finding in findings:
        numbers, effect = finding.numbers, finding.numbers.get("effect")
        interval = numbers.get("interval")
        sentence = numbers.get("why", "") if effect is None else f"difference {effect:+.4f} nats/byte"
        links.append(
            Link(
                slug=plan.LANGUAGE_MODEL,
                part="language model",
                name=finding.prediction.statement,
                verdict=finding.verdict,
                declared=_declared(finding.prediction, settings.quick),
                method=f"difference of final validation losses, paired over {numbers['seeds']} seeds, "
                f"Student interval at level {numbers['level']:g}",
                reason=sentence,
                measured=effect,
                interval=None if interval is None else (interval[0], interval[1]),
                value=0.0,
                seconds=each,
                detail=finding,
            )
        )
    return links


def _declared(prediction: Any, quick: bool) -> tuple[Verdict, ...]:
    """With the two seeds of the quick study all but large effects stay undecided (Student quantile 12.7)."""
    stated = tuple(Verdict.from_word(word) for word in prediction.declared)
    return tuple(dict.fromkeys((*stated, Verdict.UNDECIDED))) if quick else stated
