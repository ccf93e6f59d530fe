"""A progress bar on stderr for runs that take over a second. It reads how many have left; it never makes anything happen."""

from __future__ import annotations

import time
from typing import Any

_PATIENCE_S = 1.0


class Progress:
    """Shows how many of `total` requests have left the system, once a second has gone by."""

    def __init__(self, total: int, *, shown: bool) -> None:
        self.total = total
        self.shown = shown
        self.began = time.monotonic()
        self.bar: Any = None

    def update(self, departures: int) -> None:
        """Move the bar."""
        if not self.shown or time.monotonic() - self.began < _PATIENCE_S:
            return
        if self.bar is None:
            from rich.console import Console
            from rich.progress import Progress as Bar

            self.bar = Bar(console=Console(stderr=True), transient=True)
            self.bar.start()
            self.task = self.bar.add_task("serving", total=self.total)
        self.bar.update(self.task, completed=departures)

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.stop()
