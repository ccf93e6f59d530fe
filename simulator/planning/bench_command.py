"""The benchmark that would test a prediction: the same load, as `vllm bench serve` or guidellm
sends it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence

from simulator.catalog.models import Model
from simulator.planning.launch import checkpoint_of
from simulator.scenario import Pool, Scenario
from simulator.units import MS
from simulator.workload.arrivals.steady import (
    AllAtOnce,
    Arrivals,
    ClosedLoopArrivals,
    Gamma,
    Poisson,
    Users,
)
from simulator.workload.lengths.discrete import Fixed, Lengths, Uniform
from simulator.workload.prompts.prefixes import SharedPrefix
from simulator.workload.requests import Requests
from simulator.workload.traffic import TrafficClass
from simulator.workload.workload import Workload

TRACE = "requests.jsonl"
_SHOWN = (
    "--percentile-metrics",
    "ttft,tpot,itl,e2el",
    "--metric-percentiles",
    "50,90,95,99",
    "--save-result",
)
_BACKEND = ("--backend", "kind=openai_http,target=http://localhost:8000")
_GOODPUT = {"ttft_s": "ttft", "tpot_s": "tpot", "e2e_s": "e2el"}


def bench_command(scenario: Scenario, pool: Pool, served: Model, requests: Requests) -> str:
    """The command that sends this load to a server on this machine; "" where no tool sends it.

    `vllm bench serve` where its random data set is this very load; else guidellm, which replays the
    requests that were simulated from TRACE in the run folder. Sessions and users who wait for their
    answers have no times of their own, so that they are only sent where `vllm bench serve` has
    them.

    Source: vLLM 0.30 vllm/benchmarks/serve.py; guidellm docs/guides/trace_replay.md (read 2026-11).
    """
    load = random_load(scenario.workload, len(requests))
    if load is not None:
        model = ["--model", checkpoint_of(pool, served)]
        return shlex.join(["vllm", "bench", "serve", *model, *load, *_goodput(scenario), *_SHOWN])
    return shlex.join(_replay(requests)) if replayable(scenario.workload) else ""


def _replay(requests: Requests) -> list[str]:
    """The words with which guidellm replays the requests from TRACE."""
    kind = "trace_synthetic"
    block = ""
    if requests.hashes is not None:
        kind = "mooncake"
        block = f",hash_id_block_size={requests.hashes.block_tokens}"
    data = f"kind={kind},source.kind=json_file,source.path={TRACE}{block}"
    return ["guidellm", "run", *_BACKEND, "--profile", "kind=replay", "--data", data]


def replayable(workload: Workload) -> bool:
    """Whether the times of its requests are known before a server answers any."""
    return (
        workload.closed_loop is None
        and workload.max_concurrency is None
        and not any(c.sessions for c in workload.mix())
    )


def random_load(workload: Workload, requests: int) -> list[str] | None:
    """The options of `vllm bench serve` that are this load, None where it has no such load."""
    mix = workload.mix()
    if workload.trace is not None or workload.apart or len(mix) != 1:
        return None
    arrivals, lengths = _arrivals(workload), _lengths(mix[0])
    if arrivals is None or lengths is None:
        return None
    return [*lengths, "--ignore-eos", *arrivals, "--num-prompts", str(requests)]


def _arrivals(workload: Workload) -> list[str] | None:
    """The options that send requests when the workload does; None where none do."""
    arrivals = workload.arrivals
    if isinstance(arrivals, ClosedLoopArrivals):
        return ["--max-concurrency", str(arrivals.concurrency)] if arrivals.think == 0 else None
    most = workload.max_concurrency
    capped = [] if most is None else ["--max-concurrency", str(most)]
    if isinstance(arrivals, AllAtOnce):
        return None if capped else []
    rate = _rate(arrivals)
    return None if rate is None else [*rate, *capped]


def _rate(arrivals: Arrivals | None) -> list[str] | None:
    if isinstance(arrivals, Poisson | Users):
        return ["--request-rate", f"{arrivals.mean_rate():.12g}"]
    if isinstance(arrivals, Gamma):
        burstiness = f"{arrivals.gap_cv() ** -2:.12g}"
        return ["--request-rate", f"{arrivals.rate:.12g}", "--burstiness", burstiness]
    return None


def _lengths(traffic: TrafficClass) -> list[str] | None:
    """Fixed lengths, or both uniform with the same spread; behind a system prompt where all share
    one."""
    laws = (traffic.prompt_law(), traffic.output_law())
    ratio, middles = _ratio(laws), [_middle(law) for law in laws]
    if traffic.sessions is not None or traffic.priority or ratio is None or None in middles:
        return None
    if ratio and traffic.rank_correlation():
        return None
    prompt, output = map(str, middles)
    words = [
        "--dataset-name",
        "random",
        "--random-input-len",
        prompt,
        "--random-output-len",
        output,
    ]
    spread = ["--random-range-ratio", f"{ratio:.12g}"] if ratio else []
    prefix = _shared_by_all(traffic)
    return None if prefix is None else [*words, *spread, *prefix]


def _shared_by_all(traffic: TrafficClass) -> list[str] | None:
    """The option for a system prompt of fixed length that all requests share, nothing where there
    is no prefix; None for another one."""
    prefix = traffic.prefix
    if prefix is None:
        return []
    if not isinstance(prefix, SharedPrefix) or not isinstance(prefix.system_prompt_len, Fixed):
        return None
    if prefix.num_groups != 1 or prefix.num_prompts_per_group is not None:
        return None
    return ["--random-prefix-len", str(prefix.system_prompt_len.tokens)]


def _middle(law: Lengths) -> int | None:
    """The length that a law spreads around to both sides alike; None for one that does not."""
    if isinstance(law, Fixed):
        return law.tokens
    return (
        (law.min + law.max) // 2
        if isinstance(law, Uniform) and (law.min + law.max) % 2 == 0
        else None
    )


def _ratio(laws: Sequence[Lengths]) -> float | None:
    """The shortest share that spreads every length as its law does, None where none does.

    A share r gives the whole lengths from floor((1 - r) n) to ceil((1 + r) n).
    """
    bounds = [_bounds(law) for law in laws if isinstance(law, Fixed | Uniform)]
    if len(bounds) < len(laws):
        return None
    low, high = bounds[0]
    for ratio in _shortened((high - low) / (low + high)):
        if [_spread((low + high) // 2, ratio) for low, high in bounds] == bounds:
            return ratio
    return None


def _bounds(law: Fixed | Uniform) -> tuple[int, int]:
    return (law.tokens, law.tokens) if isinstance(law, Fixed) else (law.min, law.max)


def _shortened(exact: float) -> Iterator[float]:
    """A share with no digit, one, two and more: rounded, and cut off."""
    for digits in range(13):
        yield round(exact, digits)
        yield math.floor(exact * 10**digits) / 10**digits


def _spread(length: int, ratio: float) -> tuple[int, int]:
    return max(1, math.floor(length * (1 - ratio))), math.ceil(length * (1 + ratio))


def _goodput(scenario: Scenario) -> list[str]:
    """The SLO as vLLM counts goodput, in milliseconds."""
    if scenario.slo is None or any(c.slo for c in scenario.workload.classes):
        return []
    limits = [f"{_GOODPUT[name]}:{limit / MS:g}" for name, limit in scenario.slo.limits().items()]
    return ["--goodput", *limits]
