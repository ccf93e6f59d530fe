"""What a run leaves: a DeploymentResult for each deployment, in a RunResult. Plain values, so that a file can hold them too."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import InstanceOf

from simulator.engine.record import RunRecord
from simulator.errors import NoSuchDeployment
from simulator.latency.error_bands import ErrorBand
from simulator.memory.account import MemoryAccount
from simulator.memory.plan import MemoryPlan
from simulator.results.assurance import Assurance, Standing
from simulator.results.over_time import OverTime
from simulator.results.slo import PromisedLatency, SloCheck
from simulator.text import plural

if TYPE_CHECKING:
    import polars as pl

Verdict = Literal[
    "stable", "saturated", "overloaded", "requests unanswered", "does not fit", "max_model_len exceeds KV", "cannot run"
]  # fmt: skip
Resource = Literal[
    "KV memory",
    "sequence limit",
    "token budget",
    "adapter slots",
    "API server",
    "compute",
    "bandwidth",
    "communication",
    "overhead",
    "prefill pool",
    "decode pool",
    "link",
    "nothing",
]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


SEARCH_INTERRUPTED = "no queueing point and no curve: the search was interrupted"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and the interval it is known to. `high` is None where the search found no upper end."""

    value: float
    low: float
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory(MemoryAccount):
    """The account of a memory plan with the names of what it was made of. `args` are the engine arguments after defaults."""

    model: str
    quantization: str
    gpu: str
    engine: str
    args: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PoolSummary:
    """One of two pools of a deployment: what each of its instances is, and how it fared.

    Shares and requests are those of the run, all its instances together; `kv_use_peak` that of any.
    """

    role: Literal["prefill", "decode"]
    title: str
    wording: str
    instances: int
    memory: Memory
    serve_command: str = ""
    busy_share: float | None = None
    running_mean: float | None = None
    kv_use_mean: float | None = None
    kv_use_peak: float | None = None


