"""Three Adams, one answer: NumPy reference, fused kernel and torch.optim on identical noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bstheory.problems import cosine_sum, noisy_quadratic, pseudo_huber
from bstheory.simulation import (
    SGD,
    Adafactor,
    Adam,
    HeavyBall,
    Muon,
    RMSProp,
    Signum,
    coefficients,
    gradients,
    kernels,
    monte_carlo,
    reference_path,
)
from bstheory.simulation.engine import kernel_ids, kernel_model
from bstheory.simulation.optimizers import COLUMNS
from bstheory.simulation.reference import STEPS as STEPS_BY_NAME

STEPS, DIM = 60, 36
# Relative error of a path: each of STEPS steps commits a few roundings (eps = 2.2e-16), not amplified because
# the paths contract; 1e-12 leaves a factor of about 50.
TOLERANCE = 1e-12

OPTIMIZERS = [
    SGD(learning_rate=0.1),
    SGD(learning_rate=0.1, weight_decay=0.02, learning_rate_rule="sqrt_batch"),
    HeavyBall(learning_rate=0.05, beta1=0.9),
    HeavyBall(learning_rate=0.05, half_life1=40.0, ema=True),
    HeavyBall(learning_rate=0.05, beta1=0.8, nesterov=True),
    Signum(learning_rate=0.01, beta1=0.7),
    RMSProp(learning_rate=0.02, beta2=0.9, eps=1e-4),
    RMSProp(learning_rate=0.3, half_life=300.0, eps=1e-3, learning_rate_rule="sqrt_one_minus_beta2"),
    RMSProp(learning_rate=0.02, beta2=0.9, eps=1e-4, eps_placement="outside", bias_correction="exact"),
    Adam(learning_rate=0.02, beta1=0.9, beta2=0.95, weight_decay=0.1),
    Adam(learning_rate=0.02, half_life1=10.0, half_life=200.0, eps_placement="inside", eps=1e-3, v0=0.25),
    Adam(learning_rate=0.02, beta1=0.9, beta2=0.95, bias_correction="stock"),
    Signum(learning_rate=0.01, half_life1=20.0, start="gradient"),
    Muon(learning_rate=0.05, beta1=0.8, rows=4),
    Adafactor(learning_rate=0.02, beta2=0.9, rows=6),
    Adafactor(
        learning_rate=0.02, half_life=80.0, rows=4, clip_threshold=None, bias_correction="none", eps=1e-4
    ),
]
BATCHES = np.random.default_rng(0).integers(1, 33, size=STEPS)


def problem_named(name: str):
    if name == "quadratic":
        return noisy_quadratic(1 / np.arange(1, DIM + 1), 0.3, x0=np.linspace(-1, 2, DIM))
    if name == "pseudo_huber":
        return pseudo_huber(DIM, 0.4, x0=np.linspace(-4, 30, DIM))
    return cosine_sum(DIM, 0.4, x0=np.linspace(-4, 30, DIM))


def kernel_path(problem, optimizer, noise, want_sums=True):
    table, _ = coefficients(optimizer, BATCHES)
    x, m = problem.x0.copy(), np.zeros(DIM)
    v = np.full(DIM, getattr(optimizer, "v0", 0.0))
    sums = np.zeros(len(kernels.SUMS))
    kind, options = kernel_ids(optimizer, DIM)
    done = kernels.advance_one(
        gradients.PROBLEMS[problem.params["kernel"]],
        kind,
        options,
        1,
        x,
        m,
        v,
        table,
        kernel_model(problem, np.float64),
        noise,
        np.empty(DIM),
        sums,
        want_sums,
        1e100,
        True,
    )
    assert done == STEPS
    return x, m, v, sums


@pytest.mark.parametrize("name", ["quadratic", "cosine", "pseudo_huber"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: f"{o.name}-{OPTIMIZERS.index(o)}")
def test_kernel_is_the_reference(optimizer, name: str) -> None:
    problem = problem_named(name)
    noise = np.random.default_rng(1).normal(size=(STEPS, DIM))
    reference = reference_path(problem, optimizer, BATCHES, noise)
    x, m, v, sums = kernel_path(problem, optimizer, noise)
    np.testing.assert_allclose(x, reference["x"][-1], rtol=TOLERANCE, atol=TOLERANCE)
    if kernel_ids(optimizer, DIM)[0] != kernels.OPTIMIZERS["rmsprop"]:  # which keeps no first moment
        np.testing.assert_allclose(m, reference["m"], rtol=TOLERANCE, atol=TOLERANCE)
    np.testing.assert_allclose(v, reference["v"], rtol=TOLERANCE, atol=TOLERANCE)
    np.testing.assert_allclose(sums[0], reference["weighted_sq_gradient"][-1], rtol=TOLERANCE)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: f"{o.name}-{OPTIMIZERS.index(o)}")
def test_the_passes_without_norms_are_the_same_steps(optimizer) -> None:
    problem = problem_named("quadratic")
    noise = np.random.default_rng(4).normal(size=(STEPS, DIM))
    reference = reference_path(problem, optimizer, BATCHES, noise)
    x, *_ = kernel_path(problem, optimizer, noise, want_sums=False)
    np.testing.assert_allclose(x, reference["x"][-1], rtol=TOLERANCE, atol=TOLERANCE)


def test_muon_steps_have_spectral_norm_one_and_count_nuclear_norms() -> None:
    problem = problem_named("quadratic")
    optimizer = Muon(learning_rate=0.05, beta1=0.5, rows=4, start="gradient", weight="one")
    seen = monte_carlo(problem, [optimizer], [np.array([3])], seeds=[0])
    step = (problem.x0 - seen.x[0, 0]).reshape(4, -1) / 0.05
    np.testing.assert_allclose(np.linalg.svd(step)[1], 1.0, rtol=1e-12)
    exact = np.linalg.svd(problem.full_gradient(problem.x0).reshape(4, -1))[1].sum()
    np.testing.assert_allclose(seen.series["weighted_nuclear_gradient"][0, 0, -1], exact, rtol=1e-12)


def test_adafactor_of_a_rank_one_square_is_rmsprop() -> None:
    # Where g^2 is a product of a row and a column factor the factored moment is the full one.
    g = np.outer([1.0, 2.0, 3.0], [0.5, 4.0]).ravel()
    state = (np.zeros(6), np.zeros(6), np.zeros(6))
    factored, full = [
        STEPS_BY_NAME[o.name](*state, g, dict(zip(COLUMNS, coefficients(o, np.array([1]))[0][0])), o)[0]
        for o in (
            Adafactor(learning_rate=0.1, beta2=0.9, rows=3, eps=0.0, clip_threshold=None),
            Adam(learning_rate=0.1, beta1=0.0, beta2=0.9, eps=0.0),
        )
    ]
    np.testing.assert_allclose(factored, full, rtol=1e-12)


def torch_optimizer(optimizer, parameter):
    if isinstance(optimizer, SGD):
        return torch.optim.SGD([parameter], lr=optimizer.learning_rate)
    if isinstance(optimizer, HeavyBall):
        return torch.optim.SGD(
            [parameter], lr=optimizer.learning_rate, momentum=optimizer.beta1, nesterov=optimizer.nesterov
        )
    if optimizer.beta1 == 0.0:
        return torch.optim.RMSprop(
            [parameter], lr=optimizer.learning_rate, alpha=optimizer.beta2, eps=optimizer.eps
        )
    return torch.optim.AdamW(
        [parameter],
        lr=optimizer.learning_rate,
        betas=(optimizer.beta1, optimizer.beta2),
        eps=optimizer.eps,
        weight_decay=optimizer.weight_decay,
    )


@pytest.mark.parametrize(
    "optimizer",
    [
        SGD(learning_rate=0.1),
        HeavyBall(learning_rate=0.05, beta1=0.9),
        HeavyBall(learning_rate=0.05, beta1=0.8, nesterov=True),
        RMSProp(learning_rate=0.02, beta2=0.9, eps=1e-4, eps_placement="outside"),
        Adam(learning_rate=0.02, beta1=0.9, beta2=0.95),
        Adam(learning_rate=0.02, beta1=0.9, beta2=0.95, weight_decay=0.1),
    ],
    ids=["sgd", "heavy_ball", "nesterov", "rmsprop", "adam", "adamw"],
)
def test_torch_is_the_reference(optimizer) -> None:
    problem = problem_named("quadratic")
    noise = np.random.default_rng(2).normal(size=(STEPS, DIM))
    reference = reference_path(problem, optimizer, BATCHES, noise)
    parameter = torch.nn.Parameter(torch.tensor(problem.x0))
    stock = torch_optimizer(optimizer, parameter)
    sigma, h = problem.params["noise"], problem.params["curvature"]
    for k in range(STEPS):
        gradient = h * parameter.detach().numpy() + sigma / np.sqrt(BATCHES[k]) * noise[k]
        parameter.grad = torch.tensor(gradient)
        stock.step()
    np.testing.assert_allclose(parameter.detach().numpy(), reference["x"][-1], rtol=TOLERANCE, atol=TOLERANCE)


def test_stock_correction_errs_after_a_ramp_and_exact_does_not() -> None:
    # Constant input g: the corrected second moment must equal g^2 whatever the schedule (theory:
    # bias_correction_tokens).
    batches = np.array([1] * 30 + [64] * 5)
    log_beta = -np.log(2) * batches / 500.0
    moment = 0.0
    for value in log_beta:
        moment = np.exp(value) * moment - np.expm1(value) * 9.0
    for kind, exact in (("exact", True), ("stock", False)):
        optimizer = RMSProp(learning_rate=1.0, half_life=500.0, bias_correction=kind)
        table, _ = coefficients(optimizer, batches)
        corrected = moment * table[-1, kernels.INDEX["correct2"]]
        assert bool(abs(corrected / 9.0 - 1) < 1e-13) is exact, (kind, corrected)


def test_coefficients_do_not_depend_on_chunks() -> None:
    for optimizer in OPTIMIZERS:
        whole, _ = coefficients(optimizer, BATCHES)
        carried, pieces = (0.0, 0.0), []
        for start in range(0, STEPS, 7):
            piece, carried = coefficients(
                optimizer, BATCHES[start : start + 7], first_step=start, carried=carried
            )
            pieces.append(piece)
        np.testing.assert_allclose(np.concatenate(pieces), whole, rtol=1e-13)
