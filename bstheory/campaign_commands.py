"""The sub-commands ``predict`` and ``validate``: theory, simulator and short measured probes joined."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from bstheory.errors import input_error
from bstheory.terminal import (
    File,
    JsonFile,
    Model,
    OptionalDevice,
    OptionalInt,
    OptionalInts,
    OptionalPlace,
    RunFolders,
    emit,
)
from bstheory.training.command_line import (
    Precision,
    need,
    open_text,
    print_table,
    progress_line,
    require_writable,
)

ONE_PASS = 64  # sequences in one forward pass, unless --speed-batch-sizes says more


def predict(
    model: Model,
    *,
    out: File,
    batch_sizes: tuple[int, ...] = (1, 4, 16, 64),
    reference_batch_size: OptionalInt = None,
    reference_beta2: float = 0.95,
    data: OptionalPlace = None,
    seq_len: OptionalInt = None,
    precision: Precision = "float32",
    learning_rate: float = 0.001,
    probe_steps: int = 100,
    probe_batch_size: int = 16,
    probe_micro_batch_size: int = 4,
    memory_micro_batch: OptionalInt = None,
    speed_steps: int = 8,
    speed_batch_sizes: OptionalInts = None,
    compile: bool = False,
    no_simulation: bool = False,
    device: OptionalDevice = None,
    json: JsonFile = None,
) -> int:
    """Write down what a batch-size campaign will show, before it is run: prediction.json with its own hash.

    From the half-life rule (beta2 at each batch size, its gain and how that shrinks), the memory model, two
    short measured probes (the gradient noise scale, which estimates the critical batch size; the time of a
    step, which gives tokens per second at each batch size) and the simulator (how the best learning rate
    moves).

    Example: bstheory predict tiny --batch-sizes 1 4 16 --out runs/prediction.json

    Args:
        model: a configuration.
        out: file to write.
        batch_sizes: of the campaign, in sequences.
        reference_batch_size: where fixed beta2 and fixed half-life coincide; default the largest.
        reference_beta2: beta2 there.
        data: folder written by bstheory data, or a text file; default the installed documentation.
        seq_len: tokens per sequence; default the model's context.
        precision: of the campaign.
        learning_rate: of the probe.
        probe_steps: 0 leaves the probe of the noise out, and with it what follows from it.
        probe_batch_size: sequences per probe step.
        probe_micro_batch_size: the noise is estimated from the spread between micro-batches.
        memory_micro_batch: also predict peak memory at this micro-batch.
        speed_steps: timed steps at each of three batch sizes; 0 leaves the probe of the speed out.
        speed_batch_sizes: that fit into one forward pass; default those of the campaign up to 64.
        compile: torch.compile in the probe of the speed.
        no_simulation: do not tune Adam in the simulator at the probe's noise scale.
        device: of the probes.
        json: also write the predictions to this file, or - for stdout.
    """
    from bstheory.files import read_json
    from bstheory.models.configs import model_config

    shape = model_config(model)
    from bstheory.simulation.campaign import simulate_campaign
    from bstheory.training.parallel import world
    from bstheory.training.predict import basis, campaign_predictions
    from bstheory.training.predictions import write_predictions
    from bstheory.training.probes import run_probe, run_speed_probe

    if not batch_sizes:
        raise input_error(got="no --batch-sizes", rule="a campaign has at least one", do="name them")
    for name, given in (
        ("--batch-sizes", min(batch_sizes)),
        ("--reference-batch-size", reference_batch_size),
        ("--seq-len", seq_len),
        ("--probe-batch-size", probe_batch_size),
        ("--probe-micro-batch-size", probe_micro_batch_size),
        ("--memory-micro-batch", memory_micro_batch),
    ):
        need(name, given, 1)
    need("--probe-steps", probe_steps, 0)
    for size in speed_batch_sizes or ():
        need("--speed-batch-sizes", size, 1)
    if speed_steps:
        need("--speed-steps", speed_steps, 3)
    require_writable(Path(out))
    length = seq_len or shape.context
    reference = reference_batch_size or max(batch_sizes)
    probe, provenance = None, {}
    if probe_steps:
        rows, held_out, provenance = open_text(data, shape, seq_len=length, seed=0)
        with world(device) as here, progress_line(silent=json == "-") as progress:
            probe = run_probe(
                shape,
                data=rows,
                validation=held_out,
                here=here,
                learning_rate=learning_rate,
                batch_size=probe_batch_size,
                micro_batch_size=probe_micro_batch_size,
                steps=probe_steps,
                precision=precision,
                progress=progress,
            )
    timed = speed_batch_sizes or tuple(size for size in batch_sizes if size <= ONE_PASS)
    speed = None
    if speed_steps and len(set(timed)) >= 2:
        with world(device) as here, progress_line(silent=json == "-") as progress:
            speed = run_speed_probe(
                shape,
                batch_sizes=timed,
                here=here,
                seq_len=length,
                precision=precision,
                compile=compile,
                steps=speed_steps,
                progress=progress,
            )
    simulated = []
    if not no_simulation and probe is not None and probe.noise_scale:
        with progress_line(silent=json == "-") as progress:
            simulated = simulate_campaign(
                batch_sizes=batch_sizes,
                reference_batch_size=reference,
                reference_beta2=reference_beta2,
                noise_scale=probe.noise_scale,
                progress=progress,
            )
    predictions = campaign_predictions(
        shape,
        batch_sizes=batch_sizes,
        reference_batch_size=reference,
        reference_beta2=reference_beta2,
        seq_len=length,
        precision=precision,
        memory_micro_batch=memory_micro_batch,
        probe=probe,
        speed=speed,
        simulated_rates={one.batch_size: one.learning_rate for one in simulated if not one.at_edge},
    )
    digest = write_predictions(
        out,
        predictions=predictions,
        basis=basis(
            probe,
            speed=speed,
            simulated=[dataclasses.asdict(one) for one in simulated],
            model=model,
            reference_batch_size=reference,
            reference_beta2=reference_beta2,
            **provenance,
        ),
    )
    if json is not None:
        emit(read_json(out), json)
    if json != "-":
        print_table("predictions", ["name", "statement"], [[p.name, p.statement] for p in predictions])
        print(f"sha256 {digest} in {out}")
    return 0


def validate(run: RunFolders, *, against: File, json: JsonFile = None) -> int:
    """Judge saved runs against predictions that were written before them: one verdict per prediction.

    A prediction names the arms that it needs, such as half_life_1; bstheory train --name half_life_1 and the
    scripts of experiments/gpt2_124m write runs of such names.

    Example: bstheory validate runs/half_life_1-seed0 runs/fixed_1-seed0 --against runs/prediction.json

    Args:
        run: folders of runs (each with run.json); runs of one name with different seeds are one arm.
        against: prediction.json, written by bstheory predict; its hash is checked.
        json: write the findings to this file, or - for stdout.

    Returns:
        1 if any prediction is refuted, else 0.
    """
    from bstheory.run import Run
    from bstheory.training.predictions import read_predictions
    from bstheory.training.predictions import validate as judge
    from bstheory.verdict import Verdict

    if not run:
        raise input_error(got="no run", rule="there is at least one run folder", do="pass them")
    runs = [Run.load(folder) for folder in run]
    findings = judge(runs, read_predictions(against))
    documents = [
        {"name": p.name, "statement": p.statement, "verdict": v.word, **_finite(n)} for p, v, n in findings
    ]
    if json is not None:
        emit(documents, json)
    if json != "-":
        for document in documents:
            _print_finding(document)
        words = [d["verdict"] for d in documents]
        print(", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words)))
        if all(v is Verdict.INAPPLICABLE for _, v, _ in findings):
            names = ", ".join(sorted({r.name for r in runs}))
            print(f"nothing is judged: the runs are named {names}, and each prediction says what it needs")
    return int(any(v is Verdict.REFUTED for _, v, _ in findings))


def _print_finding(document: dict[str, Any]) -> None:
    """Verdict and name on one line, below it statement and numbers over the width of the terminal."""
    import shutil
    import textwrap

    width = max(40, shutil.get_terminal_size().columns)
    print(f"{document['verdict']:<12}  {document['name']}")
    label = "" if "why" in document else "measured "
    for text in (document["statement"], label + _numbers(document)):
        print(textwrap.fill(text, width, initial_indent="    ", subsequent_indent="    "))


def _finite(numbers: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinities: an interval with one is left out."""
    import math

    return {
        k: v for k, v in numbers.items() if not (k == "interval" and not all(math.isfinite(x) for x in v))
    }


def _numbers(document: dict[str, Any]) -> str:
    if "why" in document:
        return document["why"]
    value = document.get("effect", document.get("measured"))
    interval = document.get("interval")
    return f"{value:.4g}" + ("" if interval is None else f" [{interval[0]:.4g}, {interval[1]:.4g}]")
