"""The decoder: published parameter counts exactly, causality, the families' parts, initialization."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from bstheory.errors import InputError
from bstheory.models.configs import CONFIGS, Init, config_from_json, model_config
from bstheory.models.gpt import GPT, MLP, Attention, rotary_tables, rotate

TINY = ("tiny", "tiny_small_batch", "tiny_llama")


def build(name: str, seed: int = 0) -> GPT:
    return GPT(model_config(name), generator=torch.Generator().manual_seed(seed))


def tokens(batch: int, length: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, 256, (batch, length), generator=torch.Generator().manual_seed(seed))


# All parameters, and those outside embeddings and head. GPT-2: 124,439,808 is the released model; the
# small-batch rows are the paper's table (arXiv:2507.07101 section 3: non-embedding, total); TinyLlama and
# OpenLlama are the public checkpoints.
COUNTS = {
    "gpt2_124m_unpadded": (124_439_808, None),
    "gpt2_124m": (124_439_808 + 47 * 768, None),
    "small_batch_30m": (49_214_208, 10_616_832),
    "small_batch_19m": (51_745_792, 18_874_368),
    "small_batch_gpt2": (162_129_408, 84_934_656),
    "small_batch_gpt3_1b": (1_413_812_224, 1_207_959_552),
    "tiny_llama_1b": (1_100_048_384, None),
    "open_llama_3b": (3_426_473_600, None),
}


@pytest.mark.parametrize("name", COUNTS)
def test_published_parameter_counts(name: str) -> None:
    with torch.device("meta"):
        model = GPT(model_config(name))
    total, inner = COUNTS[name]
    assert model.parameter_count() == total
    if inner is not None:
        assert model.parameter_count(embeddings=False) == inner


def test_micro_llama_has_the_papers_304_6_million() -> None:
    with torch.device("meta"):
        count = GPT(model_config("micro_llama_300m")).parameter_count()
    assert round(count / 1e6, 1) == 304.6


@pytest.mark.parametrize("name", CONFIGS)
def test_every_configuration_is_consistent_and_survives_json(name: str) -> None:
    config = model_config(name)
    assert config.name == name
    assert config_from_json(config.to_json()) == config


@pytest.mark.parametrize("name", TINY)
def test_later_tokens_do_not_change_earlier_logits(name: str) -> None:
    model = build(name)
    one = tokens(2, 32)
    other = one.clone()
    other[:, 20:] = (other[:, 20:] + 7) % 256
    with torch.no_grad():
        a, b = model(one), model(other)
    assert torch.equal(a[:, :20], b[:, :20])
    assert not torch.equal(a[:, 20:], b[:, 20:])


@pytest.mark.parametrize("name", TINY)
def test_loss_is_the_mean_negative_log_probability_of_the_targets(name: str) -> None:
    model = build(name)
    x, y = tokens(3, 17), tokens(3, 17, seed=2)
    y[0, 3] = -100
    with torch.no_grad():
        logits, loss = model(x), model(x, y)
        kept = y != -100
        expected = -F.log_softmax(logits.double(), -1)[kept].gather(1, y[kept][:, None]).mean()
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("name", TINY)
def test_every_parameter_receives_a_gradient(name: str) -> None:
    model = build(name)
    x = tokens(4, 32)
    model(x[:, :-1], x[:, 1:]).backward()
    for label, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, label


def test_scores_under_rotation_depend_on_the_distance_only() -> None:
    config = model_config("tiny_llama")
    cos, sin = rotary_tables(config)
    q, k = torch.randn(2, config.head_size, generator=torch.Generator().manual_seed(0))
    turned_q = rotate(q.expand(1, 1, config.context, -1), cos, sin)[0, 0]
    turned_k = rotate(k.expand(1, 1, config.context, -1), cos, sin)[0, 0]
    scores = turned_q @ turned_k.T
    for distance in (0, 3, 11):
        diagonal = scores.diagonal(-distance)
        assert torch.allclose(diagonal, diagonal[0].expand_as(diagonal), atol=1e-5)
    assert not torch.allclose(scores[0, 0], scores[5, 0], atol=1e-3)


def test_grouped_heads_equal_repeated_key_value_heads() -> None:
    """With the key/value rows of each group repeated, full attention computes the same function."""
    grouped = build("tiny_llama")
    c = grouped.config
    full = GPT(dataclasses.replace(c, kv_heads=c.heads), generator=torch.Generator().manual_seed(0))
    state = grouped.state_dict()
    for layer in range(c.layers):
        key = f"blocks.{layer}.attention.qkv.weight"
        q, k, v = state[key].split([n * c.head_size for n in (c.heads, c.kv_heads, c.kv_heads)])
        repeat = [
            w.view(c.kv_heads, c.head_size, -1).repeat_interleave(c.heads // c.kv_heads, 0).flatten(0, 1)
            for w in (k, v)
        ]
        state[key] = torch.cat([q, *repeat])
    full.load_state_dict(state)
    x = tokens(2, 24)
    with torch.no_grad():
        assert torch.allclose(grouped(x), full(x), atol=1e-5)


def test_initial_scale_follows_the_family() -> None:
    small = build("tiny_small_batch")
    c = small.config
    attention, mlp = small.blocks[0].attention, small.blocks[0].mlp
    qkv, out, up = (w.weight.detach() for w in (attention.qkv, attention.out, mlp.up))
    for weight, variance in (
        (qkv, 2 / (3 * c.heads * (c.width + c.head_size))),
        (out, 2 / (c.heads * (c.width + c.head_size))),
        (up, 2 / (c.width + c.ffn)),
    ):
        # The variance of a uniform sample of n has relative standard deviation sqrt(0.8 / n): 6 of them.
        assert float(weight.var()) == pytest.approx(variance, rel=6 * math.sqrt(0.8 / weight.numel()))
        assert float(weight.abs().max()) <= math.sqrt(3 * variance)
    gpt2 = build("tiny")
    mlp = gpt2.blocks[0].mlp
    ratio = float(mlp.up.weight.detach().std() / mlp.down.weight.detach().std())
    assert ratio == pytest.approx(math.sqrt(2 * gpt2.config.layers), rel=0.05)
    assert gpt2.config.init is Init.GPT2 and gpt2.head.weight is gpt2.embedding.weight


def test_weights_depend_on_the_generator_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, second, third = build("tiny"), build("tiny"), build("tiny", seed=1)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.embedding.weight, third.embedding.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": 0}, "layers=0"),
        ({"width": 2.5}, "width=2.5"),
        ({"vocab_size": True}, "vocab_size=True"),
        ({"kv_heads": 3}, "multiple of kv_heads"),
        ({"head_size": 15}, "must be even"),
    ],
)
def test_bad_sizes_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(model_config("tiny_llama"), **change)


def test_unknown_names_and_documents_are_refused() -> None:
    with pytest.raises(InputError, match="Did you mean 'gpt2_124m'"):
        model_config("gpt2-124m")
    document = model_config("tiny").to_json()
    with pytest.raises(InputError, match="norm is one of"):
        config_from_json({**document, "norm": "BATCH"})
    with pytest.raises(InputError, match="fields"):
        config_from_json({**document, "dropout": 0.1})


@pytest.mark.parametrize(
    "change",
    [
        {"norm": "LAYER"},
        {"init": "GPT2"},
        {"tied": 1},
        {"bias": None},
        {"norm_eps": 0.0},
        {"rope_base": math.nan},
    ],
)
def test_a_part_of_the_wrong_type_is_refused(change: dict[str, object]) -> None:
    """A norm given as a word would fall through to RMSNorm."""
    (name,) = change
    with pytest.raises(InputError, match=f"{name}="):
        dataclasses.replace(model_config("tiny"), **change)


def test_the_gate_is_the_first_half_of_the_stacked_map() -> None:
    mlp = MLP(model_config("tiny_llama"))
    torch.manual_seed(0)
    for weight in mlp.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    x = torch.randn(3, 64)
    gate, value = x @ mlp.up.weight[:176].T, x @ mlp.up.weight[176:].T
    expected = (gate * torch.sigmoid(gate) * value) @ mlp.down.weight.T
    assert torch.allclose(mlp(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layers", [2, 8])
def test_residual_maps_of_llama_begin_small(layers: int) -> None:
    """N(0, 1 / (layers sqrt(width))): arXiv:2412.21124's initialization."""
    config = dataclasses.replace(model_config("tiny_llama"), layers=layers)
    model = GPT(config, generator=torch.Generator().manual_seed(0))
    for block in model.blocks:
        for linear in (block.attention.out, block.mlp.down):
            assert float(linear.weight.detach().std()) == pytest.approx(1 / (layers * 8), rel=0.05)


