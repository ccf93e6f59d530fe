"""Checkpoints: what a repository's name says of the model in it and of how its weights are stored."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Literal

from simulator.catalog import stanzas
from simulator.catalog.models import Model, catalog_model
from simulator.catalog.quantizations import Quantization, quantization
from simulator.errors import UnknownName
from simulator.spec import spec

BLOCK_FP8_PUBLISHERS = ("qwen", "deepseek-ai", "zai-org", "minimaxai", "xiaomimimo", "moonshotai")

_OPEN_FOR_HYBRIDS = ("nvfp4", "w4a16", "awq-int4")
_END = r"(?:[-_ ()].*)?$"
_SUFFIXES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(rf"[-_. ]\(?(?:{words}){_END}", re.IGNORECASE), name)
    for words, name in (
        (r"(?:quantized\.)?w8a8(?:-int8)?", "int8-w8a8"),
        (r"(?:quantized\.)?w8a16", "int8-weight-only"),
        (r"(?:quantized\.)?w4a16|int4-w4a16", "w4a16"),
        (r"gptq-int8|gptq-8bit", "gptq-int8"),
        (r"gptq(?:-int4|-4bit)?|autoround(?:-int4)?|int4-autoround|marlin", "gptq-int4"),
        (r"int4", "w4a16"),
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
    catalog/data/checkpoints.yaml says how files are stored whose layers are not all alike. A date at the end does not count.
    Raises UnknownName when no reading of the name is in the catalog.

    >>> model, stored = checkpoint("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic")
    >>> model.name, stored.name
    ('llama-3.3-70b', 'fp8')
    """
    for written in dict.fromkeys((name, _undated(name))):
        if found := _read(written):
            return found
    return catalog_model(name), None


def _read(name: str) -> tuple[Model, Quantization | None] | None:
    try:
        return catalog_model(name), None
    except UnknownName:
        pass
    for base, suffix in _readings(name):
        for bare in dict.fromkeys((base, _undated(base))):
            try:
                model = catalog_model(bare)
            except UnknownName:
                continue
            return model, as_published(suffix, name, model)
    return None


def _undated(name: str) -> str:
    """The name without a date at its end: `-0731`, `-2507`, `-20250731`, `-2025-07-31`."""
    return re.sub(r"[-_](?:20\d\d-?)?(?:[01]\d-?[0-3]\d|2\d[01]\d)$", "", name)


def _readings(name: str) -> Iterator[tuple[str, str]]:
    """Names without a suffix that says how weights are stored, with what it says."""
    for pattern, suffix in _SUFFIXES:
        if found := pattern.search(name):
            yield name[: found.start()], suffix


def as_published(written: str, name: str, model: Model) -> Quantization:
    """The quantization of a file whose name says `written`, as its publisher stores it.

    Where files of such names are stored in two ways, the quantization's note says so.
    """
    publisher = name.split("/", 1)[0].lower() if "/" in name else ""
    if written == "fp8" and re.search(r"[-_]fp8$", name, re.IGNORECASE) and _scales_by_blocks(publisher, model):
        return quantization("fp8-block")
    layout = next((layout for layout in _layouts() if layout.fits(written, publisher, model)), None)
    if layout is None:
        return quantization(written)
    stored = quantization(layout.stored)
    if layout.other is None:
        return stored
    doubt = f"'{name}' is read as {layout.stored}; files of such names are also stored as {layout.other} (-q {layout.other})"
    return replace(stored, note=" ".join(text for text in (stored.note, doubt) if text))


def suited(form: Quantization, model: Model) -> Quantization:
    """The quantization as it applies to a model, where its name alone leaves that open.

    Of a hybrid model some formats leave the linear attention out, as in `as_published`; MXFP4, which stores experts, is every
    linear layer of a dense one.
    """
    if (form.name in _OPEN_FOR_HYBRIDS and model.is_hybrid) or (form.name == "mxfp4" and not model.is_moe):
        return as_published(form.name, form.name, model)
    return form


def _scales_by_blocks(publisher: str, model: Model) -> bool:
    own = stanzas.stanzas("models")[model.name].lower()
    by_source = not publisher and any(f"/{p}/" in own for p in BLOCK_FP8_PUBLISHERS)
    return publisher in BLOCK_FP8_PUBLISHERS or by_source


@spec
class _Layout:
    """One stanza of checkpoints.yaml."""

    written: tuple[str, ...]
    stored: str
    publishers: tuple[str, ...] = ()
    model: Literal["any", "hybrid", "moe", "dense"] = "any"
    other: str | None = None
    source: str
    checked: str

    def fits(self, written: str, publisher: str, model: Model) -> bool:
        """Whether it speaks of such a file."""
        kinds = {"hybrid": model.is_hybrid, "moe": model.is_moe, "dense": not model.is_moe}
        published = not self.publishers or publisher in self.publishers
        return written in self.written and published and kinds.get(self.model, True)


@cache
def _layouts() -> tuple[_Layout, ...]:
    found = []
    for name in stanzas.stanzas("checkpoints"):
        fields = dict(stanzas.load_entry("checkpoints", name))
        other = fields.pop("or", None)
        found.append(_Layout(**{**fields, "checked": str(fields["checked"]), "other": other}))
    return tuple(found)
