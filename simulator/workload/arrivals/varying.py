"""Arrivals whose rate changes: stages, a ramp, a day, bursts.

`cv` is the coefficient of variation of the gaps, measured in expected arrivals: 1 is a Poisson process of varying rate, 0 is
evenly spaced (what load generators call constant), above 1 is bursty on top of the change of rate.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import model_validator

from simulator.errors import ScenarioError
from simulator.numbers import MOST_REQUESTS
from simulator.spec import Variation, spec
from simulator.workload.arrivals.gaps import epochs, gamma_gaps
from simulator.workload.requests import Floats
from simulator.workload.text_units import Duration, IdleRate, Pause, Rate

_KNOTS_A_PERIOD = 8193
_PHASES = 256


class _Varying:
    """A rate known in advance: the subclass is a spec with `cv`, the integral of its rate, and that integral's inverse."""

    __slots__ = ()
    cv: float

    @abstractmethod
    def expected_by(self, t: float) -> float:
        """Expected number of arrivals in the first `t` seconds."""

    @abstractmethod
    def time_of(self, count: Floats) -> Floats:
        """Seconds by which `count` arrivals are expected, the inverse of `expected_by`."""

    def end_s(self) -> float:
        """Seconds after which nothing arrives any more."""
        return math.inf

    def times(self, rng: np.random.Generator, requests: int | None, duration_s: float | None) -> Floats:
        end = min(self.end_s(), math.inf if duration_s is None else duration_s)
        until = math.inf if math.isinf(end) else self.expected_by(end)
        return self.time_of(epochs(gamma_gaps(rng, self.cv), requests, until))


@spec
class Stage:
    """A stretch of time at one rate."""

    rate: IdleRate
    duration: Duration


@spec
class Stages(_Varying):
    """One rate after another, then the end: inference-perf's `load.stages`, or `rates` that last `every` so long each.

    With `exact` a stage brings its rate times its duration, rounded, at random times: a recorded day as it was, not one like it.
    """

    kind: Literal["stages"] = "stages"
    stages: tuple[Stage, ...] = ()
    rates: tuple[IdleRate, ...] = ()
    every: Duration | None = None
    cv: Variation = 1.0
    exact: bool = False

    @model_validator(mode="after")
    def _something_arrives(self) -> Stages:
        if bool(self.stages) == bool(self.rates) or bool(self.rates) != (self.every is not None):
            raise ValueError("give stages (each a rate and a duration), or rates and how long each lasts, such as every: 1h")
        if all(rate == 0 for rate in self.all_rates()):
            raise ValueError("every stage has rate 0; give at least one a positive rate")
        return self

    def all_rates(self) -> tuple[float, ...]:
        """The rate of each stage."""
        return self.rates or tuple(stage.rate for stage in self.stages)

    def durations(self) -> tuple[float, ...]:
        """How long each stage lasts, seconds."""
        return tuple(stage.duration for stage in self.stages) or (self.every or 0.0,) * len(self.rates)

    def mean_rate(self) -> float:
        """Requests per second over all stages."""
        return self.expected_by(self.end_s()) / self.end_s()

    def scaled(self, factor: float) -> Stages:
        """The same pattern at `factor` times the rate."""
        stages = tuple(replace(stage, rate=stage.rate * factor) for stage in self.stages)
        return replace(self, stages=stages, rates=tuple(rate * factor for rate in self.rates))

    def times(self, rng: np.random.Generator, requests: int | None, duration_s: float | None) -> Floats:
        """Arrival times, seconds, shape (n,), not decreasing; none after the last stage."""
        if not self.exact:
            return _Varying.times(self, rng, requests, duration_s)
        knots, expected = self._knots()
        if expected[-1] > MOST_REQUESTS:
            raise ScenarioError(f"exact stages of {expected[-1]:,.0f} requests; at most {MOST_REQUESTS:,} are drawn")
        counts = np.rint(np.diff(expected)).astype(np.int64)
        draw = gamma_gaps(rng, self.cv)
        places = [np.cumsum(gaps[:-1]) / gaps.sum() for gaps in (draw(n + 1) for n in counts.tolist())]
        times: Floats = np.repeat(knots[:-1], counts) + np.repeat(np.diff(knots), counts) * np.concatenate(places)
        return times[: None if duration_s is None else np.searchsorted(times, duration_s, side="right")][:requests]

    def end_s(self) -> float:
        """Seconds that all stages take."""
        return sum(self.durations())

    def expected_by(self, t: float) -> float:
        """Expected arrivals in the first `t` seconds."""
        return float(np.interp(t, *self._knots()))

    def time_of(self, count: Floats) -> Floats:
        """Seconds by which `count` arrivals are expected, shape of `count`."""
        return _first_reached(count, *self._knots())

    def _knots(self) -> tuple[Floats, Floats]:
        """Seconds and expected arrivals at the ends of the stages."""
        durations, rates = np.array(self.durations()), np.array(self.all_rates())
        return np.concatenate([[0.0], np.cumsum(durations)]), np.concatenate([[0.0], np.cumsum(durations * rates)])


