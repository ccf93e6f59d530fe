"""Readers of serving measurements, each taken by its columns."""

from __future__ import annotations

from simulator.validation.measurements import Reader
from simulator.validation.readers import closed_loop, disaggregated, open_loop, published, replay

READERS: tuple[Reader, ...] = (
    replay.READER,
    open_loop.READER,
    disaggregated.READER,
    closed_loop.MANY,
    published.READER,
    closed_loop.ONE,
)
