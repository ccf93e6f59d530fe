"""Modules: the linear layers of a model under the names that checkpoints give them, and patterns that pick some of them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from simulator.catalog.models import (
    CompressedAttention,
    DenseMlp,
    GatedDeltaNet,
    GroupedQueryAttention,
    LatentAttention,
    Layer,
    Mamba1,
    Mamba2,
    Mixer,
    MoeMlp,
)
from simulator.catalog.quantizations import TensorGroup
from simulator.errors import ConfigError

_ROOT = re.compile(r"^(?:(?:model|language_model|backbone|decoder|transformer|thinker)\.)+")
_GLOB = re.compile(r"[*?\[]")

_MIXERS: dict[type, tuple[TensorGroup, tuple[str, ...], dict[str, tuple[str, ...]]]] = {
    GroupedQueryAttention: (
        "attention",
        ("self_attn", "attention"),
        {"qkv_proj": ("q_proj", "k_proj", "v_proj", "qkv_proj"), "o_proj": ("o_proj", "dense"), "indexer": ("indexer",)},
    ),
    LatentAttention: (
        "attention",
        ("self_attn",),
        {
            "q_a_proj": ("q_a_proj",),
            "q_b_proj": ("q_b_proj",),
            "q_proj": ("q_proj",),
            "kv_a_proj": ("kv_a_proj_with_mqa",),
            "kv_b_proj": ("kv_b_proj",),
            "o_proj": ("o_proj",),
            "indexer": ("indexer.wq_b", "indexer.wk"),
        },
    ),
    CompressedAttention: (
        "attention",
        ("attn", "self_attn"),
        {
            "q_a_proj": ("wq_a",),
            "q_b_proj": ("wq_b",),
            "kv_proj": ("wkv",),
            "o_a_proj": ("wo_a",),
            "o_b_proj": ("wo_b",),
            "compressor": (),
            "indexer": ("indexer.wq_b",),
        },
    ),
    Mamba1: ("mamba", ("mamba",), {name: (name,) for name in ("in_proj", "x_proj", "dt_proj", "out_proj")}),
    Mamba2: ("mamba", ("mamba",), {name: (name,) for name in ("in_proj", "out_proj")}),
    GatedDeltaNet: (
        "mamba",
        ("linear_attn",),
        {
            "in_proj_qkvz": ("in_proj_qkv", "in_proj_z", "in_proj_qkvz"),
            "in_proj_ba": ("in_proj_b", "in_proj_a", "in_proj_ba"),
            "in_proj_qkv": ("q_proj", "k_proj", "v_proj"),
            "gates_a": ("f_a_proj", "g_a_proj"),
            "gates_b": ("f_b_proj", "g_b_proj"),
            "in_proj_b": ("b_proj",),
            "out_proj": ("out_proj",),
        },
    ),
}
_UP: tuple[str, ...] = ("gate_proj", "up_proj", "gate_up_proj", "w1", "w3", "fc1")
_DOWN: tuple[str, ...] = ("down_proj", "w2", "fc2")
_BLOCKS = {"MixtralForCausalLM": "block_sparse_moe", "MiniMaxM2ForCausalLM": "block_sparse_moe", "DeepseekV4ForCausalLM": "ffn"}


@dataclass(frozen=True, slots=True)
class Site:
    """One linear layer: where it is, and its names in checkpoints without the root, `layers.3.self_attn.q_proj`."""

    layer: int
    group: TensorGroup
    module: str
    paths: tuple[str, ...]


def sites(layers: Sequence[Layer], architecture: str) -> Iterator[Site]:
    """Every linear layer of the decoder."""
    for index, layer in enumerate(layers):
        alone = layer.mixer is None or layer.mlp is None
        if layer.mixer is not None:
            yield from _of_mixer(layer.mixer, index, alone)
        if isinstance(layer.mlp, DenseMlp):
            yield from _of_mlp("mlp", "", [_block(architecture, alone)], index)
        if isinstance(layer.mlp, MoeMlp):
            yield from _of_experts(layer.mlp, architecture, index, alone)


def _block(architecture: str, alone: bool) -> str:
    return "mixer" if alone else _BLOCKS.get(architecture, "mlp")


def _of_mixer(mixer: Mixer, index: int, alone: bool) -> Iterator[Site]:
    group, parents, modules = _MIXERS[type(mixer)]
    for module, names in modules.items():
        paths = (f"layers.{index}.{parent}.{name}" for parent in (("mixer",) if alone else parents) for name in names)
        yield Site(index, group, module, tuple(paths))


def _of_mlp(group: TensorGroup, prefix: str, parents: list[str], index: int) -> Iterator[Site]:
    for module, names in (("up_proj", _UP), ("down_proj", _DOWN)):
        paths = tuple(f"layers.{index}.{parent}.{name}" for parent in parents for name in names)
        yield Site(index, group, f"{prefix}{module}", paths)


def _of_experts(mlp: MoeMlp, architecture: str, index: int, alone: bool) -> Iterator[Site]:
    block = _block(architecture, alone)
    inside = "" if architecture.startswith("Gemma4") else f"{block}."
    parents = [f"{inside}experts.0", f"{inside}experts"]
    for module, names in (("experts_up", _UP), ("experts_down", _DOWN)):
        paths = tuple(f"layers.{index}.{parent}.{name}" for parent in parents for name in names)
        yield Site(index, "experts", module, paths)
    if mlp.shared_width:
        yield from _of_mlp("shared_experts", "shared_", [f"{block}.shared_expert", f"{block}.shared_experts"], index)
    if mlp.dense_width:
        yield from _of_mlp("mlp", "", [block], index)
    if mlp.latent:
        paths = tuple(f"layers.{index}.{block}.{name}" for name in ("fc1_latent_proj", "fc2_latent_proj"))
        yield Site(index, "mlp", "latent_proj", paths)


def _compiled(expression: str) -> re.Pattern[str]:
    try:
        return re.compile(expression)
    except (re.error, OverflowError, RecursionError) as problem:
        raise ConfigError(f"re:{expression:.60} is no regular expression: {problem}") from None


class Patterns:
    """Names, globs and `re:` expressions, as quantization configs list modules; matches a module or anything inside it.

    `by_layer`: whether some of them single out layers by their number.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        plain = [_ROOT.sub("", pattern) for pattern in patterns if not pattern.startswith("re:")]
        self.names = frozenset(pattern for pattern in plain if not _GLOB.search(pattern))
        self.by_layer = any("layers" in p.replace("layers.*.", "") for p in patterns)
        self.first_words = frozenset(name.split(".", 1)[0] for name in self.names)
        globs = [fnmatch.translate(form) for p in plain if _GLOB.search(p) for form in (p, f"{p}.*")]
        self.globs = re.compile("|".join(globs)) if globs else None
        self.expressions = [_compiled(pattern[3:]) for pattern in patterns if pattern.startswith("re:")]

    def match(self, path: str) -> bool:
        """Whether a module is named: in full, as one of the modules around it, by its last words, by glob or expression."""
        if self._named(path.split(".")):
            return True
        if self.globs is not None and self.globs.match(path):
            return True
        return any(e.match(path) or e.match(f"model.{path}") for e in self.expressions)

    def _named(self, words: list[str]) -> bool:
        """Whether a run of the words is one of the names."""
        return any(
            ".".join(words[first:last]) in self.names
            for first, word in enumerate(words)
            if word in self.first_words
            for last in range(first + 1, len(words) + 1)
        )

    def match_any(self, paths: Iterable[str]) -> bool:
        """Whether any of a module's names is matched; fused modules count as named when a part of them is."""
        return any(self.match(path) for path in paths)
