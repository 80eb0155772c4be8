"""Schedules as JAX functions: the same values as NumPy's, traced, inside optax's own optimizers."""

from __future__ import annotations

import numpy as np
import pytest

from bstheory import schedules
from bstheory.errors import InputError
from bstheory.schedules.jax_export import jax_schedule, optax_schedule

jax = pytest.importorskip("jax", reason="the extra [jax] is not installed")
optax = pytest.importorskip("optax", reason="the extra [jax] is not installed")
jnp = jax.numpy

TOLERANCE = 3e-6  # a few dozen roundings of float32
BATCH = schedules.parse("0:8 100:32 300:64")
RATE = schedules.warmup_cosine(peak=1e-3, warmup=50, total=400, final=1e-4)
CASES = [
    schedules.parse("64"),
    BATCH,
    schedules.parse("linear 8->64 over 100 from 10"),
    schedules.parse("geometric 8->64 over 100"),
    schedules.parse("cosine 64->8 over 100"),
    schedules.parse("polynomial 8->64 over 100 power 2"),
    schedules.parse("staircase 8->64 over 100 by 8"),
    schedules.parse("linear 8->64 over 100").rounded(multiple=8),
    schedules.curve("exponential", start=8, factor=2, interval=30, over=100, quantity="batch_size"),
    RATE,
    schedules.beta_from_batch_size(half_life=5000, batch_size=BATCH, seq_len=16),
    schedules.weight_decay_timescale(
        learning_rate=schedules.warmup_cosine(peak=1e-3, warmup=50, total=400, final=1e-4, initial=1e-4),
        batch_size=BATCH,
        reference_learning_rate=1e-3,
        reference_weight_decay=0.1,
        reference_batch_size=32,
    ),
    *(
        schedules.scaled(RATE, batch_size=BATCH, reference_batch_size=32, rule=rule, **options)
        for rule, options in (
            ("sqrt", {}),
            ("linear", {}),
            ("power", {"parameter": 0.7}),
            ("adascale", {"parameter": 50}),
            ("surge", {"parameter": 50}),
            ("half_life", {"parameter": 500}),
        )
    ),
]


@pytest.mark.parametrize("schedule", CASES, ids=lambda s: f"{s.name}-{s.params.get('rule', s.quantity)}")
def test_jax_equals_numpy(schedule) -> None:
    f = jax_schedule(schedule)
    clock = np.arange(0, 450)
    expected = schedule(clock)
    # At a threshold or a rounding boundary float32 may fall on the other side of a *float* clock only.
    found = np.asarray(jax.jit(f)(jnp.asarray(clock)))
    steep = schedule.name in ("rounded", "staircase", "exponential")
    close = np.isclose(found, expected, rtol=TOLERANCE, atol=1e-9)
    assert close.mean() > 0.99 if steep else close.all()
    assert np.allclose(jax.vmap(f)(jnp.asarray(clock)), found, rtol=1e-6)
    assert float(f(7)) == pytest.approx(schedule(7), rel=TOLERANCE)


def test_it_can_be_differentiated() -> None:
    slope = jax.grad(jax_schedule(schedules.parse("linear 8->64 over 100")))(30.0)
    assert float(slope) == pytest.approx(0.56, rel=1e-5)


def test_integer_clocks_meet_thresholds_exactly_where_floats_do_not() -> None:
    edge = 2**24 + 1
    f = jax_schedule(schedules.parse(f"0:1 {edge}:2"))
    assert float(f(jnp.int32(edge - 1))) == 1.0 and float(f(jnp.int32(edge))) == 2.0
    assert float(f(jnp.float32(edge))) == float(f(jnp.float32(edge - 1)))  # the two clocks are one float


def test_a_threshold_beyond_the_integer_type_is_refused() -> None:
    f = jax_schedule(schedules.parse("0:1 5B:2"))
    with pytest.raises(InputError, match="5,000,000,000"):
        f(jnp.int32(3))
    assert float(f(jnp.float32(6e9))) == 2.0


def test_optax_takes_rate_and_beta_by_step_under_a_batch_ramp() -> None:
    run = {"batch_size": BATCH, "num_tokens": 800, "seq_len": 2, "last": "overshoot"}
    rate = optax_schedule(
        schedules.parse("linear 0.5->0 over 400", unit="samples", quantity="learning_rate"), **run
    )
    beta2 = optax_schedule(schedules.beta_from_batch_size(half_life=200, batch_size=BATCH, seq_len=2), **run)
    sizes = BATCH.batch_sizes(num_tokens=800, seq_len=2, last="overshoot")
    weight = jnp.ones(3)
    sgd = optax.sgd(rate)
    state = sgd.init(weight)
    step = jax.jit(lambda g, s: sgd.update(g, s))
    moved = []
    for _ in sizes:
        update, state = step(weight, state)
        moved.append(-float(update[0]))
    consumed = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    assert np.allclose(moved, 0.5 * (1 - consumed / 400), rtol=1e-6)
    adam = optax.inject_hyperparams(optax.adamw)(learning_rate=rate, b2=beta2)
    state = adam.init(weight)
    used = []
    for _ in sizes:
        _, state = adam.update(weight, state, weight)
        used.append(float(state.hyperparams["b2"]))
    assert np.allclose(used, 2.0 ** (-sizes * 2 / 200), rtol=1e-6)
    assert float(rate(10**6)) == float(rate(len(sizes) - 1))


def test_a_run_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="last batch must fit"):
        optax_schedule(RATE, batch_size=BATCH, num_tokens=801)
