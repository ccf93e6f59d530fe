"""Error bands: what published figures that could be compared say of figures that could not, written
into the catalog.

    python -m benchmarks.bands FOLDER [--write] [--keep ROWS]

A residual is measured over predicted. Predictions fall into classes (`error_bands.class_path`):
metric, engine, whether the GPU was measured, load, dense or experts, format, link, mean or tail. A
class of its own has ENOUGH rows of FEWEST combinations of model and GPU, each of which the others
foretell; what is left over in a wider class is one class if it has ENOUGH rows, and else takes all
rows of the wider one, and is wider by UNSEEN, as is a kind of which no row was seen.

The band of a class reaches from the 10th to the 90th percentile of its residuals, in which each
combination counts as the root of its rows. Then every combination is left out in turn, the others
give a band, and its own rows are counted in it: the ends are moved apart until four of five rows
lie inside so, though not so far that more than MOST of all rows lie in the band of all. Without
`--write` the table is printed and nothing is changed.
"""

from __future__ import annotations

import argparse
import datetime
import pickle
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np

from benchmarks.residuals import comparisons
from simulator.text import plural
from simulator.validation.coverage import ENOUGH, LEAST, MOST, NOMINAL, multiple_of, path_of
from simulator.validation.measurements import Comparison
from simulator.workload.requests import Floats

CATALOG = Path(str(resources.files("simulator.catalog").joinpath("data", "error_bands.yaml")))
FEWEST = 4
_SPREADS = np.arange(0.3, 3.0, 0.01)
_USUALLY = 0.865  # of the rows, at most so many inside where that can be had
_HEAD = (
    "# Where real figures lie beside predicted ones, as multiples of them: four of five between low\n"
    "# and high, half below middle. Written by `python -m benchmarks.bands`, which says how; not by\n"
    "# hand. Names are those of simulator/latency/error_bands.py.\n"
)


@dataclass(frozen=True, slots=True)
class Residual:
    """One figure: its classes, its combination of model and GPU, and the logarithm of measured over
    predicted."""

    path: tuple[str, ...]
    combination: tuple[str, str]
    source: str
    error: float


@dataclass(frozen=True, slots=True)
class Band:
    """The band of a class: logarithms, what it rests on, and the share of rows inside when their
    combination is left out."""

    name: str
    ends: tuple[float, float, float]
    members: tuple[Residual, ...]
    widened: float
    inside: float
    left_out: float | None
    seen: tuple[str, ...] = ()


def residuals(found: Sequence[Comparison]) -> list[Residual]:
    """The residuals of the comparisons that have a band."""
    return [
        Residual(path, (each.labels[1], each.labels[2]), each.source.split("/")[0], float(np.log(multiple_of(each))))
        for each in found
        if (path := path_of(each)) is not None and each.labels is not None
    ]


def bands(rows: Sequence[Residual], depth: int = 1) -> list[Band]:
    """The bands of the classes of rows that share the first `depth` words of their paths, the
    widest class first."""
    name = " / ".join(rows[0].path[:depth])
    narrower: dict[str, list[Residual]] = defaultdict(list)
    for row in rows if depth < len(rows[0].path) else ():
        narrower[row.path[depth]].append(row)
    own = {word: members for word, members in narrower.items() if _holds(f"{name} / {word}", members)}
    rest = [row for row in rows if depth == len(row.path) or row.path[depth] not in own]
    if len(rest) >= ENOUGH:
        here = replace(_band(name, rest), seen=tuple(sorted({row.path[depth] for row in rest if depth < len(row.path)})))
    else:
        here = _unseen(name, rows)
    return [here, *(band for members in own.values() for band in bands(members, depth + 1))]


def _holds(name: str, rows: Sequence[Residual]) -> bool:
    """Whether rows make a class: enough of them, of enough combinations, and each of these where
    the others say."""
    enough = len(rows) >= ENOUGH and len(_combinations(rows)) >= FEWEST
    return enough and (_band(name, rows).left_out or 0.0) >= LEAST


def _band(name: str, rows: Sequence[Residual]) -> Band:
    """The band of the rows, as wide as leaving a combination out asks for."""
    members, ends = _combinations(rows), _ends(rows)
    if not _hold_about(rows, ends, MOST):
        ends = _plain_ends(rows)
    others = {one: _ends([r for r in rows if r.combination != one]) for one in members} if len(members) > 1 else {}

    def left_out(spread: float) -> float:
        return sum(_inside(members[one], _spread(others[one], spread)) for one in others) / len(rows)

    wide = _candidates(rows, ends)
    chosen = next((spread for spread in wide if spread >= 1 and left_out(spread) >= NOMINAL), wide[-1])
    inside = _inside(rows, _spread(ends, chosen)) / len(rows)
    return Band(name, _spread(ends, chosen), tuple(rows), chosen, inside, left_out(chosen) if others else None)


def _candidates(rows: Sequence[Residual], ends: tuple[float, float, float]) -> list[float]:
    """Spreads, increasing, with which the band of the rows holds about as many of them as it
    says."""
    for most in (_USUALLY, MOST):
        if found := _hold_about(rows, ends, most):
            return found
    return [1.0]


