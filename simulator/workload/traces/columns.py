"""Layouts: under which names files keep arrivals and lengths, and which known traces those names give away."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from simulator.errors import MeasurementError, did_you_mean, nearest_names
from simulator.workload.traces.trace_file import Format, TimeUnit, TraceColumns, TraceFile

ARRIVAL = (
    "timestamp", "arrival_s", "arrival_time", "arrived_at", "arrival", "arrival_ms", "arrival_time_ms", "arrival_time_ns",
    "request_time", "starttime", "start_time", "start_times", "start_timestamp", "time", "ts", "t", "metadata.request_start_ns",
)  # fmt: skip
PROMPT = (
    "contexttokens", "input_length", "input_len", "input_lens", "input_tokens", "input_toks", "prompt_tokens", "prompt_len",
    "prompt_length", "request_tokens", "num_prompt_tokens", "num_prefill_tokens", "isl", "in",
    "metrics.input_sequence_length.value", "usage.prompt_tokens", "usage.input_tokens",
)  # fmt: skip
OUTPUT = (
    "generatedtokens", "output_length", "output_len", "output_lens", "output_tokens", "output_toks", "completion_tokens",
    "generated_tokens", "response_tokens", "response_length", "num_decode_tokens", "osl", "out",
    "metrics.output_sequence_length.value", "usage.completion_tokens", "usage.output_tokens",
)  # fmt: skip
HASHES = ("hash_ids", "block_hashes")
IMAGES = ("numimages", "num_images")

_SIGNS: dict[Format, set[str]] = {
    "azure": {"contexttokens", "generatedtokens"},
    "bailian": {"chat_id", "parent_chat_id"},
    "burstgpt": {"request_tokens", "response_tokens"},
    "llmservingsim": {"input_toks", "output_toks"},
    "mooncake": {"timestamp", "input_length", "output_length"},
}
_UNKNOWN: Format = "columns"
_FACTS: dict[Format, dict[str, Any]] = {
    "bailian": {"unit": "s", "block_size": 16},
    "burstgpt": {"unit": "s", "drops_failures": True},
    "llmservingsim": {"unit": "ns"},
    "mooncake": {"unit": "ms"},
}


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a file keeps what, by its own column names; `unit` and `block_size` where the format settles them.

    `drops_failures`: answers of zero tokens are failed requests, left out and counted, not broken lines.
    """

    format: Format
    arrival: str | None
    prompt: str
    output: str
    hashes: str | None = None
    label: str | None = None
    images: str | None = None
    unit: TimeUnit | None = None
    block_size: int | None = None
    drops_failures: bool = False

    def columns(self) -> list[str]:
        """The columns to read."""
        named = (self.arrival, self.prompt, self.output, self.hashes, self.label, self.images)
        return [name for name in named if name is not None]


def layout_of(found: Sequence[str], trace: TraceFile) -> Layout:
    """The layout of a file with these columns.

    Raises MeasurementError that tells what was found, what is missing and how to map it.
    """
    given = trace.columns or TraceColumns()
    prompt = _pick("prompt", given.prompt, PROMPT, found, trace)
    output = _pick("output", given.output, OUTPUT, found, trace)
    if prompt is None or output is None:
        missing = " and ".join(what for what, name in (("prompt", prompt), ("output", output)) if name is None)
        raise MeasurementError(
            f"{trace.path}: no column of {missing} tokens; found {', '.join(found) or 'none'}; "
            f"say which it is, such as columns: {{{missing.split(' ')[0]}: {found[-1] if found else 'NAME'}}}"
        )
    arrival = _pick("arrival", given.arrival, ARRIVAL, found, trace)
    hashes = _pick("hashes", given.hashes, HASHES, found, trace)
    label = _pick("label", given.label, (), found, trace)
    images = _pick("images", None, IMAGES, found, trace)
    return _known(found, trace, Layout("columns", arrival, prompt, output, hashes, label, images))


def _pick(what: str, given: str | None, known: Sequence[str], found: Sequence[str], trace: TraceFile) -> str | None:
    """The file's column for something: the one that was named, or the first known one."""
    if given is not None:
        if given not in found:
            offered = did_you_mean(nearest_names(given, found)) or f"; found {', '.join(found)}"
            raise MeasurementError(f"{trace.path}: no column '{given}' to take {what} from{offered}")
        return given
    by_plain = {plain_name(name): name for name in reversed(found)}
    return next((by_plain[name] for name in known if name in by_plain), None)


def plain_name(name: str) -> str:
    """A column name in lower case with underscores: `Request tokens` is `request_tokens`."""
    return re.sub(r"[\s\-]+", "_", name.strip().lower())


def _known(found: Sequence[str], trace: TraceFile, base: Layout) -> Layout:
    """The layout with what is known of the published trace that its columns belong to, or that was named."""
    names = {plain_name(name) for name in found}
    matches = (known for known, columns in _SIGNS.items() if columns <= names)
    format_: Format = trace.format if trace.format is not None else next(matches, _UNKNOWN)
    return replace(base, format=format_, **_FACTS.get(format_, {}))
