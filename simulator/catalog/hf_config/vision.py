"""Vision towers and projectors that are loaded beside a language model: their parameters, and the largest item they encode.

Parameters are counted from the modules of the HuggingFace transformers implementations; the largest items are what vLLM's
processing info of each model profiles with (vllm/model_executor/models, 0.19.0 and 0.27.1). Both read November 2026.
"""

from __future__ import annotations

from collections.abc import Callable

from simulator.catalog.hf_config.fields import Fields
from simulator.catalog.models import VisionEncoder

Counter = Callable[[Fields, Fields], int]


def vision_parameters(kind: str, fields: Fields) -> int:
    """Parameters of the part named by `kind`, projector included; 0 where the config.json leaves it out."""
    vision = fields.inner("vision_config")
    if vision is None:
        return 0
    return _KINDS[kind](Fields(vision.values, vision.where, _DEFAULTS.get(kind)), fields)


def encoder(kind: str, fields: Fields) -> VisionEncoder | None:
    """The encoder of the part named by `kind`, with its largest item; None where the config.json leaves it out, or has no model
    of its largest item here.
    """
    vision = fields.inner("vision_config")
    made = _ENCODERS.get(kind)
    if vision is None or made is None:
        return None
    return made(Fields(vision.values, vision.where, _DEFAULTS.get(kind)), fields)


def _linear(inputs: int, outputs: int, bias: bool = True) -> int:
    return inputs * outputs + (outputs if bias else 0)


def _encoder_layer(hidden: int, width: int, *, bias: bool = True, gated: bool = False, norms: int = 4) -> int:
    attention = 4 * _linear(hidden, hidden, bias)
    mlp = (2 if gated else 1) * _linear(hidden, width, bias) + _linear(width, hidden, bias)
    return attention + mlp + norms * hidden


def _merger(hidden: int, out: int, merge: int, norm: int) -> int:
    inside = hidden * merge * merge
    return norm + _linear(inside, inside) + _linear(inside, out)


def _qwen2_vl(v: Fields, text: Fields) -> int:
    hidden = v.positive("embed_dim")
    patch = 3 * v.positive("temporal_patch_size", default=2) * v.positive("patch_size") ** 2 * hidden
    layer = _encoder_layer(hidden, hidden * v.positive("mlp_ratio"))
    out = v.positive("hidden_size", default=text.positive("hidden_size"))
    return patch + v.positive("depth") * layer + _merger(hidden, out, v.positive("spatial_merge_size"), 2 * hidden)


def _qwen2_5_vl(v: Fields, text: Fields) -> int:
    hidden, width = v.positive("hidden_size"), v.positive("intermediate_size")
    patch = 3 * v.positive("temporal_patch_size", default=2) * v.positive("patch_size") ** 2 * hidden
    layer = _encoder_layer(hidden, width, gated=True, norms=2)
    out = v.positive("out_hidden_size")
    return patch + v.positive("depth") * layer + _merger(hidden, out, v.positive("spatial_merge_size"), hidden)


def _qwen3_vl(v: Fields, text: Fields) -> int:
    hidden, merge, out = v.positive("hidden_size"), v.positive("spatial_merge_size"), v.positive("out_hidden_size")
    patch = _linear(3 * v.positive("temporal_patch_size") * v.positive("patch_size") ** 2, hidden)
    positions = v.positive("num_position_embeddings") * hidden
    blocks = v.positive("depth") * _encoder_layer(hidden, v.positive("intermediate_size"))
    deep = len(v.items("deepstack_visual_indexes")) * _merger(hidden, out, merge, 2 * hidden * merge * merge)
    return patch + positions + blocks + _merger(hidden, out, merge, 2 * hidden) + deep


