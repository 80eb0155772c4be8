"""Stock Adam with changing betas against a float64 reference that follows the definition."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
import torch

from bstheory.errors import InputError
from bstheory.half_life import beta_from_half_life
from bstheory.training import TokenHalfLife

STEPS = 10_000
HEAD = 2_000  # batch 1 -> 16; enough where the length is not the point
HALF_LIFE = 20_000.0  # tokens; 1 - beta2 from 3.5e-5 at batch 1 to 2.2e-3 at batch 64
LR, DECAY, EPS = 1e-3, 0.1, 1e-8
# Float64 arithmetic, amplified by at most 1 / (1 - beta2) = 3e4 steps of memory: 3e4 * 2^-53 = 3e-12.
EXACT = 1e-10
IMPLEMENTATIONS = {"loop": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}


def ramp(steps: int) -> list[int]:
    """1 -> 64 linearly, then back to 8 at once: both directions of change."""
    up = [1 + (63 * k) // int(0.8 * steps) for k in range(int(0.8 * steps))]
    return up + [8] * (steps - len(up))


def gradients(steps: int, batches: list[int], size: int = 4) -> np.ndarray:
    rng = np.random.default_rng(7)
    return 0.05 + rng.standard_normal((steps, size)) / np.sqrt(np.array(batches))[:, None]


class Reference:
    """Adam with time-varying betas, from the definition: m / (1 - prod beta1), v / (1 - prod beta2)."""

    def __init__(self, x, *, beta1=0.9, beta1_half_life=None, decoupled=True):
        self.x, self.m, self.v = x.copy(), 0 * x, 0 * x
        self.beta1, self.beta1_half_life, self.decoupled = beta1, beta1_half_life, decoupled
        self.log1 = self.log2 = 0.0

    def step(self, g, tokens):
        b1 = self.beta1
        if self.beta1_half_life:
            b1 = beta_from_half_life(half_life=self.beta1_half_life, tokens_per_step=tokens)
        b2 = beta_from_half_life(half_life=HALF_LIFE, tokens_per_step=tokens)
        if not self.decoupled:
            g = g + DECAY * self.x
        self.m = b1 * self.m + (1 - b1) * g
        self.v = b2 * self.v + (1 - b2) * g * g
        self.log1 += math.log(b1)
        self.log2 += math.log(b2)
        before = self.x
        if self.decoupled:
            self.x = self.x * (1 - LR * DECAY)
        corrected = np.sqrt(self.v / -np.expm1(self.log2)) + EPS
        self.x = self.x - LR * (self.m / -np.expm1(self.log1)) / corrected
        return self.x - before


def torch_updates(optimizer_class, dtype, stream, batches, implementation, beta1_half_life, exact=True):
    weight = torch.nn.Parameter(torch.ones(stream.shape[1], dtype=dtype))
    optimizer = optimizer_class([weight], lr=LR, weight_decay=DECAY, eps=EPS, **implementation)
    half_life = (
        TokenHalfLife(optimizer, beta1_half_life=beta1_half_life, beta2_half_life=HALF_LIFE)
        if exact
        else None
    )
    seen = np.empty_like(stream)
    for k, (g, tokens) in enumerate(zip(stream, batches)):
        before = weight.detach().clone()
        weight.grad = torch.tensor(g, dtype=dtype)
        if half_life is not None:
            half_life.step(tokens=tokens)
        else:  # what editing betas in place does
            b2 = beta_from_half_life(half_life=HALF_LIFE, tokens_per_step=tokens)
            optimizer.param_groups[0]["betas"] = (0.9, b2)
            optimizer.step()
        seen[k] = (weight.detach() - before).numpy()
    return seen, half_life


def relative_error(seen: np.ndarray, truth: np.ndarray) -> float:
    return float((np.linalg.norm(seen - truth, axis=1) / np.linalg.norm(truth, axis=1)).max())


@pytest.fixture(scope="module")
def stream():
    batches = ramp(STEPS)
    return gradients(STEPS, batches), batches


@pytest.fixture(scope="module")
def truth(stream):
    found = {}
    for beta1_half_life, decoupled, steps in ((300.0, True, STEPS), (None, True, HEAD), (300.0, False, HEAD)):
        reference = Reference(np.ones(4), beta1_half_life=beta1_half_life, decoupled=decoupled)
        pairs = zip(stream[0][:steps], stream[1][:steps])
        found[beta1_half_life, decoupled] = np.array([reference.step(g, n) for g, n in pairs])
    return found


def head(stream):
    return stream[0][:HEAD], stream[1][:HEAD]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_ten_thousand_steps_through_a_ramp(stream, truth, implementation):
    seen, half_life = torch_updates(
        torch.optim.AdamW, torch.float64, *stream, IMPLEMENTATIONS[implementation], 300.0
    )
    assert relative_error(seen, truth[300.0, True]) <= EXACT
    assert half_life.tokens == sum(stream[1]) and half_life.steps == STEPS


def test_beta1_fixed_per_step(stream, truth):
    seen, _ = torch_updates(torch.optim.AdamW, torch.float64, *head(stream), {"foreach": True}, None)
    assert relative_error(seen, truth[None, True]) <= EXACT


def test_coupled_weight_decay(stream, truth):
    seen, _ = torch_updates(torch.optim.Adam, torch.float64, *head(stream), {"foreach": True}, 300.0)
    assert relative_error(seen, truth[300.0, False]) <= EXACT


def test_float32_stays_within_its_own_rounding(stream, truth):
    """v forgets over 1/(1-beta2) steps, so its rounding errors of 2^-24 a step add up to at most 2e-3."""
    seen, _ = torch_updates(torch.optim.AdamW, torch.float32, *head(stream), {"fused": True}, None)
    lost_in_x = 2**-24 / LR  # x of size 1 moves by LR
    assert relative_error(seen, truth[None, True]) <= 2e-3 + lost_in_x


def test_naive_editing_fails_the_same_test(stream, truth):
    seen, _ = torch_updates(
        torch.optim.AdamW, torch.float64, *head(stream), {"foreach": True}, None, exact=False
    )
    assert relative_error(seen, truth[None, True]) > 0.1


def test_constant_gradient_moves_by_exactly_the_learning_rate():
    batches = [2**k for k in range(7) for _ in range(20)] + [1] * 20
    for exact in (True, False):
        seen, _ = torch_updates(
            torch.optim.AdamW, torch.float64, np.ones((160, 1)), batches, {"foreach": False}, None, exact
        )
        shrink = 1 - LR * DECAY
        x, largest = 1.0, 0.0
        for update in seen[:, 0]:
            largest = max(largest, abs((x * (shrink - 1) - update) / LR - 1))
            x += update
        assert largest < 1e-6 if exact else largest > 0.3


def test_parameters_without_gradients_keep_their_own_history():
    batches = ramp(300)
    stream = gradients(300, batches, size=3)
    present = np.ones((300, 3), dtype=bool)
    present[::3, 1] = False  # one parameter is left out of every third step
    present[:100, 2] = False  # another one starts late, as a frozen layer would
    present[150:160] = False  # and for a while nothing has a gradient
    for implementation in IMPLEMENTATIONS.values():
        weights = [torch.nn.Parameter(torch.ones(1, dtype=torch.float64)) for _ in range(3)]
        optimizer = torch.optim.AdamW(weights, lr=LR, weight_decay=DECAY, **implementation)
        half_life = TokenHalfLife(optimizer, beta1_half_life=300.0, beta2_half_life=HALF_LIFE)
        references = [Reference(np.ones(1), beta1_half_life=300.0) for _ in range(3)]
        for k, tokens in enumerate(batches):
            for i, weight in enumerate(weights):
                weight.grad = torch.tensor(stream[k, i : i + 1]) if present[k, i] else None
                if present[k, i]:
                    references[i].step(stream[k, i : i + 1], tokens)
            half_life.step(tokens=tokens)
            assert len(optimizer.param_groups) == 1 and len(optimizer.param_groups[0]["params"]) == 3
        for weight, reference in zip(weights, references):
            assert weight.item() == pytest.approx(reference.x[0], rel=EXACT)
        assert len(half_life.state_dict()["groups"][0]) == 3


def small(**arguments):
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    other = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    optimizer = torch.optim.AdamW([{"params": [weight]}, {"params": [other], "betas": (0.8, 0.9)}], lr=LR)
    return [weight, other], optimizer, TokenHalfLife(optimizer, beta2_half_life=50.0, **arguments)


def advance(weights, half_life, steps, first=0):
    for k in range(first, first + steps):
        for weight in weights:
            weight.grad = torch.sin(torch.arange(weight.numel(), dtype=torch.float64) + k)
        half_life.step(tokens=1 + k % 5)


def test_resume_is_bitwise():
    weights, optimizer, half_life = small()
    advance(weights, half_life, 7)
    saved = json.loads(json.dumps(half_life.state_dict()))
    optimizer_state = copy.deepcopy(optimizer.state_dict())
    values = [w.detach().clone() for w in weights]
    advance(weights, half_life, 9, first=7)

    again, other_optimizer, other = small()
    with torch.no_grad():
        for w, v in zip(again, values):
            w.copy_(v)
    other_optimizer.load_state_dict(optimizer_state)
    other.load_state_dict(saved)
    advance(again, other, 9, first=7)
    assert all(torch.equal(a, b) for a, b in zip(again, weights))
    assert other.state_dict() == half_life.state_dict()
    assert len(json.dumps(saved)) < 600


def test_states_of_different_checkpoints_are_refused():
    weights, optimizer, half_life = small()
    advance(weights, half_life, 3)
    state, optimizer_state = half_life.state_dict(), copy.deepcopy(optimizer.state_dict())
    again, other_optimizer, other = small()
    other_optimizer.load_state_dict(optimizer_state)
    with pytest.raises(InputError, match="no TokenHalfLife history"):
        advance(again, other, 1)
    again, _, other = small()
    other.load_state_dict(state)
    with pytest.raises(InputError, match="optimizer state at step 0 with 3 recorded steps"):
        advance(again, other, 1)
    with pytest.raises(InputError, match="a changed beta or half-life is another experiment"):
        groups = [{"params": [w]} for w in weights]
        TokenHalfLife(torch.optim.AdamW(groups), beta2_half_life=51.0).load_state_dict(state)
    with pytest.raises(InputError, match="saved fixed_betas"):
        groups = [
            {"params": [weights[0]], "betas": (0.5, 0.999)},
            {"params": [weights[1]], "betas": (0.8, 0.9)},
        ]
        TokenHalfLife(torch.optim.AdamW(groups), beta2_half_life=50.0).load_state_dict(state)
    history = state["groups"][0][0]
    for change in (
        {"tokens": -1},
        {"groups": None},
        {"groups": [[{**history, "weight2": math.nan}], *state["groups"][1:]]},
        {"groups": [[{**history, "weight1": 5.0}], *state["groups"][1:]]},
        {"groups": [[{**history, "members": [1]}], *state["groups"][1:]]},
    ):
        _, _, fresh = small()
        with pytest.raises(InputError, match="missing or impossible"):
            fresh.load_state_dict({**state, **change})
        assert fresh.steps == 0
    with pytest.raises(InputError, match=r"groups of \[1, 1\] parameters"):
        TokenHalfLife(torch.optim.AdamW(weights), beta2_half_life=50.0).load_state_dict(state)


def test_attaching_to_a_running_optimizer():
    def plain():
        weight = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
        optimizer = torch.optim.AdamW([weight], lr=LR, betas=(0.9, 0.97))
        for k in range(5):
            weight.grad = torch.sin(torch.arange(2, dtype=torch.float64) + k)
            optimizer.step()
        return weight, optimizer

    (stock, stock_optimizer), (weight, optimizer) = plain(), plain()
    with pytest.raises(InputError, match="has already taken steps"):
        TokenHalfLife(optimizer, beta2_half_life=50.0)
    tokens_per_step = 3
    half_life_of_097 = -tokens_per_step * math.log(2) / math.log(0.97)
    half_life = TokenHalfLife(optimizer, beta2_half_life=half_life_of_097, existing_state="constant_betas")
    for k in range(5, 12):
        for w in (stock, weight):
            w.grad = torch.sin(torch.arange(2, dtype=torch.float64) + k)
        stock_optimizer.step()
        half_life.step(tokens=tokens_per_step)
    assert torch.allclose(stock, weight, rtol=EXACT, atol=0)


@pytest.mark.parametrize("implementation", ["foreach", "fused"])
def test_a_step_that_a_gradient_scaler_skips_does_not_count(implementation):
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight], lr=LR, **{implementation: True})
    half_life = TokenHalfLife(optimizer, beta2_half_life=50.0)
    for k, bad in enumerate([True, False, True, False]):
        optimizer.zero_grad()
        loss = (weight * (float("inf") if bad else 1.0)).sum()
        scaler.scale(loss).backward()
        with half_life.apply(tokens=4):
            scaler.step(optimizer)
        scaler.update()
        assert half_life.steps == (k + 1) // 2
    assert half_life.tokens == 8
    reference = torch.nn.Parameter(torch.ones(2))
    fresh = torch.optim.AdamW([reference], lr=LR)
    plain = TokenHalfLife(fresh, beta2_half_life=50.0)
    for _ in range(2):
        reference.grad = torch.ones(2)
        plain.step(tokens=4)
    assert torch.allclose(weight, reference, rtol=1e-6)


def test_learning_rate_schedulers_and_closures_still_work():
    weights, optimizer, half_life = small()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)

    def closure():
        for weight in weights:
            weight.grad = torch.ones_like(weight)
        return torch.tensor(3.0)

    for weight in weights:
        weight.grad = torch.ones_like(weight)
    assert half_life.step(tokens=2, closure=closure).item() == 3.0
    scheduler.step()
    assert [g["lr"] for g in optimizer.param_groups] == [LR / 2] * 2
    assert [g["betas"][0] for g in optimizer.param_groups] == [0.9, 0.8]
    exact = beta_from_half_life(half_life=50.0, tokens_per_step=2)
    assert half_life.last.beta2 == pytest.approx(exact, abs=1e-15)


def test_limits_on_beta2():
    _, optimizer, half_life = small(beta2_floor=0.99)
    weights = [p for g in optimizer.param_groups for p in g["params"]]
    advance(weights, half_life, 3)
    assert half_life.last.beta2 == 0.99
    assert half_life.last.weight2 == pytest.approx(1 - 0.99**3, rel=1e-12)


def test_rescaling_at_a_jump():
    weights, optimizer, half_life = small()
    advance(weights, half_life, 4)
    before = optimizer.state[weights[0]]["exp_avg_sq"].clone()
    assert half_life.rescale_second_moment(from_batch_size=8, to_batch_size=32) == 0.25
    assert torch.equal(optimizer.state[weights[0]]["exp_avg_sq"], before / 4)
    factor = half_life.rescale_second_moment(from_batch_size=8, to_batch_size=32, noise_scale=16.0)
    assert factor == (1 + 16 / 32) / (1 + 16 / 8)
    with pytest.raises(InputError, match="from_batch_size=0"):
        half_life.rescale_second_moment(from_batch_size=0, to_batch_size=2)


def weight():
    return [torch.nn.Parameter(torch.ones(1))]


BAD = [
    (lambda: TokenHalfLife(torch.optim.SGD(weight(), lr=1)), "optimizer SGD"),
    (lambda: TokenHalfLife(torch.optim.AdamW(weight(), amsgrad=True)), "amsgrad=True"),
    (lambda: TokenHalfLife(torch.optim.AdamW(weight(), differentiable=True)), "differentiable=True"),
    (lambda: TokenHalfLife(torch.optim.AdamW(weight()), beta2_half_life=0.0), "half_life=0.0"),
    (lambda: TokenHalfLife(torch.optim.AdamW(weight()), beta2_half_life=math.nan), "half_life=nan"),
    (lambda: TokenHalfLife(torch.optim.AdamW(weight()), beta2_cap=0.9), "limits apply"),
    (lambda: TokenHalfLife(torch.optim.AdamW(weight()), existing_state="yes"), "existing_state='yes'"),
    (
        lambda: TokenHalfLife(
            torch.optim.AdamW(
                weight(), betas=(torch.tensor(0.9), torch.tensor(0.99)), foreach=False, capturable=True
            )
        ),
        "betas held in tensors",
    ),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_arguments(make, message):
    with pytest.raises(InputError) as caught:
        make()
    assert message in str(caught.value)


def test_bad_steps():
    weights, optimizer, half_life = small()
    for tokens in (0, -1, 2.0, True):
        with pytest.raises(InputError, match="a positive integer of tokens"):
            half_life.step(tokens=tokens)
    weights[0].grad = torch.ones_like(weights[0])
    with pytest.raises(InputError, match=r"optimizer\.step\(\) outside TokenHalfLife"):
        optimizer.step()
    with pytest.raises(ZeroDivisionError), half_life.apply(tokens=3):
        raise ZeroDivisionError
    assert half_life.steps == 0 and optimizer.param_groups[0]["betas"] == (0.9, 0.999)
    optimizer.add_param_group({"params": weight()})
    with pytest.raises(InputError, match="Add every group first"):
        half_life.step(tokens=3)


def test_capturable_refuses_betas_that_float32_rounds_to_one():
    """Its arithmetic raises float32(beta) to the step; the refusal comes before any kernel runs."""
    parameter = weight()
    optimizer = torch.optim.AdamW(parameter, capturable=True)
    half_life = TokenHalfLife(optimizer, beta2_half_life=1e12)
    half_life._histories[0][0].weight1 = half_life._histories[0][0].weight2 = 1.0
    parameter[0].grad = torch.ones(1)
    with pytest.raises(InputError, match="capturable=False"):
        half_life.step(tokens=1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="capturable and fused CUDA kernels need a GPU")
@pytest.mark.parametrize("implementation", [{"capturable": True, "foreach": f} for f in (False, True)])
def test_capturable_on_a_gpu(stream, truth, implementation):
    weight = torch.nn.Parameter(torch.ones(4, dtype=torch.float64, device="cuda"))
    optimizer = torch.optim.AdamW([weight], lr=LR, weight_decay=DECAY, eps=EPS, **implementation)
    half_life = TokenHalfLife(optimizer, beta1_half_life=300.0, beta2_half_life=HALF_LIFE)
    before, seen = weight.detach().clone(), []
    for g, tokens in zip(*stream):
        weight.grad = torch.tensor(g, device="cuda")
        half_life.step(tokens=tokens)
        seen.append((weight.detach() - before).cpu().numpy())
        before = weight.detach().clone()
    assert relative_error(np.array(seen), truth[300.0, True]) <= EXACT


@pytest.mark.parametrize(
    ("limit", "tokens", "expected"),
    [
        ({"beta2_cap": 0.999}, 1, 0.999),
        ({"beta2_cap": 0.999}, 100_000, None),
        ({"beta2_floor": 0.5}, 100_000, 0.5),
        ({"beta2_floor": 0.5}, 1, None),
    ],
)
def test_a_limit_is_used_where_it_binds_and_only_there(limit, tokens, expected):
    parameter = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    optimizer = torch.optim.AdamW([parameter], betas=(0.0, 0.9), lr=0.0, weight_decay=0.0)
    half_life = TokenHalfLife(optimizer, beta2_half_life=HALF_LIFE, **limit)
    parameter.grad = torch.ones_like(parameter)
    half_life.step(tokens=tokens)
    beta2 = expected or beta_from_half_life(half_life=HALF_LIFE, tokens_per_step=tokens)
    assert half_life.last.beta2 == pytest.approx(beta2, rel=1e-15)
