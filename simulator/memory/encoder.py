"""Image encoders: what profiling one takes, and what makes vLLM leave it out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from simulator.catalog.engines import EngineArgs
from simulator.catalog.models import Model, VisionEncoder
from simulator.units import BYTES_OF


def text_only(model: Model, args: EngineArgs) -> bool:
    """Whether the encoder is neither loaded nor run: language_model_only, or a limit of 0 for all that it encodes.

    Source: _mark_tower_model in vllm/model_executor/models/interfaces.py (0.19.0, 0.27.1).
    """
    if args.language_model_only:
        return True
    modalities = model.vision.modalities if model.vision else ("image",)
    return all(_limit(args, modality) == 0 for modality in modalities)


def without_encoder(model: Model, args: EngineArgs) -> Model:
    """The model as it is loaded: without its encoder where that is left out."""
    left_out = bool(model.vision_parameters) and text_only(model, args)
    return replace(model, vision_parameters=0, vision=None, checkpoint_bytes=None) if left_out else model


def encoding(model: Model, args: EngineArgs) -> tuple[float, float]:
    """(bytes at the peak of encoding the profiled items, bytes of what they leave for the language model).

    Peak of a layer: the pixels, two hidden states, and its feed-forward block in and out. It agrees with start-ups of Qwen3.5-4B
    and 9B (0.19, 0.22 and 0.27) within 0.3 GiB.
    """
    if model.vision is None or args.skip_mm_profiling or text_only(model, args):
        return 0.0, 0.0
    item = _largest_item(model.vision, args.mm_processor_kwargs or {})
    items = items_profiled(item, args)
    each = BYTES_OF[model.dtype]
    ranks = 1 if args.mm_encoder_tp_mode == "data" else args.tensor_parallel_size
    width = item.width / ranks * (3 if item.gated else 2)
    peak = items * item.patches * (item.patch_values + 2 * item.hidden + max(width, 5 * item.hidden)) * each
    return peak, items * item.tokens * item.outputs * each


def items_profiled(item: VisionEncoder, args: EngineArgs) -> int:
    """How many of the largest items are encoded at once: as many as max_num_batched_tokens holds, and the limits allow.

    Source: MultiModalBudget in vllm/multimodal/encoder_budget.py (0.27.1).
    """
    assert args.max_num_batched_tokens is not None and args.max_num_seqs is not None
    fitting = max(args.max_num_batched_tokens, item.tokens) // item.tokens
    limits = [limit for modality in item.modalities if (limit := _limit(args, modality)) is not None]
    of_a_prompt = (args.max_model_len or item.tokens) // item.tokens
    of_a_prompt = max(1, min(of_a_prompt, max(limits)) if len(limits) == len(item.modalities) else of_a_prompt)
    return max(1, min(fitting, args.max_num_seqs * of_a_prompt))


def unread_processor_options(model: Model, args: EngineArgs) -> tuple[str, ...]:
    """Keys of mm_processor_kwargs that change nothing here."""
    known = {"max_pixels", "size"} if model.vision and model.vision.pixels else set()
    return tuple(key for key in args.mm_processor_kwargs or {} if key not in known)


def _limit(args: EngineArgs, modality: str) -> int | None:
    return None if args.limit_mm_per_prompt is None else args.limit_mm_per_prompt.get(modality)  # type: ignore[call-overload]


def _largest_item(item: VisionEncoder, options: dict[str, Any]) -> VisionEncoder:
    """The largest item with the pixels of an image limited."""
    size = options.get("size")
    pixels = options.get("max_pixels") or (size.get("longest_edge") if isinstance(size, dict) else None)
    if not item.pixels or not isinstance(pixels, int | float) or pixels <= 0:
        return item
    tokens = max(1, min(item.tokens, int(pixels) // item.pixels))
    return replace(item, tokens=tokens, patches=max(1, item.patches * tokens // item.tokens))
