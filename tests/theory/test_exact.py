"""Enclosures of values: they agree with float64 to rounding, notice a wrong value, and are narrow."""

from __future__ import annotations

import json
import math

import flint
import numpy as np
import pytest
import sympy as sp

import bstheory as bst
from bstheory.cli import main
from bstheory.theory import exact
from bstheory.theory.library import all_slugs, get

HALF_LIFE = {"alpha": 0.1, "h": 50.0, "eps": 1e-2, "R": 1.5, "L": 1.0, "d": 3, "Delta": 2.0}
NOISE = {"G_inf": 0.7, "sigma": 1.1}
NORM = {"alpha": 1e-4, "beta1": 0.9, "beta2": 0.999, "eta": 0.3, "L": 1.0, "Delta": 1.0, "K": 40}
START = {"v0": [1.0, 2.0], "G1": [0.3, -0.2]}
SGD = {"eta": 0.1, "L": 1.3, "Delta": 2.0}
RATE = SGD | {"mu": 0.4, "F_star": 0.5}
BATCHES = [1, 2, 4, 4, 3]
CASES = [
    ("adam_token_half_life", HALF_LIFE, BATCHES),
    ("adam_token_half_life_sharp", HALF_LIFE | {"young": 0.3}, BATCHES),
    ("adam_token_half_life_initial", HALF_LIFE | {"v0": 0.0}, BATCHES),
    ("adam_token_half_life_initial", HALF_LIFE | {"v0": [0.1, 4.0, 0.0]}, BATCHES),
    ("adam_token_half_life_unnormalised", HALF_LIFE | NOISE, BATCHES),
    ("adam_token_half_life_bias_corrected", HALF_LIFE, BATCHES),
    ("adam_token_half_life_variance_aware", HALF_LIFE | NOISE, BATCHES),
    ("adam_token_half_life_variance_aware", HALF_LIFE | {"G_inf": 0.7, "sigma": [1.0, 0.1, 2.0]}, BATCHES),
    ("adam_token_half_life_momentum", HALF_LIFE | {"beta1": 0.7}, BATCHES),
    ("adam_token_half_life_momentum", HALF_LIFE | {"t1": 20.0}, BATCHES),
    ("adam_token_half_life_momentum", HALF_LIFE, BATCHES),
    ("adam_unnormalised", {k: v for k, v in HALF_LIFE.items() if k != "h"} | {"beta2": 0.9}, BATCHES),
    ("adam_unnormalised", {k: v for k, v in HALF_LIFE.items() if k != "h"} | {"beta2": 1.0}, BATCHES),
    (
        "adam_unnormalised_momentum",
        {k: v for k, v in HALF_LIFE.items() if k != "h"} | {"beta1": 0.6, "beta2": 0.9},
        BATCHES,
    ),
    (
        "adam_unnormalised_momentum",
        {k: v for k, v in HALF_LIFE.items() if k != "h"} | {"beta1": 0.6, "beta2": 1.0},
        BATCHES,
    ),
    ("adam_norm_test", NORM | START, None),
    ("adam_norm_test_log_route", NORM | START, None),
    (
        "adam_norm_test_token_half_life",
        {k: v for k, v in NORM.items() if k not in ("beta2", "K")} | START | {"h": 4000.0},
        [4, 4, 5, 4],
    ),
    (
        "adam_norm_test_token_half_life",
        {k: v for k, v in NORM.items() if k not in ("beta2", "K")}
        | START
        | {"h": 4000.0, "nondecreasing": 1},
        [4, 4, 5, 5],
    ),
    (
        "adam_norm_test_deterministic_schedule",
        {k: v for k, v in NORM.items() if k not in ("beta2", "K")} | START | {"h": 693.0},
        [1, 1, 2, 1, 1],
    ),
    (
        "sqrt_v_weighted_test",
        {"G": [1.0, 0.2], "sigma": [1.0, 2.0], "v": [1.0, 3.0], "eta": 0.4, "beta2": 0.99},
        None,
    ),
    ("sgd_nonconvex_batch_schedule", SGD | {"sigma_sq": 2.0}, BATCHES),
    ("sgd_nonconvex_batch_schedule", SGD | {"sigma_sq": 2.0, "eta": [0.1, 0.2, 0.1, 0.3, 0.2]}, BATCHES),
    ("sign_sgd_batch_schedule", {"L_1": 2.0, "Delta": 1.0, "noise": [1.0, 0.5], "delta": 0.1}, BATCHES),
    ("sgd_pl_norm_test", RATE | {"theta": 0.9}, BATCHES),
    ("sgd_inner_product_test", RATE | {"theta": 0.9, "nu": 1.0}, BATCHES),
    ("expected_strong_growth", SGD | {"rho": 2.0}, BATCHES),
    (
        "adam_clipped_scaling",
        {
            "eta": 0.01,
            "beta1": 0.9,
            "c_l": 0.5,
            "c_u": 2.0,
            "L": 1.0,
            "sigma_sq": 1.0,
            "Delta": 2.0,
            "delta0": 0.3,
        },
        BATCHES,
    ),
    (
        "lmo_token_half_life",
        {"L": 1.0, "rho": 2.0, "sigma_sq": 0.5, "Delta": 1.0, "t1": 9.0, "eta": 0.1},
        BATCHES,
    ),
    ("critical_batch_sfo", {"C1": 2.0, "C2": 3.0, "C3": 0.1, "eps": 0.4, "exponent": 1.0}, None),
    ("critical_batch_sfo", {"C1": 2.0, "C2": 3.0, "C3": 0.1, "eps": 0.4, "exponent": 0.5}, None),
    ("momentum_lag_constants", {"beta1": 0.9, "h": 100.0, "B": 4.0}, None),
    ("half_life_definition", {"B": 16.0, "beta": 0.95}, None),
    ("half_life_transfer", {"B": 512.0, "B_new": 1.0, "beta": 0.95}, None),
    ("bias_correction_tokens", {"t": 7.0}, BATCHES),
    ("momentum_variance", {"sigma": 1.5, "t": 7.0}, BATCHES),
    ("token_ess", {"t": 7.0}, BATCHES),
    ("v_lag_after_ramp", {"mu": 0.1, "sigma": 1.0, "B0": 1.0, "B1": 8.0, "a": 20.0, "t": 30.0}, None),
    ("zero_order_hold", {"ell": 0.3, "t": 7.0}, BATCHES),
    ("v_tails", {"t": 7.0, "x": 2.0}, BATCHES),
    ("skewness_bias", {"beta1": 0.9, "beta2": 0.99, "skew": 3.0, "second": 2.0}, None),
    ("scaling_rule_relations", {"k": 8.0, "beta": 0.999}, None),
]


