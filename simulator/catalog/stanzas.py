"""Catalog files: one YAML stanza an entry, found by name or alias, and parsed only when asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import yaml

from simulator.errors import SimulatorError, UnknownName

_HEAD = re.compile(r"^(?P<name>[^\s#:][^:]*):\s*$", re.MULTILINE)
_ALIASES = re.compile(r"^  aliases: \[(?P<names>.*)\]\s*$", re.MULTILINE)
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_VENDOR = re.compile(r"^(nvidia|amd|geforce|instinct|tesla|quadro)-")


def normal(name: str) -> str:
    """A name as it is shown: no organization, no vendor, lower case, words joined by dashes.

    >>> normal("NVIDIA H100 80GB HBM3"), normal("meta-llama/Llama-3.1-8B-Instruct")
    ('h100-80gb-hbm3', 'llama-3.1-8b-instruct')
    """
    plain = re.sub(r"[\s_(),]+", "-", name.strip().rsplit("/", 1)[-1].lower()).strip("-")
    while (shorter := _VENDOR.sub("", plain)) != plain:
        plain = shorter
    return plain


def key(name: str) -> str:
    """A name as it is compared: as `normal`, and dashes do not count.

    >>> key("rtx4090") == key("RTX 4090") == key("NVIDIA GeForce RTX 4090")
    True
    """
    return normal(name).replace("-", "")


@cache
def stanzas(kind: str) -> Mapping[str, str]:
    """The YAML text of every entry of `catalog/data/<kind>.yaml` by its name, in file order."""
    text = resources.files("simulator.catalog").joinpath("data", f"{kind}.yaml").read_text("utf-8")
    heads = list(_HEAD.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    return {head["name"]: text[head.end() : end] for head, end in zip(heads, ends, strict=True)}


@cache
def _index(kind: str) -> Mapping[str, str]:
    index: dict[str, str] = {}
    for name in stanzas(kind):
        for spelling in (name, *_aliases(kind, name)):
            if index.setdefault(key(spelling), name) != name:
                raise SimulatorError(f"catalog/{kind}: '{spelling}' names both {index[key(spelling)]} and {name}")
    return index


def _aliases(kind: str, name: str) -> list[str]:
    listed = _ALIASES.search(stanzas(kind)[name])
    return [alias.strip().strip("'\"") for alias in listed["names"].split(",")] if listed else []


def find(kind: str, name: str, label: str) -> str:
    """The entry's own name for any spelling of it. Raises UnknownName with the nearest ones."""
    if (found := _index(kind).get(key(name))) is None:
        raise UnknownName(label, normal(name), [normal(s) for entry in stanzas(kind) for s in (entry, *_aliases(kind, entry))])
    return found


def written(kind: str, name: str, field: str) -> str:
    """One field of an entry as it is written, without reading the others: a plain word such as the GPU of a price."""
    if (found := re.search(rf"^  {field}: (?P<word>[\w.-]+)$", stanzas(kind)[name], re.MULTILINE)) is None:
        raise SimulatorError(f"catalog/{kind}: {name} has no plain {field}")
    return found["word"]


@cache
def load_entry(kind: str, name: str) -> dict[str, Any]:
    """The fields of one entry; `source` must be among them."""
    fields: dict[str, Any] = yaml.load(stanzas(kind)[name], Loader=_LOADER)
    if not fields.get("source"):
        raise SimulatorError(f"catalog/{kind}: {name} has no source")
    return fields
