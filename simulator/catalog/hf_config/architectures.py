"""What an architecture's name says that its config.json does not: biases, norms, tying, which layers slide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Switch = bool | str
"""Whether the architecture has a thing: always, never, or where the field of that name is true."""

Body = Literal["uniform", "nemotron_h", "deepseek_v4", "jamba", "granite_hybrid", "mllama", "decilm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """One architecture. `norms`: vectors of hidden size per layer; a LayerNorm with bias has two. `tied`: its class's default.

    `body`: how its layers are put together. `sliding`: which layers use `sliding_window` when no list of layer types is given.
    `defaults`: fields that the model's configuration class fills in and published files leave out. `renamed`: what others call
    so, and where this one keeps it; `attn_config.kv_n_heads` is a name inside another. `shared_gate`: the shared expert's output
    is gated by a projection to one value. `final_norm`: vectors of the norm before the lm_head. `head_bias`: it has a bias.
    `rotary` is False where attention has no rotary positions. `positions_ahead`: rows of learned positions
    before the first; `embedding_norm`: vectors of the norm on the embedding. `expansion`: the MLP's width
    over hidden_size where none is stated.
    `drafts` is False where the draft layers are unlike the others in a way that we have no model of; they are then not counted.
    `stretched`: the length stated counts linear or
    dynamic scaling of its positions already. `multimodal` names the tower that goes with the language model; `language` the one
    model_type that the language model inside may have.
    """

    body: Body = "uniform"
    qkv_bias: Switch = False
    output_bias: Switch = False
    query_key_norm: Switch = False
    output_gate: Switch = False
    sinks: bool = False
    mlp_bias: Switch = False
    gated: bool = True
    expert_bias: bool = False
    router_bias: Switch = False
    shared_gate: bool = False
    norms: int = 2
    final_norm: int = 1
    tied: bool = False
    head_bias: bool = False
    rotary: bool = True
    learned_positions: bool = False
    positions_ahead: int = 0
    embedding_norm: int = 0
    expansion: int = 0
    sliding: Literal["never", "all", "even", "switched"] = "never"
    multimodal: Literal[
        "", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "siglip", "gemma4", "pixtral", "llama4", "moonvit", "mllama"
    ] = ""
    language: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    drafts: bool = True
    stretched: bool = False
    approximations: tuple[str, ...] = ()


_LLAMA = Traits(qkv_bias="attention_bias", output_bias="attention_bias", mlp_bias="mlp_bias")
_MISTRAL = Traits(sliding="all", defaults={"num_key_value_heads": 8})
_QWEN2 = Traits(qkv_bias=True, sliding="switched")
_QWEN3 = Traits(qkv_bias="attention_bias", output_bias="attention_bias", query_key_norm=True, sliding="switched")
_QWEN_HYBRID = Traits(query_key_norm=True, output_gate=True, shared_gate=True, defaults={"full_attention_interval": 4})
_DEEPSEEK = Traits(router_bias=True)
_GLM = Traits(qkv_bias="attention_bias", query_key_norm="use_qk_norm", router_bias=True)
_GEMMA2 = Traits(norms=4, tied=True, sliding="even")
_GEMMA3 = replace(
    _GEMMA2,
    query_key_norm=True,
    stretched=True,
    defaults={
        "sliding_window_pattern": 6,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 262208,
        "max_position_embeddings": 131072,
        "rope_local_base_freq": 10000.0,
    },
)
_GEMMA4 = Traits(norms=4, tied=True, query_key_norm=True)
_GPT_OSS = Traits(
    qkv_bias="attention_bias", output_bias="attention_bias", sinks=True, sliding="even", expert_bias=True, router_bias=True
)
_MINIMAX = Traits(query_key_norm="use_qk_norm", router_bias="use_routing_bias")
_GRANITE = replace(_LLAMA, tied=True)
_LAYER_NORM = Traits(norms=4, final_norm=2, gated=False)
_GPT2 = replace(_LAYER_NORM, qkv_bias=True, output_bias=True, mlp_bias=True, tied=True, expansion=4)
_MPT = Traits(
    gated=False,
    tied=True,
    rotary=False,
    expansion=4,
    renamed={
        "hidden_size": "d_model",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "num_key_value_heads": "attn_config.kv_n_heads",
        "max_position_embeddings": "max_seq_len",
    },
)
_LLAMA4 = Traits(defaults={"n_shared_experts": 1, "interleave_moe_layer_step": 1})
_STEP = Traits(
    qkv_bias="attention_bias",
    query_key_norm=True,
    router_bias="use_moe_router_bias",
    drafts=False,
    defaults={"use_moe_router_bias": True},
    renamed={
        "num_key_value_heads": "num_attention_groups",
        "swa_num_attention_heads": "attention_other_setting.num_attention_heads",
        "swa_num_key_value_heads": "attention_other_setting.num_attention_groups",
        "swa_head_dim": "attention_other_setting.head_dim",
    },
    approximations=(
        "its draft layers, dense ones with an lm_head each, are not counted",
        "the gate on the output of every head (0.01 % of the weights) is not counted",
    ),
)
_DBRX = Traits(
    renamed={
        "hidden_size": "d_model",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "num_key_value_heads": "attn_config.kv_n_heads",
        "moe_num_experts": "ffn_config.moe_num_experts",
        "moe_top_k": "ffn_config.moe_top_k",
        "moe_intermediate_size": "ffn_config.ffn_hidden_size",
    },
)
_ERNIE_MOE = Traits(
    qkv_bias="use_bias",
    router_bias=True,
    tied=True,
    defaults={"moe_layer_start_index": 1, "moe_num_shared_experts": 2},
)
_MTP_UNSEEN = ("its draft layers are not in config.json and are not counted",)

TRAITS: Mapping[str, Traits] = {
    "LlamaForCausalLM": _LLAMA,
    "MistralForCausalLM": _MISTRAL,
    "MixtralForCausalLM": _MISTRAL,
    "Qwen2ForCausalLM": _QWEN2,
    "Qwen2MoeForCausalLM": replace(_QWEN2, shared_gate=True),
    "Qwen3ForCausalLM": _QWEN3,
    "Qwen3MoeForCausalLM": _QWEN3,
    "Qwen3NextForCausalLM": _QWEN_HYBRID,
    "Qwen3_5ForCausalLM": _QWEN_HYBRID,
    "Qwen3_5MoeForCausalLM": _QWEN_HYBRID,
    "Qwen2VLForConditionalGeneration": replace(_QWEN2, multimodal="qwen2_vl"),
    "Qwen2_5_VLForConditionalGeneration": replace(_QWEN2, multimodal="qwen2_5_vl"),
    "Qwen3VLForConditionalGeneration": replace(_QWEN3, multimodal="qwen3_vl"),
    "Qwen3VLMoeForConditionalGeneration": replace(_QWEN3, multimodal="qwen3_vl"),
    "Qwen3_5ForConditionalGeneration": replace(_QWEN_HYBRID, multimodal="qwen3_vl"),
    "Qwen3_5MoeForConditionalGeneration": replace(_QWEN_HYBRID, multimodal="qwen3_vl"),
    "DeepseekV2ForCausalLM": Traits(),
    "KimiLinearForCausalLM": Traits(router_bias=True, rotary=False),
    "DeepseekV3ForCausalLM": _DEEPSEEK,
    "DeepseekV32ForCausalLM": _DEEPSEEK,
    "GlmMoeDsaForCausalLM": _DEEPSEEK,
    "Glm4MoeLiteForCausalLM": _DEEPSEEK,
    "DeepseekV4ForCausalLM": Traits(body="deepseek_v4", router_bias=True),
    "KimiK25ForConditionalGeneration": replace(_DEEPSEEK, multimodal="moonvit"),
    "Glm4MoeForCausalLM": _GLM,
    "Glm4ForCausalLM": Traits(qkv_bias="attention_bias", norms=4),
    "Phi3ForCausalLM": Traits(sliding="all"),
    "PhiMoEForCausalLM": Traits(
        qkv_bias="attention_bias", output_bias="attention_bias", norms=4, final_norm=2, head_bias=True, sliding="all"
    ),
    "PhiForCausalLM": replace(_LAYER_NORM, qkv_bias=True, output_bias=True, mlp_bias=True, norms=2, head_bias=True),
    "OPTForCausalLM": replace(
        _LAYER_NORM,
        qkv_bias="enable_bias",
        output_bias="enable_bias",
        mlp_bias="enable_bias",
        tied=True,
        rotary=False,
        learned_positions=True,
        positions_ahead=2,
        defaults={"enable_bias": True},
    ),
    "GPT2LMHeadModel": replace(
        _GPT2,
        rotary=False,
        learned_positions=True,
        renamed={"max_position_embeddings": "n_positions"},
    ),
    "GPTJForCausalLM": replace(
        _LAYER_NORM,
        norms=2,
        mlp_bias=True,
        head_bias=True,
        expansion=4,
        renamed={"max_position_embeddings": "n_positions"},
        defaults={"rotary_dim": 64},
    ),
    "BloomForCausalLM": replace(
        _GPT2, rotary=False, embedding_norm=2, renamed={"hidden_size": "n_embed", "max_position_embeddings": "seq_length"}
    ),
    "MPTForCausalLM": _MPT,
    "MptForCausalLM": _MPT,
    "FalconForCausalLM": replace(_LAYER_NORM, qkv_bias="bias", output_bias="bias", mlp_bias="bias", norms=2, tied=True),
    "Starcoder2ForCausalLM": replace(
        _LAYER_NORM, qkv_bias="use_bias", output_bias="use_bias", mlp_bias="use_bias", tied=True, sliding="all"
    ),
    "StableLmForCausalLM": replace(_LAYER_NORM, gated=True, qkv_bias="use_qkv_bias"),
    "GPTNeoXForCausalLM": replace(_LAYER_NORM, qkv_bias=True, output_bias=True, mlp_bias=True),
    "InternLM2ForCausalLM": Traits(qkv_bias="bias", output_bias="bias"),
    "CohereForCausalLM": Traits(norms=1, tied=True, query_key_norm="use_qk_norm"),
    "Cohere2ForCausalLM": Traits(norms=1, tied=True, query_key_norm="use_qk_norm", defaults={"sliding_window_pattern": 4}),
    "OlmoForCausalLM": Traits(norms=0, final_norm=0),
    "Olmo2ForCausalLM": Traits(query_key_norm=True),
    "Olmo3ForCausalLM": Traits(query_key_norm=True),
    "OlmoeForCausalLM": Traits(query_key_norm=True),
    "GraniteForCausalLM": _GRANITE,
    "GraniteMoeForCausalLM": _GRANITE,
    "GraniteMoeHybridForCausalLM": replace(_GRANITE, body="granite_hybrid"),
    "LlavaNextForConditionalGeneration": replace(_GRANITE, multimodal="siglip", language="granite"),
    "SeedOssForCausalLM": Traits(qkv_bias="attention_bias", output_bias="attention_out_bias", mlp_bias="mlp_bias"),
    "SmolLM3ForCausalLM": replace(_LLAMA, tied=True),
    "Gemma2ForCausalLM": _GEMMA2,
    "Gemma3ForCausalLM": _GEMMA3,
    "Gemma3ForConditionalGeneration": replace(_GEMMA3, multimodal="siglip"),
    "Gemma4ForCausalLM": _GEMMA4,
    "Gemma4ForConditionalGeneration": replace(_GEMMA4, multimodal="gemma4"),
    "Gemma4UnifiedForConditionalGeneration": replace(
        _GEMMA4, approximations=("the projections of images and sound are not counted",)
    ),
    "Qwen3OmniMoeForConditionalGeneration": replace(
        _QWEN3, multimodal="qwen3_vl", approximations=("the sound encoder (2 % of the weights) and the talker are not counted",)
    ),
    "GptOssForCausalLM": _GPT_OSS,
    "MiniMaxM2ForCausalLM": _MINIMAX,
    "MiniMaxM3ForCausalLM": _MINIMAX,
    "MiniMaxM3SparseForConditionalGeneration": replace(_MINIMAX, approximations=("the vision tower is not counted",)),
    "MiMoForCausalLM": replace(_QWEN2, qkv_bias="attention_bias"),
    "Mistral4ForCausalLM": _DEEPSEEK,
    "MistralLarge3ForCausalLM": Traits(multimodal="pixtral"),
    "Ministral3ForCausalLM": _MISTRAL,
    "DeciLMForCausalLM": replace(_LLAMA, body="decilm"),
    "MiMoV2FlashForCausalLM": Traits(router_bias=True, approximations=_MTP_UNSEEN),
    "Mistral3ForConditionalGeneration": replace(_MISTRAL, multimodal="pixtral"),
    "Llama4ForCausalLM": _LLAMA4,
    "Llama4ForConditionalGeneration": replace(_LLAMA4, multimodal="llama4"),
    "MllamaForConditionalGeneration": Traits(body="mllama", multimodal="mllama"),
    "NemotronHForCausalLM": Traits(
        body="nemotron_h",
        gated=False,
        norms=1,
        rotary=False,
        router_bias=True,
        defaults={"mamba_ssm_cache_dtype": "float32"},
    ),
    "DbrxForCausalLM": _DBRX,
    "ExaoneForCausalLM": Traits(tied=True),
    "Exaone4ForCausalLM": Traits(query_key_norm=True),
    "GlmForCausalLM": Traits(qkv_bias="attention_bias", defaults={"attention_bias": True}),
    "ChatGLMModel": Traits(
        qkv_bias="add_qkv_bias",
        output_bias="add_bias_linear",
        mlp_bias="add_bias_linear",
        renamed={
            "num_hidden_layers": "num_layers",
            "intermediate_size": "ffn_hidden_size",
            "num_key_value_heads": "multi_query_group_num",
            "head_dim": "kv_channels",
            "vocab_size": "padded_vocab_size",
            "max_position_embeddings": "seq_length",
        },
    ),
    "GemmaForCausalLM": Traits(tied=True, qkv_bias="attention_bias"),
    "Ernie4_5_MoeForCausalLM": _ERNIE_MOE,
    "HunYuanMoEV1ForCausalLM": Traits(
        qkv_bias="attention_bias", output_bias="attention_bias", mlp_bias="mlp_bias", query_key_norm="use_qk_norm"
    ),
    "BailingMoeV2ForCausalLM": Traits(
        qkv_bias="use_qkv_bias",
        output_bias="use_bias",
        mlp_bias="use_bias",
        query_key_norm="use_qk_norm",
        router_bias="moe_router_enable_expert_bias",
    ),
    "Step3p5ForCausalLM": _STEP,
    "Step3p7ForConditionalGeneration": replace(_STEP, approximations=(*_STEP.approximations, "the vision tower is not counted")),
    "JambaForCausalLM": Traits(body="jamba", rotary=False),
}

_LIGHTNING = "lightning attention, a linear attention with a state of its own"
_SHORT_CONVOLUTION = "short convolutions in place of attention"
_ALTERNATING = "an embedding for every layer and several streams between layers"
NOT_MODELLED: Mapping[str, str] = {
    "MiniMaxText01ForCausalLM": _LIGHTNING,
    "MiniMaxM1ForCausalLM": _LIGHTNING,
    "BailingMoeV2_5ForCausalLM": _LIGHTNING,
    "KimiK3ForConditionalGeneration": "latent experts and residual streams beside Kimi delta attention",
    "Qwen4ExpForConditionalGeneration": "tables of n-grams and several streams between layers",
    "FalconH1ForCausalLM": "attention and Mamba-2 side by side in one layer",
    "Zamba2ForCausalLM": "attention blocks that several layers share",
    "LongcatFlashForCausalLM": "two attention blocks in a layer, and experts that compute nothing",
    "Gemma3nForCausalLM": _ALTERNATING,
    "Gemma3nForConditionalGeneration": _ALTERNATING,
    "Lfm2ForCausalLM": _SHORT_CONVOLUTION,
    "Lfm2MoeForCausalLM": _SHORT_CONVOLUTION,
}
"""What is missing for architectures that we know of and cannot express; read from vLLM 0.20.0 and 0.30.0, November 2026."""
