"""Speed of the simulation engines, as ratios in one run. Usage: python experiments/benchmarks/simulation.py

Adam on 1000 noisy quadratic coordinates, float32, C configurations x S seeds, against a loop over
``torch.optim.Adam`` and JAX ``vmap(scan(optax.adam))``; the exact heavy-ball recursion; cold and warm first
calls; memory against steps.

One-thread rows are CPU time (a busy neighbour does not enter), all-core rows are wall time. Rows of one
comparison are measured alternately and the smallest of several repetitions counts. JAX is no dependency: name
an interpreter that has jax and optax with ``--jax-python`` (or ``BSTHEORY_JAX_PYTHON``), otherwise its row is
skipped and says so.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bstheory.simulation import Adam, coefficients, kernels
from bstheory.simulation.engine import TILE_BYTES
from bstheory.simulation.generator import fill_normal32, padded, seed_stream
from bstheory.simulation.gradients import PROBLEMS

DIM, STEPS, SEEDS = 1000, 200, 4
EXACT_STEPS = 2000  # long enough that allocating the result does not count
OPTIMIZER = Adam(learning_rate=1e-3, beta1=0.9, beta2=0.99)

JAX_PROGRAM = """
import json, sys, time
import jax, jax.numpy as jnp, optax
d, steps, C, S, shared, threads = json.loads(sys.argv[1])
h = 1.0 / jnp.arange(1, d + 1, dtype=jnp.float32)
sigma = jnp.sqrt(h)
def one(rate, key):
    adam = optax.adam(rate, b1=0.9, b2=0.99)
    x = jnp.ones(d, jnp.float32)
    def step(carry, key):
        x, state = carry
        g = h * x + sigma * jax.random.normal(key, (d,), jnp.float32)
        update, state = adam.update(g, state)
        return (optax.apply_updates(x, update), state), None
    (x, _), _ = jax.lax.scan(step, (x, adam.init(x)), jax.random.split(key, steps))
    return 0.5 * jnp.sum(h * x * x)
rates = jnp.full(C, 1e-3)
keys = jax.random.split(jax.random.PRNGKey(0), S if shared else C * S)
if shared:
    f = jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))
else:
    keys = keys.reshape((C, S) + keys.shape[1:])
    f = jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, 0)))
began = time.perf_counter(); f(rates, keys).block_until_ready(); first = time.perf_counter() - began
best = {"wall": 1e9, "cpu": 1e9}
for _ in range(5):
    wall, cpu = time.perf_counter(), time.process_time()
    f(rates, keys).block_until_ready()
    best["wall"] = min(best["wall"], time.perf_counter() - wall)
    best["cpu"] = min(best["cpu"], time.process_time() - cpu)
updates = C * S * d * steps
print(json.dumps({k: v / updates * 1e9 for k, v in best.items()} | {"first": first, "version":
jax.__version__}))
"""

FIRST_CALL_PROGRAM = """
import json, sys, time
began, cpu = time.perf_counter(), time.process_time()
from bstheory.problems import noisy_quadratic
from bstheory.simulation import Adam, simulate
import numpy as np
simulate(noisy_quadratic([1.0, 0.5], 0.1), Adam(learning_rate=0.1, beta1=0.9, beta2=0.9),
         schedule=[1, 1], seeds=2, dtype=getattr(np, sys.argv[1]))
print(json.dumps({"wall": time.perf_counter() - began, "cpu": time.process_time() - cpu}))
"""

MEMORY_PROGRAM = """
import resource, sys
import numpy as np
from bstheory.problems import noisy_quadratic
from bstheory.simulation import Adam, monte_carlo
steps = int(sys.argv[1])
h = 1 / np.arange(1, 1001)
monte_carlo(noisy_quadratic(h, h), [Adam(learning_rate=1e-3, beta1=0.9, beta2=0.99)] * 4, [np.ones(steps,
np.int8)] * 4,
            seeds=range(4), dtype=np.float32)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


BUSY = (
    " Other programs were busy on this machine: wall times, and ratios of wall times, are upper bounds only; "
    "CPU times still suffer from shared caches."
)


def smallest(
    actions: dict[str, Callable[[], object]], clock: Callable[[], float], repeats: int
) -> dict[str, float]:
    """Seconds of each action, taken alternately, smallest of the repetitions after a warm-up."""
    best = dict.fromkeys(actions, float("inf"))
    for round_ in range(repeats + 1):
        for name, action in actions.items():
            began = clock()
            action()
            if round_:
                best[name] = min(best[name], clock() - began)
    return best


