"""A progress bar on stderr for runs that take over a second. It reads how many have left; it never makes anything happen."""

from __future__ import annotations

import time
from array import array
from typing import Any

import numpy as np

_PATIENCE_S = 1.0


class Progress:
    """Shows how many of `total` requests have left the system, a second after it began and every second from then on."""

    def __init__(self, total: int, *, shown: bool) -> None:
        self.total = total
        self.shown = shown
        self.moved = time.monotonic()
        self.bar: Any = None

    def update(self, finish: array[float]) -> None:
        """Move the bar to how many of the `finish` times have come."""
        if not self.shown or time.monotonic() - self.moved < _PATIENCE_S:
            return
        self.moved = time.monotonic()
        if self.bar is None:
            from rich.console import Console
            from rich.progress import Progress as Bar

            self.bar = Bar(console=Console(stderr=True), transient=True)
            self.bar.start()
            self.task = self.bar.add_task("serving", total=self.total)
        self.bar.update(self.task, completed=int(np.isfinite(np.frombuffer(finish)).sum()))

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.stop()
