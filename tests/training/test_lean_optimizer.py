"""LeanOptimizer against torch and the printed equations; stochastic rounding; updates in backward."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bstheory.errors import InputError
from bstheory.training.lean_optimizer import LeanOptimizer, round_stochastically

SHAPES = ((130, 140), (7, 5), (11,))


def parameters(seed: int = 0, dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(s, generator=generator).to(dtype)) for s in SHAPES]


def gradients(seed: int, scale: float = 1.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1000 + seed)
    return [scale * torch.randn(s, generator=generator) for s in SHAPES]


def walk(optimizer: torch.optim.Optimizer, params: list[nn.Parameter], steps: int, **options: int) -> None:
    for k in range(steps):
        for p, g in zip(params, gradients(k, scale=1.0 / (1 + k)), strict=True):
            p.grad = g.to(p.dtype)
        optimizer.step(**options)


@pytest.mark.parametrize(
    ("rule", "stock", "lean"),
    [
        ("sgd", lambda p: torch.optim.SGD(p, lr=0.1), {"lr": 0.1}),
        # torch's heavy ball with dampening is the plain average, without normalization.
        ("adam", lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.9, 0.95), weight_decay=0.1), None),
        ("adam", lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.0, 0.99), weight_decay=0.0), None),
    ],
)
def test_matches_the_stock_optimizer(rule: str, stock: object, lean: dict[str, float] | None) -> None:
    ours, theirs = parameters(), parameters()
    reference = stock(theirs)  # type: ignore[operator]
    if lean is None:
        group = reference.param_groups[0]
        lean = {"lr": group["lr"], "beta1": group["betas"][0], "beta2": group["betas"][1]}
        lean["weight_decay"] = group["weight_decay"]
    walk(LeanOptimizer(ours, rule=rule, **lean), ours, 20)
    walk(reference, theirs, 20)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=2e-5, atol=2e-6)  # 20 float32 updates in another order of operations


def test_signum_moves_by_the_sign_of_the_average() -> None:
    params = parameters()
    optimizer = LeanOptimizer(params, rule="sign_sgd", lr=0.25, beta1=0.5)
    average = [torch.zeros(s) for s in SHAPES]
    expected = [p.detach().clone() for p in params]
    for k in range(5):
        for m, e, g in zip(average, expected, gradients(k), strict=True):
            m.mul_(0.5).add_(g, alpha=0.5)
            e.sub_(0.25 * m.sign())
        for p, g in zip(params, gradients(k), strict=True):
            p.grad = g
        optimizer.step()
    for p, e in zip(params, expected, strict=True):
        assert torch.equal(p, e)


def adafactor_reference(
    theta: np.ndarray, grads: list[np.ndarray], lr: float, rho: list[float], exact: bool
) -> np.ndarray:
    """The printed equations in float64 for a matrix [r, c], c > r, both at least 128, or a small tensor."""
    factored = theta.ndim == 2 and min(theta.shape) >= 128
    row, column, full = 0.0, 0.0, 0.0
    weight = 1.0
    total = 0.0
    for g, decay in zip(grads, rho, strict=True):
        square = g**2 + 1e-30
        total = decay * total + (1 - decay)
        weight = total if exact else 1.0
        if factored:
            row = decay * row + (1 - decay) * square.mean(axis=1, keepdims=True)
            column = decay * column + (1 - decay) * square.mean(axis=0, keepdims=True)
            r, c = row / weight, column / weight
            u = g * (r / r.mean()) ** -0.5 * c**-0.5
        else:
            full = decay * full + (1 - decay) * square
            u = g / np.sqrt(full / weight)
        u = u / max(1.0, float(np.sqrt((u**2).mean())))
        theta = theta - lr * max(float(np.sqrt((theta**2).mean())), 1e-3) * u
    return theta


@pytest.mark.parametrize("decay", ["half_life", "power"])
def test_adafactor_is_the_printed_algorithm_in_both_meanings(decay: str) -> None:
    params = parameters()
    steps, half_life, tokens = 12, 700.0, 64
    start = [p.detach().double().numpy() for p in params]
    optimizer = LeanOptimizer(
        params, rule="adafactor", lr=0.05, decay=decay, exponent=0.9, beta2_half_life=half_life
    )
    walk(optimizer, params, steps, tokens=tokens)
    if decay == "power":
        rho = [1 - (k + 1) ** -0.9 for k in range(steps)]
    else:
        rho = [2 ** (-tokens / half_life)] * steps
    for index, (p, theta) in enumerate(zip(params, start, strict=True)):
        grads = [gradients(k, 1.0 / (1 + k))[index].double().numpy() for k in range(steps)]
        expected = adafactor_reference(theta, grads, 0.05, rho, exact=decay == "half_life")
        assert np.allclose(p.detach().numpy(), expected, rtol=1e-4, atol=1e-6)
        if index == 0:  # the two meanings are different algorithms
            other = adafactor_reference(theta, grads, 0.05, [0.5] * steps, exact=True)
            assert not np.allclose(p.detach().numpy(), other, rtol=1e-3, atol=1e-4)


def test_adafactor_keeps_a_row_and_a_column_only() -> None:
    params = parameters()
    optimizer = LeanOptimizer(params, rule="adafactor", lr=0.01)
    walk(optimizer, params, 2)
    numel = [sum(t.numel() for k, t in optimizer.state[p].items() if k != "weights") for p in params]
    assert numel == [130 + 140, 35, 11]


def test_adafactor_learning_rate_is_not_capped() -> None:
    """torch.optim.Adafactor uses min(lr, 1/sqrt(step)); here the relative step stays what was asked."""
    p = nn.Parameter(torch.ones(4))
    optimizer = LeanOptimizer([p], rule="adafactor", lr=0.1, decay="power", exponent=0.8)
    for k in range(500):
        p.grad = torch.ones(4) * (-1) ** k  # there and back again, so that the weight stays near 1
        before = float(p.detach()[0])
        optimizer.step()
    assert abs(float(p.detach()[0]) / before - 1) == pytest.approx(
        0.1, rel=1e-3
    )  # 1/sqrt(500) would be 0.045


def test_a_moving_half_life_is_normalized_exactly() -> None:
    """With a constant gradient every average equals it, whatever the steps' tokens: Adam moves by lr."""
    p = nn.Parameter(torch.zeros(3))
    optimizer = LeanOptimizer(
        [p], rule="adam", lr=0.5, beta1_half_life=300.0, beta2_half_life=1000.0, eps=0.0
    )
    for k in range(30):
        p.grad = torch.tensor([1.0, -2.0, 0.5])
        optimizer.step(tokens=1 + 37 * k)
    assert torch.allclose(p.detach(), -0.5 * 30 * torch.tensor([1.0, -1.0, 1.0]), rtol=1e-5)