def _siglip(v: Fields, text: Fields) -> int:
    hidden, patch = v.positive("hidden_size"), v.positive("patch_size")
    positions = (v.positive("image_size") // patch) ** 2 * hidden
    tower = _linear(3 * patch * patch, hidden) + positions + 2 * hidden
    tower += v.positive("num_hidden_layers") * _encoder_layer(hidden, v.positive("intermediate_size"))
    out = text.positive("hidden_size")
    taken = text.items("vision_feature_layer")
    if taken:
        return tower + _linear(hidden * len(taken), out) + _linear(out, out) + out
    return tower + _linear(hidden, out, bias=False) + hidden


def _gemma4(v: Fields, text: Fields) -> int:
    hidden, width = v.positive("hidden_size"), v.positive("intermediate_size")
    layer = _encoder_layer(hidden, width, bias=False, gated=True) + 2 * v.positive("head_dim")
    patch = 3 * v.positive("patch_size") ** 2 * hidden
    positions = 2 * v.positive("position_embedding_size") * hidden
    standard = 2 * hidden if v.flag("standardize") else 0
    return patch + positions + v.positive("num_hidden_layers") * layer + standard + hidden * text.positive("hidden_size")


def _pixtral(v: Fields, text: Fields) -> int:
    hidden, out = v.positive("hidden_size"), text.positive("hidden_size")
    patch = 3 * v.positive("patch_size") ** 2 * hidden + hidden
    layer = _encoder_layer(hidden, v.positive("intermediate_size"), bias=False, gated=True, norms=2)
    merge = text.positive("spatial_merge_size", default=1)
    projector = hidden + hidden * merge * merge * hidden + hidden * out + out * out
    return patch + v.positive("num_hidden_layers") * layer + projector


def _llama4(v: Fields, text: Fields) -> int:
    hidden, width, patch = v.positive("hidden_size"), v.positive("intermediate_size"), v.positive("patch_size")
    positions = ((v.positive("image_size") // patch) ** 2 + 1) * hidden + hidden
    layers = v.positive("num_hidden_layers") * _encoder_layer(hidden, width)
    inside, out = v.positive("projector_input_dim"), v.positive("projector_output_dim")
    adapter = width * inside + inside * out + v.positive("vision_output_dim") * text.positive("hidden_size")
    return 3 * patch * patch * hidden + positions + layers + 4 * hidden + adapter


def _moonvit(v: Fields, text: Fields) -> int:
    hidden = v.positive("vt_hidden_size")
    positions = v.positive("init_pos_emb_height") * v.positive("init_pos_emb_width") * hidden
    tower = _linear(3 * v.positive("patch_size") ** 2, hidden) + positions + 2 * hidden
    tower += v.positive("vt_num_hidden_layers") * _encoder_layer(hidden, v.positive("vt_intermediate_size"))
    return tower + _merger(hidden, v.positive("text_hidden_size"), 2, 2 * hidden)


def _mllama(v: Fields, text: Fields) -> int:
    """Tower with local and gated global layers, projector, and the cross-attention inside the language model."""
    hidden, patch = v.positive("hidden_size"), v.positive("patch_size")
    patches = (v.positive("image_size") // patch) ** 2 + 1
    tiles = v.positive("max_num_tiles")
    ratios = (len(v.items("supported_aspect_ratios")) or v.positive("num_aspect_ratios")) + 1
    tower = 3 * patch * patch * hidden + hidden + patches * hidden + 4 * hidden
    tower += ratios * tiles * patches * hidden + 2 * ratios * tiles * hidden
    layers = v.positive("num_hidden_layers") + v.positive("num_global_layers")
    width = v.positive("intermediate_size")
    tower += layers * (4 * hidden * hidden + _linear(hidden, width) + _linear(width, hidden) + 4 * hidden)
    out = text.positive("hidden_size")
    head = out // text.positive("num_attention_heads")
    crossing = 2 * out * out + 2 * out * text.positive("num_key_value_heads") * head + 2 * head + 2
    return tower + _linear(v.positive("vision_output_dim"), out) + len(text.items("cross_attention_layers")) * crossing


def _qwen_encoder(v: Fields, text: Fields) -> VisionEncoder:
    """Images of up to 16,384 tokens; Qwen3-VL hands on the output of some layers beside the last."""
    merge, patch = v.positive("spatial_merge_size"), v.positive("patch_size")
    hidden = v.positive("embed_dim") if v.has("embed_dim") else v.positive("hidden_size")
    width = hidden * v.positive("mlp_ratio") if v.has("mlp_ratio") else v.positive("intermediate_size")
    out = text.positive("hidden_size")
    return VisionEncoder(
        hidden=hidden,
        width=width,
        gated=v.get("hidden_act") == "silu",
        patch_values=3 * v.positive("temporal_patch_size", default=2) * patch * patch,
        patches=_QWEN_TOKENS * merge * merge,
        tokens=_QWEN_TOKENS,
        outputs=out * (1 + len(v.items("deepstack_visual_indexes"))),
        pixels=(patch * merge) ** 2,
        modalities=("image", "video"),
    )


def _siglip_encoder(v: Fields, text: Fields) -> VisionEncoder:
    """Gemma 3 pools an image to 256 tokens; LLaVA, which takes several layers' outputs, keeps one a patch."""
    patches = (v.positive("image_size") // v.positive("patch_size")) ** 2
    return VisionEncoder(
        hidden=v.positive("hidden_size"),
        width=v.positive("intermediate_size"),
        patch_values=3 * v.positive("patch_size") ** 2,
        patches=patches,
        tokens=text.positive("mm_tokens_per_image", default=patches if text.items("vision_feature_layer") else 256),
        outputs=text.positive("hidden_size"),
    )


def _gemma4_encoder(v: Fields, text: Fields) -> VisionEncoder:
    """A video of 32 frames of 70 tokens, each pooled from 3 x 3 patches, with a time stamp of some 8 tokens each."""
    frames, tokens, pooled, stamp = 32, 70, 9, 8
    return VisionEncoder(
        hidden=v.positive("hidden_size"),
        width=v.positive("intermediate_size"),
        gated=True,
        patch_values=3 * v.positive("patch_size") ** 2,
        patches=frames * tokens * pooled,
        tokens=frames * (tokens + stamp),
        outputs=text.positive("hidden_size"),
        modalities=("image", "video"),
    )


def _pixtral_encoder(v: Fields, text: Fields) -> VisionEncoder:
    merge, patch = text.positive("spatial_merge_size", default=1), v.positive("patch_size")
    side = v.positive("image_size", default=1540) // patch
    return VisionEncoder(
        hidden=v.positive("hidden_size"),
        width=v.positive("intermediate_size"),
        gated=True,
        patch_values=3 * patch * patch,
        patches=side * side,
        tokens=(side // merge) ** 2,
        outputs=text.positive("hidden_size"),
        pixels=(patch * merge) ** 2,
    )


def _llama4_encoder(v: Fields, text: Fields) -> VisionEncoder:
    """An image of 16 tiles and the whole of it once more; the adapter leaves a quarter of the patches."""
    tiles, shuffled = 17, 4
    patches = tiles * (v.positive("image_size") // v.positive("patch_size")) ** 2
    return VisionEncoder(
        hidden=v.positive("hidden_size"),
        width=v.positive("intermediate_size"),
        patch_values=3 * v.positive("patch_size") ** 2,
        patches=patches,
        tokens=patches // shuffled,
        outputs=text.positive("hidden_size"),
    )


def _moonvit_encoder(v: Fields, text: Fields) -> VisionEncoder:
    """Images of up to 4,096 tokens, each merged from 2 x 2 patches."""
    tokens, merged = 4096, 4
    return VisionEncoder(
        hidden=v.positive("vt_hidden_size"),
        width=v.positive("vt_intermediate_size"),
        patches=tokens * merged,
        tokens=tokens,
        outputs=v.positive("text_hidden_size"),
    )


_QWEN_TOKENS = 16384
_ENCODERS: dict[str, Callable[[Fields, Fields], VisionEncoder]] = {
    "qwen2_vl": _qwen_encoder,
    "qwen2_5_vl": _qwen_encoder,
    "qwen3_vl": _qwen_encoder,
    "siglip": _siglip_encoder,
    "gemma4": _gemma4_encoder,
    "pixtral": _pixtral_encoder,
    "llama4": _llama4_encoder,
    "moonvit": _moonvit_encoder,
}
_VIT = {"depth": 32, "patch_size": 14, "temporal_patch_size": 2, "spatial_merge_size": 2}
_DEFAULTS: dict[str, dict[str, int]] = {
    "qwen2_vl": {**_VIT, "embed_dim": 1280, "mlp_ratio": 4},
    "qwen2_5_vl": {**_VIT, "intermediate_size": 3420, "out_hidden_size": 3584},
}
_KINDS: dict[str, Counter] = {
    "qwen2_vl": _qwen2_vl,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl": _qwen3_vl,
    "siglip": _siglip,
    "gemma4": _gemma4,
    "pixtral": _pixtral,
    "llama4": _llama4,
    "moonvit": _moonvit,
    "mllama": _mllama,
}
