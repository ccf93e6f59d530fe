"""Workload: the traffic of a scenario, as it is written."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from pydantic import model_validator

from simulator.spec import Count, spec
from simulator.workload.arrivals.gaps import rate_of
from simulator.workload.arrivals.steady import AllAtOnce, Arrivals, ClosedLoopArrivals, Poisson, Recorded
from simulator.workload.arrivals.varying import Ramp, Stages
from simulator.workload.text_units import Duration
from simulator.workload.traces.replay import trace_times
from simulator.workload.traces.trace_file import Trace
from simulator.workload.traffic import Traffic, TrafficClass

_NO_RATE = AllAtOnce | ClosedLoopArrivals
_ENDS_BY_ITSELF = Recorded | Stages | Ramp


@spec
class Workload(Traffic):
    """What is asked of a deployment.

    Either drawn: `arrivals`, with the traffic written here or as a mixture of `classes`, or classes with arrivals of their
    own. Or replayed: a `trace`, at its own times unless `arrivals` give others. It ends when `requests` or `duration` is
    reached, whichever is first.

    A rate is always of requests: sessions begin at that rate divided by their mean number of turns.

    `max_concurrency`: the client has at most so many requests under way; the others wait with it
    and count from when they are sent, as `vllm bench serve --max-concurrency` has it.
    """

    arrivals: Arrivals | None = None
    classes: tuple[TrafficClass, ...] = ()
    trace: Trace | None = None
    requests: Count | None = None
    duration: Duration | None = None
    max_concurrency: Count | None = None

    @model_validator(mode="after")
    def _one_kind_of_traffic(self) -> Workload:
        inline = [
            name for name in ("dataset", "prompt", "output", "prefix", "sessions", "adapters") if getattr(self, name) is not None
        ]
        if self.trace is not None and (inline or self.classes):
            raise ValueError(f"a trace brings its own requests; leave out {' and '.join(inline or ['classes'])}")
        if self.classes and inline:
            raise ValueError(f"write {' and '.join(inline)} inside the classes")
        if self.trace is None and not self.classes and not self.is_complete():
            raise ValueError("say what is asked: prompt and output, a dataset, classes, or a trace")
        if len({c.name for c in self.classes}) < len(self.classes):
            raise ValueError("two classes have the same name")
        return self

    @model_validator(mode="after")
    def _begins_and_ends(self) -> Workload:
        apart = [c.arrivals is not None for c in self.classes]
        if any(apart) and (not all(apart) or self.arrivals is not None):
            raise ValueError("give arrivals to the workload or to every class, not to both and not to some")
        if self.arrivals is None and self.trace is None and not any(apart):
            raise ValueError("say when requests arrive, such as arrivals: 4/s")
        if isinstance(self.arrivals, _NO_RATE) and self.requests is None and self.trace is None:
            raise ValueError(f"{self.arrivals.kind} arrivals need a number of requests, such as requests: 1000")
        if isinstance(self.arrivals, ClosedLoopArrivals) and any(c.sessions for c in self.mix()):
            raise ValueError("sessions in a closed loop are not modelled; give the sessions a rate of arrivals")
        if isinstance(self.arrivals, ClosedLoopArrivals) and self.max_concurrency is not None:
            raise ValueError("a closed loop has its concurrency already; leave out max_concurrency")
        if self.requests is None and self.duration is None and not self._ends_by_itself():
            raise ValueError("say how long: requests: 2000, or duration: 10min, or both (the first to be reached ends it)")
        return self

    def _ends_by_itself(self) -> bool:
        if self.trace is not None:
            return True
        return all(isinstance(arrivals, _ENDS_BY_ITSELF) for arrivals in self._all_arrivals())

    def _all_arrivals(self) -> list[Arrivals | None]:
        """The arrivals of each class that has its own, else those of all."""
        return [c.arrivals for c in self.classes if c.arrivals is not None] or [self.arrivals]

    @property
    def apart(self) -> bool:
        """Whether every class has arrivals of its own."""
        return any(c.arrivals is not None for c in self.classes)

    def mix(self) -> tuple[TrafficClass, ...]:
        """The classes; what is written without classes is one called `all`. Empty for a trace."""
        if self.classes or self.trace is not None:
            return self.classes
        fields = ("dataset", "prompt", "output", "correlation", "prefix", "sessions", "adapters", "priority")
        return (TrafficClass(name="all", **{name: getattr(self, name) for name in fields}),)

    @property
    def closed_loop(self) -> ClosedLoopArrivals | None:
        """The users of a closed loop, or None when requests come by the clock."""
        return self.arrivals if isinstance(self.arrivals, ClosedLoopArrivals) else None

    def mean_turns(self) -> float:
        """Requests that one arrival brings, on average over the classes by their shares of requests."""
        mix = self.mix()
        return sum(c.share for c in mix) / sum(c.share / c.mean_turns() for c in mix) if mix else 1.0

    def mean_rate(self) -> float | None:
        """Requests per second in the long run; None for a closed loop and for all at once, which have no rate of their own.

        Sessions that end early for `max_context` bring fewer. Reads the trace, if there is one.
        """
        if isinstance(self.arrivals, _NO_RATE):
            return None
        if self.apart:
            rate = sum(_rate(c.arrivals, c.mean_turns()) for c in self.classes if c.arrivals is not None)
        elif self.arrivals is not None:
            rate = _rate(self.arrivals, self.mean_turns())
        else:
            assert self.trace is not None
            rate = rate_of(trace_times(self.trace))
        return rate if math.isfinite(rate) else None

    def scaled(self, factor: float) -> Workload:
        """The same traffic `factor` times as fast; a trace or recorded times are squeezed, a closed loop gets that many times
        the users."""
        if self.apart:
            return replace(
                self, classes=tuple(replace(c, arrivals=c.arrivals.scaled(factor)) for c in self.classes if c.arrivals)
            )
        if self.arrivals is not None:
            return replace(self, arrivals=self.arrivals.scaled(factor))
        assert self.trace is not None
        return replace(self, trace=replace(self.trace, scale=self.trace.scale * factor))

    def at_rate(self, rate: float) -> Workload:
        """The same requests at `rate` a second, the pattern of arrivals kept; Poisson where they had no rate of their own."""
        now = self.mean_rate()
        return replace(self, arrivals=Poisson(rate=rate)) if now is None else self.scaled(rate / now)

    def evened(self, requests: int) -> Workload:
        """So many of the same requests as Poisson arrivals of their mean rate, those of a class where each has its own."""
        if not self.apart:
            return replace(self, arrivals=_evened(self.arrivals, self.mean_turns()), requests=requests, duration=None)
        classes = tuple(replace(c, arrivals=_evened(c.arrivals, c.mean_turns())) for c in self.classes)
        return replace(self, classes=classes, requests=requests, duration=None)

    def located(self, folder: Path) -> Workload:
        """This workload with the paths of its traces, where they are relative, taken from `folder`."""
        classes = tuple(replace(c, arrivals=_located(c.arrivals, folder)) for c in self.classes)
        trace = None if self.trace is None else self.trace.located(folder)
        return replace(self, arrivals=_located(self.arrivals, folder), classes=classes, trace=trace)


def _rate(arrivals: Arrivals, turns: float) -> float:
    """Requests per second, where each arrival brings this many requests; recorded times are those of first requests."""
    return arrivals.mean_rate() * (turns if isinstance(arrivals, Recorded) else 1.0)


def _evened(arrivals: Arrivals | None, turns: float) -> Poisson:
    assert arrivals is not None
    return Poisson(rate=_rate(arrivals, turns))


def _located(arrivals: Arrivals | None, folder: Path) -> Arrivals | None:
    if isinstance(arrivals, Recorded) and arrivals.trace is not None:
        return replace(arrivals, trace=arrivals.trace.located(folder))
    return arrivals