@dataclass(frozen=True, slots=True)
class LinkSummary:
    """KV sent from the prefill to the decode pool.

    `transfer_*_s`: seconds from being asked for to having come. `use_mean` and `use_peak`: bytes
    over what the tighter side's ports carry, over the run and in its busiest hundredth. `shares`:
    that use in each hundredth of the run, of `part_s` seconds. `waits`: the mean seconds of each
    part of TTFT, by name.
    """

    sentence: str
    transfers: int
    bytes_mean: float | None = None
    transfer_p50_s: float | None = None
    transfer_p99_s: float | None = None
    use_mean: float | None = None
    use_peak: float | None = None
    part_s: float = 0.0
    shares: tuple[float, ...] = ()
    waits: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OomPoint:
    """Where the KV cache runs out.

    `longest_context_tokens`: the longest single request that fits. `concurrency`: sequences of `typical_context_tokens`, the
    workload's own, that fit at once on all replicas together; beyond it requests wait or are preempted. Rates, requests/s, are
    the lowest simulated ones at which KV blocks ran out, requests were preempted, and most requests were; None where none did.
    `next_limit`: what would bind if KV memory, or whatever binds first, did not.
    """

    longest_context_tokens: int
    concurrency: float
    typical_context_tokens: float
    full_at_per_s: float | None = None
    preempts_at_per_s: float | None = None
    preempts_most_at_per_s: float | None = None
    next_limit: str = ""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What one offered rate gives. Latencies and goodput are None where the queue grows without
    bound.

    `terms`: those of the SLO; `promised`: the latencies at the percentiles that are promised.
    """

    rate_per_s: float
    verdict: Verdict
    requests_per_s: float
    output_tokens_per_s: float
    total_tokens_per_s: float
    goodput_per_s: float | None = None
    ttft_p50_s: float | None = None
    ttft_p99_s: float | None = None
    tpot_p50_s: float | None = None
    tpot_p99_s: float | None = None
    e2e_p50_s: float | None = None
    e2e_p99_s: float | None = None
    running_mean: float | None = None
    waiting_mean: float | None = None
    kv_use_mean: float | None = None
    slo_met: bool | None = None
    terms: tuple[SloCheck, ...] = ()
    promised: tuple[PromisedLatency, ...] = ()


@dataclass(frozen=True, slots=True)
class Cost:
    """Dollars. `usd_per_hour` is the whole deployment's; per-token figures are at this run's own throughput, `_at_slo` at the SLO
    capacity. `watts`: an estimate of the power of all GPUs, from TDP and the share of time they work; `usd_per_kwh`: what
    electricity costs there, where that is stated.
    """

    usd_per_hour: float
    usd_per_gpu_hour: float
    price_source: str
    price_date: str
    usd_per_million_output_tokens: float | None = None
    usd_per_million_total_tokens: float | None = None
    usd_per_month: float | None = None
    usd_per_thousand_good_requests: float | None = None
    usd_per_million_output_tokens_at_slo: float | None = None
    usd_per_million_total_tokens_at_slo: float | None = None
    watts: float | None = None
    usd_per_kwh: float | None = None


@dataclass(frozen=True, slots=True)
class Binding:
    """What stops a deployment from doing more, and in what share of its busy time.

    `gain`: how much more a full replica completed, as a share, when that was relieved; None where it was not tried.
    """

    resource: Resource
    share: float
    sentence: str
    gain: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class DeploymentResult:
    """One deployment, answered.

    `title`: "1 x H100 SXM, bf16". `wording`: "4 GPUs = 2 replicas x TP 2". `metrics`: by name in
    METRICS, None where not defined or not steady; None as a whole where nothing ran.
    `queueing_point`: the highest rate it sustains, requests/s; `slo_capacity`: the highest that
    meets the SLO; `ceiling_per_s`: what it completes when always full, of all requests as a demand
    is. `recovers_below_per_s`: the rate below which it works a backlog off, where that is lower
    than the queueing point. `step_seconds`: where the busy time went, part -> seconds.
    `extrapolations`: what lies outside the range the step-time model was fitted on. `error_bands`:
    where real figures lie beside these. `promised`: the latencies at the promised percentiles.
    `over_time`: what became of replicas that come and go.
    `assurance`: how sure it is that it does what is asked. `serve_command` starts one replica;
    `bench_command` sends it the same load, to test the prediction. `pools` and `link`: the prefill
    and the decode pool, and what lies between them, where it has such; `memory` is the decode pool's.
    """

    name: str
    title: str
    wording: str
    gpu: str
    gpus: int
    replicas: int
    verdict: Verdict
    reason: str
    memory: Memory | None = None
    remedies: tuple[str, ...] = ()
    metrics: dict[str, float | None] | None = None
    slo: tuple[SloCheck, ...] = ()
    binding: Binding | None = None
    queueing_point: Estimate | None = None
    recovers_below_per_s: float | None = None
    slo_capacity: Estimate | None = None
    ceiling_per_s: float | None = None
    oom_point: OomPoint | None = None
    curve: tuple[CurvePoint, ...] = ()
    step_seconds: dict[str, float] = field(default_factory=dict)
    cost: Cost | None = None
    error_bands: dict[str, ErrorBand] = field(default_factory=dict)
    promised: tuple[PromisedLatency, ...] = ()
    assurance: Assurance | None = None
    serve_command: str = ""
    bench_command: str = ""
    over_time: OverTime | None = None
    notes: tuple[str, ...] = ()
    extrapolations: tuple[str, ...] = ()
    pools: tuple[PoolSummary, ...] = ()
    link: LinkSummary | None = None
    warmup_s: float = 0.0
    trace: InstanceOf[RunRecord] | None = None

    def __repr__(self) -> str:
        return f"<DeploymentResult {self.name}: {self.title}, {self.verdict}>"

    def counted(self, replicas: int) -> str:
        """So many replicas in words; where there are two pools one is both of them."""
        return f"{plural(replicas, 'set')} of both pools" if self.pools else plural(replicas, "replica")

    @property
    def runs(self) -> bool:
        """Whether the engine starts at all."""
        return self.steady or self.verdict == "overloaded"

    @property
    def steady(self) -> bool:
        """Whether latencies have a steady state to speak of."""
        return self.verdict in ("stable", "saturated", "requests unanswered")

    @property
    def carries(self) -> bool:
        """Whether it does what is asked: it keeps up, answers the requests, and meets the SLO if there is one."""
        return self.verdict in ("stable", "saturated") and self.slo_met is not False

    @property
    def standing(self) -> Standing:
        """Whether it does what is asked, as far as that is sure; where no error is known, as
        predicted."""
        if self.assurance is None:
            return "meets" if self.carries else "misses"
        return self.assurance.standing

    @property
    def slo_met(self) -> bool | None:
        """Whether every term of the SLO is met; None without an SLO. What does not run, or never settles, meets none."""
        if not self.slo:
            return None
        return self.steady and all(check.met for check in self.slo)


@dataclass(frozen=True, slots=True)
class WorkloadSummary:
    """What was asked. `rate_per_s` is the demand, None for a closed loop, which has a `concurrency` instead.

    `rates`: seconds and requests/s over a period of traffic whose rate varies as is known, else None.
    """

    sentence: str
    requests: int
    rate_per_s: float | None
    prompt_tokens_mean: float
    output_tokens_mean: float
    concurrency: int | None = None
    rates: tuple[tuple[float, float], ...] | None = None

    @property
    def peak_per_s(self) -> float | None:
        """The highest rate of traffic that varies as is known, requests/s; None of other traffic."""
        return max(rate for _, rate in self.rates) if self.rates else None

    @property
    def busiest_per_s(self) -> float | None:
        """The rate that room for more is counted from: the peak, or the demand."""
        return self.peak_per_s or self.rate_per_s


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to rent. `deployment` is None when nothing is likely to do. `headroom`: SLO capacity
    over demand, less one.

    `lines`: what else decides, a sentence each: the price with its date, growth, what is too close
    to call. `chance`: that it does what is asked.
    """

    deployment: str | None
    sentence: str
    usd_per_hour: float | None = None
    headroom: float | None = None
    chance: float | None = None
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class RunResult:
    """A scenario, answered. `scenario_yaml` is resolved: every default filled in. `defaults`: what was filled in, in words.

    `taken_for`: which release the engine is taken for, in words, where it is not called by that.
    `doubts`: what of the scenario may not be meant.
    """

    name: str
    description: str
    created_at: str
    version: str
    seed: int
    engine: str
    workload: WorkloadSummary
    slo: tuple[str, ...]
    deployments: tuple[DeploymentResult, ...]
    recommendation: Recommendation
    scenario_yaml: str
    scenario: dict[str, Any]
    command: str
    not_modelled: tuple[str, ...] = ()
    defaults: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    taken_for: str = ""

    @property
    def interrupted(self) -> bool:
        """Whether the search for limits was interrupted, so that some deployments have none."""
        return any(SEARCH_INTERRUPTED in d.notes for d in self.deployments)

    def checkpoint_of(self, d: DeploymentResult) -> str:
        """The name under which a deployment's server answers: its checkpoint's, as the command that starts it has it."""
        words = shlex.split(d.serve_command, comments=True)
        named = [words[i + 1] for i, word in enumerate(words[:-1]) if word in ("serve", "--model-path", "trtllm-serve")]
        return named[0] if named else (d.memory.model if d.memory else self.name)

    def deployment(self, name: str) -> DeploymentResult:
        """A deployment by its name. Raises NoSuchDeployment, a KeyError, with the nearest ones when there is none."""
        for deployment in self.deployments:
            if deployment.name == name:
                return deployment
        raise NoSuchDeployment("deployment", name, [d.name for d in self.deployments])

    def __repr__(self) -> str:
        return f"<RunResult {self.name}: {', '.join(f'{d.name} {d.verdict}' for d in self.deployments)}>"

    def _repr_html_(self) -> str:
        from simulator.results.notebook import run_html

        return run_html(self)

    def frame(self) -> pl.DataFrame:
        """One row a deployment: what it is, its verdict, its limits, its metrics under their names, and what it costs."""
        from simulator.results.notebook import deployments_frame

        return deployments_frame(self)

    @property
    def requests(self) -> pl.DataFrame:
        """One row a request of each deployment that ran: times, tokens and latencies in seconds."""
        from simulator.results.notebook import requests_frame

        return requests_frame(self)

    def chart(self, name: str) -> Any:
        """One of the page's charts by its name, such as `latency`, for a notebook. Raises UnknownName for another."""
        from simulator.results.notebook import chart_of

        return chart_of(self, name)

    def save(self, folder: str | Path, *, force: bool = False) -> Path:
        """Write the run folder that `sim run` writes: page, summary, tables and scenario. Raises SimulatorError."""
        from simulator.results.notebook import save_run

        return save_run(self, Path(folder), force=force)


def plain_memory(plan: MemoryPlan) -> Memory:
    """The numbers of a memory plan, without the specs it was made from."""
    numbers = {field.name: getattr(plan, field.name) for field in dataclasses.fields(MemoryAccount)}
    return Memory(
        model=plan.model.name,
        quantization=plan.quantization.name if plan.quantization else plan.model.dtype,
        gpu=plan.gpu.name,
        engine=plan.engine.name,
        args=dataclasses.asdict(plan.args),
        **numbers,
    )