@given(
    value=st.floats(-(2.0**100), 2.0**100, width=32).filter(lambda x: x == 0 or abs(x) > 1e-30),
    seed=st.integers(0, 2**31),
)
def test_rounding_hits_the_two_neighbours_without_bias(value: float, seed: int) -> None:
    n = 4096
    x = torch.full((n,), value)
    out = round_stochastically(x, torch.Generator().manual_seed(seed)).double()
    bits = torch.tensor([value]).view(torch.int32)
    below = (bits & -65536).view(torch.float32).double()
    above = ((bits & -65536) + 65536).view(torch.float32).double()
    assert bool(((out == below) | (out == above)).all())
    gap = float((above - below).abs())
    # A Bernoulli mean of n has standard deviation at most gap / (2 sqrt n); 7 of them are allowed.
    assert abs(float(out.mean()) - value) <= 7 * gap / (2 * math.sqrt(n)) + 1e-12 * abs(value)


def test_rounding_keeps_infinities_and_nan() -> None:
    out = round_stochastically(torch.tensor([math.inf, -math.inf, math.nan, 1.0]))
    assert out[0] == math.inf and out[1] == -math.inf and out[2].isnan() and out[3] == 1.0


def test_rounding_keeps_every_bfloat16_value_and_every_nan() -> None:
    """All 65536 values, both zeros and the subnormal ones included; NaN of any payload stays NaN."""
    bits = torch.arange(1 << 16, dtype=torch.int32) << 16
    x = bits.view(torch.float32)
    out, nan = round_stochastically(x), x.isnan()
    assert torch.equal(out.view(torch.int16)[~nan], x.to(torch.bfloat16).view(torch.int16)[~nan])
    for low in (1, 0x7FFF, 0xFFFF):
        payloads = (bits[nan | x.isinf()] | low).view(torch.float32)
        assert bool(payloads.isnan().all()) and bool(round_stochastically(payloads).isnan().all())