@spec
class Ramp(_Varying):
    """A rate that goes in a straight line from `start` to `end` over a time, then the end."""

    kind: Literal["ramp"] = "ramp"
    start: IdleRate
    end: IdleRate
    over: Duration
    cv: Variation = 1.0

    @model_validator(mode="after")
    def _something_arrives(self) -> Ramp:
        if self.start == 0 and self.end == 0:
            raise ValueError("start and end are both 0; at least one must be positive")
        return self

    def mean_rate(self) -> float:
        """Requests per second over the whole ramp."""
        return (self.start + self.end) / 2

    def scaled(self, factor: float) -> Ramp:
        """The same pattern at `factor` times the rate."""
        return replace(self, start=self.start * factor, end=self.end * factor)

    def end_s(self) -> float:
        """Seconds that the ramp takes."""
        return self.over

    def expected_by(self, t: float) -> float:
        """Expected arrivals in the first `t` seconds."""
        return self.start * t + (self.end - self.start) * t * t / (2 * self.over)

    def time_of(self, count: Floats) -> Floats:
        """The root of a quadratic, in the form that stays exact for a flat ramp."""
        slope = (self.end - self.start) / self.over
        root = np.sqrt(np.maximum(self.start**2 + 2 * slope * count, 0.0))
        times: Floats = 2 * count / np.maximum(self.start + root, 1e-300)
        return times


@spec
class Diurnal(_Varying):
    """A sine between `trough` and `peak`, with a period of a day; it starts in the trough unless `peak_at` is given."""

    kind: Literal["diurnal"] = "diurnal"
    peak: Rate
    trough: IdleRate
    period: Duration = 86400.0
    peak_at: Pause | None = None
    cv: Variation = 1.0

    @model_validator(mode="after")
    def _in_order(self) -> Diurnal:
        if self.trough > self.peak:
            raise ValueError(f"trough {self.trough:g}/s is above peak {self.peak:g}/s")
        return self

    def mean_rate(self) -> float:
        """Requests per second over whole periods."""
        return (self.peak + self.trough) / 2

    def scaled(self, factor: float) -> Diurnal:
        """The same pattern at `factor` times the rate."""
        return replace(self, peak=self.peak * factor, trough=self.trough * factor)

    def expected_by(self, t: float) -> float:
        """Expected arrivals in the first `t` seconds."""
        return float(self._integral(np.array([t]))[0])

    def time_of(self, count: Floats) -> Floats:
        """By linear interpolation between 8192 points a period."""
        knots = np.linspace(0.0, self.period, _KNOTS_A_PERIOD)
        counts = self._integral(knots)
        periods = np.floor(count / counts[-1])
        within = np.interp(count - periods * counts[-1], counts, knots)
        times: Floats = periods * self.period + within
        return times

    def _integral(self, t: Floats) -> Floats:
        turn = 2 * np.pi / self.period
        peak_at = self.period / 2 if self.peak_at is None else self.peak_at
        swing = (np.sin(turn * (t - peak_at)) + np.sin(turn * peak_at)) / turn
        counts: Floats = self.mean_rate() * t + (self.peak - self.trough) / 2 * swing
        return counts


@spec
class Bursts:
    """Bursts at `rate` that last `on` on average, with `off` on average between them, at `idle_rate`.

    Both times are exponential: with the default cv of 1 an interrupted Poisson process when nothing arrives between bursts, and
    a Markov-modulated one otherwise. Source: Fischer and Meier-Hellstern, Performance Evaluation 18 (1993).
    """

    kind: Literal["bursts"] = "bursts"
    rate: Rate
    on: Duration
    off: Duration
    idle_rate: IdleRate = 0.0
    cv: Variation = 1.0

    def mean_rate(self) -> float:
        """Requests per second over many bursts and pauses."""
        return (self.rate * self.on + self.idle_rate * self.off) / (self.on + self.off)

    def scaled(self, factor: float) -> Bursts:
        """The same pattern at `factor` times the rate."""
        return replace(self, rate=self.rate * factor, idle_rate=self.idle_rate * factor)

    def times(self, rng: np.random.Generator, requests: int | None, duration_s: float | None) -> Floats:
        """Arrival times, seconds, shape (n,), not decreasing; bursts and pauses are exponential."""
        gap_rng, phase_rng = rng.spawn(2)
        draw = gamma_gaps(gap_rng, self.cv)
        end = math.inf if duration_s is None else duration_s
        due = None if requests is None else epochs(draw, requests, math.inf)
        knots, counts = self._knots(phase_rng, end, math.inf if due is None else float(due[-1]))
        until = float(np.interp(end, knots, counts))
        due = epochs(draw, None, until) if due is None else due[due <= until]
        return _first_reached(due, knots, counts)

    def _knots(self, rng: np.random.Generator, end: float, count: float) -> tuple[Floats, Floats]:
        """Seconds and expected arrivals where bursts begin and end, from a random moment until `end` or `count` is passed."""
        starts_on = bool(rng.random() < self.on / (self.on + self.off))
        means = np.tile([self.on, self.off] if starts_on else [self.off, self.on], _PHASES)
        rates = np.tile([self.rate, self.idle_rate] if starts_on else [self.idle_rate, self.rate], _PHASES)
        knots, counts = np.zeros(1), np.zeros(1)
        while knots[-1] < end and counts[-1] < count:
            if len(knots) > MOST_REQUESTS:
                raise ScenarioError(f"more than {MOST_REQUESTS:,} bursts; lengthen on and off, or end the workload earlier")
            lasts = rng.exponential(means)
            knots = np.append(knots, knots[-1] + np.cumsum(lasts))
            counts = np.append(counts, counts[-1] + np.cumsum(lasts * rates))
        return knots, counts


def _first_reached(count: Floats, knots: Floats, counts: Floats) -> Floats:
    """When `count` arrivals are first expected, the expectation going straight from knot to knot; nothing arrives where it is
    flat."""
    after = np.clip(np.searchsorted(counts, count, side="left"), 1, len(counts) - 1)
    share = (count - counts[after - 1]) / np.maximum(counts[after] - counts[after - 1], 1e-300)
    times: Floats = knots[after - 1] + share * (knots[after] - knots[after - 1])
    return times
