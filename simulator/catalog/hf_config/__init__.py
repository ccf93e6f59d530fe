"""A HuggingFace config.json, and the files beside it, read into a Model. What is not understood is refused by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from simulator.catalog.hf_config import rope
from simulator.catalog.hf_config.architectures import TRAITS
from simulator.catalog.hf_config.attention import mixers
from simulator.catalog.hf_config.feedforward import mlps
from simulator.catalog.hf_config.fields import Fields
from simulator.catalog.models import GroupedQueryAttention, Layer, Model
from simulator.errors import ConfigError, did_you_mean, nearest_names

_DTYPES: dict[str, Literal["bf16", "fp16", "fp32"]] = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}


def read(path: str | Path) -> Model:
    """The model that a config.json describes; `path` is the file or the folder that holds it.

    Beside it, `hf_quant_config.json` gives the quantization and `model.safetensors.index.json` the exact bytes.
    Raises ConfigError where a file is absent, is not JSON, or describes what we have no model of.
    """
    file = Path(path)
    file = file / "config.json" if file.is_dir() else file
    return build(file.parent.name if file.name == "config.json" else file.stem, load(file), source=str(file))


def load(file: Path) -> dict[str, Any]:
    """The JSON object of a file. Raises ConfigError where there is none."""
    try:
        values = json.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    except json.JSONDecodeError as error:
        raise ConfigError(f"{file}:{error.lineno}:{error.colno}: not JSON ({error.msg})") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: must be a JSON object with the fields of a HuggingFace config.json")
    return values


def build(name: str, config: Mapping[str, Any], *, source: str) -> Model:
    """The model of one config.json's fields. Raises ConfigError."""
    outer = Fields(config, source)
    architecture = architecture_of(outer)
    traits = TRAITS[architecture]
    fields = Fields(config, source, traits.defaults)
    layers = tuple(
        Layer(mixer=mixer, mlp=mlp, norms=traits.norms)
        for mixer, mlp in zip(mixers(fields, traits), mlps(fields, traits), strict=True)
    )
    attention = next((layer.mixer for layer in layers if isinstance(layer.mixer, GroupedQueryAttention)), None)
    return Model(
        name=name,
        architecture=architecture,
        hidden=fields.positive("hidden_size"),
        vocabulary=fields.positive("vocab_size"),
        layers=layers,
        tied_embeddings=fields.flag("tie_word_embeddings", default=traits.tied),
        max_position=fields.positive("max_position_embeddings"),
        dtype=dtype_of(fields),
        rope_cache_elements=rope.cache_elements(fields, attention.head_dim if attention else 0),
        approximations=traits.approximations,
        source=source,
    )


def architecture_of(fields: Fields) -> str:
    """The architecture's class name. Raises ConfigError where we do not know it."""
    names = fields.items("architectures")
    if not names:
        raise fields.missing("architectures")
    if names[0] not in TRAITS:
        near = did_you_mean(nearest_names(str(names[0]), TRAITS))
        raise ConfigError(
            f"{fields.where}: architecture {names[0]!r} is not known{near} "
            "(if it has the tensors of one we know, naming that one in `architectures` settles it)"
        )
    return str(names[0])


def dtype_of(fields: Fields) -> Literal["bf16", "fp16", "fp32"]:
    """The type of the unquantized tensors; vLLM takes a float32 checkpoint in 16 bits unless told otherwise."""
    stated = str(fields.get("torch_dtype", "dtype") or "bfloat16").removeprefix("torch.")
    if stated not in _DTYPES:
        raise ConfigError(f"{fields.where}: torch_dtype is {stated!r}; we know {', '.join(_DTYPES)}")
    return _DTYPES[stated]
