"""TraceFile: which file to replay, how to read it, and what to change about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from simulator.spec import Count, Fraction, spec
from simulator.workload.text_units import Duration, Pause

TimeUnit = Literal["s", "ms", "us", "ns"]
Format = Literal["azure", "mooncake", "bailian", "burstgpt", "llmservingsim", "columns"]


def _times(value: Any) -> Any:
    """`2x` as 2.0."""
    if not isinstance(value, str):
        return value
    try:
        return float(value.lower().strip().removesuffix("x"))
    except ValueError:
        raise ValueError(f"'{value}' is not a factor; write 2x or 0.5") from None


@spec
class TraceColumns:
    """The names of a file's columns, where they are not ones we know."""

    arrival: str | None = None
    prompt: str | None = None
    output: str | None = None
    hashes: str | None = None
    label: str | None = None


@spec
class TraceFile:
    """A trace as it is replayed.

    Of its requests those from `start` to `end` (after the first one, on the file's own clock), each kept with chance
    `sample`; then played `scale` times as fast, `repeat` times over, with lengths clipped to `max_prompt` and `max_output`.
    `block_size` is the number of tokens that one of the file's hash ids stands for. More than 1 % unreadable lines refuse the
    file unless `skip_bad`. `tokenizer`: the tokenizer.json that counts the text of conversations (ShareGPT), or its folder.
    """

    path: str
    format: Format | None = None
    columns: TraceColumns | None = None
    time_unit: TimeUnit | None = None
    block_size: Count | None = None
    start: Pause = 0.0
    end: Duration | None = None
    sample: Fraction = 1.0
    scale: Annotated[
        float,
        BeforeValidator(_times),
        Field(gt=0, allow_inf_nan=False),
        WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}]}),
    ] = 1.0
    repeat: Count = 1
    max_prompt: Count | None = None
    max_output: Count | None = None
    skip_bad: bool = False
    tokenizer: str | None = None

    @model_validator(mode="after")
    def _slice_is_not_empty(self) -> TraceFile:
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"end {self.end:g} s is not after start {self.start:g} s")
        return self

    def located(self, folder: Path) -> TraceFile:
        """This trace with its path, where it is relative, taken from `folder`."""
        beside = None if self.tokenizer is None else str(folder / self.tokenizer)
        return replace(self, path=str(folder / self.path), tokenizer=beside)


def _shorthand(value: Any) -> Any:
    """A bare path means the whole file as it is."""
    return {"path": value} if isinstance(value, str) else value


Trace = Annotated[TraceFile, BeforeValidator(_shorthand)]
