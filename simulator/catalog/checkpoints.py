"""Checkpoints: what a repository's name says of the model in it and of how its weights are stored."""

from __future__ import annotations

import re
from collections.abc import Iterator

from simulator.catalog import stanzas
from simulator.catalog.models import Model, catalog_model
from simulator.catalog.quantizations import Quantization, quantization
from simulator.errors import UnknownName

BLOCK_FP8_PUBLISHERS = ("qwen", "deepseek-ai", "zai-org", "minimaxai", "xiaomimimo", "moonshotai")

_END = r"(?:[-_ ()].*)?$"
_SUFFIXES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(rf"[-_. ]\(?(?:{words}){_END}", re.IGNORECASE), name)
    for words, name in (
        (r"(?:quantized\.)?w8a8(?:-int8)?", "int8-w8a8"),
        (r"(?:quantized\.)?w8a16", "int8-weight-only"),
        (r"(?:quantized\.)?w4a16|int4-w4a16", "w4a16"),
        (r"gptq-int8|gptq-8bit", "gptq-int8"),
        (r"gptq(?:-int4|-4bit)?|autoround(?:-int4)?|int4-autoround|marlin", "gptq-int4"),
        (r"awq(?:-int4|-4bit)?", "awq-int4"),
        (r"(?:unsloth-)?bnb-4bit|4bit|4-bit\)?", "bnb-nf4"),
        (r"bnb-8bit|8bit", "bnb-int8"),
        (r"nvfp4|fp4", "nvfp4"),
        (r"mxfp4", "mxfp4"),
        (r"fp8-dynamic|fp8-static-pertensor|fp8-static", "fp8"),
        (r"fp8-block|block-fp8", "fp8-block"),
        (r"fp8", "fp8"),
        (r"int8", "int8-w8a8"),
        (r"q8_0\.gguf", "gguf-q8_0"),
        (r"bf16|fp16", "bf16"),
    )
)


def checkpoint(name: str) -> tuple[Model, Quantization | None]:
    """The model of a repository's name, and the quantization that its suffix names (None: as the model says).

    `Qwen/Qwen3-8B-FP8` is qwen3-8b in fp8-block, because its publisher scales by blocks; `RedHatAI/...-quantized.w4a16` is w4a16;
    NVFP4 of a mixture of experts covers the experts alone, as NVIDIA's own do.
    Raises UnknownName when no reading of the name is in the catalog.

    >>> model, stored = checkpoint("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic")
    >>> model.name, stored.name
    ('llama-3.3-70b', 'fp8')
    """
    try:
        return catalog_model(name), None
    except UnknownName as unknown:
        for base, suffix in _readings(name):
            try:
                model = catalog_model(base)
            except UnknownName:
                continue
            return model, quantization(_as_published(suffix, name, model))
        raise unknown


def _readings(name: str) -> Iterator[tuple[str, str]]:
    """Names without a suffix that says how weights are stored, with what it says."""
    for pattern, suffix in _SUFFIXES:
        if found := pattern.search(name):
            yield name[: found.start()], suffix


def _as_published(suffix: str, name: str, model: Model) -> str:
    publisher = name.split("/", 1)[0].lower() if "/" in name else ""
    if suffix == "fp8" and re.search(r"[-_]fp8$", name, re.IGNORECASE):
        own = stanzas.stanzas("models")[model.name]
        if publisher in BLOCK_FP8_PUBLISHERS or (not publisher and any(f"/{p}/" in own.lower() for p in BLOCK_FP8_PUBLISHERS)):
            return "fp8-block"
    return "nvfp4-experts" if suffix == "nvfp4" and model.is_moe else suffix