@pytest.mark.parametrize("sign", [0, 0x8000])
@pytest.mark.parametrize("high", [0, 1, 0x7F, 0x80, 0x3F80, 0x3FFF, 0x7F7E, 0x7F7F])
def test_rounding_is_unbiased_over_every_noise(high: int, sign: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Away from zero in exactly (low 16 bits) of the 65536 noises; past the largest value lies infinity."""
    noises = torch.arange(1 << 16, dtype=torch.int32)
    monkeypatch.setattr(torch, "randint", lambda *args, **kwargs: noises.clone())
    near = high | sign
    for low in (0, 1, 0x1234, 0x7FFF, 0x8000, 0xFFFF):
        word = torch.tensor(near << 16 | low).to(torch.int32)
        found = (
            round_stochastically(word.repeat(1 << 16).view(torch.float32)).view(torch.int16).int() & 0xFFFF
        )
        assert int((found == near + 1).sum()) == low
        assert int((found == near).sum()) == (1 << 16) - low


@pytest.mark.parametrize("rule", ["sgd", "adam", "adafactor"])
def test_small_steps_in_bfloat16_need_stochastic_rounding(rule: str) -> None:
    """Steps of 1e-4 relative are below bfloat16's spacing of 2^-8: nearest rounding never moves."""
    moved = {}
    for stochastic in (True, False):
        p = nn.Parameter(torch.ones(4096, dtype=torch.bfloat16))
        optimizer = LeanOptimizer([p], rule=rule, lr=1e-4, stochastic_rounding=stochastic)
        for _ in range(100):
            p.grad = torch.ones(4096, dtype=torch.bfloat16)
            optimizer.step()
        moved[stochastic] = 1 - float(p.detach().float().mean())
    assert moved[False] == 0.0
    assert moved[True] == pytest.approx(0.01, rel=0.1)


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 130), nn.Tanh(), nn.Linear(130, 140), nn.Tanh(), nn.Linear(140, 1))


@pytest.mark.parametrize("rule", ["sgd", "adam", "adafactor", "sign_sgd"])
def test_updating_in_the_backward_pass_changes_nothing(rule: str) -> None:
    data = torch.randn(8, 16, 6, generator=torch.Generator().manual_seed(1))
    plain, attached = model(), model()
    one = LeanOptimizer(plain.parameters(), rule=rule, lr=0.01)
    other = LeanOptimizer(attached.parameters(), rule=rule, lr=0.01)
    other.attach()
    for x in data:
        one.zero_grad()
        plain(x).square().mean().backward()
        one.step()
        with other.in_one_step(None):
            attached(x).square().mean().backward()
        assert all(p.grad is None for p in attached.parameters())
    for a, b in zip(plain.parameters(), attached.parameters(), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(InputError, match=r"outside LeanOptimizer\.in_one_step"):
        attached(data[0]).mean().backward()
    other.detach()
    attached(data[0]).mean().backward()
    assert all(p.grad is not None for p in attached.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rule", ["adam", "adafactor", "sign_sgd"])
def test_resuming_is_bit_exact(rule: str, dtype: torch.dtype) -> None:
    options = {
        "rule": rule,
        "lr": 0.01,
        "beta2_half_life": 500.0,
        "beta1": 0.9 if rule == "sign_sgd" else 0.0,
    }
    whole = parameters(dtype=dtype)
    optimizer = LeanOptimizer(whole, **options)
    walk(optimizer, whole, 4, tokens=64)
    saved, weights = copy.deepcopy(optimizer.state_dict()), [p.detach().clone() for p in whole]
    walk(optimizer, whole, 4, tokens=128)
    again = [nn.Parameter(w) for w in weights]
    resumed = LeanOptimizer(again, **options)
    resumed.load_state_dict(saved)
    walk(resumed, again, 4, tokens=128)
    for a, b in zip(whole, again, strict=True):
        assert torch.equal(a, b)
        for key, value in optimizer.state[a].items():
            assert value.dtype == resumed.state[b][key].dtype and torch.equal(value, resumed.state[b][key])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "lion"}, "rule='lion'"),
        ({"rule": "adam", "beta2": 1.0}, "beta2=1.0"),
        ({"rule": "adam", "lr": -1.0}, "lr=-1.0"),
        ({"rule": "adam", "lr": math.nan}, "lr=nan"),
        ({"rule": "adafactor", "beta1": 0.9}, "adafactor with momentum"),
        ({"rule": "adafactor", "decay": "cosine"}, "decay='cosine'"),
        ({"rule": "adafactor", "exponent": 0.0}, "exponent=0.0"),
        ({"rule": "adam", "beta2_half_life": -3.0}, "-3"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LeanOptimizer(parameters(), **options)


def test_a_half_life_needs_the_tokens_of_the_step() -> None:
    params = parameters()
    optimizer = LeanOptimizer(params, rule="adam", beta2_half_life=1000.0)
    with pytest.raises(InputError, match=r"Call step\(tokens=\.\.\.\)"):
        walk(optimizer, params, 1)
