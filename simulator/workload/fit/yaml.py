"""A workload as YAML to paste into a scenario: only what differs from the defaults, short enough to read."""

from __future__ import annotations

import dataclasses
import textwrap
from typing import Any

from simulator.workload.workload import Workload

_WIDTH = 110
_FIRST = ("kind", "arrivals", "name", "share")
_TIED = ":\N{NO-BREAK SPACE}"


def workload_yaml(workload: Workload) -> str:
    """The `workload:` block of a scenario."""
    lines = ["workload:"]
    for name, value in _plain(workload).items():
        if name == "classes":
            lines.append("  classes:")
            for item in value:
                lines += _wrapped(_flow(item), "    - ", "      ")
        else:
            lines += _wrapped(f"{name}: {_flow(value)}", "  ", "    ")
    return "\n".join(lines) + "\n"


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    """Lines that break after commas only."""
    tied = text.replace(": ", _TIED)
    lines = textwrap.wrap(tied, _WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
    return [line.replace(_TIED, ": ") for line in lines]


def _plain(value: Any) -> Any:
    """A spec as plain data without its defaults; quantiles by name."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = sorted(dataclasses.fields(value), key=lambda f: f.name not in _FIRST)
        pairs = {f.name: (f, getattr(value, f.name)) for f in fields}
        return {
            name: {f"p{100 * share:g}": _plain(tokens) for share, tokens in item} if name == "points" else _plain(item)
            for name, (f, item) in pairs.items()
            if name == "kind" or (item is not None and item != f.default)
        }
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _flow(value: Any) -> str:
    """Plain data in YAML's flow style."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_flow(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    return f"'{value}'" if isinstance(value, str) and not value.replace("_", "").isalnum() else str(value)
