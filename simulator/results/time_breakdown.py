"""Steps: where the seconds of a run went, part by part of the step time, and which resource they were spent on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from simulator.engine.record import RunRecord
from simulator.latency.step import StepTime
from simulator.results.model import Resource

Floats = NDArray[np.float64]

_RESOURCES: dict[str, Resource] = {
    "attention": "bandwidth",
    "head": "bandwidth",
    "all-reduce": "communication",
    "small kernels": "overhead",
    "engine": "overhead",
    "launches": "overhead",
}
_COLUMNS = ("steps", "decoding", "prefill_tokens", "sampled", "sequences", "base_s", "slope_s")


def step_seconds(trace: RunRecord, parts: Mapping[str, StepTime], start_s: float = 0.0) -> dict[str, float]:
    """Busy seconds of the stretches that start at `start_s` or later, by part; the parts' sum is the step time of the run.

    What depends on context lengths, which the trace sums up in `base_s` and `slope_s`, is what the other terms leave over, and
    goes to the parts that have such terms (attention) in proportion to them.
    """
    rows = _since(trace, start_s, _verified(parts))
    known = dict(zip(parts, _sums(parts.values(), rows), strict=True))
    left = float(_total(rows).sum()) - sum(known.values())
    weights = {name: part.per_context + sum(w.per_context for w in part.windows) for name, part in parts.items()}
    whole = sum(weights.values())
    return {name: max(seconds + (left * weights[name] / whole if whole else 0.0), 0.0) for name, seconds in known.items()}


def resource_seconds(trace: RunRecord, parts: Mapping[str, StepTime], start_s: float = 0.0) -> dict[Resource, float]:
    """The same seconds by resource.

    A matmul counts as compute in steps of so many tokens that arithmetic alone, at the rate it reaches in the largest steps,
    takes more than half of its time, and as bandwidth in the others.
    """
    by_part = step_seconds(trace, parts, start_s)
    rows = _since(trace, start_s, _verified(parts))
    spent: dict[Resource, float] = {}
    for name, seconds in by_part.items():
        if name in _RESOURCES:
            spent[_RESOURCES[name]] = spent.get(_RESOURCES[name], 0.0) + seconds
            continue
        each, arithmetic = _seconds(parts[name], rows), _arithmetic(parts[name], rows)
        compute = float(each[arithmetic > each / 2].sum())
        spent["compute"] = spent.get("compute", 0.0) + compute
        spent["bandwidth"] = spent.get("bandwidth", 0.0) + seconds - compute
    return spent


def _verified(parts: Mapping[str, StepTime]) -> int:
    """Tokens of a decoding sequence in a step."""
    return max((part.verified for part in parts.values()), default=1)


def _since(trace: RunRecord, start_s: float, verified: int) -> dict[str, NDArray[np.float64]]:
    late = trace.stretches["start_s"] >= start_s
    rows = {name: trace.stretches[name][late] for name in _COLUMNS}
    decoding = rows["decoding"]
    return rows | {
        "tokens": decoding * verified + rows["prefill_tokens"],
        "drafting": rows["sampled"],
        "sampled": rows["sampled"] + decoding * (verified - 1),
    }


def _total(rows: Mapping[str, Floats]) -> Floats:
    steps = rows["steps"].astype(np.float64)
    return steps * rows["base_s"] + rows["slope_s"] * (steps * (steps - 1) / 2)


def _seconds(part: StepTime, rows: Mapping[str, Floats]) -> Floats:
    """Seconds of each stretch that a part takes, but for what depends on context lengths."""
    fixed = part.tokens[rows["tokens"]] + part.sampled[rows["sampled"]] + part.per_sequence * rows["sequences"]
    if len(part.drafted):
        fixed = fixed + part.drafted[rows["drafting"]]
    return np.asarray((fixed + part.constant + _of_prompts(part, rows)) * rows["steps"])


def _of_prompts(part: StepTime, rows: Mapping[str, Floats]) -> Floats:
    """Seconds of each step that it takes because prompt tokens are computed in it."""
    added = part.prompt[rows["tokens"]] if len(part.prompt) else 0.0
    return np.asarray(np.where(rows["prefill_tokens"] > 0, added, 0.0))


def _sums(parts: Iterable[StepTime], rows: Mapping[str, Floats]) -> Iterator[float]:
    """The same summed over the stretches, for each part, from how many steps there were of every size."""
    steps = rows["steps"].astype(np.int64)
    tokens, sampled = (np.bincount(rows[name], weights=steps) for name in ("tokens", "sampled"))
    sequences, count = float((rows["sequences"] * steps).sum()), float(steps.sum())
    for part in parts:
        by_size = (part.tokens[: len(tokens)] * tokens).sum() + (part.sampled[: len(sampled)] * sampled).sum()
        prompts = float((_of_prompts(part, rows) * steps).sum()) if len(part.prompt) else 0.0
        if len(part.drafted):
            prompts += float((part.drafted[rows["drafting"]] * steps).sum())
        yield float(by_size) + part.per_sequence * sequences + part.constant * count + prompts


def _arithmetic(part: StepTime, rows: Mapping[str, Floats]) -> Floats:
    """Seconds that the same tokens take at the slope of the largest steps."""
    most = len(part.tokens) - 1
    slope = (part.tokens[most] - part.tokens[most // 2]) / max(most - most // 2, 1)
    return np.asarray(rows["tokens"].astype(np.int64) * rows["steps"] * slope)
