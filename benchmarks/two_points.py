"""Calibration by two points: what the fewest and the most users of one pair of lengths say of a server's other runs.

    python -m benchmarks.two_points FILE.csv [INPUT OUTPUT]

For each server of a table of closed loops, `sim calibrate`'s factors are fitted to two of its rows (1,024 tokens in and out
by default), and the mean TPOT of its other rows is predicted without and with them.
"""

from __future__ import annotations

import statistics
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from simulator.latency.calibration import Calibration, Key
from simulator.validation.calibrate import MeasuredPoint, calibrate
from simulator.validation.protocols import Bench, finished
from simulator.validation.readers.calibration_points import read_points

# Servers with fewer rows say too little of the others.
_LEAST_ROWS = 4


def main() -> None:
    """Print the errors of TPOT before and after, in percent, median and mean, by server and of all rows."""
    input_len, output_len = map(int, sys.argv[2:4]) if len(sys.argv) > 3 else (1024, 1024)
    servers: dict[Key, list[MeasuredPoint]] = defaultdict(list)
    for point in read_points([Path(sys.argv[1])])[0]:
        servers[point.key].append(point)
    before: list[float] = []
    after: list[float] = []
    print(f"{'server':70} {'rows':>4} {'before':>10} {'after':>10}")
    for key, points in sorted(servers.items()):
        if len(points) < _LEAST_ROWS or (pair := _ends(points, input_len, output_len)) is None:
            continue
        others = [point for point in points if point not in pair]
        was, now = _errors(others, None), _errors(others, calibrate(pair).calibration)
        print(f"{' '.join(map(str, key)):70} {len(others):4} {_both(was)} {_both(now)}")
        before, after = [*before, *was], [*after, *now]
    print(f"{'all':70} {len(before):4} {_both(before)} {_both(after)}")


def _ends(points: list[MeasuredPoint], input_len: int, output_len: int) -> list[MeasuredPoint] | None:
    """The points of fewest and of most users among those of the given lengths; None without two."""
    alike = [p for p in points if _longest(p) == (input_len, output_len)]
    alike.sort(key=lambda point: point.concurrency)
    return [alike[0], alike[-1]] if len(alike) > 1 and alike[-1].concurrency > alike[0].concurrency else None


def _longest(point: MeasuredPoint) -> tuple[int, int]:
    """The lengths that a row states: the longest it draws, to the next multiple of 128 tokens."""
    longest = (int(lengths.max()) for lengths in (point.requests.prompt_tokens, point.requests.output_tokens))
    prompt, output = (-(-each // 128) * 128 for each in longest)
    return prompt, output


def _errors(points: list[MeasuredPoint], calibration: Calibration | None) -> list[float]:
    bench, found = Bench(calibration=calibration), []
    for point in points:
        seen = finished(bench.run(point.server, point.requests, point.load))
        found.append(100 * abs(1e3 * float(np.nanmean(seen["tpot_s"])) / (point.tpot_ms or np.nan) - 1))
    return found


def _both(errors: list[float]) -> str:
    return f"{statistics.median(errors):5.1f} {statistics.mean(errors):4.1f}"


if __name__ == "__main__":
    main()
