"""GGUF files of llama.cpp: what a value takes in each type, and which type a file's mixture gives each matrix."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from simulator.catalog import stanzas
from simulator.errors import UnknownName

Role = Literal[
    "output",
    "embedding",
    "attention_query",
    "attention_key",
    "attention_value",
    "attention_output",
    "feed_forward_up",
    "feed_forward_down",
    "other",
]
KV_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
_TYPES = "types"
_UNSLOTH = {
    "q2_k_xl": "q2_k",
    "q3_k_xl": "q3_k_m",
    "q4_k_xl": "q4_k_m",
    "q5_k_xl": "q5_k_m",
    "q6_k_xl": "q6_k",
    "q8_k_xl": "q8_0",
}
_WRITTEN = re.compile(
    r"(?i)(?:^|[-_.:/])((?:UD-)?(?:I?Q[1-8]_(?:K_(?:XL|[SML])|K|[01]|XXS|XS|NL|[SM])|MXFP4(?:_MOE)?|BF16|F16|F32))\b"
)


@dataclass(frozen=True, slots=True)
class Mixture:
    """Which type a kind of file stores each matrix in. `exact` is False where its maker chose types matrix by matrix."""

    name: str
    exact: bool = True

    def type_of(self, role: Role, layer: int, layers: int, queries_per_head: float, experts: int, *, routed: bool) -> str:
        """The type of a matrix of this role in layer `layer` of `layers`."""
        rules = stanzas.load_entry("gguf", self.name)
        base: str = rules["base"]
        if routed and "experts" in rules:
            return str(rules["experts"][0])
        kind = base
        for rule in rules.get(role, ()):
            wanted, _, limit = rule.partition(" ")
            if not limit or _holds(limit, layer, layers, queries_per_head, experts):
                kind = str(wanted)
                break
        return self._of_known_models(kind, role, layers, experts)

    def _of_known_models(self, kind: str, role: Role, layers: int, experts: int) -> str:
        """What is stored with more bits in Mixtral, for its eight experts, and in Llama's 70B, for its eighty layers."""
        if self.name[0] != "q" or kind.startswith("q8"):
            return kind
        if experts == 8 and role in ("attention_value", "attention_key"):
            return "q8_0"
        if experts == 8 and role == "attention_output" and self.name in ("q2_k", "q3_k_s", "q3_k_m", "q4_k_s", "q4_k_m"):
            return "q5_k"
        return "q5_k" if layers == 80 and role == "attention_value" and kind in ("q3_k", "q4_k") else kind


def mixture(name: str) -> Mixture:
    """The mixture of a name ("Q4_K_M", "UD-Q4_K_XL", "Qwen3-8B-Q4_K_M.gguf"). Raises UnknownName with the nearest.

    >>> mixture("Q4_K_M").name, mixture("unsloth/Qwen3-8B-GGUF:UD-Q4_K_XL")
    ('q4_k_m', Mixture(name='q4_k_m', exact=False))
    """
    found = mixture_in(name)
    if found is None:
        raise UnknownName("GGUF type", name, [entry for entry in stanzas.stanzas("gguf") if entry != _TYPES])
    return found


def mixture_in(text: str) -> Mixture | None:
    """The mixture that a file or a repository names, None where it names none."""
    written = _WRITTEN.findall(text.removesuffix(".gguf"))
    if not written:
        return None
    plain = written[-1].lower()
    bare = plain.removeprefix("ud-")
    bare = "mxfp4_moe" if bare == "mxfp4" else {"q3_k": "q3_k_m", "q4_k": "q4_k_m", "q5_k": "q5_k_m"}.get(bare, bare)
    name = _UNSLOTH.get(bare, bare)
    return Mixture(name, exact=name == bare and plain == plain.removeprefix("ud-")) if name in stanzas.stanzas("gguf") else None


def without_mixture(text: str) -> str:
    """The name of the model that a file or repository holds."""
    name = re.sub(r"-\d{5}-of-\d{5}", "", text.removesuffix(".gguf").rsplit("/", 1)[-1])
    return re.sub(r"(?i)[-_.]gguf$", "", _WRITTEN.sub("", name)).rstrip("-_.:")


def bytes_of(kind: str, values: float, row: int = 256) -> float:
    """Bytes of so many values in a type; rows that are no multiple of its block are stored in a type of smaller blocks.

    >>> bytes_of("q4_k", 256), bytes_of("q6_k", 256, row=224)
    (144.0, 272.0)
    """
    blocks, fallbacks = _blocks()
    size, amount = blocks[kind]
    if row % size:
        size, amount = blocks[fallbacks.get(kind, "f16")]
        if row % size:
            size, amount = blocks["f16"]
    return values / size * amount


@cache
def _blocks() -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
    entry = stanzas.load_entry("gguf", _TYPES)
    return {kind: (size, amount) for kind, (size, amount) in entry["blocks"].items()}, entry["fallbacks"]


def _holds(limit: str, layer: int, layers: int, queries_per_head: float, experts: int) -> bool:
    eighth = layers // 8
    return {
        "outer": layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2,
        "inner": eighth <= layer < 7 * layers // 8,
        "first_eighth": layer < eighth,
        "first_sixteenth": layer < layers // 16,
        "first_two": layer < 2,
        "first_four": layer < 4,
        "many_heads": queries_per_head >= 4,
        "many_experts": experts >= 4,
    }[limit]
