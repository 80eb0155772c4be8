"""Fine-tuning: our checkpoints, a local Hugging Face model built here, LoRA; memory beside memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bstheory.errors import InputError
from bstheory.models.configs import model_config
from bstheory.models.gpt import GPT
from bstheory.run import Run
from bstheory.training.finetune import add_lora, load_pretrained, method_memory
from bstheory.training.finetune_command import finetune
from bstheory.training.parallel import World

from .conftest import build, small_config


@pytest.fixture(scope="module")
def text(shards: Path) -> Path:
    return shards / "topics.txt"


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer Llama with a byte tokenizer, saved in the Hugging Face format; no network."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("hf")
    config = transformers.LlamaConfig(
        vocab_size=257,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32,
        eos_token_id=256,
        bos_token_id=256,
    )
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    vocabulary = {c: i for i, c in enumerate(sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()))}
    core = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary | {"<end>": 256}, merges=[]))
    core.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    transformers.PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>").save_pretrained(folder)
    return folder


@pytest.mark.filterwarnings("ignore")  # those of transformers and peft are not ours to fix
@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adafactor", "learning_rate": 0.02},
        {"optimizer": "sgd", "learning_rate": 0.3},
        {"optimizer": "adamw", "learning_rate": 0.003, "batch_size": "4", "precision": "float32"},
        {"method": "lora", "learning_rate": 0.02, "lora_rank": 4},
    ],
    ids=lambda o: o.get("method", o.get("optimizer")),
)
def test_each_method_lowers_the_loss_of_a_hugging_face_model(
    options: dict[str, Any], hugging_face: Path, text: Path, tmp_path: Path
) -> None:
    if options.get("method") == "lora":
        pytest.importorskip("peft")
    out = tmp_path / "out.json"
    code = finetune(
        str(hugging_face),
        str(text),
        out=str(tmp_path / "run"),
        tokens="12k",
        device="cpu",
        json=str(out),
        **options,
    )
    document = json.loads(out.read_text())
    assert code == 0 and document["final_validation_loss"] < document["validation_loss_before"] - 0.05
    assert {m["method"] for m in document["memory"]} >= {
        "adam_float32",
        "adafactor_small_batch",
        "lora_16",
    } - {"lora_16" if "lora_rank" in options else ""}
    assert Run.load(tmp_path / "run").summary["finished"]


def test_our_own_checkpoints_are_continued(
    shards: Path, text: Path, here: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parent = build(small_config(), shards, here, folder=tmp_path / "parent")
    loss = parent.run().summary["final_validation_loss"]
    assert (
        finetune(str(tmp_path / "parent"), str(text), out=str(tmp_path / "child"), tokens="8k", device="cpu")
        == 0
    )
    printed = capsys.readouterr().out
    before, after = (float(x) for x in printed.split("validation loss ")[1].split(";")[0].split(" -> "))
    assert after < before < loss + 0.5 and "adafactor_small_batch" in printed


def test_lora_leaves_the_base_alone(shards: Path, here: World, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    build(small_config(), shards, here, folder=tmp_path / "parent").run()
    adapted = add_lora(load_pretrained(tmp_path / "parent"), rank=2)
    trainable = [n for n, p in adapted.model.named_parameters() if p.requires_grad]
    assert trainable and all("lora_" in name for name in trainable)
    with pytest.raises(InputError, match="rank=0"):
        add_lora(load_pretrained(tmp_path / "parent"), rank=0)


def test_memory_multiples_of_the_methods() -> None:
    """Float32 Adam keeps 16 bytes a parameter; Adafactor at small batch about 2, like LoRA (claim C9)."""
    with torch.device("meta"):
        model = GPT(model_config("gpt2_124m"))
    count = sum(p.numel() for p in model.parameters())
    table = {m.method: m for m in method_memory(model)}
    assert table["adam_float32"].total == 16 * count
    largest = 50_304 * 768
    assert table["sgd_small_batch"].total == 2 * count + 2 * largest
    ratio = table["adafactor_small_batch"].total / table["lora_16"].total
    assert 0.8 < ratio < 1.25
    assert table["adam_float32"].total > 5 * table["adafactor_small_batch"].total


def test_what_is_no_model_is_refused(tmp_path: Path, text: Path) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="neither a checkpoint nor a Hugging Face model"):
        load_pretrained(tmp_path / "empty")


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"bstheory\[hf\]"):
        load_pretrained(tmp_path)
