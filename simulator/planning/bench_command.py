"""The benchmark that would test a prediction: the same load, as `vllm bench serve` or guidellm
sends it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

from simulator.catalog.models import Model
from simulator.planning.launch import checkpoint_of
from simulator.scenario import Pool, Scenario
from simulator.units import MS
from simulator.workload.arrivals.steady import AllAtOnce, ClosedLoopArrivals, Gamma, Poisson, Users
from simulator.workload.lengths.discrete import Fixed, Lengths, Uniform
from simulator.workload.prompts.prefixes import SharedPrefix
from simulator.workload.requests import Requests
from simulator.workload.traffic import TrafficClass
from simulator.workload.workload import Workload

TRACE = "requests.jsonl"
_GOODPUT = {"ttft_s": "ttft", "tpot_s": "tpot", "e2e_s": "e2el"}


def bench_command(scenario: Scenario, pool: Pool, served: Model, requests: Requests) -> str:
    """The command that sends this load to a server on this machine; "" where no tool sends it.

    `vllm bench serve` where its random data set is this very load; else guidellm, which replays the
    requests that were simulated from TRACE in the run folder. Sessions and users who wait for their
    answers have no times of their own, so that they are only sent where `vllm bench serve` has
    them.

    Source: vLLM 0.30 vllm/benchmarks/serve.py; guidellm docs/guides/trace_replay.md (read 2026-11).
    """
    workload = scenario.workload
    load = random_load(workload, len(requests))
    if load is not None:
        model = ["--model", checkpoint_of(pool, served)]
        shown = [
            "--percentile-metrics",
            "ttft,tpot,itl,e2el",
            "--metric-percentiles",
            "50,90,95,99",
            "--save-result",
        ]
        return shlex.join(["vllm", "bench", "serve", *model, *load, *_goodput(scenario), *shown])
    if not replayable(workload):
        return ""
    block = "" if requests.hashes is None else f",hash_id_block_size={requests.hashes.block_tokens}"
    kind = "trace_synthetic" if requests.hashes is None else "mooncake"
    backend = "kind=openai_http,target=http://localhost:8000"
    data = f"kind={kind},source.kind=json_file,source.path={TRACE}{block}"
    return shlex.join(
        ["guidellm", "run", "--backend", backend, "--profile", "kind=replay", "--data", data]
    )


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
    arrivals = workload.arrivals
    capped = (
        []
        if workload.max_concurrency is None
        else ["--max-concurrency", str(workload.max_concurrency)]
    )
    if isinstance(arrivals, Poisson | Users):
        return ["--request-rate", f"{arrivals.mean_rate():.12g}", *capped]
    if isinstance(arrivals, Gamma):
        burstiness = arrivals.gap_cv() ** -2
        return [
            "--request-rate",
            f"{arrivals.rate:.12g}",
            "--burstiness",
            f"{burstiness:.12g}",
            *capped,
        ]
    if isinstance(arrivals, ClosedLoopArrivals) and arrivals.think == 0:
        return ["--max-concurrency", str(arrivals.concurrency)]
    return capped if isinstance(arrivals, AllAtOnce) and not capped else None


def _lengths(traffic: TrafficClass) -> list[str] | None:
    """Fixed lengths, or both uniform with the same spread; behind a system prompt where all share
    one."""
    laws = (traffic.prompt_law(), traffic.output_law())
    middles = [_middle(law) for law in laws]
    ratio = _ratio(laws)
    if traffic.sessions is not None or traffic.priority or ratio is None or None in middles:
        return None
    if ratio and traffic.rank_correlation():
        return None
    words = [
        "--dataset-name",
        "random",
        "--random-input-len",
        str(middles[0]),
        "--random-output-len",
        str(middles[1]),
    ]
    words += ["--random-range-ratio", f"{ratio:.12g}"] if ratio else []
    prefix = traffic.prefix
    if prefix is None:
        return words
    common = (
        isinstance(prefix, SharedPrefix)
        and prefix.num_groups == 1
        and prefix.num_prompts_per_group is None
    )
    if not (
        common and isinstance(prefix, SharedPrefix) and isinstance(prefix.system_prompt_len, Fixed)
    ):
        return None
    return [*words, "--random-prefix-len", str(prefix.system_prompt_len.tokens)]


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
    bounds = [(law.tokens, law.tokens) if isinstance(law, Fixed) else (law.min, law.max)
              for law in laws if isinstance(law, Fixed | Uniform)]  # fmt: skip
    if len(bounds) < len(laws):
        return None
    exact = (bounds[0][1] - bounds[0][0]) / sum(bounds[0])
    for digits in range(13):
        for ratio in (round(exact, digits), math.floor(exact * 10**digits) / 10**digits):
            if [_spread((low + high) // 2, ratio) for low, high in bounds] == bounds:
                return ratio
    return None


def _spread(length: int, ratio: float) -> tuple[int, int]:
    return max(1, math.floor(length * (1 - ratio))), math.ceil(length * (1 + ratio))


def _goodput(scenario: Scenario) -> list[str]:
    """The SLO as vLLM counts goodput, in milliseconds."""
    if scenario.slo is None or any(c.slo for c in scenario.workload.classes):
        return []
    limits = [f"{_GOODPUT[name]}:{limit / MS:g}" for name, limit in scenario.slo.limits().items()]
    return ["--goodput", *limits]
