"""Layer profiles: a user's own measured layer times, read and checked.

A profile is a folder of three CSV files with times in microseconds of one GPU's share of a model at one parallelism:

* `dense.csv`: `layer,tokens,time_us`, matmuls, norms and activations by the tokens in a step. `embedding` and `final_layernorm`
  run once a step, `layernorm` twice a layer, every other name once a layer.
* `per_sequence.csv`: `layer,sequences,time_us`, what runs once a step on the sequences that sample: `lm_head`, `sampler`.
* `attention.csv`: `prefill_chunk,kv_prefill,n_decode,kv_decode,time_us`, one layer's attention over a prompt chunk with so many
  tokens before it, and so many decoding sequences of so much context; 0 where there is none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulator.errors import MeasurementError
from simulator.files import read_csv_rows
from simulator.numbers import finite_number
from simulator.units import US

Floats = NDArray[np.float64]
# Times of one kernel or layer, microseconds, and tokens or sequences of a step.
_LEAST_US, _MOST_US, _MOST_COUNT = 1e-3, 1e9, 1e9
_ONCE, _TWICE = ("embedding", "final_layernorm"), ("layernorm",)


@dataclass(frozen=True, slots=True)
class Curve:
    """Measured seconds by a count, increasing; straight lines between the points."""

    counts: Floats
    seconds: Floats

    @property
    def largest(self) -> int:
        """The largest count that was measured."""
        return int(self.counts[-1])

    def at(self, counts: Floats) -> Floats:
        """Seconds at counts within the measured range; 0 counts take none. Raises MeasurementError beyond it."""
        if len(counts) and counts.max() > self.counts[-1]:
            raise MeasurementError(f"measured up to {self.largest}, asked for {int(counts.max())}")
        return np.where(counts > 0, np.interp(counts, self.counts, self.seconds), 0.0)


@dataclass(frozen=True, slots=True)
class AttentionFit:
    """One layer's attention: seconds a call, token, sequence, context token and (query, key) pair; `typical_error` in percent."""

    call: float
    per_token: float
    per_sequence: float
    per_context: float
    per_pair: float
    longest_context: int
    typical_error: float


@dataclass(frozen=True, slots=True)
class Profile:
    """A folder of layer times: curves of one layer, of what runs once, by sampled sequences, and the fit of attention."""

    layer: Curve
    once: Curve
    sampled: Curve
    attention: AttentionFit


def read_profile(folder: Path) -> Profile:
    """The profile in a folder. Raises MeasurementError naming the file and what is wrong with it."""
    dense = _by_name(folder / "dense.csv", "tokens")
    layers = [(name, curve) for name, curve in dense.items() if name not in _ONCE]
    once = [(name, curve) for name, curve in dense.items() if name in _ONCE]
    sampled = _by_name(folder / "per_sequence.csv", "sequences")
    if not layers:
        raise MeasurementError(f"{folder / 'dense.csv'}: no layers but {' and '.join(_ONCE)}")
    return Profile(
        layer=_sum(folder / "dense.csv", [(c, 2.0 if name in _TWICE else 1.0) for name, c in layers]),
        once=_sum(folder / "dense.csv", [(c, 1.0) for _, c in once]) if once else _nothing(layers[0][1]),
        sampled=_sum(folder / "per_sequence.csv", [(c, 1.0) for c in sampled.values()]),
        attention=_attention(folder / "attention.csv"),
    )


def _by_name(path: Path, count: str) -> dict[str, Curve]:
    points: dict[str, dict[float, float]] = defaultdict(dict)
    for row in _rows(path, ("layer", count, "time_us")):
        points[row["layer"]][_number(path, row, count)] = _number(path, row, "time_us") * US
    return {name: Curve(np.array(sorted(at)), np.array([at[count] for count in sorted(at)])) for name, at in points.items()}


def _sum(path: Path, curves: list[tuple[Curve, float]]) -> Curve:
    """The curve of several layers together, over the counts that all were measured to."""
    if not curves:
        raise MeasurementError(f"{path}: no layers")
    most = min(curve.largest for curve, _ in curves)
    counts = np.unique(np.concatenate([curve.counts for curve, _ in curves]))
    counts = counts[counts <= most]
    return Curve(counts, np.sum([times * curve.at(counts) for curve, times in curves], axis=0))


def _nothing(like: Curve) -> Curve:
    return Curve(like.counts, np.zeros_like(like.seconds))


def _attention(path: Path) -> AttentionFit:
    """Least squares on relative error, no term below zero: decodes from rows without a chunk, prefill from rows without decodes.

    Rows that hold both are left out: there kernels run decodes slower than apart, which a sum of terms cannot say.
    """
    names = ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us")
    table = np.array([[_number(path, row, name) for name in names] for row in _rows(path, names)])
    decodes, prompts = table[table[:, 0] == 0], table[(table[:, 2] == 0) & (table[:, 0] > 0)]
    if len(decodes) < 3 or len(prompts) < 2:
        raise MeasurementError(f"{path}: rows of decodes alone (prefill_chunk 0) and of a prompt alone (n_decode 0) are needed")
    n, context, seconds = decodes[:, 2], decodes[:, 3], decodes[:, 4] * US
    first, off = _fit(np.stack([np.ones(len(n)), n, n * context], axis=1), seconds, 0.0)
    chunk, before, later = prompts[:, 0], prompts[:, 1], prompts[:, 4] * US
    second, off_prompts = _fit(np.stack([chunk, chunk * (before + chunk / 2)], axis=1), later, first[0])
    typical = 100 * float(np.median(np.concatenate([off, off_prompts])))
    return AttentionFit(first[0], second[0], first[1], first[2], second[1], int(context.max()), typical)


def _fit(terms: Floats, seconds: Floats, constant: float) -> tuple[list[float], Floats]:
    """Coefficients of terms beside a constant, and the relative error of each row."""
    found = _nonnegative(terms / seconds[:, None], 1 - constant / seconds)
    return [float(c) for c in found], np.abs((terms @ found + constant) / seconds - 1)


def _nonnegative(terms: Floats, wanted: Floats) -> Floats:
    """Least squares over the terms whose coefficients stay at or above zero, dropping the most negative one at a time."""
    kept = list(range(terms.shape[1]))
    while True:
        found = np.linalg.lstsq(terms[:, kept], wanted, rcond=None)[0]
        if (found >= 0).all():
            break
        kept.pop(int(np.argmin(found * np.abs(terms[:, kept]).mean(axis=0))))
    answer = np.zeros(terms.shape[1])
    answer[kept] = found
    return answer


def _rows(path: Path, names: tuple[str, ...]) -> Sequence[Mapping[str, str]]:
    columns, rows = read_csv_rows(path, hint="; a profile has dense.csv, per_sequence.csv and attention.csv")
    if missing := [name for name in names if name not in columns]:
        raise MeasurementError(f"{path}: columns missing: {', '.join(missing)}")
    if not rows:
        raise MeasurementError(f"{path}: no rows under its columns")
    return rows


def _number(path: Path, row: Mapping[str, str], name: str) -> float:
    where = f"{path}: column {name}"
    if name == "time_us":
        return finite_number(row.get(name, ""), where, least=_LEAST_US, most=_MOST_US)
    return finite_number(row.get(name, ""), where, least=0.0, most=_MOST_COUNT)