class Engine:
    """The kernel call of :func:`bstheory.simulation.monte_carlo`, with its set-up taken out of the timing."""

    def __init__(
        self, configurations: int, *, shared: bool, law: int, steps: int = STEPS, sums: bool = False
    ) -> None:
        shape = (configurations, SEEDS, DIM)
        self.x, self.m = np.ones(shape, np.float32), np.zeros(shape, np.float32)
        self.v = np.zeros(shape, np.float32)
        table, _ = coefficients(OPTIMIZER, np.ones(steps, np.int64))
        self.table = np.repeat(table[None].astype(np.float32), configurations, axis=0)
        self.h = (1.0 / np.arange(1, DIM + 1)).astype(np.float32)
        self.streams = np.empty((1 if shared else configurations, SEEDS, 4, 16), np.uint32)
        for c in range(len(self.streams)):
            for s in range(SEEDS):
                seed_stream(self.streams[c, s], np.uint64(s), np.uint64(c))
        self.sums, self.diverged = (
            np.zeros((configurations, SEEDS, len(kernels.SUMS))),
            np.full((configurations, SEEDS), -1),
        )
        self.shared, self.law, self.want = shared, law, sums
        self.updates = configurations * SEEDS * DIM * steps
        row = padded(DIM)
        tile = TILE_BYTES // (4 * row)
        self.scratch = [
            (np.zeros((tile, row), np.float32), np.empty((4, DIM), np.float32)) for _ in range(64)
        ]

    def run(self, first: int = 0, last: int = SEEDS, worker: int = 0) -> None:
        """Advance seeds first..last by the whole table."""
        kernels.advance(
            PROBLEMS["quadratic"],
            kernels.OPTIMIZERS["adam"],
            (False,),
            self.law,
            0.0,
            self.shared,
            first,
            last,
            0,
            self.x,
            self.m,
            self.v,
            self.table,
            (self.h, np.sqrt(self.h), self.h[:0], self.h[:0].reshape(0, DIM), self.h[:0]),
            self.streams,
            self.sums,
            self.want,
            self.diverged,
            np.float32(1e16),
            *self.scratch[worker],
        )

    def run_threads(self, pool: concurrent.futures.Executor, threads: int) -> None:
        """The same, seeds split over threads."""
        edges = np.linspace(0, SEEDS, threads + 1).astype(int)
        jobs = [pool.submit(self.timed, edges[w], edges[w + 1], w) for w in range(threads)]
        self.cpu = max(job.result() for job in jobs)

    def timed(self, first: int, last: int, worker: int) -> float:
        """Run, and return the CPU time of this thread."""
        began = time.thread_time()
        self.run(first, last, worker)
        return time.thread_time() - began


def torch_loop(steps: int) -> Callable[[], object]:
    """One configuration, as a user writes it: gradient by hand, then ``torch.optim.Adam.step``."""
    import torch

    torch.set_num_threads(1)
    h = 1.0 / torch.arange(1, DIM + 1, dtype=torch.float32)
    sigma = torch.sqrt(h)

    def run() -> None:
        x = torch.nn.Parameter(torch.ones(DIM))
        optimizer = torch.optim.Adam([x], lr=1e-3, betas=(0.9, 0.99))
        for _ in range(steps):
            x.grad = h * x.detach() + sigma * torch.randn(DIM)
            optimizer.step()

    return run


def exact_recursion(settings: int, threads: int = 1) -> tuple[Callable[[], object], int]:
    """Heavy-ball second moments of ``settings`` x 1000 coordinates over EXACT_STEPS steps."""
    from bstheory.simulation.moments import final_moments

    h = np.tile(1.0 / np.arange(1, DIM + 1), settings)
    constant = {"learning_rate": np.full(EXACT_STEPS, 0.1), "batch_size": np.ones(EXACT_STEPS)}

    def run() -> None:
        final_moments(h, h, np.ones_like(h), **constant, beta1=np.full(EXACT_STEPS, 0.9), threads=threads)

    return run, settings * DIM * EXACT_STEPS


