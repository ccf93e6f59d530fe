"""A YAML document that remembers where everything stands, so that a mistake can be pointed at."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from simulator.errors import ScenarioError, did_you_mean, nearest_names
from simulator.files import check_tree, read_text

Location = tuple[str | int, ...]
_ABSENT = object()
_MOST_REPEATED, _ENDLESS, _WORD = 100_000, 10**12, 64


@dataclass(frozen=True, slots=True)
class Document:
    """The parsed text with positions (`root`), where it came from, and what was set over it by dotted path, as written.

    `short`: other names that a key may stand under.
    """

    path: Path
    root: Any
    settings: Mapping[str, str] = field(default_factory=dict)
    short: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """The document as plain dicts, lists and scalars."""
        data: dict[str, Any] = _plain(self.root)
        return data

    def written(self, location: Location) -> Location:
        """The parts of a location that stand in the document, without the tags that validation puts between."""
        node, tag = self.root, None
        kept: list[str | int] = []
        for part in location:
            if part == tag:
                tag = None
            elif (key := self._key_of(node, part)) is not _ABSENT:
                node = node[key]
                tag = node.get("kind") if isinstance(node, Mapping) else None
                kept.append(part if str(part) == str(key) else key)
        return tuple(kept)

    def _key_of(self, node: Any, part: str | int) -> Any:
        names = (part, *self.short.get(str(part), ()))
        return next((key for name in names if (key := _key_of(node, name)) is not _ABSENT), _ABSENT)

    def where(self, location: Location) -> str:
        """`file:line:column` of a location, or of its nearest ancestor that is written; a set value names its setting."""
        written = self.written(location)
        position, marked = _position(self.root, written)
        dotted = ".".join(map(str, location))
        for path, setting in self.settings.items():
            opened = path.startswith(dotted + ".") and bool(written) and not marked
            if dotted == path or dotted.startswith(path + ".") or opened:
                return setting
        return f"{self.path}:{position[0] + 1}:{position[1] + 1}"

    def error(self, location: Location, message: str) -> ScenarioError:
        """The error that points at a location."""
        return ScenarioError(f"{self.where(location)}: {message}")

    def with_value(self, dotted: str, text: str, option: str = "--set") -> Document:
        """This document with one value set, given as YAML text.

        The path is written `deployments.0.gpu`, `deployments[0].gpu`, or `deployments.NAME.gpu` by name.

        `option`: the option of the command line that asked for it, which mistakes are told by.
        What an alias shares is changed here only. Raises ScenarioError when the path leads through something that is not there.
        """
        root = copy.deepcopy(self.root)
        *parents, last = re.sub(r"\[([^\]]*)\]", r".\1", dotted).split(".")
        if not all((*parents, last)):
            raise ScenarioError(f"{option} {dotted}: an empty name in the path; write it as in workload.arrivals.rate")
        node = root
        canonical: list[str | int] = []
        for part in parents:
            key = _key(node, part, canonical, f"{option} {dotted}")
            canonical.append(key)
            below = node.get(key) if isinstance(node, Mapping) else node[key]
            node[key] = {} if below is None else copy.deepcopy(below)
            node = node[key]
        key = _key(node, last, canonical, f"{option} {dotted}")
        node[key] = parse_yaml(text, Path(f"{option} {dotted}"))
        path = ".".join(map(str, [*canonical, key]))
        return replace(self, root=root, settings={**self.settings, path: f"{option} {path}={text}"})


def read_document(path: Path) -> Document:
    """A YAML 1.2 file as a document. Raises ScenarioError for what is not one mapping in readable YAML."""
    root = parse_yaml(read_text(path, ScenarioError), path)
    if root is None:
        raise ScenarioError(f"{path}:1:1: the file is empty; a scenario needs at least model, workload and deployments")
    if not isinstance(root, Mapping):
        raise ScenarioError(f"{path}:1:1: expected a mapping such as 'model: llama-3.1-8b', found {_kind(root)}")
    return Document(path, root)


def parse_yaml(text: str, path: Path) -> Any:
    """YAML text as data with positions. Raises ScenarioError that names line and column."""
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import DuplicateKeyError
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.reader import ReaderError

    try:
        root = _unrepeated(YAML(typ="rt").load(text), path)
    except DuplicateKeyError as problem:
        raise ScenarioError(f"{_mark(path, problem)}: {_first_line(problem.problem)}; write each key once") from None
    except MarkedYAMLError as problem:
        raise ScenarioError(f"{_mark(path, problem)}: not YAML: {_first_line(problem.problem or problem.context)}") from None
    except ReaderError as problem:
        where = _place(path, text[: problem.position])
        raise ScenarioError(f"{where}: not YAML: the character U+{problem.character:04X} is not allowed") from None
    except RecursionError:
        raise ScenarioError(f"{path}: not YAML that can be read: it is nested too deeply") from None
    except YAMLError as problem:
        raise ScenarioError(f"{path}: not YAML: {_first_line(str(problem))}") from None
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError, IndexError) as problem:
        # What ruamel.yaml raises for 2024-99-99, !!bool maybe, !!timestamp x, !!omap [a], %YAML 9 and their like.
        raise ScenarioError(f"{path}: not YAML: {_first_line(str(problem))}") from None
    check_tree(root, str(path), ScenarioError)
    return root


def _unrepeated(root: Any, path: Path) -> Any:
    """The document, where its aliases do not repeat more values than can be held. Raises ScenarioError where they do.

    An alias inside of what it names repeats without end.
    """
    sizes: dict[int, int] = {}
    written = 0

    def size(node: Any) -> int:
        nonlocal written
        if id(node) in sizes:
            return sizes[id(node)]
        if isinstance(node, Mapping | list):
            written += 1
            sizes[id(node)] = _ENDLESS  # until it is known
            below = node.values() if isinstance(node, Mapping) else node
            sizes[id(node)] = min(1 + sum(map(size, below)), _ENDLESS)
            return sizes[id(node)]
        own = 1 + len(node) // _WORD if isinstance(node, str) else 1
        written += own
        if own > 1:
            sizes[id(node)] = own
        return own

    if size(root) - written > _MOST_REPEATED:
        raise ScenarioError(f"{path}: its aliases repeat more than {_MOST_REPEATED:,} values; write out what is meant")
    return root


def _place(path: Path, before: str) -> str:
    """`file:line:column` of what follows a text."""
    lines = before.split("\n")
    return f"{path}:{len(lines)}:{len(lines[-1]) + 1}"


def _mark(path: Path, problem: Any) -> str:
    mark = problem.problem_mark or problem.context_mark
    return f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)


def _first_line(text: str | None) -> str:
    return (text or "cannot be parsed").strip().splitlines()[0]


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    return "a list" if isinstance(value, list) else f"the value {value!r}"


def _plain(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    for scalar in (bool, int, float, str):
        if isinstance(node, scalar):
            return scalar(node)
    return node if node is None else str(node)


def _position(root: Any, written: Location) -> tuple[tuple[int, int], bool]:
    """Line and column, from 0, of a location that is written down or of its nearest ancestor, and whether it is the former."""
    node, position, marked = root, (0, 0), True
    for part in written:
        key, marks = _key_of(node, part), getattr(node, "lc", None)
        marked = marks is not None and key in (marks.data or {})
        if marks is not None and marked:
            position = marks.key(key) if isinstance(node, Mapping) else marks.item(key)
        node = node[key]
    return position, marked


def _key_of(node: Any, part: str | int) -> Any:
    """The key that a part of a location is in a node, or _ABSENT; a key that is no text, such as 1, is compared as text."""
    if isinstance(node, list):
        return part if part in range(len(node)) else _ABSENT
    if not isinstance(node, Mapping):
        return _ABSENT
    return part if part in node else next((key for key in node if str(key) == part), _ABSENT)


def _key(node: Any, part: str, above: Sequence[str | int], setting: str) -> str | int:
    """The key or index that one part of a dotted path means inside a node, which stands at the keys `above`."""
    if isinstance(node, Mapping):
        return part
    if isinstance(node, list):
        if part.isdecimal() and int(part) < len(node):
            return int(part)
        names = [str(item.get("name", "")) if isinstance(item, Mapping) else "" for item in node]
        if part in names:
            return names.index(part)
        offered = did_you_mean(nearest_names(part, names)) or f"; its entries are numbered 0 to {len(node) - 1}"
        raise ScenarioError(f"{setting}: nothing called '{part}' in the list{offered}")
    parent = ".".join(map(str, above))
    raise ScenarioError(f"{setting}: '{part}' would stand under the plain value {node!r}; set {parent} itself")
