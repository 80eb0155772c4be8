"""Configurations of the one decoder: three families, their published sizes, and a tiny one of each.

Each function returns a complete :class:`GPTConfig`; derive variants with ``dataclasses.replace``.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import math
from collections.abc import Callable

from bstheory.errors import input_error


class Norm(enum.Enum):
    """Normalization before attention, before the MLP and at the end."""

    LAYER = "LayerNorm with scale and bias"
    RMS = "RMSNorm with scale"
    RMS_PLAIN = "RMSNorm without scale"


class Init(enum.Enum):
    """Weight initialization of the family."""

    GPT2 = "N(0, 0.02), residual projections divided by sqrt(2 layers)"
    SMALL_BATCH = "embeddings N(0, 1/width), linear maps Xavier-uniform with the fans of the stacked tensors"
    LLAMA = "N(0, sqrt(2 / (5 width))), residual projections N(0, 1 / (layers sqrt(width)))"


@dataclasses.dataclass(frozen=True, kw_only=True)
class GPTConfig:
    """Shape and kind of a decoder.

    Attributes:
        name: identifier used on the command line and in checkpoints.
        vocab_size: rows of the embedding; token ids are below it.
        context: longest sequence, in tokens; rows of the learned position table where there is one.
        layers, width, heads, head_size: the usual ones; ``heads * head_size`` need not equal ``width``.
        kv_heads: key/value heads; fewer than ``heads`` means grouped-query attention.
        ffn: hidden width of the MLP.
        norm: which normalization.
        learned_positions: position table added to the embedding; otherwise rotary embedding of q and k.
        qk_norm: scale-free RMSNorm of q and k over the head dimension, before the rotation.
        swiglu: gated SiLU MLP with three matrices; otherwise GELU (tanh form) with two.
        bias: biases in the linear maps.
        tied: the output matrix is the embedding.
        init: which initialization.
        norm_eps, rope_base: the usual constants.
    """

    name: str
    vocab_size: int
    context: int
    layers: int
    width: int
    heads: int
    head_size: int
    kv_heads: int
    ffn: int
    norm: Norm
    learned_positions: bool
    qk_norm: bool
    swiglu: bool
    bias: bool
    tied: bool
    init: Init
    norm_eps: float = 1e-5
    rope_base: float = 10_000.0

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "context", "layers", "width", "heads", "head_size", "kv_heads", "ffn")
        for field in sizes:
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise input_error(
                    got=f"{field}={value!r}",
                    rule="sizes of a model are integers of 1 or more",
                    do="correct it",
                )
        kinds = {"norm": Norm, "init": Init} | dict.fromkeys(
            ("learned_positions", "qk_norm", "swiglu", "bias", "tied"), bool
        )
        for field, kind in kinds.items():
            if not isinstance(getattr(self, field), kind):
                raise input_error(
                    got=f"{field}={getattr(self, field)!r}",
                    rule=f"it is of type {kind.__name__}",
                    why="anything else would quietly choose another model",
                    do="correct it",
                )
        for field in ("norm_eps", "rope_base"):
            value = getattr(self, field)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (number and 0 < value < math.inf):
                raise input_error(
                    got=f"{field}={value!r}", rule="it is a positive finite number", do="correct it"
                )
        if self.heads % self.kv_heads:
            raise input_error(
                got=f"heads={self.heads}, kv_heads={self.kv_heads}",
                rule="each key/value head serves an equal number of query heads",
                do="make heads a multiple of kv_heads",
            )
        if not self.learned_positions and self.head_size % 2:
            raise input_error(
                got=f"head_size={self.head_size}",
                rule="rotary embedding pairs coordinates, so it must be even",
                do="use an even head_size",
            )

    def to_json(self) -> dict[str, object]:
        """Plain JSON document; :func:`config_from_json` is its inverse."""
        return {
            field.name: value.name if isinstance(value := getattr(self, field.name), enum.Enum) else value
            for field in dataclasses.fields(self)
        }


def config_from_json(document: dict[str, object]) -> GPTConfig:
    """Rebuild a configuration; raises ``InputError`` on unknown or missing fields."""
    known = {field.name for field in dataclasses.fields(GPTConfig)}
    if set(document) != known:
        raise input_error(
            got=f"model configuration with fields {sorted(document)}",
            rule=f"they must be {sorted(known)}",
            do="use a configuration written by this version",
        )
    try:
        enums = {"norm": Norm[str(document["norm"])], "init": Init[str(document["init"])]}
    except KeyError as error:
        raise input_error(
            got=f"model configuration entry {error.args[0]!r}",
            rule=f"norm is one of {[n.name for n in Norm]}, init one of {[i.name for i in Init]}",
            do="correct it",
        ) from error
    return GPTConfig(**{**document, **enums})  # type: ignore[arg-type]


def _gpt2(*, name: str, layers: int, width: int, heads: int, vocab_size: int, context: int) -> GPTConfig:
    return GPTConfig(
        name=name,
        vocab_size=vocab_size,
        context=context,
        layers=layers,
        width=width,
        heads=heads,
        head_size=width // heads,
        kv_heads=heads,
        ffn=4 * width,
        norm=Norm.LAYER,
        learned_positions=True,
        qk_norm=False,
        swiglu=False,
        bias=True,
        tied=True,
        init=Init.GPT2,
    )


def _small_batch(
    *, name: str, layers: int, width: int, head_size: int, vocab_size: int, context: int
) -> GPTConfig:
    return GPTConfig(
        name=name,
        vocab_size=vocab_size,
        context=context,
        layers=layers,
        width=width,
        heads=width // head_size,
        head_size=head_size,
        kv_heads=width // head_size,
        ffn=4 * width,
        norm=Norm.RMS_PLAIN,
        learned_positions=False,
        qk_norm=True,
        swiglu=False,
        bias=False,
        tied=False,
        init=Init.SMALL_BATCH,
        norm_eps=1e-6,
    )


def _llama(
    *,
    name: str,
    layers: int,
    width: int,
    heads: int,
    head_size: int,
    kv_heads: int,
    ffn: int,
    context: int,
    vocab_size: int = 32_000,
) -> GPTConfig:
    return GPTConfig(
        name=name,
        vocab_size=vocab_size,
        context=context,
        layers=layers,
        width=width,
        heads=heads,
        head_size=head_size,
        kv_heads=kv_heads,
        ffn=ffn,
        norm=Norm.RMS,
        learned_positions=False,
        qk_norm=False,
        swiglu=True,
        bias=False,
        tied=False,
        init=Init.LLAMA,
    )


# Published sizes. gpt2 is Radford et al. 2019; small_batch_* are the models of arXiv:2507.07101 (its counts
# leave the padding of the vocabulary out); the Llama family is the one of arXiv:2412.21124, whose printed
# widths and head sizes are inconsistent for two of the three: the shapes here are those of the public models
# (MicroLlama 300M, TinyLlama 1.1B, OpenLlama 3B), which give the parameter counts that the paper states.
CONFIGS: dict[str, Callable[[], GPTConfig]] = {
    "gpt2_124m": lambda: _gpt2(
        name="gpt2_124m", layers=12, width=768, heads=12, vocab_size=50_304, context=1024
    ),
    "gpt2_124m_unpadded": lambda: _gpt2(
        name="gpt2_124m_unpadded", layers=12, width=768, heads=12, vocab_size=50_257, context=1024
    ),
    "small_batch_30m": lambda: _small_batch(
        name="small_batch_30m", layers=6, width=384, head_size=128, vocab_size=50_257, context=512
    ),
    "small_batch_19m": lambda: _small_batch(
        name="small_batch_19m", layers=6, width=512, head_size=128, vocab_size=32_101, context=512
    ),
    "small_batch_gpt2": lambda: _small_batch(
        name="small_batch_gpt2", layers=12, width=768, head_size=128, vocab_size=50_257, context=1024
    ),
    "small_batch_gpt3_1b": lambda: _small_batch(
        name="small_batch_gpt3_1b", layers=24, width=2048, head_size=128, vocab_size=50_257, context=2048
    ),
    "micro_llama_300m": lambda: _llama(
        name="micro_llama_300m",
        layers=12,
        width=1024,
        heads=16,
        head_size=64,
        kv_heads=4,
        ffn=5632,
        context=2048,
    ),
    "tiny_llama_1b": lambda: _llama(
        name="tiny_llama_1b",
        layers=22,
        width=2048,
        heads=32,
        head_size=64,
        kv_heads=4,
        ffn=5632,
        context=2048,
    ),
    "open_llama_3b": lambda: _llama(
        name="open_llama_3b",
        layers=26,
        width=3200,
        heads=32,
        head_size=100,
        kv_heads=32,
        ffn=8640,
        context=512,
    ),
    # Byte-level, for a CPU.
    "tiny": lambda: _gpt2(name="tiny", layers=2, width=64, heads=2, vocab_size=256, context=64),
    "tiny_small_batch": lambda: _small_batch(
        name="tiny_small_batch", layers=2, width=64, head_size=32, vocab_size=256, context=64
    ),
    "tiny_study": lambda: _small_batch(
        name="tiny_study", layers=1, width=32, head_size=32, vocab_size=256, context=32
    ),
    # The study's model with another width (w) or sequence length (t), for what should not depend on either.
    "tiny_study_w16": lambda: _small_batch(
        name="tiny_study_w16", layers=1, width=16, head_size=16, vocab_size=256, context=32
    ),
    "tiny_study_w48": lambda: _small_batch(
        name="tiny_study_w48", layers=1, width=48, head_size=48, vocab_size=256, context=32
    ),
    "tiny_study_t8": lambda: _small_batch(
        name="tiny_study_t8", layers=1, width=32, head_size=32, vocab_size=256, context=8
    ),
    "tiny_study_t128": lambda: _small_batch(
        name="tiny_study_t128", layers=1, width=32, head_size=32, vocab_size=256, context=128
    ),
    "tiny_llama": lambda: _llama(
        name="tiny_llama",
        layers=2,
        width=64,
        heads=4,
        head_size=16,
        kv_heads=2,
        ffn=176,
        context=64,
        vocab_size=256,
    ),
}


def model_config(name: str) -> GPTConfig:
    """The configuration called ``name``; raises ``InputError`` that suggests the nearest name."""
    if name not in CONFIGS:
        near = difflib.get_close_matches(name, CONFIGS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise input_error(
            got=f"model {name!r}", rule="no such configuration", do=f"{hint}choose one of {sorted(CONFIGS)}"
        )
    return CONFIGS[name]()
