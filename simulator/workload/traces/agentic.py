"""Agentic traces: sessions with requests and subagents inside of them, as one list of requests with times of their own.

Source: callanjfox/agentic-coding-analysis docs/TRACE_FORMAT.md, as guidellm reads it (docs/guides/trace_replay.md, 2026-11).
"""

from __future__ import annotations

from typing import Any

Rows = list[tuple[int, dict[str, Any]]]


def flattened(rows: Rows) -> Rows:
    """The rows with what stands inside of sessions and subagents in their place, ordered by time where any did.

    Times inside of a subagent count from its start where the first of them is before it, else from the session's.
    """
    if not any(isinstance(row.get("requests"), list) for _, row in rows):
        return rows
    found = [(number, inner) for number, row in rows for inner in _inside(row, 0.0)]
    return sorted(found, key=lambda pair: _time(pair[1]))


def _inside(row: dict[str, Any], start: float) -> list[dict[str, Any]]:
    """The requests of a row: itself, or those inside of it, the session's clock running from `start`."""
    inner = row.get("requests")
    moved = {**row, "t": start + _time(row)} if "t" in row else row
    if not isinstance(inner, list):
        return [moved]
    listed = [each for each in inner if isinstance(each, dict)]
    spawned = _time(moved) if "t" in row else 0.0
    offset = spawned if listed and _time(listed[0]) < spawned else 0.0
    return [request for each in listed for request in _inside(each, offset)]


def _time(row: dict[str, Any]) -> float:
    value = row.get("t", 0.0)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
