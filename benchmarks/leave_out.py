"""Closed loops with one combination of model and GPU left out: what a refit to the others predicts of it.

    python -m benchmarks.leave_out FILE.csv

The overheads of vLLM V1 (`overheads.yaml`) were fitted to such rows, so errors on them are in-sample. Here the multipliers of a
step's parts are fitted again without each combination in turn, and that combination's runs are simulated with what comes out.
The fit is one Gauss-Newton step from the catalog's figures: the logarithm of measured over predicted TPOT, and of TTFT, changes
with each multiplier by its part's share of a decode step, and of a prompt's. Rows of one combination weigh as the root of their
number, far ones less (Huber), and the prior is that the catalog is right.
"""

from __future__ import annotations

import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simulator.errors import SimulatorError
from simulator.latency.breakdown import add, scaled
from simulator.latency.models import Roofline
from simulator.latency.step import StepTime, StepWork
from simulator.latency.target import Target
from simulator.server import Server
from simulator.validation.measurements import Row, number_in, read_measurement_table
from simulator.validation.protocols import Bench
from simulator.validation.readers.closed_loop import predict_many, what_ran
from simulator.validation.readers.rows import Prediction
from simulator.validation.suspects import contradicted
from simulator.workload.requests import Floats

# Parts of a step whose multipliers are fitted.
PARTS = ("gemm", "experts", "attention", "all-reduce", "small kernels", "engine")
METRICS = {"tpot_ms": "tpot_ms_mean", "ttft_ms": "ttft_ms_mean"}
# Of the logarithm of a multiplier before anything is seen, and of a figure's error that no multiplier explains: standard
# deviations. Beyond _FAR an error counts as it stands, not squared. Passes of the reweighting.
_PRIOR, _NOISE, _FAR, _PASSES = 0.15, {"tpot_ms": 0.06, "ttft_ms": 0.17}, 0.08, 8
# What a client sees of a first token besides the engine: seconds.
_CLIENT_S = 0.007


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure: the logarithm of measured over predicted, and each part's share of what it is made of."""

    combination: tuple[str, str]
    metric: str
    error: float
    shares: Floats


@dataclass(frozen=True, slots=True)
class Refitted:
    """The roofline with multipliers on its parts, by name."""

    multipliers: Mapping[str, float]

    def bind(self, target: Target) -> StepTime:
        """The step time of one replica. Raises NotModelled as the roofline does."""
        parts = Roofline().parts(target)
        return add(scaled(part, self.multipliers.get(name, 1.0)) for name, part in parts.items())


def main() -> None:
    """Print in-sample and left-out errors of TPOT and TTFT, by combination and all together."""
    rows = stated_rows(Path(sys.argv[1]))
    seen = [figure for row in rows for figure in figures_of(row, Bench())]
    left = [figure for name in combinations(seen) for figure in without(name, rows, seen)]
    print("TPOT and mean TTFT of closed loops, percent off: median, mean")
    print(f"{'combination':42} {'rows':>5} {'TPOT in sample':>15} {'left out':>11} {'TTFT in sample':>15} {'left out':>11}")
    for name in combinations(seen):
        print(_line(" on ".join(name), _of(name, seen), _of(name, left)))
    print(_line("all", seen, left))


def stated_rows(path: Path) -> list[Row]:
    """Rows that state all that they rest on and are not suspect."""
    table = read_measurement_table(path)
    doubts = contradicted(table.rows, what_ran)
    bench, found = Bench(), []
    for index, row in enumerate(table.rows):
        try:
            ours = predict_many(row, bench, doubts.get(index))
        except SimulatorError:
            continue
        if ours.stated and not ours.suspect:
            found.append(row)
    return found


def without(name: tuple[str, str], rows: list[Row], seen: list[Figure]) -> Iterator[Figure]:
    """The figures of a combination as simulated with multipliers that were fitted to the others'."""
    others = [figure for figure in seen if figure.combination != name]
    refitted: Any = Refitted(dict(zip(PARTS, np.exp(multipliers(others)), strict=True)))
    bench = Bench(latency=refitted)
    for row in rows:
        if combination_of(row) == name:
            yield from figures_of(row, bench)


def multipliers(figures: list[Figure]) -> Floats:
    """Logarithms of the multipliers that fit the figures best."""
    counts = Counter((figure.combination, figure.metric) for figure in figures)
    shares, errors = np.array([f.shares for f in figures]), np.array([f.error for f in figures])
    rows = np.array([counts[f.combination, f.metric] ** -0.5 / _NOISE[f.metric] ** 2 for f in figures])
    found = np.zeros(len(PARTS))
    for _ in range(_PASSES):
        weights = rows / np.maximum(np.abs(errors - shares @ found) / _FAR, 1.0)
        normal = (shares.T * weights) @ shares + np.eye(len(PARTS)) / _PRIOR**2
        found = np.linalg.solve(normal, (shares.T * weights) @ errors)
    return np.asarray(found)


def figures_of(row: Row, bench: Bench) -> Iterator[Figure]:
    """The figures of one row beside a simulation of it."""
    ours = predict_many(row, bench)
    engine = bench.bind(ours.server)
    for metric, column in METRICS.items():
        if measured := number_in(row, column):
            error = float(np.log(measured / ours.values[metric]))
            yield Figure(combination_of(row), metric, error, _shares(row, ours, engine, metric))


def combination_of(row: Row) -> tuple[str, str]:
    """The model and the GPU of a row, as it names them."""
    return row["model"].rsplit("/", 1)[-1], row["gpu"]


def combinations(figures: list[Figure]) -> list[tuple[str, str]]:
    """Every model and GPU once, by name."""
    return sorted({figure.combination for figure in figures})


def _shares(row: Row, ours: Prediction, engine: Server, metric: str) -> Floats:
    prompt, answer = (int(number_in(row, name) or 0) for name in ("input_len", "output_len"))
    users = min(int(number_in(row, "concurrency") or 1), engine.limits.max_num_seqs)
    if metric == "tpot_ms":
        return _parts(engine, [StepWork(contexts=(prompt + answer // 2,) * users)])
    most = engine.limits.max_num_batched_tokens
    chunks = [(start, min(most, prompt - start), start + most >= prompt) for start in range(0, prompt, most)]
    engines_own = max(0.0, 1 - 1e3 * _CLIENT_S / ours.values["ttft_ms"])
    return engines_own * _parts(engine, [StepWork(chunks=(chunk,)) for chunk in chunks])


def _parts(engine: Server, steps: list[StepWork]) -> Floats:
    """Each part's share of the seconds of some steps, shape (parts,)."""
    seconds = {name: sum(map(part.seconds, steps)) for name, part in Roofline().parts(engine.target).items()}
    return np.array([seconds[name] for name in PARTS]) / sum(seconds.values())


def _of(name: tuple[str, str], figures: list[Figure]) -> list[Figure]:
    return [figure for figure in figures if figure.combination == name]


def _line(name: str, seen: list[Figure], left: list[Figure]) -> str:
    columns = "".join(f"{_errors(metric, seen):>16}{_errors(metric, left):>12}" for metric in METRICS)
    return f"{name:42} {len(seen) // len(METRICS):5}{columns}"


def _errors(metric: str, figures: list[Figure]) -> str:
    by_metric: dict[str, list[float]] = defaultdict(list)
    for figure in figures:
        by_metric[figure.metric].append(100 * abs(float(np.expm1(-figure.error))))
    return f"{statistics.median(by_metric[metric]):.1f} {statistics.mean(by_metric[metric]):.1f}"


if __name__ == "__main__":
    main()
