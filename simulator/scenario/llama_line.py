"""A pasted `llama-server` line: its file, and its arguments."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from simulator.catalog import models, stanzas
from simulator.catalog.gguf import Mixture, mixture, mixture_in, without_mixture
from simulator.catalog.models import Model
from simulator.errors import NotModelled, SimulatorError, did_you_mean, nearest_names
from simulator.memory.llama_cpp.plan import LlamaCppArgs
from simulator.spec import first_mistake

FAMILY = "llama.cpp"
_PROGRAMS = ("llama-server", "llama-cli", "llama-run", "llama-bench", "llama.cpp")
_SWITCHES = ("harmless-switch", "unified", "not_unified", "cpu_moe", "swa_full", "no_kv_offload")
_COUNTS = ("n_ctx", "n_parallel", "n_gpu_layers", "n_cpu_moe", "n_ubatch", "n_batch")
_ALL_LAYERS = 10_000


@dataclass(frozen=True, slots=True)
class LlamaLine:
    """What a line says: the model's file or repository as written, its arguments, and those that change nothing here."""

    file: str | None
    args: LlamaCppArgs
    harmless: tuple[str, ...] = ()


def is_llama(words: Sequence[str], engine: str | None) -> bool:
    """Whether a line, or the engine asked for, is llama.cpp's."""
    called = words[0].rsplit("/", 1)[-1].lower() if words else ""
    return called in _PROGRAMS or bool(engine and re.match(r"(?i)llama[-_. ]?cpp", engine))


def parse_llama(words: Sequence[str]) -> LlamaLine:
    """The words of a line, with or without the program's name.

    Raises SimulatorError for an argument that nobody knows, NotModelled for one whose memory has no model here.

    >>> found = parse_llama("llama-server -m Qwen3-8B-Q4_K_M.gguf -c 32768 -np 2 -ctk q8_0 --port 1".split())
    >>> found.file, found.args.n_ctx, found.args.n_parallel, found.args.type_k, found.harmless
    ('Qwen3-8B-Q4_K_M.gguf', 32768, 2, 'q8_0', ('port',))
    """
    rest = list(words[1:]) if words and is_llama(words[:1], None) else list(words)
    found: dict[str, Any] = {}
    harmless: list[str] = []
    file: str | None = None
    for written, kind, value in _pairs(rest):
        if kind == "":
            file = file or value
        elif kind in ("model", "file"):
            file = value if kind == "model" or file is None else f"{file}:{value}"
        elif kind.startswith("harmless"):
            harmless.append(written)
        elif kind == "not-modelled":
            raise NotModelled(f"-{written} of llama.cpp: not modelled; leave it out to plan without")
        else:
            found |= _field(written, kind, value)
    found["n_ubatch"] = min(found.get("n_ubatch", LlamaCppArgs().n_ubatch), found.pop("n_batch", 2048))
    try:
        return LlamaLine(file, LlamaCppArgs(**found), tuple(dict.fromkeys(harmless)))
    except ValidationError as problem:
        raise SimulatorError(f"llama-server: {first_mistake(problem)}") from None


def model_in(line: LlamaLine, quantization: str = "") -> tuple[Model, Mixture]:
    """The model of a line's file, and its mixture, which `quantization` replaces. Raises SimulatorError where one is not told."""
    if line.file is None:
        raise SimulatorError("the line names no model: llama-server -m FILE.gguf, or -hf REPOSITORY:TYPE")
    kept = mixture(quantization) if quantization else mixture_in(line.file)
    if kept is None:
        raise SimulatorError(f"{line.file}: no type such as Q4_K_M in the name; give it as -q q4_k_m")
    # A repository names the type behind a colon; what stands before it is the model.
    return models.model(without_mixture(line.file.partition(":")[0])), kept


def _pairs(words: list[str]) -> Iterator[tuple[str, str, str]]:
    """(name as written, what it is, value) of each argument; the model alone has no name."""
    names: dict[str, str] = stanzas.load_entry("serve_arguments", FAMILY)["names"]
    index = 0
    while index < len(words):
        word, index = words[index], index + 1
        if not word.startswith("-"):
            yield "", "", word
            continue
        written, equals, value = word.lstrip("-").partition("=")
        kind = names.get(written.replace("-", "_"))
        if kind is None:
            near = did_you_mean([f"--{each.replace('_', '-')}" for each in nearest_names(written.replace("-", "_"), names)])
            raise SimulatorError(f"llama-server: unknown argument {word}{near}")
        behind = words[index] if index < len(words) else ""
        takes = kind not in _SWITCHES and (kind != "flash_attention" or behind in ("on", "off", "auto", "0", "1"))
        if takes and not equals:
            value, index = behind, index + 1
        yield written, kind, value


def _field(written: str, kind: str, value: str) -> dict[str, Any]:
    if kind in _SWITCHES:
        return {"unified": False} if kind == "not_unified" else {"n_cpu_moe": _ALL_LAYERS} if kind == "cpu_moe" else {kind: True}
    if kind == "flash_attention":
        return {kind: value not in ("off", "0")}
    if kind not in _COUNTS:
        return {kind: value.lower()}
    if kind == "n_gpu_layers" and value in ("auto", "all", "-1", "-2"):
        return {}
    if kind == "n_parallel" and value in ("-1", "auto"):
        return {}
    if not re.fullmatch(r"\d+", value):
        raise SimulatorError(f"-{written} of llama-server: {value!r} is not a whole number")
    return {kind: int(value)}


def with_memory_used(line: LlamaLine, gib: float) -> LlamaLine:
    """The same line on GPUs of which others hold so many GiB."""
    return dataclasses.replace(line, args=dataclasses.replace(line.args, memory_used_gib=gib))
