"""Fine-tuning: our checkpoints, a local Hugging Face model built here, LoRA; memory beside memory."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bstheory.errors import InputError
from bstheory.models.configs import model_config
from bstheory.models.gpt import GPT
from bstheory.problems.corpus import load_corpus
from bstheory.run import Run
from bstheory.training.checkpoints import list_checkpoints
from bstheory.training.examples import completion_loss, open_examples, read_examples
from bstheory.training.finetune import CausalLM, Pretrained, add_lora, load_pretrained, method_memory
from bstheory.training.finetune_command import finetune
from bstheory.training.known_warnings import without_known_warnings
from bstheory.training.parallel import World
from bstheory.training.prepare import tokenizer
from bstheory.training.trainer import Trainer

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
    options: dict[str, Any],
    hugging_face: Path,
    text: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
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
    said = "adapters with AdamW, after the backward pass and not inside it" in capsys.readouterr().out
    assert said is (options.get("method") == "lora")
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
    scaled = add_lora(load_pretrained(tmp_path / "parent"), rank=2, alpha=6.0)
    scales = {m.scaling["default"] for m in scaled.model.modules() if hasattr(m, "scaling")}
    assert scales == {3.0}  # alpha / rank
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


def examples_file(path: Path, count: int = 400) -> Path:
    """Prompts of random letters, completions that repeat the last letter of the prompt three times."""
    rng = np.random.default_rng(0)
    lines = []
    for _ in range(count):
        prompt = "".join(chr(97 + int(c)) for c in rng.integers(0, 26, int(rng.integers(3, 12)))) + "="
        lines.append(json.dumps({"prompt": prompt, "completion": prompt[-2] * 3}))
    path.write_text("\n".join(lines) + "\n")
    return path


def plain_model() -> Pretrained:
    model = GPT(model_config("tiny_study"), generator=torch.Generator().manual_seed(0))
    return Pretrained(
        model=model,
        description=model_config("tiny_study"),
        encode=tokenizer("bytes").encode,
        source="plain",
    )


def test_the_loss_counts_completions_only(tmp_path: Path) -> None:
    """By hand: the sum of -log p over the completion's tokens, end of document included, and nothing else."""
    pretrained = plain_model()
    rows, held_out, facts = open_examples(
        pretrained, examples_file(tmp_path / "e.jsonl"), seq_len=None, seed=0, eval_rows=1000
    )
    assert rows.seq_len == 12 + 1 - 1 + 4  # eleven letters and =, three letters and the end
    assert facts["corpus"]["examples"] == [rows.count, held_out.count]
    reference = plain_model().model
    total, count = 0.0, 0
    with torch.no_grad():
        for row in held_out.read(np.arange(held_out.count)):
            text = bytes(int(t if t >= 0 else ~t) for t in row).decode()
            end = text.index("=") + 1
            given, learned = text[:end], text[end : end + 4]
            assert learned == given[-2] * 3 + "\0"
            ids = torch.tensor([[*(given + learned).encode()]])
            log_p = reference(ids).log_softmax(-1)[0]
            total += -sum(float(log_p[k - 1, ids[0, k]]) for k in range(end, end + 4))
            count += 4
    pretrained.model.eval()
    batch = torch.from_numpy(held_out.read(np.arange(held_out.count)))
    with torch.no_grad():
        found = float(pretrained.model(batch[:, :-1], batch[:, 1:]))
    assert found == pytest.approx(total / count, rel=1e-5)
    # The whole row as text has another loss: the mask is not idle.
    whole = torch.where(batch < 0, ~batch, batch)
    with torch.no_grad():
        assert abs(float(reference(whole[:, :-1], whole[:, 1:])) - found) > 0.01


def test_the_gradient_of_a_batch_does_not_depend_on_its_micro_batches(tmp_path: Path) -> None:
    path = examples_file(tmp_path / "e.jsonl")
    lines = path.read_text().splitlines()
    lines[::2] = [json.dumps({**json.loads(line), "completion": "z"}) for line in lines[::2]]
    path.write_text("\n".join(lines))  # completions of two lengths
    gradients = []
    for cuts in ([8], [1] * 8, [3, 5]):
        pretrained = plain_model()
        rows, *_ = open_examples(pretrained, path, seq_len=16, seed=0, eval_rows=8)
        batch = torch.from_numpy(rows.batch(range(8)))
        for part in batch.split(cuts):
            (pretrained.model(part[:, :-1], part[:, 1:]) * len(part) / 8).backward()
        gradients.append([p.grad.clone() for p in pretrained.model.parameters()])
    for other in gradients[1:]:
        for a, b in zip(gradients[0], other, strict=True):
            assert torch.allclose(a, b, rtol=1e-4, atol=1e-7)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["full", "lora"])
