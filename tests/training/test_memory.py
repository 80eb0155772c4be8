"""The memory model against hand-derived formulas and against the tensors that training really keeps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from bstheory.errors import InputError
from bstheory.models.configs import model_config
from bstheory.models.gpt import GPT
from bstheory.schedules.rules import ddp_norm
from bstheory.training.config import batch_size_schedule
from bstheory.training.memory import (
    activation_bytes,
    available_bytes,
    check_fits,
    estimate_memory,
    largest_micro_batch,
    state_bytes,
    workspace_bytes,
)
from bstheory.training.optimizers import OptimizerConfig, build_optimizer
from bstheory.training.parallel import World

from .conftest import LENGTH, build, small_config
from .live_bytes import training_peak


def test_activations_of_gpt2_are_the_hand_derived_ones() -> None:
    """Kept per token and layer of a GPT-2 block in one precision of c bytes, with F = 4 D:

    two residual inputs of the norms (2 D), the norms' outputs (2 D), q, k, v (3 D), attention output (D), MLP
    before and after GELU (8 D): 16 D c; the log-sum-exp of H heads and the norms' mean and deviation: 4 (H +
    4).
    Outside: the last norm's input and output, 2 D c + 8.
    """
    config = model_config("gpt2_124m")
    d, h = config.width, config.heads
    tokens = 8 * 1024
    expected = tokens * (12 * (16 * d * 4 + 4 * (h + 4)) + 2 * d * 4 + 8)
    found = activation_bytes(config, micro_batch_size=8, seq_len=1024, precision="float32")
    assert found == expected


def test_activations_are_linear_in_tokens_and_halve_in_bfloat16() -> None:
    config = model_config("tiny")
    one = activation_bytes(config, micro_batch_size=1, seq_len=32, precision="float32")
    assert activation_bytes(config, micro_batch_size=4, seq_len=64, precision="float32") == 8 * one
    half = activation_bytes(config, micro_batch_size=1, seq_len=32, precision="bfloat16")
    assert 0.49 * one < half < 0.52 * one


CASES = {
    "adamw": OptimizerConfig(),
    "sgd": OptimizerConfig(name="sgd", beta1=0.0),
    "signum": OptimizerConfig(name="signum", beta1=0.9),
    "adafactor": OptimizerConfig(name="adafactor"),
    "muon": OptimizerConfig(name="muon"),
}


@pytest.mark.parametrize("name", CASES)
def test_optimizer_state_is_exactly_what_the_optimizer_keeps(name: str) -> None:
    config = model_config("tiny_small_batch")
    model = GPT(config, generator=torch.Generator().manual_seed(0))
    optimizer = build_optimizer(model, CASES[name])
    optimizer.set_learning_rate(1e-3)
    x = torch.zeros(1, 8, dtype=torch.int64)
    with optimizer.one_step(8):
        model(x, x).backward()
    kept = sum(
        t.numel() * t.element_size()
        for part in optimizer.parts.values()
        for state in part.state.values()
        for key, t in state.items()
        if isinstance(t, torch.Tensor) and key not in ("step", "weights")  # counters, a few bytes each
    )
    assert state_bytes(config, CASES[name]) == kept


SMALL = {
    "gpt2": {"name": "gpt2_124m", "heads": 2, "kv_heads": 2, "head_size": 64},
    "small_batch": {"name": "small_batch_gpt2", "heads": 2, "kv_heads": 2, "head_size": 64},
    "llama": {"name": "micro_llama_300m", "heads": 4, "kv_heads": 2, "head_size": 32},
}
STEPS = {
    "adamw_float32": (OptimizerConfig(), "float32"),
    "adamw_autocast": (OptimizerConfig(), "bfloat16_autocast"),
    "muon_autocast": (OptimizerConfig(name="muon"), "bfloat16_autocast"),
    "adafactor_float32": (OptimizerConfig(name="adafactor"), "float32"),
    "sgd_momentum_decay_bfloat16": (OptimizerConfig(name="sgd", weight_decay=0.1), "bfloat16"),
    "adamw_in_backward_bfloat16": (OptimizerConfig(in_backward=True), "bfloat16"),
    "adafactor_in_backward_bfloat16": (OptimizerConfig(name="adafactor", in_backward=True), "bfloat16"),
    "sgd_in_backward_bfloat16": (OptimizerConfig(name="sgd", beta1=0.0, in_backward=True), "bfloat16"),
    "signum_in_backward_float32": (OptimizerConfig(name="signum", in_backward=True), "float32"),
}


@pytest.mark.parametrize("micro_batch_size", [1, 4])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("family", SMALL)
def test_the_estimated_peak_is_the_counted_one(family: str, step: str, micro_batch_size: int) -> None:
    """At one sequence the peak is often in the update, at four in the loss: both are counted, not modelled.

    Within 2 % (asked for: 5 %); what is not in the estimate is small vectors, masks and the tokens.
    """
    sizes = {"layers": 2, "width": 128, "ffn": 512, "vocab_size": 1024, "context": 128}
    config = dataclasses.replace(model_config(SMALL[family]["name"]), **(SMALL[family] | sizes))
    optimizer, precision = STEPS[step]
    options = {"optimizer": optimizer, "precision": precision, "micro_batch_size": micro_batch_size}
    estimate = estimate_memory(config, device="cpu", **options).peak
    assert training_peak(config, **options) == pytest.approx(estimate, rel=0.02)


def test_on_a_gpu_fused_norms_keep_less_and_the_library_holds_its_workspace() -> None:
    llama = model_config("micro_llama_300m")
    options = {"micro_batch_size": 1, "seq_len": 128, "precision": "float32"}
    saved = activation_bytes(llama, device="cpu", **options) - activation_bytes(llama, **options)
    # The composite norm keeps its normalized output before the weight, float32 [T, D], in 2 L + 1 norms.
    assert saved == (2 * llama.layers + 1) * 128 * llama.width * 4
    gpt2 = model_config("gpt2_124m")
    assert activation_bytes(gpt2, device="cpu", **options) == activation_bytes(gpt2, **options)
    bare = estimate_memory(gpt2, optimizer=OptimizerConfig(), micro_batch_size=1)
    held = estimate_memory(gpt2, optimizer=OptimizerConfig(), micro_batch_size=1, workspace=32 * 2**20)
    assert held.peak - bare.peak == held.accumulation_peak - bare.accumulation_peak == 32 * 2**20
    assert workspace_bytes(torch.device("cpu")) == 0
    with pytest.raises(InputError, match="device='tpu'"):
        estimate_memory(gpt2, optimizer=OptimizerConfig(), micro_batch_size=1, device="tpu")


def test_weights_and_gradients() -> None:
    config = model_config("small_batch_30m")
    estimate = estimate_memory(config, optimizer=OptimizerConfig(), micro_batch_size=1)
    assert estimate.weights == estimate.gradients == 4 * 49_214_208
    assert estimate.state == 8 * 49_214_208
    assert estimate.logits == 12 * 512 * 50_257
    in_backward = estimate_memory(
        config,
        optimizer=OptimizerConfig(name="sgd", beta1=0.0, in_backward=True),
        precision="bfloat16",
        micro_batch_size=1,
    )
    assert in_backward.gradients == 2 * 19_298_688 and in_backward.state == 0
    assert estimate_memory(config, optimizer=OptimizerConfig(), micro_batch_size=1, shards=4).state == (
        2 * 49_214_208
    )


def test_a_batch_that_cannot_fit_is_refused_with_the_largest_that_does() -> None:
    config = model_config("gpt2_124m")
    options = {"optimizer": OptimizerConfig(), "precision": "bfloat16_autocast"}
    available = 24 * 2**30
    fits = largest_micro_batch(config, available=available, **options)
    assert fits >= 1
    for size, inside in ((fits, True), (fits + 1, False)):
        peak = estimate_memory(config, micro_batch_size=size, **options).accumulation_peak
        assert (peak <= available) is inside
    with pytest.raises(InputError, match=f"use --micro-batch-size {fits}|Use --micro-batch-size {fits}"):
        check_fits(config, micro_batch_size=64, available=available, **options)
    check_fits(config, micro_batch_size=fits, available=available, **options)
    with pytest.raises(InputError, match="adafactor"):
        check_fits(config, micro_batch_size=64, available=2**30, **options)
    with pytest.raises(InputError, match="precision='fp8'"):
        estimate_memory(config, optimizer=OptimizerConfig(), precision="fp8", micro_batch_size=1)


def test_the_trainer_refuses_before_the_first_step_what_the_machine_cannot_hold(
    shards: Path, here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert available_bytes(here.device) > 2**28
    monkeypatch.setattr("bstheory.training.memory.available_bytes", lambda device: 2 * 2**20)
    with pytest.raises(
        InputError, match=r"micro-batch of 64 sequences .*Use --micro-batch-size \d+"
    ) as caught:
        build(small_config(batch_size=batch_size_schedule(64), max_micro_batch_size=None), shards, here)
    fits = int(str(caught.value).rsplit(" ", 1)[1].rstrip("."))
    assert 64 % fits == 0
    build(small_config(batch_size=batch_size_schedule(64), max_micro_batch_size=fits), shards, here)
    ramp = batch_size_schedule(f"0:4 {32 * 4 * LENGTH}:64")  # what comes later counts as well
    tokens = 32 * 4 * LENGTH + 4 * 64 * LENGTH
    with pytest.raises(InputError, match="micro-batch of 64 sequences"):
        build(small_config(batch_size=ramp, tokens=tokens, max_micro_batch_size=None), shards, here)


def test_a_rule_is_refused_for_the_largest_micro_batch_that_it_may_reach(
    shards: Path, here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = ddp_norm(eta=1.0, scaling="unbiased", initial=66, maximum=128, multiple=2)  # 33 a pass, then 64
    config = small_config(batch_size=rule, statistics=True, max_micro_batch_size=64, last_batch="partial")
    peaks = [
        estimate_memory(
            config.model, optimizer=config.optimizer, micro_batch_size=size, seq_len=LENGTH
        ).accumulation_peak
        for size in (33, 64)
    ]
    for available, fits in ((peaks[0], False), (peaks[1], True)):
        monkeypatch.setattr("bstheory.training.memory.available_bytes", lambda device, a=available: a)
        if fits:
            build(config, shards, here)
        else:
            with pytest.raises(InputError, match="micro-batch of 64 sequences"):
                build(config, shards, here)


def test_gradients_of_earlier_micro_batches_count() -> None:
    config, options = model_config("tiny"), {"optimizer": OptimizerConfig(), "precision": "float32"}
    estimate = estimate_memory(config, micro_batch_size=4, **options)
    between = (estimate.peak + estimate.accumulation_peak) // 2
    assert estimate.peak < between < estimate.accumulation_peak
    check_fits(config, micro_batch_size=4, available=between, batch_sizes=(4,), **options)
    with pytest.raises(InputError, match=r"micro-batch of 4 sequences .*use adafactor|Use --micro-batch"):
        check_fits(config, micro_batch_size=4, available=between, batch_sizes=(4, 8), **options)


@pytest.mark.parametrize(("name", "left_out"), [("tiny_small_batch", "embedding"), ("tiny", "positions")])
def test_autocast_copies_the_matrices_that_are_multiplied(name: str, left_out: str) -> None:
    """A lookup table is read, not multiplied; a tied embedding is also the output matrix."""
    config = model_config(name)
    weights = dict(GPT(config, generator=torch.Generator().manual_seed(0)).named_parameters())
    numel = sum(p.numel() for p in weights.values())
    copied = sum(p.numel() for n, p in weights.items() if p.dim() == 2 and left_out not in n)
    options = {"optimizer": OptimizerConfig(), "micro_batch_size": 1}
    found = estimate_memory(config, precision="bfloat16_autocast", **options)
    assert found.weights == 4 * numel and found.copies == 2 * copied
