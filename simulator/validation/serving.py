"""Readers of serving measurements, each taken by its columns."""

from simulator.validation import serving_closed, serving_open, serving_published, serving_replay
from simulator.validation.measurements import Reader

READERS: tuple[Reader, ...] = (
    serving_replay.READER,
    serving_open.READER,
    serving_closed.MANY,
    serving_published.READER,
    serving_closed.ONE,
)
