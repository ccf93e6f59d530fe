"""A YAML document that remembers where everything stands, so that a mistake can be pointed at."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulator.errors import ScenarioError, did_you_mean, nearest_names

Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """The parsed text with positions (`root`), where it came from, and the values that were set over it by dotted path."""

    path: Path
    root: Any
    settings: Mapping[str, str] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """The document as plain dicts, lists and scalars."""
        data: dict[str, Any] = _plain(self.root)
        return data

    def written(self, location: Location) -> Location:
        """The parts of a location that stand in the document, without the tags that validation puts between."""
        node: Any = self.root
        kept: list[str | int] = []
        for part in location:
            inside = part in node if isinstance(node, dict) else isinstance(node, list) and part in range(len(node))
            if inside:
                node = node[part]
                kept.append(part)
        return tuple(kept)

    def where(self, location: Location) -> str:
        """`file:line:column` of a location, or of its nearest ancestor that is written; a set value names its setting."""
        dotted = ".".join(map(str, location))
        for path, text in self.settings.items():
            if dotted == path or dotted.startswith(path + "."):
                return f"--set {path}={text}"
        line, column = _position(self.root, self.written(location))
        return f"{self.path}:{line + 1}:{column + 1}"

    def error(self, location: Location, message: str) -> ScenarioError:
        """The error that points at a location."""
        return ScenarioError(f"{self.where(location)}: {message}")

    def with_value(self, dotted: str, text: str) -> Document:
        """This document with one value set, given as YAML text: `deployments.0.gpu`, or `deployments.NAME.gpu` by name.

        Raises ScenarioError when the path leads through something that is not there.
        """
        root = copy.deepcopy(self.root)
        *parents, last = dotted.split(".")
        node, canonical = root, []
        for part in parents:
            key = _key(node, part, dotted)
            canonical.append(key)
            node = node.setdefault(key, {}) if isinstance(node, dict) else node[key]
        key = _key(node, last, dotted)
        node[key] = parse_yaml(text, Path(f"--set {dotted}"))
        path = ".".join(map(str, [*canonical, key]))
        return Document(self.path, root, {**self.settings, path: text})


def read_document(path: Path) -> Document:
    """A YAML 1.2 file as a document. Raises ScenarioError for what is not one mapping in readable YAML."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        siblings = [p.name for p in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
        raise ScenarioError(f"{path}: no such file{did_you_mean(nearest_names(path.name, siblings))}") from None
    except IsADirectoryError:
        raise ScenarioError(f"{path}: is a directory; name a scenario file in it") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise ScenarioError(f"{path}: cannot be read as UTF-8 text: {problem}") from None
    root = parse_yaml(text, path)
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

    try:
        return YAML(typ="rt").load(text)
    except DuplicateKeyError as problem:
        raise ScenarioError(f"{_mark(path, problem)}: {_first_line(problem.problem)}; write each key once") from None
    except MarkedYAMLError as problem:
        raise ScenarioError(f"{_mark(path, problem)}: not YAML: {_first_line(problem.problem or problem.context)}") from None
    except YAMLError as problem:
        raise ScenarioError(f"{path}: not YAML: {_first_line(str(problem))}") from None


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


def _position(root: Any, written: Location) -> tuple[int, int]:
    """Line and column, from 0, of a location that is written down."""
    node, position = root, (0, 0)
    for part in written:
        marks = getattr(node, "lc", None)
        if marks is not None and part in (marks.data or {}):
            position = marks.key(part) if isinstance(node, dict) else marks.item(part)
        node = node[part]
    return position


def _key(node: Any, part: str, dotted: str) -> str | int:
    """The key or index that one part of a dotted path means inside a node."""
    if isinstance(node, Mapping):
        return part
    if isinstance(node, list):
        if part.isdigit() and int(part) < len(node):
            return int(part)
        names = [str(item.get("name", "")) if isinstance(item, Mapping) else "" for item in node]
        if part in names:
            return names.index(part)
        offered = did_you_mean(nearest_names(part, names)) or f"; there are {len(node)} entries, counted from 0"
        raise ScenarioError(f"--set {dotted}: nothing called '{part}' in the list{offered}")
    raise ScenarioError(f"--set {dotted}: '{part}' would stand under the plain value {node!r}")
