"""Closed loops with one combination of model and GPU left out: what the overheads' fit to the others says of it.

    python -m benchmarks.leave_out FILE.csv

The overheads of vLLM V1 (`overheads.yaml`) were fitted to these rows, so errors on them are in-sample. Fitting again needs every
simulation again; instead a row's logarithm of measured over predicted TPOT is taken to change with each part of a step by that
part's share of it. Least squares with a prior then give how far each part's multiplier would move on all rows, and on all but one
combination; the difference is what that combination itself put into the fit, and is taken out of its own predictions.
"""

from __future__ import annotations

import statistics
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simulator.errors import SimulatorError
from simulator.latency.models import Roofline
from simulator.latency.step import StepWork
from simulator.validation.measurements import Row, number_in, read_measurement_table
from simulator.validation.protocols import Bench
from simulator.validation.readers.closed_loop import predict_many
from simulator.workload.requests import Floats

# Parts of a step whose multipliers are taken to be fitted.
PARTS = ("gemm", "experts", "attention", "all-reduce", "small kernels", "engine")
# Of the logarithm of a multiplier before anything is seen, and of a row's error that no multiplier explains: standard deviations.
_PRIOR, _NOISE = 0.15, 0.06


@dataclass(frozen=True, slots=True)
class FittedRow:
    """One run: its combination, the logarithm of measured over predicted TPOT, and each part's share of a decode step."""

    combination: tuple[str, str]
    error: float
    shares: Floats


def main() -> None:
    """Print in-sample and left-out errors of TPOT, all together and by combination."""
    rows = fitted_rows(Path(sys.argv[1]))
    left, seen = left_out(rows), [row.error for row in rows]
    print(f"{'combination':42} {'rows':>5} {'in sample: median, mean':>24} {'left out: median, mean':>24}")
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        groups[row.combination].append(index)
    for name, members in sorted(groups.items()):
        print(_line(" on ".join(name), [seen[i] for i in members], [left[i] for i in members]))
    print(_line("all", seen, left))


def fitted_rows(path: Path) -> list[FittedRow]:
    """Rows that state all they rest on and have a TPOT."""
    bench, found = Bench(), []
    for row in read_measurement_table(path).rows:
        try:
            found += _fitted(row, bench)
        except SimulatorError:
            continue
    return found


def left_out(rows: list[FittedRow]) -> list[float]:
    """Each row's error without its combination's own influence on the multipliers."""
    with_all = multipliers(rows)
    without = {
        name: multipliers([row for row in rows if row.combination != name]) - with_all
        for name in {row.combination for row in rows}
    }
    return [row.error - float(row.shares @ without[row.combination]) for row in rows]


def multipliers(rows: list[FittedRow]) -> Floats:
    """Logarithms of the multipliers that fit the rows best, each combination weighing as the root of its rows."""
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for row in rows:
        counts[row.combination] += 1
    weights = np.array([counts[row.combination] ** -0.5 for row in rows])
    shares, errors = np.array([row.shares for row in rows]), np.array([row.error for row in rows])
    ridge = (_NOISE / _PRIOR) ** 2 * np.eye(len(PARTS))
    return np.asarray(np.linalg.solve((shares.T * weights) @ shares + ridge, (shares.T * weights) @ errors))


def _fitted(row: Row, bench: Bench) -> list[FittedRow]:
    measured, users = number_in(row, "tpot_ms_mean"), number_in(row, "concurrency")
    if not measured or not users:
        return []
    ours = predict_many(row, bench)
    if not ours.stated:
        return []
    context = int((number_in(row, "input_len") or 0) + (number_in(row, "output_len") or 0) / 2)
    decode = StepWork(contexts=(context,) * min(int(users), bench.bind(ours.server).target.args.max_num_seqs))
    seconds = {name: part.seconds(decode) for name, part in Roofline().parts(bench.bind(ours.server).target).items()}
    shares = np.array([seconds[name] for name in PARTS]) / sum(seconds.values())
    error = float(np.log(measured / ours.values["tpot_ms"]))
    return [FittedRow((ours.server.model.name, ours.server.gpu.name), error, shares)]


def _line(name: str, seen: list[float], left: list[float]) -> str:
    both = [[100 * abs(np.expm1(-error)) for error in errors] for errors in (seen, left)]
    figures = "".join(f"{statistics.median(each):17.1f} {statistics.mean(each):6.1f}" for each in both)
    return f"{name:42} {len(seen):5} {figures}"


if __name__ == "__main__":
    main()