def test_gelu_is_the_tanh_form_that_gpt2_was_trained_with() -> None:
    mlp = MLP(model_config("tiny"))
    with torch.no_grad():
        for parameter in mlp.parameters():
            parameter.zero_()
        mlp.up.weight[0, 0] = mlp.down.weight[0, 0] = 1.0
    x = torch.zeros(5, 64)
    x[:, 0] = torch.tensor([-3.0, -1.0, 0.5, 1.0, 2.5])
    z = x[:, 0].double()
    expected = 0.5 * z * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))
    # The two forms differ by up to 4e-4.
    assert torch.allclose(mlp(x)[:, 0].double(), expected, rtol=1e-5, atol=1e-6)


def test_norms_of_small_batch_models_have_the_published_eps() -> None:
    """1e-6, in the norms and for queries and keys: visible only where activations are small."""
    config = model_config("tiny_small_batch")
    assert config.norm_eps == 1e-6 and model_config("tiny").norm_eps == 1e-5
    assert GPT(config).norm.eps == 1e-6
    attention = Attention(config)
    torch.manual_seed(0)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=1e-4)
    x = torch.randn(1, 6, config.width)
    heads = (x @ attention.qkv.weight.T).view(1, 6, 3, config.heads, config.head_size).transpose(1, 3)
    q, k, v = heads.unbind(dim=2)

    def normed(t: torch.Tensor) -> torch.Tensor:
        return t / (t.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt()

    scores = normed(q) @ normed(k).transpose(-1, -2) / math.sqrt(config.head_size)
    scores = scores.masked_fill(torch.ones(6, 6).triu(1).bool(), -math.inf)
    mixed = (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(1, 6, -1)
    expected = mixed @ attention.out.weight.T
    assert torch.allclose(attention(x, None), expected, rtol=1e-4, atol=1e-12)
