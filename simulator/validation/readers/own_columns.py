"""Columns that a CSV of one's own may have beside those of published tables: more figures, lengths as tools draw them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from simulator.catalog.gpus import Gpu, gpu
from simulator.errors import MeasurementError, did_you_mean, nearest_names
from simulator.numbers import LONGEST, finite_number
from simulator.units import GB
from simulator.validation.measurements import Row, number_in, text, whole_in
from simulator.validation.readers.rows import count
from simulator.workload.lengths.presets import PRESETS
from simulator.workload.requests import Ints

_STATISTICS = {"": "mean", "_p50": "median", "_p90": "p90", "_p95": "p95", "_p99": "p99"}
FIGURES: dict[str, tuple[str, float]] = {
    **{
        f"{name}_ms{ours}": (f"{name}_ms_{theirs}", 1.0)
        for name in ("ttft", "tpot", "e2e")
        for ours, theirs in _STATISTICS.items()
    },
    "itl_ms": ("itl_ms_mean", 1.0),
    "output_tok_s": ("output_tok_s", 1.0),
    "total_tok_s": ("total_tok_s", 1.0),
    "request_rate": ("req_s", 1.0),
}
"""Metric: the column that holds it, and the factor to its unit."""
ANY_FIGURE = "|".join(column for column, _ in FIGURES.values())
_MOST_S = 1e6


def named_lengths(row: Row, total: int, rng: np.random.Generator) -> tuple[Ints, Ints] | None:
    """Prompts and answers of a row that names a dataset in place of lengths, or spreads its lengths by vLLM's own
    `random_range_ratio`; None for a row that does neither.

    A ratio r means lengths from (1 - r) to (1 + r) times what is stated: vLLM vllm/benchmarks/datasets (read 2026-11). Raises
    MeasurementError.
    """
    if not text(row, "input_len") and (dataset := text(row, "dataset").lower()):
        if dataset not in PRESETS:
            offered = did_you_mean(nearest_names(dataset, PRESETS)) or f"; known are {', '.join(PRESETS)}"
            raise MeasurementError(
                f"column dataset: no lengths are known of {dataset!r:.40}{offered}; give input_len and output_len"
            )
        law = PRESETS[dataset]
        if law.prefix is not None:
            raise MeasurementError(f"column dataset: the shared prompts of {dataset} are not modelled in a table; export a trace")
        return law.prompt.tokens_at(rng.random(total)), law.output.tokens_at(rng.random(total))
    if (written := number_in(row, "random_range_ratio")) is None:
        return None
    if text(row, "length_range_ratio"):
        raise MeasurementError("columns length_range_ratio and random_range_ratio are both given; keep one")
    ratio = finite_number(written, "column random_range_ratio", least=0.0, most=0.999)
    return _around(row, "input_len", ratio, total, rng), _around(row, "output_len", ratio, total, rng)


def _around(row: Row, column: str, ratio: float, total: int, rng: np.random.Generator) -> Ints:
    middle = count(row, column, most=LONGEST)
    low, high = int(middle * (1 - ratio)), -int(-middle * (1 + ratio) // 1)
    return rng.integers(max(1, low), min(high, LONGEST) + 1, total)


def sent_in(row: Row, usual: int, most: int) -> int:
    """How many requests its `request_rate` sends in a row's `duration_s`; the usual number where either is blank."""
    rate, seconds = number_in(row, "request_rate"), number_in(row, "duration_s")
    if rate is None or seconds is None:
        return usual
    seconds = finite_number(seconds, "column duration_s", above=0.0, most=_MOST_S)
    return min(max(1, round(rate * seconds)), most)


def card_of(row: Row) -> Gpu:
    """The GPU of a row, with the bandwidth of its links where `link_gb_per_s` states it.

    Raises MeasurementError for a `link` that the card does not have, and for several replicas: no fleet is simulated here.
    """
    card = gpu(text(row, "gpu"))
    if (replicas := whole_in(row, "replicas") or 1) > 1:
        raise MeasurementError(
            f"column replicas: {replicas} servers behind a router are not validated; give one server's figures"
        )
    link, speed = text(row, "link").lower(), number_in(row, "link_gb_per_s")
    if link and link != card.link and speed is None:
        raise MeasurementError(f"column link: {card.name} is linked by {card.link}; give link_gb_per_s of {link!r:.20} too")
    if speed is None:
        return card
    return replace(card, link_bytes_per_s=GB * finite_number(speed, "column link_gb_per_s", least=1e-3, most=1e5))
