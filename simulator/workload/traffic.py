"""Traffic: what the requests of a class are like."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from simulator.errors import did_you_mean, nearest_names
from simulator.spec import Positive, spec
from simulator.workload.adapters import Adapters
from simulator.workload.arrivals.steady import AllAtOnce, Arrivals, ClosedLoopArrivals
from simulator.workload.lengths.discrete import Lengths
from simulator.workload.lengths.presets import PRESETS
from simulator.workload.prompts.prefixes import Prefix
from simulator.workload.prompts.sessions import Sessions
from simulator.workload.slo import Slo

Correlation = Annotated[float, Field(ge=-1, le=1)]


@spec
class Traffic:
    """Requests alike: lengths from a named `dataset`, or from `prompt` and `output`, which take precedence.

    `correlation` is Spearman's rank correlation between prompt and output. `prefix` stands before every prompt and is shared
    with other requests; `sessions` make each arrival the first request of several; `adapters` are LoRA adapters that they ask
    for. A smaller `priority` goes first.
    """

    dataset: str | None = None
    prompt: Lengths | None = None
    output: Lengths | None = None
    correlation: Correlation | None = None
    prefix: Prefix | None = None
    sessions: Sessions | None = None
    adapters: Adapters | None = None
    priority: int = 0

    @model_validator(mode="after")
    def _known_dataset(self) -> Traffic:
        if self.dataset is not None and self.dataset not in PRESETS:
            offered = did_you_mean(nearest_names(self.dataset, PRESETS)) or f"; there are {', '.join(PRESETS)}"
            raise ValueError(f"unknown dataset '{self.dataset}'{offered}")
        return self

    def is_complete(self) -> bool:
        """Whether both lengths are known."""
        return self.dataset is not None or (self.prompt is not None and self.output is not None)

    def prompt_law(self) -> Lengths:
        """The law of prompt lengths; with sessions, of the first prompt's."""
        return self.prompt if self.prompt is not None else PRESETS[self.dataset or ""].prompt

    def output_law(self) -> Lengths:
        """The law of output lengths."""
        return self.output if self.output is not None else PRESETS[self.dataset or ""].output

    def rank_correlation(self) -> float:
        """Spearman's correlation between the two; a dataset's own holds while both of its laws do."""
        if self.correlation is not None:
            return self.correlation
        whole = self.dataset is not None and self.prompt is None and self.output is None
        return PRESETS[self.dataset or ""].correlation if whole else 0.0

    def mean_context(self) -> float:
        """Tokens of a request's prompt and answer with all that stands before them, on average and about."""
        own, output = self.prompt_law().expected(), self.output_law().expected()
        stem = 0.0 if self.prefix is None else self.prefix.expected()
        if self.sessions is None:
            return stem + own + output
        later = self.sessions.later_prompt()
        added = output + (own if later is None else later.expected())
        whole = stem + own + output + added * max(0.0, self.mean_turns() - 1) / 2
        return whole if self.sessions.max_context is None else min(whole, max(self.sessions.max_context, stem + own + output))

    def mean_turns(self) -> float:
        """Requests that one arrival brings, on average."""
        return 1.0 if self.sessions is None else self.sessions.length().expected()


@spec
class TrafficClass(Traffic):
    """A named class of a mixture: `share` is its part of the requests, against the shares of the others.

    With `arrivals` the class comes at times of its own, and its rate takes the place of a share. `slo` is held against its
    requests alone, in place of the scenario's.
    """

    name: str
    share: Positive = 1.0
    slo: Slo | None = None
    arrivals: Arrivals | None = None

    @model_validator(mode="after")
    def _complete(self) -> TrafficClass:
        if not self.is_complete():
            raise ValueError(f"class '{self.name}' needs prompt and output, or a dataset")
        if isinstance(self.arrivals, AllAtOnce | ClosedLoopArrivals):
            raise ValueError(f"class '{self.name}' cannot have {self.arrivals.kind} arrivals of its own, which have no rate")
        return self
