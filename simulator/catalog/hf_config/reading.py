"""From a config.json to a Model: find the files, find the language model inside, put the parts together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from simulator.catalog.hf_config import rope, vision
from simulator.catalog.hf_config.architectures import NOT_MODELLED, TRAITS, Traits
from simulator.catalog.hf_config.fields import Fields
from simulator.catalog.hf_config.layers import draft_layers, layers
from simulator.catalog.hf_config.quantization import read_quantization
from simulator.catalog.models import Layer, Model, MoeMlp
from simulator.errors import ConfigError, did_you_mean, nearest_names
from simulator.files import read_json_object
from simulator.numbers import LARGEST
from simulator.spec import first_mistake

_DTYPES: dict[str, Literal["bf16", "fp16"]] = {"bfloat16": "bf16", "float16": "fp16", "float32": "bf16"}
_INNER = ("text_config", "llm_config", "language_config")


def read(path: str | Path) -> Model:
    """The model that a config.json describes; `path` is the file or the folder that holds it.

    Beside it, `hf_quant_config.json` gives the quantization and `model.safetensors.index.json` the exact bytes; a file named
    `x_config.json` has `x_hf_quant_config.json` and so on beside it.
    Raises ConfigError where a file is absent, is not JSON, or describes what we have no model of.
    """
    file = Path(path)
    file = file / "config.json" if file.is_dir() else file
    beside = file.name.removesuffix("config.json") if file.name.endswith("config.json") else None
    name = file.parent.resolve().name if beside == "" else (beside or file.stem).rstrip("_-.")
    return build(
        name.rsplit("--", 1)[-1],
        load_json(file),
        source=str(file),
        quantization=_beside(file, beside, "hf_quant_config.json"),
        index=_beside(file, beside, "model.safetensors.index.json"),
    )


def _beside(file: Path, stem: str | None, name: str) -> dict[str, Any] | None:
    other = file.with_name(f"{stem or ''}{name}")
    return load_json(other) if stem is not None and other.is_file() else None


def load_json(file: Path) -> dict[str, Any]:
    """The JSON object of a file. Raises ConfigError where there is none."""
    return read_json_object(file, ConfigError)


def build(
    name: str,
    config: Mapping[str, Any],
    *,
    source: str,
    quantization: Mapping[str, Any] | None = None,
    index: Mapping[str, Any] | None = None,
) -> Model:
    """The model of a config.json's fields, with those of `hf_quant_config.json` and the safetensors index. Raises ConfigError."""
    try:
        return _built(name, config, source=source, quantization=quantization, index=index)
    except ValidationError as problem:
        raise ConfigError(f"{source}: {first_mistake(problem)}; no model has that") from None


def _built(
    name: str,
    config: Mapping[str, Any],
    *,
    source: str,
    quantization: Mapping[str, Any] | None,
    index: Mapping[str, Any] | None,
) -> Model:
    architecture = architecture_of(Fields(config, source))
    traits = TRAITS[architecture]
    fields = language_fields(config, source, traits)
    main = layers(fields, traits)
    drafts = draft_layers(fields, traits, main)
    hidden, vocabulary = fields.positive("hidden_size", "n_embd"), fields.positive("vocab_size")
    return Model(
        name=name,
        architecture=architecture,
        hidden=hidden,
        vocabulary=vocabulary,
        layers=main,
        tied_embeddings=fields.flag("tie_word_embeddings", default=traits.tied),
        max_position=rope.longest(fields, stretched=traits.stretched),
        original_position=rope.before_longrope(fields),
        dtype=dtype_of(fields),
        quantization=read_quantization(fields, quantization, main, bool(drafts), architecture),
        draft_layers=drafts,
        draft_other_parameters=_draft_other(fields, len(drafts), hidden, vocabulary),
        vision_parameters=vision.vision_parameters(traits.multimodal, fields) if traits.multimodal else 0,
        vision_replicated=traits.multimodal == "pixtral" and not fields.has("quantization_config"),
        vision=vision.encoder(traits.multimodal, fields) if traits.multimodal else None,
        other_parameters=_other(fields, traits, main, hidden, vocabulary),
        rope_cache_elements=rope.cache_elements(fields, main) if _rotates(fields, traits) else 0,
        checkpoint_bytes=None if index is None else total_size(index, source) // (2 if _is_float32(fields) else 1),
        approximations=_approximations(fields, traits, main),
        source=source,
    )


def language_fields(config: Mapping[str, Any], source: str, traits: Traits) -> Fields:
    """The fields of the language model: those of the config inside where there is one, over those around it."""
    # Qwen-Omni: the language model that engines load is in the thinker.
    thinker = Fields(config, source).inner("thinker_config")
    config = {**config, **(thinker.values if thinker else {}), "architectures": config.get("architectures")}
    inner: Mapping[str, Any] = next((config[key] for key in _INNER if isinstance(config.get(key), Mapping)), {})
    stated = {key: value for key, value in inner.items() if value is not None}
    values = {**config, **stated}
    own = {name: _inside(values, kept) for name, kept in traits.renamed.items()}
    fields = Fields({**values, **{name: value for name, value in own.items() if value is not None}}, source, traits.defaults)
    if traits.language and stated.get("model_type") not in (None, traits.language):
        raise fields.refused("model_type", f"is not read inside this architecture; {traits.language!r} is")
    return fields