def test_every_registered_theorem_is_among_the_cases() -> None:
    assert {slug for slug, *_ in CASES} == set(exact.registered()) <= set(all_slugs())


@pytest.mark.parametrize(("slug", "constants", "schedule"), CASES)
def test_float_and_ball_agree_to_rounding(slug, constants, schedule) -> None:
    found = get(slug).evaluate(constants=constants, schedule=schedule, enclose=True)
    inside = found.enclosure
    assert (
        inside.lower <= inside.upper <= inside.lower + 4 * math.ulp(max(abs(inside.lower), abs(inside.upper)))
    )
    assert inside.relative_error < 1e-12
    assert found.value == pytest.approx(inside.lower, rel=1e-12)


@pytest.mark.parametrize("factor", [1 + 1e-9, 1 - 1e-9])
@pytest.mark.parametrize(("slug", "constants", "schedule"), [CASES[i] for i in (0, 8, 12, 17, 19, 30)])
def test_a_value_that_is_a_little_wrong_is_noticed(slug, constants, schedule, factor) -> None:
    bound = get(slug)
    complete = {p.name: constants.get(p.name, p.default) for p in bound.parameters}
    wrong = float(bound.evaluate(constants=constants, schedule=schedule).value) * factor
    found = exact.enclose(slug, complete, schedule, wrong)
    assert 9e-10 < found.relative_error < 1.1e-9
    assert not found.lower <= wrong <= found.upper


def test_the_interval_is_that_of_the_exact_number() -> None:
    """ln 2/(-ln 0.95) times 16 to 50 digits, by another library."""
    import mpmath

    with mpmath.workdps(60):
        true = 16 * mpmath.log(2) / -mpmath.log(mpmath.mpf(0.95))
        found = get("half_life_definition").evaluate(constants={"B": 16.0, "beta": 0.95}, enclose=True)
        assert found.enclosure.lower <= true <= found.enclosure.upper


def test_walk_knows_the_language_and_nothing_else() -> None:
    x, y = sp.symbols("x y", positive=True)
    known = {"x": flint.arb(2), "y": flint.arb(3)}
    for expression in (
        2**x,
        sp.sqrt(x) / y,
        x ** sp.Rational(-3, 2),
        sp.Max(x, y, 1),
        sp.log(x) - sp.exp(-y),
    ):
        assert float(exact.walk(expression, known)) == pytest.approx(float(expression.subs({x: 2, y: 3})))
    with pytest.raises(ValueError, match="sin"):
        exact.walk(sp.sin(x), known)


def test_outward_rounding_keeps_the_ball_inside() -> None:
    with flint.ctx.workprec(200):
        third = flint.arb(1) / 3
        low, high = exact.outward(third)
        assert flint.arb(low) <= third.lower() and third.upper() <= flint.arb(high)
        assert low < high <= math.nextafter(low, 1) + math.ulp(low)


def test_what_has_no_enclosure_says_so() -> None:
    with pytest.raises(bst.InputError, match="not the closed form"):
        get("cv2_law").evaluate(constants={"mu": 0.1, "sigma": 1.0, "t": 9.0}, schedule=BATCHES, enclose=True)
    with pytest.raises(bst.InputError, match="one value is enclosed at a time"):
        get("adam_token_half_life").evaluate(
            constants=HALF_LIFE | {"alpha": np.array([0.1, 0.2])}, schedule=BATCHES, enclose=True
        )


def test_the_command_prints_it_beside_float_and_trivial(capsys) -> None:
    words = [f"{name}={value}" for name, value in HALF_LIFE.items()]
    command = ["evaluate", "adam_token_half_life", *(w for word in words for w in ("--set", word))]
    command += ["--schedule", "4", "--tokens", "400", "--enclose"]
    with pytest.raises(SystemExit) as stop:
        main(command)
    text = capsys.readouterr().out
    assert stop.value.code == 0 and "enclosed rigorously: [" in text and "trivial bound:" in text
    with pytest.raises(SystemExit):
        main([*command, "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["enclosure"]["relative_error"] < 1e-12
