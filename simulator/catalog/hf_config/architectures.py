"""What an architecture's name says that its config.json does not: biases, norms, tying, which layers slide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Switch = bool | str
"""Whether the architecture has a thing: always, never, or where the field of that name is true."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """One architecture. `norms`: vectors of hidden size per layer; a LayerNorm with bias has two. `tied`: its class's default.

    `sliding`: which layers use `sliding_window` when no list of layer types is given. `defaults`: fields that the model's
    configuration class fills in and published files leave out. `shared_gate`: the shared expert's output is gated by a
    projection to one value. `final_norm`: vectors of the norm before the lm_head.
    """

    qkv_bias: Switch = False
    output_bias: Switch = False
    query_key_norm: Switch = False
    mlp_bias: Switch = False
    gated: bool = True
    norms: int = 2
    final_norm: int = 1
    tied: bool = False
    sliding: Literal["never", "all", "even", "switched"] = "never"
    sinks: bool = False
    output_gate: Switch = False
    expert_bias: bool = False
    router_bias: Switch = False
    shared_gate: bool = False
    special: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    approximations: tuple[str, ...] = ()


_LLAMA = Traits(qkv_bias="attention_bias", output_bias="attention_bias", mlp_bias="mlp_bias")
_QWEN3 = Traits(qkv_bias="attention_bias", output_bias="attention_bias", query_key_norm=True, sliding="switched")
_QWEN3_MOE = _QWEN3
_QWEN_HYBRID = Traits(query_key_norm=True, output_gate=True, shared_gate=True, defaults={"full_attention_interval": 4})
_DEEPSEEK = Traits(router_bias=True)
_GEMMA3 = {"sliding_window_pattern": 6, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256}

TRAITS: Mapping[str, Traits] = {
    "LlamaForCausalLM": _LLAMA,
    "MistralForCausalLM": Traits(sliding="all", defaults={"num_key_value_heads": 8}),
    "MixtralForCausalLM": Traits(sliding="all", defaults={"num_key_value_heads": 8}),
    "Qwen2ForCausalLM": Traits(qkv_bias=True, sliding="switched"),
    "Qwen2MoeForCausalLM": Traits(qkv_bias=True, sliding="switched", shared_gate=True),
    "Qwen3ForCausalLM": _QWEN3,
    "Qwen3MoeForCausalLM": _QWEN3_MOE,
    "Qwen3NextForCausalLM": _QWEN_HYBRID,
    "Qwen3_5ForCausalLM": _QWEN_HYBRID,
    "Qwen3_5MoeForCausalLM": _QWEN_HYBRID,
    "DeepseekV2ForCausalLM": Traits(),
    "DeepseekV3ForCausalLM": _DEEPSEEK,
    "DeepseekV32ForCausalLM": _DEEPSEEK,
    "GlmMoeDsaForCausalLM": _DEEPSEEK,
    "Phi3ForCausalLM": Traits(sliding="all"),
    "GraniteForCausalLM": _LLAMA,
    "Gemma2ForCausalLM": Traits(norms=4, tied=True, sliding="even"),
    "Gemma3ForCausalLM": Traits(norms=4, tied=True, query_key_norm=True, defaults={**_GEMMA3, "vocab_size": 262208}),
    "GptOssForCausalLM": Traits(
        qkv_bias="attention_bias", output_bias="attention_bias", sinks=True, sliding="even", expert_bias=True, router_bias=True
    ),
    "MiniMaxM2ForCausalLM": Traits(query_key_norm="use_qk_norm", router_bias="use_routing_bias"),
}
