"""Quick reading of the YAML that catalog files are made of; what goes beyond it is left to ruamel.yaml, fifteen times slower.

Read here: mappings and lists by indentation, one `key: value` or `- value` a line; a value is a number, a date, a word or more
that start with a letter, a text in double quotes, or a list or mapping of such in flow style.
"""

from __future__ import annotations

import json
import re
from datetime import date
from typing import Any

_ENTRY = re.compile(r"(?P<key>[A-Za-z][\w.-]*|\d+):(?: (?P<value>.+))?")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|: |:|[^\s{}\[\],:"]+(?: +[^\s{}\[\],:"]+)*')
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_RELEASE = re.compile(r"\d+(?:\.\d+){2,}")
_NOT_TEXT = {"null": None, "true": True, "false": False}
_SPELT_OTHERWISE = {"Null", "NULL", "True", "TRUE", "False", "FALSE"}


class _Beyond(Exception):
    """Something that is not read here."""


def quick(text: str) -> dict[str, Any] | None:
    """The mapping that a text holds, as ruamel.yaml reads it; None where it takes ruamel.yaml to say.

    >>> quick("tflops: {fp16: 989}\\nchecked: 2026-11-24\\nnames: [H100, H100 PCIe]")
    {'tflops': {'fp16': 989}, 'checked': datetime.date(2026, 11, 24), 'names': ['H100', 'H100 PCIe']}
    """
    written = (line.rstrip() for line in text.splitlines())
    lines = [(len(line) - len(line.lstrip(" ")), line.lstrip(" ")) for line in written if line and line.lstrip()[0] != "#"]
    try:
        found, rest = _block(lines, 0)
    except (_Beyond, ValueError, TypeError):  # the last two are how json refuses
        return None
    return found if rest == len(lines) and isinstance(found, dict) else None


def _block(lines: list[tuple[int, str]], at: int) -> tuple[Any, int]:
    """The mapping or list that starts at a line, and the line behind it."""
    if at == len(lines):
        raise _Beyond
    indent, is_list = lines[at][0], lines[at][1].startswith("- ")
    items: list[Any] = []
    fields: dict[Any, Any] = {}
    while at < len(lines) and lines[at][0] == indent and lines[at][1].startswith("- ") is is_list:
        line, at = lines[at][1], at + 1
        if is_list:
            items.append(_value(line[2:]))
            continue
        entry = _ENTRY.fullmatch(line)
        if entry is None or (key := _scalar(entry["key"])) in fields:
            raise _Beyond
        if entry["value"] is not None:
            fields[key] = _value(entry["value"])
        elif at < len(lines) and lines[at][0] > indent:
            fields[key], at = _block(lines, at)
        else:
            raise _Beyond
    return items if is_list else fields, at


def _value(text: str) -> Any:
    if text[0] in "{[":
        return json.loads(_TOKEN.sub(_as_json, text), object_pairs_hook=_unique)
    return json.loads(text) if text[0] == '"' else _scalar(text)


def _as_json(token: re.Match[str]) -> str:
    text = token[0]
    if text == ":":  # without a space behind it, it is part of a word
        raise _Beyond
    return text if text[0] == '"' or text == ": " else json.dumps(_scalar(text))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        raise _Beyond
    return found


def _scalar(text: str) -> Any:
    if text in _NOT_TEXT:
        return _NOT_TEXT[text]
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    if _DATE.fullmatch(text):
        return date.fromisoformat(text)
    plain = text[0].isalpha() or _RELEASE.fullmatch(text)
    if not plain or text in _SPELT_OTHERWISE or ": " in text or "#" in text or text.endswith(":"):
        raise _Beyond
    return text
