"""Gradient statistics on one process: accuracy of the norms, agreement with the definition, misuse."""

from __future__ import annotations

import pytest
import torch

from bstheory.errors import InputError
from bstheory.schedules.rules import FORMULAS, Rule
from bstheory.training import GradientStatistics
from bstheory.training.fsdp_adapter import unsupported
from bstheory.training.gradient_statistics import square_sum

# A row of 4096 squares is summed in at least 8 lanes: 512 additions of up to 2^-24, mostly cancelling.
ROWS = 4e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("size", [1, 4095, 4096, 1_000_003])
def test_square_sum(dtype, size):
    x = torch.randn(size, generator=torch.Generator().manual_seed(0)).to(dtype)
    exact = float(x.double() @ x.double())
    found = square_sum(x)
    assert found.dtype == torch.float64 and float(found) == pytest.approx(exact, rel=ROWS)


def test_one_long_float32_sum_would_not_be_good_enough():
    """Why rows: a float32 running sum over millions of squares loses the digits that the spread needs."""
    x = torch.full((2**25,), 1.1)
    exact = float(torch.tensor(1.1).double() ** 2) * 2**25
    assert float(square_sum(x)) == pytest.approx(exact, rel=ROWS)
    assert abs(float(torch.linalg.vector_norm(x)) ** 2 / exact - 1) > 2 * ROWS


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = torch.nn.Linear(5, 9), torch.nn.Linear(9, 3)
        self.sometimes = torch.nn.Parameter(torch.ones(3))
        self.frozen = torch.nn.Parameter(torch.ones(3), requires_grad=False)

    def forward(self, x, use=True):
        y = self.second(torch.tanh(self.first(x))) + self.frozen
        return (y * (self.sometimes if use else 1.0)).square().mean()


def test_micro_batch_groups_equal_the_definition():
    net, groups = Net(), 4
    data = torch.randn(groups, 6, 5, generator=torch.Generator().manual_seed(1))
    statistics = GradientStatistics(net)
    for _ in range(2):  # nothing is left over from the step before
        net.zero_grad()
        statistics.start(batch_size=24, accumulation=groups)
        for index in range(groups):
            with statistics.synchronize(index == groups - 1):
                (net(data[index], use=index != 0) / groups).backward()
        seen = statistics.finish(loss=2.5, learning_rate=0.1)
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1e-3)
    each = []
    for index in range(groups):
        net.zero_grad()
        net(data[index], use=index != 0).backward()
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in net.parameters()]
        each.append(torch.cat([g.flatten() for g in grads]).double())
    each = torch.stack(each)
    mean = each.mean(dim=0)
    assert (seen.groups, seen.batch_size, seen.loss, seen.learning_rate) == (4, 24, 2.5, 0.1)
    assert seen.norm_sq == pytest.approx(float(mean @ mean), rel=1e-6)
    assert seen.spread == pytest.approx(float(((each - mean) ** 2).sum()) / groups, rel=1e-5)


def test_kept_groups_serve_every_rule():
    net, groups = Net(), 4
    adam = torch.optim.AdamW(net.parameters())
    data = torch.randn(groups, 6, 5, generator=torch.Generator().manual_seed(1))
    seen = {}
    for keep in (False, True):
        statistics = GradientStatistics(net, keep_groups=keep)
        for _ in range(2):
            net.zero_grad()
            statistics.start(batch_size=24, accumulation=groups)
            for index in range(groups):
                with statistics.synchronize(index == groups - 1):
                    (net(data[index], use=index != 0) / groups).backward()
            seen[keep] = statistics.finish(loss=2.5, learning_rate=0.1)
    assert seen[True].norm_sq == pytest.approx(seen[False].norm_sq, rel=1e-6)
    assert seen[True].spread == pytest.approx(seen[False].spread, rel=1e-5)
    with pytest.raises(InputError, match="without second moments"):
        statistics.start(batch_size=24, accumulation=1)
        with statistics.synchronize(True):
            net(data[0]).backward()
        statistics.finish(optimizer=adam)
    adam.step()
    net.zero_grad()
    statistics.start(batch_size=24, accumulation=2)
    for index in range(2):
        with statistics.synchronize(index == 1):
            (net(data[index]) / 2).backward()
    found = statistics.finish(loss=1.0, learning_rate=0.1, optimizer=adam)
    for name in FORMULAS:
        extra = {"throughput": ((8, 1.0),), "reference_batch_size": 8} if name == "pollux" else {}
        rule = Rule(name=name, initial=24, maximum=10**9, **extra)
        assert rule.update(rule.init(), found)["proposal"] > 0
    statistics.start(batch_size=24, accumulation=1)
    net(data[0]).backward()
    with pytest.raises(InputError, match="every backward is inside"):
        statistics.finish()


def test_kept_groups_know_the_shapes_of_the_weights():
    """The nuclear norm is that of each matrix, and a vector's is its length."""
    net = torch.nn.Linear(5, 3)
    data = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(1))
    statistics = GradientStatistics(net, keep_groups=True)
    statistics.start(batch_size=12, accumulation=2)
    for index in range(2):
        with statistics.synchronize(index == 1):
            (net(data[index]).square().mean() / 2).backward()
    found = statistics.finish()
    nuclear = torch.linalg.svdvals(net.weight.grad.double()).sum() + net.bias.grad.double().norm()
    assert found.spectral_signal == pytest.approx(float(nuclear), rel=1e-5)
    assert float(net.weight.grad.norm()) < 0.95 * float(torch.linalg.svdvals(net.weight.grad).sum())


def test_misuse():
    with pytest.raises(InputError, match="requires a gradient"):
        GradientStatistics(torch.nn.Linear(2, 2).requires_grad_(False))
    net = Net()
    statistics = GradientStatistics(net)
    with pytest.raises(InputError, match="without start"):
        statistics.finish()
    with pytest.raises(InputError, match="batch_size=None"):
        statistics.start()
    statistics.start(batch_size=4, accumulation=2)
    net(torch.ones(4, 5)).backward()
    with pytest.raises(InputError, match=r"seen \[1\] times in a step of 2"):
        statistics.finish()
    statistics.start(batch_size=4, accumulation=2)
    with pytest.raises(InputError, match=r"seen \[0\] times"):
        statistics.finish()
    statistics.start(batch_size=4, accumulation=1)
    (net(torch.ones(4, 5)) * float("nan")).backward()
    with pytest.raises(InputError, match="every statistic is finite"):
        statistics.finish()
    for mode in ("ddp", "fsdp2", "magic"):
        with pytest.raises(InputError, match="mode="):
            GradientStatistics(net, mode=mode)
    with pytest.raises(InputError, match="a reduce hook goes with ddp"):
        GradientStatistics(net, reduce_hook=lambda state, bucket: None)


def test_this_torch_has_the_custom_reduce_scatter():
    assert unsupported() == ""


def test_a_torch_without_it_says_so(monkeypatch):
    from torch.distributed.fsdp import FSDPModule

    monkeypatch.delattr(FSDPModule, "set_custom_reduce_scatter")
    assert "set_custom_reduce_scatter" in unsupported()