def test_prompts_and_completions_are_learned_and_the_model_can_be_loaded_again(
    method: str, hugging_face: Path, tmp_path: Path
) -> None:
    path, out = examples_file(tmp_path / "e.jsonl"), tmp_path / "out.json"
    options: dict[str, Any] = {"tokens": "10k", "batch_size": "4", "device": "cpu", "in_backward": False}
    options |= {"method": method, "learning_rate": 0.03, "out": str(tmp_path / "run"), "json": str(out)}
    assert finetune(str(hugging_face), str(path), **options) == 0
    document = json.loads(out.read_text())
    # Adapters inside the blocks move little of a model whose embedding is random and frozen.
    margin = 0.5 if method == "full" else 0.05
    assert document["final_validation_loss"] < document["validation_loss_before"] - margin
    again = load_pretrained(tmp_path / "run")
    if method == "full":
        *_, held_out, _ = open_examples(again, path, seq_len=None, seed=0, eval_rows=64)
        batch = torch.from_numpy(held_out.read(held_out.spread(64)))
        with torch.no_grad():
            loss = float(again.model.eval()(batch[:, :-1], batch[:, 1:]))
        assert loss == pytest.approx(document["final_validation_loss"], rel=0.02)
    else:
        assert any("lora_" in name for name, _ in again.model.named_parameters())


@pytest.mark.filterwarnings("ignore")
def test_lora_on_gpt2_whose_linear_maps_are_of_another_class(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("peft")
    config = transformers.GPT2Config(vocab_size=257, n_positions=16, n_embd=32, n_layer=2, n_head=4)
    inner = transformers.GPT2LMHeadModel(config)
    model = CausalLM(inner)
    estimate = {m.method: m for m in method_memory(model, rank=2)}["lora_2"]
    adapted = add_lora(
        Pretrained(model=model, description=model_config("tiny"), encode=np.array, source="here"), rank=2
    ).model
    trained = [p for p in adapted.parameters() if p.requires_grad]
    # Two layers of c_attn (32 to 96), c_proj (32 to 32), c_fc (32 to 128) and c_proj (128 to 32), rank 2.
    assert sum(p.numel() for p in trained) == 2 * 2 * (128 + 64 + 160 + 160) == estimate.gradients // 4
    tokens = torch.randint(257, (2, 9))
    adapted(tokens[:, :-1], tokens[:, 1:]).backward()
    assert all(p.grad is not None for p in trained)


@pytest.mark.parametrize("name", ["runs/mistyped", "a/b/c", "../mistyped", "/nowhere/model"])
def test_a_mistyped_folder_is_not_asked_for_on_the_network(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(InputError, match="no such folder"):
        load_pretrained(name)


def test_lora_on_a_bfloat16_base_keeps_float32_adapters(shards: Path, here: World, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    build(small_config(), shards, here, folder=tmp_path / "parent").run()
    model = add_lora(load_pretrained(tmp_path / "parent"), rank=2, base="bfloat16").model
    dtypes = {("lora_" in n, p.dtype) for n, p in model.named_parameters()}
    assert dtypes == {(True, torch.float32), (False, torch.bfloat16)}
    x = torch.zeros(1, 8, dtype=torch.int64)
    model(x, x).backward()
    assert all(p.grad is not None for n, p in model.named_parameters() if "lora_" in n)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "line 3 of .*a JSON object"),
        ('{"prompt": "a"}', "line 3 of"),
        ('{"prompt": "", "completion": "b"}', "neither empty"),
        ('{"prompt": "a", "completion": 5}', "line 3 of"),
    ],
)
def test_bad_examples_are_named_by_their_line(line: str, message: str, tmp_path: Path) -> None:
    path = examples_file(tmp_path / "e.jsonl")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], line, *lines[2:]]))
    with pytest.raises(InputError, match=message):
        read_examples(path)


def test_examples_that_do_not_fit_are_refused_rather_than_cut(tmp_path: Path) -> None:
    path = examples_file(tmp_path / "e.jsonl")
    with pytest.raises(InputError, match="nothing is cut off silently"):
        open_examples(plain_model(), path, seq_len=8, seed=0, eval_rows=8)
    few = examples_file(tmp_path / "few.jsonl", count=2)
    with pytest.raises(InputError, match="none was left on one side"):
        read_examples(few)
    with pytest.raises(InputError, match="cannot be read"):
        read_examples(tmp_path / "absent.jsonl")


