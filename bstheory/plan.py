"""``bstheory plan``: from a reference run to another batch size, or to a whole schedule, rule by rule.

For each batch size on the way: every value each rule proposes, what the rule preserves and what not (with the
slug of the entry in docs/theorems), the largest batches that the theorems admit, and warnings where rules
disagree or leave their domain. Nothing is chosen silently: where no rule is established, several values
stand side by side.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from bstheory import schedules
from bstheory.errors import input_error
from bstheory.half_life import LN2, bias_correction, half_life_from_beta
from bstheory.memory import OPTIMIZERS, training_memory
from bstheory.plan_rules import Target as Target
from bstheory.plan_rules import Value as Value
from bstheory.plan_rules import norm_test_max_batch as norm_test_max_batch
from bstheory.plan_rules import target
from bstheory.schedules.schedule import MAX_CLOCK
from bstheory.terminal import (
    JsonFile,
    OptionalCount,
    OptionalFloat,
    OptionalInt,
    OptionalSchedule,
    OptionalText,
    count,
    emit,
)

DISAGREE = 2.0  # learning-rate rules further apart than this are pointed out
NEAR_PEAK = 0.95
WIDE = 130  # columns from which the table also shows what a rule changes, and its theorem
FLOAT32_STEP = 2.0**-24


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What ``plan`` found; ``to_dict`` is the ``--json`` output.

    Attributes:
        reference: the reference run, as given.
        beta1_half_life, beta2_half_life: tokens, of the reference run.
        targets: one per batch size, in order of first use.
        admissible: name -> largest batch size (sequences) under the half-life rule.
        memory: bytes by optimizer, where the model's size was given.
        smallest_near_peak: the smallest batch with at least 95 % of peak throughput, where a table was given.
        warnings: sentences.
    """

    reference: dict[str, Any]
    beta1_half_life: float | None
    beta2_half_life: float
    targets: tuple[Target, ...]
    admissible: dict[str, float]
    memory: tuple[dict[str, Any], ...]
    smallest_near_peak: int | None
    warnings: tuple[str, ...]

    def value(self, setting: str, rule: str, *, batch_size: int | None = None) -> float:
        """One number of the plan, for the last target unless a batch size is named."""
        for goal in reversed(self.targets):
            if batch_size in (None, goal.batch_size):
                for value in goal.values:
                    if (value.setting, value.rule) == (setting, rule):
                        return value.value
        known = sorted({(v.setting, v.rule) for t in self.targets for v in t.values})
        raise input_error(
            got=f"setting={setting!r}, rule={rule!r}, batch_size={batch_size}",
            rule=f"the plan has {', '.join(f'{s}/{r}' for s, r in known)}",
            do="pick one",
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON. ``beta2`` is the half-life rule's value for the last target."""
        last = self.targets[-1]
        nested: dict[str, dict[str, float]] = {}
        for value in last.values:
            nested.setdefault(value.setting, {})[value.rule] = value.value
        return {
            "batch_size": last.batch_size,
            "beta2": last.beta2,
            "settings": nested,
            **dataclasses.asdict(self),
        }


def plan(
    *,
    from_batch_size: int,
    to_batch_size: int | None = None,
    to_schedule: str | None = None,
    num_tokens: int | None = None,
    round_to: int | None = None,
    seq_len: int,
    to_seq_len: int | None = None,
    beta2: float,
    beta1: float = 0.9,
    learning_rate: float | None = None,
    weight_decay: float = 0.0,
    eps: float = 1e-8,
    warmup_steps: int | None = None,
    eta: float = 0.2,
    noise_scale: float | None = None,
    layers: int | None = None,
    width: int | None = None,
    vocab_size: int | None = None,
    throughput: dict[int, float] | None = None,
) -> Plan:
    """Transfer a reference run's optimizer settings to another batch size or to a schedule of them.

    Args:
        from_batch_size: global batch of the reference run, sequences.
        to_batch_size: the target; or
        to_schedule: a batch-size schedule such as ``"0:64 1M:256"``, with ``num_tokens``.
        round_to: batch sizes of the schedule are rounded to the nearest multiple of it; a ramp needs one.
        seq_len, to_seq_len: tokens per sequence, before and (where it changes) after.
        beta1, beta2, learning_rate, weight_decay, eps, warmup_steps: of the reference run.
        eta: tolerance of the norm test, for the largest batch its theorem admits.
        noise_scale: gradient noise scale in sequences; adds the rules that need it.
        layers, width, vocab_size: of the model, for memory.
        throughput: batch size -> tokens per second.

    Raises:
        InputError: neither or both targets, incomplete or bad values.
    """
    _check(locals())
    to_seq_len = to_seq_len or seq_len
    reference = {
        "batch_size": from_batch_size,
        "seq_len": seq_len,
        "to_seq_len": to_seq_len,
        "beta1": beta1,
        "beta2": beta2,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "eps": eps,
        "warmup_steps": warmup_steps,
    }
    tokens0 = from_batch_size * seq_len
    half2 = half_life_from_beta(beta=beta2, tokens_per_step=tokens0)
    half1 = half_life_from_beta(beta=beta1, tokens_per_step=tokens0) if beta1 > 0 else None
    first: dict[int, int] = {}
    if to_batch_size is not None:
        first[to_batch_size] = 0
    else:
        schedule = schedules.parse(to_schedule or "")
        if round_to is not None:
            schedule = schedule.rounded(multiple=round_to)
        consumed = 0
        for size, steps in schedules.runs(
            schedule, num_tokens=num_tokens or 0, seq_len=to_seq_len, last="overshoot"
        ):
            first.setdefault(size, consumed)
            consumed += size * steps * to_seq_len
    targets = tuple(target(size, at, reference, half2, noise_scale) for size, at in first.items())
    admissible = _admissible(reference, half2, eta)
    memory: tuple[dict[str, Any], ...] = ()
    if layers is not None and width is not None and vocab_size is not None:
        memory = tuple(
            training_memory(
                layers=layers,
                width=width,
                vocab_size=vocab_size,
                seq_len=to_seq_len,
                optimizer=name,
                accumulation=accumulation,
            ).to_dict()
            for name, accumulation in [("adam", True), *((name, False) for name in reversed(OPTIMIZERS))]
        )
    near = None
    if throughput:
        fast = NEAR_PEAK * max(throughput.values())
        near = min(size for size, speed in throughput.items() if speed >= fast)
    return Plan(
        reference=reference,
        beta1_half_life=half1,
        beta2_half_life=half2,
        targets=targets,
        admissible=admissible,
        memory=memory,
        smallest_near_peak=near,
        warnings=_warnings(reference, half1, half2, targets, admissible, near, warmup_steps),
    )


def _check(given: dict[str, Any]) -> None:
    if (given["to_batch_size"] is None) == (given["to_schedule"] is None):
        raise input_error(
            got=f"to_batch_size={given['to_batch_size']}, to_schedule={given['to_schedule']!r}",
            rule="exactly one target is given",
            do="pass one of the two",
        )
    if (given["to_schedule"] is None) != (given["num_tokens"] is None):
        raise input_error(
            got=f"to_schedule={given['to_schedule']!r}, num_tokens={given['num_tokens']}",
            rule="a schedule needs the length of the run, and only a schedule does",
            do="pass both or neither",
        )
    if given["round_to"] is not None and given["to_schedule"] is None:
        raise input_error(
            got=f"round_to={given['round_to']} without to_schedule",
            rule="only the batch sizes of a schedule are rounded",
            do="leave it out, or pass to_schedule",
        )
    size = [given[name] for name in ("layers", "width", "vocab_size")]
    if any(size) and not all(size):
        raise input_error(
            got=f"layers={size[0]}, width={size[1]}, vocab_size={size[2]}",
            rule="memory needs all three",
            do="pass the missing ones",
        )
    counts = ("from_batch_size", "to_batch_size", "seq_len", "to_seq_len", "num_tokens", "round_to")
    for name in (*counts, "warmup_steps"):
        value = given[name]
        whole = isinstance(value, int) and not isinstance(value, bool) and 1 <= value < MAX_CLOCK
        if value is not None and not whole:
            raise input_error(
                got=f"{name}={value!r:.40}", rule=f"{name} is a positive integer below 2^53", do="pass one"
            )
    for name, holds, rule in (
        ("beta2", lambda x: 0 < x < 1, "it lies in (0, 1)"),
        ("beta1", lambda x: 0 <= x < 1, "it lies in [0, 1)"),
        ("learning_rate", lambda x: x is None or 0 < x < math.inf, "it is positive"),
        ("weight_decay", lambda x: 0 <= x < math.inf, "it is at least 0"),
        (
            "weight_decay",
            lambda x: x * (given["learning_rate"] or 0.0) < 1,
            f"the decay per step, times learning_rate={given['learning_rate']}, is below 1",
        ),
        ("eps", lambda x: 0 <= x < math.inf, "it is at least 0"),
        ("eta", lambda x: 0 < x < math.inf, "it is positive"),
        ("noise_scale", lambda x: x is None or 0 < x < math.inf, "it is positive"),
        (
            "throughput",
            lambda x: x is None or (x and all(b >= 1 and 0 < s < math.inf for b, s in x.items())),
            "it maps batch sizes to positive tokens per second",
        ),
    ):
        if not holds(given[name]):
            raise input_error(got=f"{name}={given[name]!r}", rule=rule, do="correct it")


def _admissible(ref: dict[str, Any], half2: float, eta: float) -> dict[str, float]:
    """Largest batch sizes in sequences, for beta1 fixed per step and beta2 on its half-life."""
    if ref["beta1"] == 0:
        return {}
    length = ref["to_seq_len"]
    found = {"adam_token_half_life_momentum (beta1 < beta2)": half2 * -math.log2(ref["beta1"]) / length}
    for name, share in (("adam_norm_test (C)", 0.125), ("adam_norm_test (feasible)", 1.0)):
        found[name] = norm_test_max_batch(beta1=ref["beta1"], half_life=half2, eta=eta, share=share) / length
    return found


def _warnings(
    ref: dict[str, Any],
    half1: float | None,
    half2: float,
    targets: tuple[Target, ...],
    admissible: dict[str, float],
    near: int | None,
    warmup_steps: int | None,
) -> tuple[str, ...]:
    found: list[str] = []
    for goal in targets:
        b = goal.batch_size
        rates = {v.rule: v.value for v in goal.values if v.setting == "learning_rate"}
        if rates and max(rates.values()) > DISAGREE * min(rates.values()):
            low, high = min(rates, key=rates.__getitem__), max(rates, key=rates.__getitem__)
            found.append(
                f"batch size {b}: learning-rate rules disagree by a factor "
                f"{max(rates.values()) / min(rates.values()):.3g} ({low} {rates[low]:.3g}, {high} "
                f"{rates[high]:.3g}); the best rate of published sweeps grew more slowly than the square "
                "root (arXiv 2507.07101), so tune it"
            )
        if 1 - goal.beta2 < FLOAT32_STEP:
            found.append(
                f"batch size {b}: 1 - beta2 = {1 - goal.beta2:.2g} is below the resolution of float32; "
                "keep the second moment in float32 with float64 scalars, or shorten the half-life"
            )
        if goal.beta2 < ref["beta1"] ** 2:
            found.append(
                f"batch size {b}: beta1 = {ref['beta1']} is not below sqrt(beta2) = "
                f"{math.sqrt(goal.beta2):.4g}; lower beta1, put a floor on beta2, or use a smaller batch"
            )
        early = bias_correction(tokens=goal.first_token, half_life=half2) < 0.99
        if len(targets) > 1 and goal.first_token > 0 and early:
            found.append(
                f"batch size {b} begins at {goal.first_token} tokens, within "
                f"{goal.first_token / half2:.2g} half-lives: a stock optimizer with edited betas would "
                "correct the bias wrongly; use TokenHalfLife"
            )
    largest = max(t.batch_size for t in targets)
    for name, limit in admissible.items():
        if largest > limit:
            found.append(
                f"batch size {largest} exceeds {limit:.4g}, the largest that {name} admits with beta1 = "
                f"{ref['beta1']} and this half-life"
            )
    if half1 is not None and half1 >= half2:
        found.append(
            f"the half-life of beta1 ({half1:.4g} tokens) is not below that of beta2 ({half2:.4g} tokens)"
        )
    smallest = min(t.batch_size for t in targets)
    if near is not None and smallest < near:
        found.append(
            f"batch size {smallest} is below {near}, the smallest with 95 % of peak throughput: it costs time"
        )
    if warmup_steps is not None and any(t.batch_size != ref["batch_size"] for t in targets):
        found.append("warmup in tokens and warmup in steps differ; say in any comparison which one was kept")
    if ref["weight_decay"] > 0 and ref["learning_rate"] is None:
        found.append(
            "no transfer of weight decay is proposed: it needs the learning rate, which was not given"
        )
    if any(t.tokens_per_step * LN2 / half2 > 1 for t in targets):
        found.append("a batch holds more than a half-life / ln 2 of tokens: v is then nearly the last g^2")
    return tuple(found)


def table(throughput: str) -> dict[int, float]:
    """Read ``"1:21000 4:60000 16:64000"`` (batch size:tokens per second)."""
    found: dict[int, float] = {}
    for piece in throughput.replace(",", " ").split():
        size, colon, speed = piece.partition(":")
        try:
            if int(size) in found:
                raise input_error(
                    got=f"two throughputs of batch size {int(size)}",
                    rule="each batch size is measured once",
                    do="give their mean, or the one that counts",
                )
            found[int(size)] = float(speed)
        except ValueError as error:
            raise input_error(
                got=f"piece {piece!r} of the throughput table",
                rule="each is BATCH_SIZE:TOKENS_PER_SECOND" if colon else "a colon stands between the two",
                do='write it as "1:21000 4:60000"',
            ) from error
    return found


def render(found: Plan) -> None:
    """Print the plan as terminal tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    ref = found.reference
    console.print(
        f"reference: batch size {ref['batch_size']} x {ref['seq_len']} tokens, beta1 {ref['beta1']}, beta2 "
        f"{ref['beta2']}; half-life of beta2 {found.beta2_half_life:.6g} tokens"
    )
    for goal in found.targets:
        title = f"batch size {goal.batch_size} ({goal.tokens_per_step} tokens a step)"
        if len(found.targets) > 1:
            title += f" from token {goal.first_token}"
        rows = Table(title=title, title_justify="left")
        wide = console.width >= WIDE
        for name in ("setting", "rule", "value"):
            rows.add_column(name, no_wrap=True, justify="right" if name == "value" else "left")
        for name in ("preserves", "changes", "theorem") if wide else ("preserves",):
            rows.add_column(name)
        for v in goal.values:
            more = (v.changes, v.slug) if wide else ()
            rows.add_row(v.setting, v.rule, f"{v.value:.8g}", v.preserves, *more)
        console.print(rows)
    if found.admissible:
        limits = Table(title="largest admissible batch size, beta1 fixed per step", title_justify="left")
        limits.add_column("theorem")
        limits.add_column("sequences", justify="right")
        for name, limit in found.admissible.items():
            limits.add_row(name, f"{limit:.5g}")
        console.print(limits)
    if found.memory:
        rows = Table(title="memory, GB (bfloat16, micro-batch 1, fused update)", title_justify="left")
        for name in ("optimizer", "weights", "activations", "state", "accumulator", "total"):
            rows.add_column(name, justify="left" if name == "optimizer" else "right")
        for m in found.memory:
            label = m["optimizer"] + (" + accumulation" if m["accumulation"] else "")
            numbers = (
                m["weights"],
                m["activations"],
                m["first_moment"] + m["second_moment"],
                m["accumulator"],
                m["total"],
            )
            rows.add_row(label, *(f"{x / 1e9:.2f}" for x in numbers))
        console.print(rows)
    if found.smallest_near_peak is not None:
        console.print(f"smallest batch size with 95 % of peak throughput: {found.smallest_near_peak}")
    for warning in found.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False)


def command(
    *,
    from_batch_size: int,
    seq_len: int,
    beta2: float,
    to_batch_size: OptionalInt = None,
    to_schedule: OptionalSchedule = None,
    num_tokens: OptionalCount = None,
    round_to: OptionalInt = None,
    to_seq_len: OptionalInt = None,
    beta1: float = 0.9,
    learning_rate: OptionalFloat = None,
    weight_decay: float = 0.0,
    eps: float = 1e-8,
    warmup_steps: OptionalInt = None,
    eta: float = 0.2,
    noise_scale: OptionalFloat = None,
    layers: OptionalInt = None,
    width: OptionalInt = None,
    vocab_size: OptionalInt = None,
    throughput: OptionalText = None,
    json: JsonFile = None,
) -> int:
    """Transfer a run's optimizer settings to another batch size, or to a whole schedule, rule by rule.

    Example: bstheory plan --from-batch-size 512 --to-batch-size 1 --seq-len 1024 --beta2 0.95 --json

    Args:
        from_batch_size: global batch of the reference run, in sequences.
        seq_len: tokens per sequence.
        beta2: of the reference run.
        to_batch_size: the target batch size; or give --to-schedule.
        to_schedule: a batch-size schedule over tokens, such as "0:64 1M:256 4M:1024", with --num-tokens.
        num_tokens: length of the run, such as 10M, for --to-schedule.
        round_to: round the schedule's batch sizes to the nearest multiple of this; a ramp needs it.
        to_seq_len: tokens per sequence of the target, if it changes.
        beta1: of the reference run.
        learning_rate: of the reference run; without it no rate is proposed.
        weight_decay: of the reference run (decoupled, times the learning rate).
        eps: of the reference run.
        warmup_steps: of the reference run.
        eta: tolerance of the norm test, for the largest batch that its theorem admits.
        noise_scale: gradient noise scale in sequences, for the rules that need it.
        layers: of the model, for memory, with --width and --vocab-size.
        width: of the model.
        vocab_size: of the model.
        throughput: measured "batch:tokens/s" pairs, such as "1:21000 4:60000 16:64000".
        json: write the result to this file, or - (or nothing) for stdout instead of tables.
    """
    found = plan(
        from_batch_size=from_batch_size,
        to_batch_size=to_batch_size,
        to_schedule=to_schedule,
        num_tokens=None if num_tokens is None else count(num_tokens),
        round_to=round_to,
        seq_len=seq_len,
        to_seq_len=to_seq_len,
        beta2=beta2,
        beta1=beta1,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        eps=eps,
        warmup_steps=warmup_steps,
        eta=eta,
        noise_scale=noise_scale,
        layers=layers,
        width=width,
        vocab_size=vocab_size,
        throughput=None if throughput is None else table(throughput),
    )
    if json is not None:
        emit(found.to_dict(), json)
    if json != "-":
        render(found)
    return 0
