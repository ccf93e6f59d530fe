"""Ctrl-C and termination: the program leaves in order, so that no worker process and no half-written file stays behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
_SIGNALS = "SIGINT", "SIGTERM", "SIGHUP"
_PATIENCE_S = 5.0


@contextmanager
def interruptible() -> Iterator[None]:
    """Turns the first of them into KeyboardInterrupt. More of them change nothing for five seconds; then they end it at once."""
    times: list[float] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        times.append(time.monotonic())
        if len(times) == 1:
            raise KeyboardInterrupt
        if times[-1] - times[0] > _PATIENCE_S:
            os._exit(INTERRUPTED)

    numbers = [number for name in _SIGNALS if (number := getattr(signal, name, None)) is not None]
    heeded = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    former = {number: signal.signal(number, interrupt) for number in heeded}
    try:
        yield
    finally:
        if not times:  # once interrupted, Python is about to end, and may wait for its workers while it does
            for number, handler in former.items():
                signal.signal(number, handler)