def _inside(values: Mapping[str, Any], name: str) -> Any:
    """The value under a name, or under a name inside another (`outer.inner`); None where absent."""
    outer, _, inner = name.partition(".")
    found = values.get(outer)
    return found.get(inner) if inner and isinstance(found, Mapping) else None if inner else found


def architecture_of(fields: Fields) -> str:
    """The architecture's class name. Raises ConfigError where we do not know it, or know what in it we have no model of."""
    names = fields.items("architectures")
    if not names:
        raise fields.missing("architectures")
    if not isinstance(names[0], str):
        raise ConfigError(f"{fields.where}: architectures lists {names[0]!r:.60}; it must list the names of classes")
    if missing := NOT_MODELLED.get(str(names[0])):
        raise ConfigError(f"{fields.where}: architecture {names[0]!r} has {missing}; we have no model of that")
    if names[0] not in TRAITS:
        near = did_you_mean(nearest_names(str(names[0]), TRAITS))
        raise ConfigError(
            f"{fields.where}: architecture {names[0]!r} is not known{near} "
            "(if it has the tensors of one we know, naming that one in `architectures` settles it)"
        )
    return str(names[0])


def _rotates(fields: Fields, traits: Traits) -> bool:
    """Whether attention has rotary positions; Granite 4 says so by name."""
    return traits.rotary and fields.get("position_embedding_type") not in ("nope", "none")


def dtype_of(fields: Fields) -> Literal["bf16", "fp16"]:
    """The type vLLM loads unquantized tensors in: as stated, and 16 bits for a float32 checkpoint."""
    stated = str(fields.get("torch_dtype", "dtype") or "bfloat16").removeprefix("torch.")
    if stated not in _DTYPES:
        raise ConfigError(f"{fields.where}: torch_dtype is {stated!r}; we know {', '.join(_DTYPES)}")
    return _DTYPES[stated]


def _is_float32(fields: Fields) -> bool:
    return str(fields.get("torch_dtype", "dtype")).removeprefix("torch.") == "float32"


def total_size(index: Mapping[str, Any], source: str) -> int:
    """Bytes of the checkpoint, `metadata.total_size` of its safetensors index. Raises ConfigError where that is missing."""
    metadata = index.get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, Mapping) else None
    if isinstance(total, bool) or not isinstance(total, int | float) or not 0 < total < LARGEST:
        raise ConfigError(
            f"{source}: model.safetensors.index.json beside it has no metadata.total_size; "
            "that field, the checkpoint's bytes, would settle it (or remove the file: bytes are then counted from config.json)"
        )
    return int(total)


def _draft_other(fields: Fields, drafts: int, hidden: int, vocabulary: int) -> int:
    """A projection of two hidden states to one and three norms each; DeepSeek's carry their own embedding and lm_head too."""
    tables = 2 * vocabulary * hidden if fields.has("kv_lora_rank") else 0
    return drafts * (2 * hidden * hidden + 3 * hidden + tables)


def _other(fields: Fields, traits: Traits, main: tuple[Layer, ...], hidden: int, vocabulary: int) -> int:
    """Parameters outside of what Model spells out: learned positions, a norm on the embedding, biases of the last norm and the
    lm_head, hash tables.
    """
    total = (traits.final_norm - 1 + traits.embedding_norm) * hidden + (vocabulary if traits.head_bias else 0)
    if traits.body == "deepseek_v4":
        streams = fields.positive("hc_mult")
        mixing = (2 + streams) * streams
        total += len(main) * 2 * (mixing * streams * hidden + mixing + 3) + streams * streams * hidden + streams + 1
    if traits.learned_positions:
        total += (fields.positive("max_position_embeddings") + traits.positions_ahead) * hidden
    if fields.count("word_embed_proj_dim", default=hidden) != hidden:
        raise fields.refused("word_embed_proj_dim", "differs from hidden_size; we have no model of the projections between them")
    return total


def _approximations(fields: Fields, traits: Traits, main: tuple[Layer, ...]) -> tuple[str, ...]:
    found = list(traits.approximations)
    if traits.multimodal and not fields.has("vision_config"):
        found.append("vision_config is absent: the vision tower is not counted")
    if traits.body == "mllama":
        found.append("cross-attention to the image is counted in the weights, and not computed")
    if traits.body == "deepseek_v4":
        found.append("compressed attention (compress_ratios): cache and compute follow the ratios approximately")
    if any(isinstance(layer.mlp, MoeMlp) and layer.mlp.latent for layer in main):
        found.append("latent experts: the two latent projections are replicated on every rank")
    return tuple(found)