def python(program: str, *arguments: str, executable: str = sys.executable, **environment: str) -> str:
    """Run a program in a fresh interpreter and return what it printed."""
    done = subprocess.run(
        [executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return done.stdout.strip().splitlines()[-1]


def jax_rows(executable: str, configurations: int, cores: int) -> dict[str, object]:
    """JAX, one thread and all cores, independent and shared noise; or the reason why not."""
    if not executable:
        return {"skipped": "no interpreter with jax and optax was named (--jax-python)"}
    out: dict[str, object] = {}
    try:
        for threads in (1, cores):
            flags = "" if threads > 1 else "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
            for shared in (False, True):
                size = json.dumps([DIM, STEPS, configurations, SEEDS, shared, threads])
                found = json.loads(python(JAX_PROGRAM, size, executable=executable, XLA_FLAGS=flags))
                out[f"{'shared' if shared else 'independent'}_{threads}"] = found
    except (RuntimeError, OSError, json.JSONDecodeError) as error:
        return {"skipped": f"jax did not run: {error}"}
    return out


def measure(*, configurations: int, repeats: int, jax_python: str) -> dict[str, object]:
    """All numbers, nanoseconds per coordinate-update unless said."""
    cores = os.cpu_count() or 1
    independent = Engine(configurations, shared=False, law=1)
    shared = Engine(configurations, shared=True, law=1)
    arithmetic = Engine(configurations, shared=True, law=0)
    sums = Engine(configurations, shared=False, law=1, sums=True)
    noise, state = np.empty(1 << 16, np.float32), np.empty((4, 16), np.uint32)
    seed_stream(state, np.uint64(0), np.uint64(0))
    exact, exact_updates = exact_recursion(64)
    torch_steps = 300
    actions: dict[str, Callable[[], object]] = {
        "generator": lambda: [fill_normal32(state, noise) for _ in range(20)],
        "arithmetic": arithmetic.run,
        "independent": independent.run,
        "shared": shared.run,
        "independent_with_norms": sums.run,
        "torch_loop": torch_loop(torch_steps),
        "heavy_ball_exact": exact,
    }
    seconds = smallest(actions, time.process_time, repeats)
    updates = {
        "generator": 20 * len(noise),
        "torch_loop": DIM * torch_steps,
        "heavy_ball_exact": exact_updates,
    }
    one = {name: value / updates.get(name, independent.updates) * 1e9 for name, value in seconds.items()}
    with concurrent.futures.ThreadPoolExecutor(cores) as pool:
        engines = {"independent": independent, "shared": shared}
        cpu = dict.fromkeys(engines, float("inf"))

        def everywhere(name: str) -> None:
            engines[name].run_threads(pool, min(cores, SEEDS))
            cpu[name] = min(cpu[name], engines[name].cpu)

        together: dict[str, Callable[[], object]] = {
            name: functools.partial(everywhere, name) for name in engines
        }
        together["heavy_ball_exact"] = exact_recursion(64, cores)[0]
        seconds = smallest(together, time.perf_counter, repeats)
    size = {"heavy_ball_exact": exact_updates}
    everything = {name: value / size.get(name, independent.updates) * 1e9 for name, value in seconds.items()}
    slowest = {name: value / independent.updates * 1e9 for name, value in cpu.items()}
    first: dict[str, dict[str, dict[str, float]]] = {"cold": {}, "warm": {}}
    for precision in ("float32", "float64"):
        with tempfile.TemporaryDirectory() as folder:
            for name in first:
                found = python(FIRST_CALL_PROGRAM, precision, NUMBA_CACHE_DIR=folder)
                first[name][precision] = json.loads(found)
    memory = {steps: float(python(MEMORY_PROGRAM, str(steps))) for steps in (2_000, 200_000)}
    return {
        "cores": cores,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "configurations": configurations,
        "seeds": SEEDS,
        "dim": DIM,
        "one_thread_cpu_ns": one,
        "all_cores_wall_ns": everything,
        "jax": jax_rows(jax_python, configurations, cores),
        "all_cores_cpu_ns": slowest,
        "first_call_seconds": first,
        "peak_memory_mib": memory,
        "own_peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def table(found: dict) -> str:
    """Markdown of the measurements and of their ratios."""
    one, all_cores, jax = found["one_thread_cpu_ns"], found["all_cores_wall_ns"], found["jax"]
    floor = one["generator"] + one["arithmetic"]
    lines = [
        f"{found['configurations']} configurations x {found['seeds']} seeds x {found['dim']} coordinates, "
        f"{found['cores']} cores, load average {found['load']:.1f}."
        + ("" if found["load"] <= found["cores"] + 1 else BUSY),
        "",
        "| row | ns per coordinate-update | G updates/s |",
        "|-|-:|-:|",
    ]

    def row(name: str, value: float) -> None:
        lines.append(f"| {name} | {value:.3f} | {1 / value:.3f} |")

    row("generator alone, one thread", one["generator"])
    row("arithmetic alone, one thread", one["arithmetic"])
    row("engine, independent noise, one thread", one["independent"])
    row("engine, shared noise, one thread", one["shared"])
    row("engine, independent noise, with gradient norms, one thread", one["independent_with_norms"])
    for kind in ("independent", "shared"):
        row(f"engine, {kind} noise, all cores, wall time", all_cores[kind])
        row(
            f"engine, {kind} noise, all cores, CPU time of the slowest thread",
            found["all_cores_cpu_ns"][kind],
        )
    row("torch.optim.Adam loop, one configuration, one thread", one["torch_loop"])
    row("exact heavy-ball moments, one thread", one["heavy_ball_exact"])
    row("exact heavy-ball moments, all cores, wall time", all_cores["heavy_ball_exact"])
    if "skipped" in jax:
        lines.append(f"| JAX vmap(scan(optax.adam)) | skipped: {jax['skipped']} | |")
    else:
        for key, label in (("1", "one thread, CPU time"), (str(found["cores"]), "all cores, wall time")):
            for kind in ("independent", "shared"):
                cell = jax[f"{kind}_{key}"]
                row(
                    f"JAX vmap(scan(optax.adam)), {kind} noise, {label}",
                    cell["cpu" if key == "1" else "wall"],
                )
    lines += ["", "| ratio | value | wanted |", "|-|-:|-:|"]

    def ratio(name: str, value: float, wanted: str) -> None:
        lines.append(f"| {name} | {value:.2f} | {wanted} |")

    ratio("engine / (generator + arithmetic), independent", one["independent"] / floor, "<= 1.5")
    ratio("torch loop / engine, one thread", one["torch_loop"] / one["independent"], ">= 100")
    if "skipped" not in jax:
        first = jax["independent_1"]
        ratio("JAX / engine, independent, one thread", first["cpu"] / one["independent"], ">= 8")
        ratio("JAX / engine, shared, one thread", jax["shared_1"]["cpu"] / one["shared"], ">= 8")
        last = jax[f"independent_{found['cores']}"]
        ratio("JAX / engine, independent, all cores, wall", last["wall"] / all_cores["independent"], ">= 8")
    for kind, wanted in (("independent", ">= 1.0"), ("shared", ">= 2.5")):
        ratio(f"G updates/s, {kind}, all cores, wall", 1 / all_cores[kind], wanted)
        ratio(f"G updates/s, {kind}, all cores, CPU", 1 / found["all_cores_cpu_ns"][kind], wanted)
    ratio("ns per coordinate-step, exact heavy ball, one thread", one["heavy_ball_exact"], "<= 0.4")
    ratio("ns per coordinate-step, exact heavy ball, all cores", all_cores["heavy_ball_exact"], "<= 0.4")
    for name, wanted in (("cold", "<= 25"), ("warm", "<= 1")):
        for precision, clocks in found["first_call_seconds"][name].items():
            for clock, value in clocks.items():
                ratio(f"first call, {name}, {precision}, import included, s, {clock}", value, wanted)
    few, many = found["peak_memory_mib"].values()
    ratio("peak memory, 200 000 steps / 2 000 steps", float(many) / float(few), "about 1")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and with --write store the table and the numbers beside this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jax-python", default=os.environ.get("BSTHEORY_JAX_PYTHON", ""))
    parser.add_argument("--configurations", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    found = measure(
        configurations=options.configurations, repeats=options.repeats, jax_python=options.jax_python
    )
    text = table(found)
    print(text)
    if options.write:
        here = Path(__file__).resolve().parent
        (here / "simulation.json").write_text(json.dumps(found, indent=2) + "\n")
        notes = (here / "simulation_notes.md").read_text()
        (here / "simulation.md").write_text(notes + "\n" + text)


if __name__ == "__main__":
    main()