def _hold_about(rows: Sequence[Residual], ends: tuple[float, float, float], most: float) -> list[float]:
    """The spreads, increasing, with which at least LEAST and at most `most` of the rows lie
    inside."""
    shares = {float(spread): _inside(rows, _spread(ends, spread)) / len(rows) for spread in _SPREADS}
    return [spread for spread, share in shares.items() if LEAST < share < most]


def _plain_ends(rows: Sequence[Residual]) -> tuple[float, float, float]:
    """The percentiles of the rows alone, between two of them, where most are of one combination."""
    errors = np.sort([row.error for row in rows])
    least = max(1, round(0.1 * len(rows)))
    low, high = (float(errors[at - 1 : at + 1].mean()) for at in (least, len(rows) - least))
    return low, float(np.clip(np.median(errors), low + 0.005, high - 0.005)), high


def _unseen(name: str, rows: Sequence[Residual]) -> Band:
    """The band of a class none of whose kinds it is itself about: those have classes of their own,
    or too few rows."""
    ends = _ends(rows)
    return Band(name, ends, tuple(rows), 1.0, _inside(rows, ends) / len(rows), None)


def _combinations(rows: Sequence[Residual]) -> dict[tuple[str, str], list[Residual]]:
    found: dict[tuple[str, str], list[Residual]] = defaultdict(list)
    for row in rows:
        found[row.combination].append(row)
    return found


def _ends(rows: Sequence[Residual]) -> tuple[float, float, float]:
    """The 10th, 50th and 90th percentile, each combination weighing as the root of its rows."""
    counts = {one: len(members) for one, members in _combinations(rows).items()}
    errors = np.array([row.error for row in rows])
    weights = np.array([counts[row.combination] ** -0.5 for row in rows])
    order = np.argsort(errors, kind="stable")
    middle: Floats = (np.cumsum(weights[order]) - weights[order] / 2) / weights.sum()
    low, half, high = (float(q) for q in np.interp((0.1, 0.5, 0.9), middle, errors[order]))
    return min(low, half - 0.01), half, max(high, half + 0.01)


def _spread(ends: tuple[float, float, float], factor: float) -> tuple[float, float, float]:
    low, middle, high = ends
    return middle + factor * (low - middle), middle, middle + factor * (high - middle)


def _inside(rows: Sequence[Residual], ends: tuple[float, float, float]) -> int:
    return sum(ends[0] <= row.error <= ends[2] for row in rows)


def stanza(band: Band, today: str) -> str:
    """A band as the catalog holds it."""
    low, middle, high = (f"{np.exp(end):.5f}" for end in band.ends)
    combinations = len(_combinations(band.members))
    rests = f"{plural(len(band.members), 'published figure')} of {plural(combinations, 'combination')} of model and GPU"
    sources = ", ".join(sorted({row.source for row in band.members}))
    return (
        f"{band.name}:\n  low: {low}\n  middle: {middle}\n  high: {high}\n  rows: {len(band.members)}\n"
        f"  combinations: {combinations}\n  widened: {band.widened:.2f}\n  seen: [{', '.join(band.seen)}]\n  basis: {rests}\n"
        f"  source: python -m benchmarks.bands on {sources}\n  checked: {today}\n"
    )


def main() -> None:
    """Print the bands, and write them where that is asked for."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("folder", type=Path)
    asked.add_argument("--write", action="store_true", help=f"into {CATALOG.name} of the catalog")
    asked.add_argument("--keep", type=Path, help="a file that keeps the comparisons, or has them")
    told = asked.parse_args()
    found = _kept(told.keep) or comparisons(told.folder)
    if told.keep:
        told.keep.write_bytes(pickle.dumps(found))
    rows = residuals(found)
    by_metric: dict[str, list[Residual]] = defaultdict(list)
    for row in rows:
        by_metric[row.path[0]].append(row)
    every = [band for metric in sorted(by_metric) for band in bands(by_metric[metric])]
    print(
        f"{'class':86} {'rows':>5} {'comb.':>5} {'low':>6} {'middle':>6} {'high':>6} {'spread':>6} {'inside':>7} {'left out':>8}"
    )
    for band in every:
        print(_line(band))
    if told.write:
        CATALOG.write_text(_HEAD + "".join(stanza(band, datetime.date.today().isoformat()) for band in every), "utf-8")


def _kept(file: Path | None) -> list[Comparison]:
    return pickle.loads(file.read_bytes()) if file is not None and file.exists() else []


def _line(band: Band) -> str:
    low, middle, high = (float(np.exp(end)) for end in band.ends)
    outside = "       –" if band.left_out is None else f"{band.left_out:8.0%}{' !' if band.left_out < LEAST else ''}"
    figures = f"{low:6.2f} {middle:6.2f} {high:6.2f} {band.widened:6.2f} {band.inside:7.0%} {outside}"
    return f"{band.name:86} {len(band.members):5} {len(_combinations(band.members)):5} {figures}"


if __name__ == "__main__":
    main()
