"""What a simulation needs of memory: `python -m benchmarks.memory 1000000` prints the peaks above import, in bytes, of drawing
the requests and of all; Linux only."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.cases import chat


def main(requests: int) -> None:
    """Draw and serve the chat, the log included, in a process that does nothing else."""
    case = chat()
    case.serve(case.draw(10))
    before = _kib("VmRSS")
    drawn = case.draw(requests)
    peaks = [_kib("VmHWM")]
    trace = case.serve(drawn)
    assert len(trace) == requests
    peaks.append(_kib("VmHWM"))
    print(*(1024 * (peak - before) for peak in peaks))


def _kib(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


if __name__ == "__main__":
    main(int(sys.argv[1]))
