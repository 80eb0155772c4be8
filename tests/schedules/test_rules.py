"""Each rule's formula on numbers worked by hand, the policy around them, and the closed loop."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bstheory.errors import InputError
from bstheory.schedules.rules import FORMULAS, Rule, adascale_gain, ddp_norm, published_fixed_point
from bstheory.schedules.statistics import Statistics, from_groups

S = Statistics(
    batch_size=16,
    groups=4,
    norm_sq=2.0,
    mean_group_norm_sq=5.0,  # V = 3, noise = 16, signal = 1, noise scale = 16
    loss=0.5,
    learning_rate=2.0,
    inner_variance=80.0,
    orthogonal_variance=36.0,
    cosine=0.4,
    coordinate_ratio=7.0,
    sign_noise=6.0,
    sign_signal=2.0,
    spectral_noise=8.0,
    spectral_signal=2.0,
    weighted_noise=10.0,
    weighted_signal=0.5,
)

HAND = [
    ({"name": "norm_test", "tolerance": 0.5}, 16 / (0.25 * 2)),
    ({"name": "norm_test", "tolerance": 0.5, "debias": True}, 16 / (0.25 * 1)),
    ({"name": "norm_test", "tolerance": 0.5, "population": 46}, (30 / 45) * 16 / (0.25 * 2)),
    ({"name": "published", "tolerance": 0.2}, 3 / (0.04 * 2)),
    ({"name": "coordinate", "tolerance": 0.5}, 7 / 0.25),
    ({"name": "inner_product", "tolerance": 0.5}, 80 / (0.25 * 4)),
    ({"name": "augmented", "tolerance": 0.5, "orthogonal": 3.0}, 80 / (0.25 * 4)),
    ({"name": "augmented", "tolerance": 0.9, "orthogonal": 0.5}, 36 / (0.25 * 2)),
    ({"name": "big_batch", "tolerance": 0.5, "increment": 5}, 21),
    ({"name": "cabs"}, 2 * 16 / 0.5),
    ({"name": "noise_scale", "root": 100.0}, math.sqrt(100 * 8)),
    ({"name": "noise_scale", "debias": True, "root": 100.0}, math.sqrt(100 * 16)),
    ({"name": "simigrad", "tolerance": 0.5, "factor": 1.5}, 24),
    ({"name": "sign", "tolerance": 0.5}, (3 / 0.5) ** 2),
    ({"name": "spectral", "tolerance": 0.8}, (4 / 0.8) ** 2),
    ({"name": "sqrt_v", "tolerance": 0.5}, 10 / (0.25 * 0.5)),
    ({"name": "loss_law", "tolerance": 2.0, "exponent": 0.2}, 2 / 0.5**5),
    (
        {
            "name": "pollux",
            "throughput": ((8, 10.0), (32, 30.0), (64, 33.0)),
            "reference_batch_size": 8,
            "debias": True,
        },
        32,  # 10, 30 * 24/48 = 15, 33 * 24/80 = 9.9
    ),
]


@pytest.mark.parametrize(
    ("attributes", "expected"), HAND, ids=lambda x: x["name"] if isinstance(x, dict) else ""
)
def test_formulas(attributes, expected):
    rule = Rule(initial=16, maximum=attributes.get("population", 10**6), **attributes)
    state = rule.update(rule.init(), S)
    assert state["proposal"] == pytest.approx(expected, rel=1e-12)
    assert rule.value(state) == math.ceil(state["proposal"] - 1e-9)


def test_every_formula_has_a_worked_case():
    assert {case[0]["name"] for case in HAND} == set(FORMULAS)


def test_published_and_unbiased_differ_by_the_scaling_error():
    published = ddp_norm(eta=0.2, scaling="published", initial=16, maximum=10**6)
    unbiased = Rule(name="norm_test", tolerance=0.2, initial=16, maximum=10**6)
    a = published.update(published.init(), S)["proposal"]
    b = unbiased.update(unbiased.init(), S)["proposal"]
    assert a == pytest.approx((S.groups - 1) / S.batch_size * b)


def rule(**changes):
    return Rule(**{"name": "norm_test", "initial": 16, "maximum": 256, "tolerance": 1.0, **changes})


def at(b, proposal):
    """Statistics of batch b for which the undebiased norm test with tolerance 1 proposes ``proposal``."""
    return Statistics(batch_size=b, groups=2, norm_sq=1.0, mean_group_norm_sq=1.0 + proposal / b)


def test_policy():
    def step(r, b, proposal):
        state = r.update({**r.init(), "batch_size": b}, at(b, proposal))
        return r.value(state), state["limited_by"]

    assert step(rule(), 16, 40.5) == (41, "")
    assert step(rule(), 16, 8) == (16, "ratchet")
    assert step(rule(shrink=True), 16, 8.5) == (9, "")
    assert step(rule(shrink=True, minimum=12), 16, 8.5) == (12, "minimum")
    assert step(rule(), 16, 1000) == (256, "maximum")
    assert step(rule(growth_cap=2.0), 16, 1000) == (32, "growth")
    assert step(rule(growth_cap=1.5, multiple=8), 32, 1000) == (48, "growth")
    assert step(rule(growth_cap=1.6, multiple=8), 32, 1000) == (48, "growth")  # 51.2, and 56 would exceed it
    assert step(rule(growth_cap=2.0, shrink=True), 64, 1) == (32, "growth")
    assert step(rule(initial=48, growth_cap=1.5, multiple=16), 48, 70) == (64, "growth")  # 80 would exceed 72
    assert step(rule(multiple=8), 16, 17) == (24, "")
    assert step(rule(hysteresis=0.25), 16, 19) == (16, "band")
    assert step(rule(hysteresis=0.25), 16, 21) == (21, "")
    assert step(rule(hysteresis=0.25, shrink=True), 16, 13) == (16, "band")
    assert step(rule(hysteresis=0.25, shrink=True), 16, 12.5) == (13, "")  # the band begins at 16 / 1.25


def test_smoothing_is_of_numerator_and_denominator():
    r = rule(smoothing=0.5)
    state = r.update(r.init(), at(16, 4))
    second = Statistics(batch_size=16, groups=2, norm_sq=4.0, mean_group_norm_sq=4.0 + 100 / 16)
    state = r.update(state, second)
    # weights 1/4 and 1/2: (4/4 + 100/2) / (1/4 + 4/2)
    assert state["proposal"] == pytest.approx((1 + 50) / (0.25 + 2))
    assert state["weight"] == 0.75


def test_interval_averages_and_waits():
    r = rule(interval=3)
    state = r.init()
    for proposal, expected in ((30, 16), (60, 16), (90, 60)):
        state = r.update(state, at(16, proposal))
        assert r.value(state) == expected
    assert state["proposal"] == pytest.approx(60)


@given(st.lists(st.floats(1.0, 1e4), min_size=2, max_size=30), st.booleans(), st.data())
def test_state_is_json_and_resumes_exactly(proposals, shrink, data):
    r = rule(smoothing=0.7, growth_cap=1.7, multiple=4, shrink=shrink, hysteresis=0.1, interval=2)
    stop = data.draw(st.integers(0, len(proposals)))
    state, resumed = r.init(), None
    for k, proposal in enumerate(proposals):
        if k == stop:
            resumed = json.loads(json.dumps(state))
        state = r.update(state, at(r.value(state), proposal))
        if resumed is not None:
            resumed = r.update(resumed, at(r.value(resumed), proposal))
        assert r.value(state) % 4 == 0 and r.minimum <= r.value(state) <= r.maximum
        if not shrink:
            assert r.value(state) >= 16
    assert resumed is None or resumed == state


def closed_loop(r, *, steps, groups, noise_scale, dim=50, seed=0):
    """The rule in charge of Gaussian gradients with |G| = 1 and the given noise scale."""
    rng = np.random.default_rng(seed)
    state, sizes = r.init(), []
    gradient = np.zeros(dim)
    gradient[0] = 1.0
    for _ in range(steps):
        b = r.value(state)
        sizes.append(b)
        per_coordinate = math.sqrt(noise_scale / dim / (b / groups))
        g = gradient + per_coordinate * rng.standard_normal((groups, dim))
        state = r.update(state, from_groups(g, batch_size=b))
    return sizes


def test_closed_loop_published_settles_near_its_fixed_point():
    """Shrinking allowed and heavy smoothing: the mean-field fixed point, far below noise_scale / eta^2."""
    predicted = published_fixed_point(noise_scale=2000.0, eta=0.2, workers=4)  # about 72
    r = ddp_norm(
        eta=0.2, scaling="published", initial=16, maximum=8192, multiple=4, shrink=True, smoothing=0.98
    )
    sizes = closed_loop(r, steps=600, groups=4, noise_scale=2000.0)
    assert np.mean(sizes[200:]) == pytest.approx(predicted + 2, rel=0.1)  # rounded up to multiples of 4: +2
    assert max(sizes) < 2000.0 / 0.2**2 / 10


def test_closed_loop_published_ratchet_drifts_on_flukes():
    predicted = published_fixed_point(noise_scale=2000.0, eta=0.2, workers=4)
    r = ddp_norm(eta=0.2, scaling="published", initial=16, maximum=8192, multiple=4)
    assert closed_loop(r, steps=600, groups=4, noise_scale=2000.0, dim=5)[-1] > 1.2 * predicted


def test_closed_loop_unbiased_settles_at_noise_scale_over_eta_squared():
    r = ddp_norm(
        eta=2.0,
        scaling="unbiased",
        initial=16,
        maximum=8192,
        multiple=4,
        shrink=True,
        smoothing=0.98,
        signal_floor=0.01,
        growth_cap=2.0,
    )
    sizes = closed_loop(r, steps=600, groups=4, noise_scale=2000.0)
    assert np.mean(sizes[300:]) == pytest.approx(2000.0 / 2.0**2 + 2, rel=0.1)


def test_closed_loop_unbiased_runs_to_the_maximum_without_debiasing():
    r = ddp_norm(eta=0.5, scaling="unbiased", initial=16, maximum=512, multiple=4, debias=False)
    assert closed_loop(r, steps=30, groups=4, noise_scale=2000.0)[-1] == 512


def test_adascale_gain():
    # base noise per base batch = noise * scale / b = 16 * 4 / 16 = 4; signal 1: (4 + 1) / (4/4 + 1)
    assert adascale_gain(S, scale=4) == pytest.approx(5 / 2)
    assert adascale_gain(S, scale=1) == 1.0
    hopeless = Statistics(batch_size=16, groups=4, norm_sq=1.0, mean_group_norm_sq=50.0)
    assert adascale_gain(hopeless, scale=4) == pytest.approx(4.0)
    with pytest.raises(InputError, match=r"scale=0\.5"):
        adascale_gain(S, scale=0.5)


def test_hash_depends_on_every_attribute():
    base = rule()
    assert base.hash == rule().hash
    changes = [{"tolerance": 0.5}, {"maximum": 128}, {"shrink": True}, {"smoothing": 0.1}, {"interval": 2}]
    assert len({base.hash, *(rule(**c).hash for c in changes)}) == 6


BAD_RULES = [
    ({"name": "hunch"}, "name='hunch'"),
    ({"tolerance": 0}, "tolerance=0"),
    ({"smoothing": 1.0}, "smoothing=1.0"),
    ({"growth_cap": 1.0}, "growth_cap=1.0"),
    ({"growth_cap": 1.2, "multiple": 8}, "reach the next multiple"),
    ({"multiple": 5}, "it is a multiple of 5"),
    ({"initial": 300}, "minimum <= initial <= maximum"),
    ({"interval": 0}, "interval=0"),
    ({"signal_floor": 0.1}, "debias=True"),
    ({"name": "pollux"}, "throughput"),
    ({"name": "pollux", "throughput": ((8, math.nan),), "reference_batch_size": 8}, "positive throughput"),
    ({"name": "pollux", "throughput": ((8, 1.0),), "reference_batch_size": -8}, "positive"),
    ({"throughput": ((8.5, 1.0),)}, "batch sizes are integers"),
    ({"population": 255}, "no batch is larger"),
    ({"interval": 1.5}, "interval=1.5"),
    ({"initial": True}, "initial=True"),
    ({"shrink": "no"}, "True or False"),
    ({"smoothing": "0.1"}, "it is a number"),
    ({"hysteresis": -1}, "hysteresis=-1"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_RULES)
def test_bad_rules(changes, message):
    with pytest.raises(InputError) as caught:
        rule(**changes)
    assert message in str(caught.value)


def test_bad_updates():
    r = rule(debias=True)
    with pytest.raises(InputError, match="a debiased signal"):
        r.update(r.init(), at(16, 100))
    smoothed = rule(debias=True, smoothing=0.9)
    with pytest.raises(InputError, match="after the smoothing"):
        smoothed.update(smoothed.init(), at(16, 100))
    floored = rule(debias=True, signal_floor=0.5)
    assert floored.update(floored.init(), at(16, 100))["proposal"] == pytest.approx(200)
    with pytest.raises(InputError, match="exactly zero"):
        r.update(r.init(), Statistics(batch_size=16, groups=2, norm_sq=0.0, mean_group_norm_sq=1.0))
    with pytest.raises(InputError, match="statistics of a batch of 32"):
        r.update(r.init(), at(32, 1))
    with pytest.raises(InputError, match="statistics without loss"):
        rule(name="loss_law").update(r.init(), at(16, 1))
    with pytest.raises(InputError, match="from_groups"):
        rule(name="sqrt_v").update(r.init(), at(16, 1))
    with pytest.raises(InputError, match="positive loss"):
        rule(name="cabs").update(
            r.init(),
            Statistics(
                batch_size=16, groups=2, norm_sq=1.0, mean_group_norm_sq=2.0, loss=0.0, learning_rate=1.0
            ),
        )
    extreme = Statistics(
        batch_size=16,
        groups=2,
        norm_sq=1e170,
        mean_group_norm_sq=2e170,
        inner_variance=1e300,
        orthogonal_variance=1e171,
    )
    wide = rule(name="augmented").update(rule().init(), extreme)  # |g|^4 is beyond float64
    assert wide["proposal"] == pytest.approx(10 / 5.84**2)
    with pytest.raises(InputError, match="scaling='fast'"):
        ddp_norm(eta=1, scaling="fast", initial=1, maximum=2)
