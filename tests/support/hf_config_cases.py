"""Small config.json files to read, one field changed at a time."""

from typing import Any

from simulator.catalog import hf_config
from simulator.catalog.models import GroupedQueryAttention, Model

BASE = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "vocab_size": 1000,
    "max_position_embeddings": 512,
}


def built(architecture: str = "LlamaForCausalLM", **fields: Any) -> Model:
    return hf_config.build("m", {**BASE, "architectures": [architecture], **fields}, source="config.json")


def attention(model: Model, layer: int = 0) -> GroupedQueryAttention:
    mixer = model.layers[layer].mixer
    assert isinstance(mixer, GroupedQueryAttention)
    return mixer
