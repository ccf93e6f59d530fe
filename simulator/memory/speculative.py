"""Speculative decoding: what drafts, its weights and its KV cache, beside the model that it drafts for."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.catalog import models
from simulator.catalog.engines import EngineArgs
from simulator.catalog.models import GroupedQueryAttention, LatentAttention, Layer, Model
from simulator.catalog.quantizations import Quantization, TensorGroup
from simulator.errors import NotModelled
from simulator.memory.tensors import Tensor, layer_tensors
from simulator.memory.weights import on_one_gpu, stored, weight_bytes

_NOTHING = ("ngram", "ngram_gpu", "suffix")
_READ = {"eagle": 2, "eagle3": 3}
_EAGLE3_VOCABULARY = 32000


@dataclass(frozen=True, slots=True)
class Drafter:
    """What drafts: its layers, the model whose sizes they have, and whether that is one of its own, with tables.

    `tables`: parameters beside the layers that every rank holds whole, and of a vocabulary that ranks share.
    """

    layers: tuple[Layer, ...]
    model: Model
    whole: bool = False
    projections: int = 0
    vocabulary: int = 0
    note: str = ""


def speculates(args: EngineArgs) -> bool:
    """Whether tokens are drafted at all."""
    return args.spec_method is not None or args.spec_model is not None


def reads_hidden_states(args: EngineArgs) -> bool:
    """Whether what drafts is a head on the model's hidden states, which vLLM calls use_eagle."""
    method = args.spec_method or ""
    return method.endswith("mtp") or method in ("eagle", "eagle3", "dflash", "dspark")


def drafter_of(model: Model, args: EngineArgs) -> Drafter | None:
    """What drafts for a model; None where nothing is loaded for it (no speculation, or drafting from the prompt).

    Multi-token-prediction heads are the checkpoint's own draft layers, a draft model is one of the catalog; an EAGLE head is
    taken as one layer like the model's own, with a projection of two hidden states, of three and a smaller lm_head for EAGLE-3.
    Raises NotModelled for other methods, and where there are no draft layers.
    """
    method = args.spec_method or ("draft_model" if args.spec_model else None)
    if method is None or method in _NOTHING:
        return None
    if method == "draft_model":
        if not args.spec_model:
            raise NotModelled("spec_method draft_model needs spec_model, the model that drafts")
        found = models.model(args.spec_model)
        return Drafter(found.layers, found, whole=True)
    if method in _READ:
        return _head(model, method)
    if not method.endswith("mtp"):
        known = "ngram, suffix, mtp, eagle, eagle3 and draft_model"
        raise NotModelled(f"spec_method {method} is not modelled; {known} are")
    if not model.draft_layers:
        raise NotModelled(f"{model.name} has no draft layers in its config.json, so spec_method {method} is not modelled")
    own_head = model.vocabulary if any(isinstance(layer.mixer, LatentAttention) for layer in model.draft_layers) else 0
    return Drafter(model.draft_layers, model, projections=2 * len(model.draft_layers), vocabulary=own_head)


def _head(model: Model, method: str) -> Drafter:
    full = next((layer for layer in reversed(model.layers) if isinstance(layer.mixer, GroupedQueryAttention)), None)
    if full is None:
        raise NotModelled(f"{model.name}: an EAGLE head for its kind of attention is not modelled")
    vocabulary = _EAGLE3_VOCABULARY if method == "eagle3" else 0
    note = f"the {method} head is taken as one layer like the model's own, in 16 bits"
    return Drafter((full,), model, projections=_READ[method], vocabulary=vocabulary, note=note)


def drafter_bytes(drafter: Drafter, quantization: Quantization | None, args: EngineArgs) -> float:
    """Bytes of the drafter's weights on one GPU; it shares the embedding of the model it drafts for.

    Where a quantization stores experts alone, those of the draft layers are stored so too (GLM-5.1-NVFP4-MTP: 0.95 GiB at TP 8).
    """
    if drafter.whole:
        return weight_bytes(drafter.model, drafter.model.quantization, args).bytes
    model, total = drafter.model, 0.0
    form = None if drafter.note else quantization
    only_experts = form is not None and set(form.formats) == {"experts"}
    for index, layer in enumerate(drafter.layers):
        for t in layer_tensors(layer, model.hidden, index):
            group: TensorGroup = t.group if only_experts else "draft"
            drafted = Tensor(group, t.module, t.parameters, t.split, t.units, index, "draft", 0)
            total += on_one_gpu(drafted, args) * stored(model, form, drafted)[1]
    beside = drafter.projections * model.hidden**2 + drafter.vocabulary * model.hidden / args.tensor_parallel_size
    return total + 2 * beside