def test_few_long_documents_are_fine_tuned_on_with_validation_files(
    shards: Path, here: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three books, of which the hash holds none out."""
    build(small_config(), shards, here, folder=tmp_path / "parent").run()
    books, other = tmp_path / "books.txt", tmp_path / "other.txt"
    texts = [f"Book {number}. " + "It goes on at length. " * 40 for number in "abc"]
    books.write_text("<|endoftext|>".join(texts))
    other.write_text("Another book. " + "It also goes on. " * 40)
    common: dict[str, Any] = {"tokens": "1k", "device": "cpu"}
    with pytest.raises(InputError, match="Pass --validation FILES"):
        finetune(str(tmp_path / "parent"), str(books), out=str(tmp_path / "a"), **common)
    with pytest.raises(InputError, match="validated on only if it is not trained on"):
        finetune(
            str(tmp_path / "parent"), str(books), out=str(tmp_path / "a"), validation=(str(books),), **common
        )
    with pytest.raises(InputError, match="losses of completions and of whole texts"):
        finetune(
            str(tmp_path / "parent"), str(books), out=str(tmp_path / "a"), validation=("e.jsonl",), **common
        )
    capsys.readouterr()
    out = tmp_path / "run"
    assert (
        finetune(str(tmp_path / "parent"), str(books), out=str(out), validation=(str(other),), **common) == 0
    )
    rows = len(other.read_text()) // 32
    assert f"validated on {rows} rows, all there are; --eval-rows asks for 64" in capsys.readouterr().out
    run = Run.load(out)
    assert run.config["corpus"]["documents"] == [3, 1] and run.summary["validation_rows"] == rows
    with pytest.raises(InputError, match="bstheory data --validation FILES and pass its folder"):
        load_corpus(books)


def test_examples_with_validation_files_of_their_own(tmp_path: Path) -> None:
    path, other = examples_file(tmp_path / "e.jsonl", count=40), examples_file(tmp_path / "o.jsonl", count=3)
    found = read_examples(path, validation=[other])
    assert (len(found.train), len(found.validation)) == (40, 3)
    with pytest.raises(InputError, match="not trained on"):
        read_examples(path, validation=[path])


def test_only_known_warnings_are_silenced(
    caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    with without_known_warnings():
        logging.getLogger("torchao").warning("Failed to load x.so: no such file")
        logging.getLogger("torchao").warning("something else")
        logging.getLogger("elsewhere").warning("Failed to load x.so")
        warnings.warn("`is_gradient_checkpointing` is deprecated and will go", FutureWarning, stacklevel=1)
    assert [(r.name, r.getMessage()) for r in caplog.records] == [
        ("torchao", "something else"),
        ("elsewhere", "Failed to load x.so"),
    ]
    logging.getLogger("torchao").warning("Failed to load x.so: outside")
    assert len(caplog.records) == 3 and not recwarn.list


def test_a_killed_fine_tuning_goes_on_and_keeps_where_it_began(
    shards: Path, text: Path, here: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the middle without a chance to save; the weights and the loss before are those of one go."""
    build(small_config(), shards, here, folder=tmp_path / "parent").run()
    source, options = str(tmp_path / "parent"), {"tokens": "2k", "device": "cpu", "optimizer": "adafactor"}
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    finetune(source, str(text), out=str(tmp_path / "whole"), json=str(one), **options)

    class Killed(BaseException):
        pass

    step = Trainer.train_step

    def die(trainer: Trainer, plan: Any) -> Any:
        if plan.step == 40:
            raise Killed
        return step(trainer, plan)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Trainer, "train_step", die)
        finetune(source, str(text), out=str(tmp_path / "killed"), **options)
    assert list_checkpoints(tmp_path / "killed" / "checkpoints")
    finetune(source, str(text), out=str(tmp_path / "killed"), json=str(other), resume=True, **options)
    found = [json.loads(path.read_text()) for path in (one, other)]
    for key in ("validation_loss_before", "final_validation_loss", "validation"):
        assert found[0][key] == found[1][key], key
    weights = [
        (list_checkpoints(tmp_path / name / "checkpoints")[-1] / "model.safetensors").read_bytes()
        for name in ("whole", "killed")
    ]
    assert weights[0] == weights[1]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_truncated_hugging_face_model_is_one_error(name: str, hugging_face: Path, tmp_path: Path) -> None:
    shutil.copytree(hugging_face, tmp_path / "model")
    path = tmp_path / "model" / name
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match="neither a checkpoint nor a Hugging Face model"):
        load_pretrained(tmp_path / "model")


@pytest.mark.filterwarnings("ignore")
def test_a_model_without_its_tokenizer_is_refused(tmp_path: Path) -> None:
    """transformers answers with an empty one, under which every document would be its end alone."""
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=257, n_embd=16, n_layer=1, n_head=2, n_positions=32)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"without a tokenizer|neither a checkpoint nor"):
        load_pretrained(tmp_path)


def test_validation_divides_by_the_count_of_its_own_rows() -> None:
    """Two rows with 1 and 3 completion tokens, where the training rows have 5 on average."""
    model = GPT(model_config("tiny"), generator=torch.Generator().manual_seed(0))
    tokens = torch.randint(0, 256, (2, 6), generator=torch.Generator().manual_seed(1))
    targets = torch.full((2, 6), ~7)
    targets[0, 2], targets[1, 1:4] = 5, 9
    logits = model(tokens)
    each = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.clamp(min=0).flatten(), reduction="none"
    )
    total = float(each[(targets >= 0).flatten()].detach().sum())
    completion_loss(model, train_count=5.0, validation_count=2.0)
    assert float(model(tokens, targets).detach()) == pytest.approx(total / 10, rel=1e-5)
    model.eval()
    assert float(model(tokens, targets).detach()) == pytest.approx(total / 4, rel=1e-5)
