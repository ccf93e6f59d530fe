"""Does the interval of a queueing point hold what runs ten times longer show?

    python -m benchmarks.coverage [--cases 50] [--seed 1] [--requests 40000]

Workloads and servers are drawn at random: lengths fixed, spread or of two kinds, arrivals even,
Poisson or in bursts, few or many sequences, with and without chunked prefill, with KV blocks that
bind or do not. Of each, `sim.review` gives the queueing point. Then a server that starts empty is
asked for ten times as many requests as one run of the search, of another seed: MARGIN below the
interval it must keep up, MARGIN above it its backlog must grow. Where either fails, the turn is
looked for and printed. At least nine in ten must hold; exit code 1 where they do not.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import random
import sys
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from pydantic import TypeAdapter

from simulator import catalog
from simulator.latency.client import FrontEnd
from simulator.latency.models import Linear
from simulator.planning.capacity import probes
from simulator.planning.capacity.full_batch import Ceiling
from simulator.planning.fleet_plan import plan_fleet
from simulator.planning.machines.pool import InProcess
from simulator.planning.run import review
from simulator.results.model import Estimate
from simulator.scenario import Deployment, Scenario
from simulator.server import DoesNotStart
from simulator.workload.arrivals.steady import Arrivals
from simulator.workload.sample import sample
from simulator.workload.workload import Workload

MARGIN, LONGER, LEAST = 0.01, 10, 0.9
Keeps = Callable[[float], bool]


def drawn(rng: random.Random) -> Scenario:
    """One deployment that starts, under a demand of half its closed-form ceiling."""
    scenario = _drawn(rng)
    while isinstance(plan_fleet(scenario, scenario.deployments[0]), DoesNotStart):
        scenario = _drawn(rng)
    kind = rng.choice(({"kind": "poisson"}, {"kind": "constant"}, {"kind": "gamma", "cv": 2.0}))
    rate = 0.5 * _ceiling(scenario).requests_per_s
    arrivals = TypeAdapter(Arrivals).validate_python(kind | {"rate": rate})
    return dataclasses.replace(scenario, workload=dataclasses.replace(scenario.workload, arrivals=arrivals))


def _drawn(rng: random.Random) -> Scenario:
    mean = rng.choice([60, 300])
    spread = {"kind": "lognormal", "mean": mean, "p95": 3 * mean, "min": 4, "max": 1500}
    classes: list[dict[str, Any]] = [
        {"name": "all", "prompt": rng.choice([50, 400, 1500, spread]), "output": rng.choice([8, 40, 200, spread])}
    ]
    if rng.random() < 0.3:
        classes.append({"name": "others", "share": rng.choice([0.1, 1]), "prompt": 900, "output": 120})
    chunked = rng.random() < 0.5
    engine = {
        "max_model_len": 4096,
        "max_num_seqs": rng.choice([1, 4, 16, 64, 256]),
        "enable_chunked_prefill": chunked,
        "max_num_batched_tokens": rng.choice([256, 2048]) if chunked else 4096,
        "num_gpu_blocks_override": rng.choice([300, 1000, 4000, 20_000]),
        "enable_prefix_caching": False,
    }
    workload = {"arrivals": {"kind": "poisson", "rate": 1.0}, "requests": 500, "classes": classes}
    return Scenario(
        name="drawn",
        model=catalog.model("llama-3.1-8b"),
        engine=catalog.engine("vllm-0.19.0"),
        workload=TypeAdapter(Workload).validate_python(workload),
        latency=Linear(step_ms=rng.choice([2.0, 10.0, 30.0]), token_us=rng.choice([0.0, 5.0, 60.0])),
        deployments=(Deployment(gpu=catalog.gpu("l40s"), name="one", **engine),),
        frontend=FrontEnd(queue=False),  # the engine alone is asked
        seed=rng.randrange(1000),
    )


def _ceiling(scenario: Scenario) -> Ceiling:
    fleet = plan_fleet(scenario, scenario.deployments[0])
    return probes.full_server(fleet.server, sample(scenario.workload, scenario.seed))


def truth(scenario: Scenario) -> Keeps:
    """Whether a server that starts empty keeps up with a rate, in a run LONGER than those of a search."""
    fleet = plan_fleet(scenario, scenario.deployments[0])
    drawn = probes.probes(fleet, scenario.workload, _ceiling(scenario), scenario.seed + 1).traffic
    many = drawn.chosen(round(LONGER * probes.CHECK * probes.WHOLE))
    return lambda rate: not probes.from_empty(drawn, many, rate).grows


def turn(keeps: Keeps, about: float) -> float:
    """The highest rate that is kept up with, within half a percent."""
    low, high = 0.7 * about, 1.3 * about
    while high / low > 1.005:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return math.sqrt(low * high)


def holds(point: Estimate, keeps: Keeps) -> bool:
    """Whether the truth lies in the interval, give or take MARGIN."""
    return keeps(point.low * (1 - MARGIN)) and (point.high is None or not keeps(point.high * (1 + MARGIN)))


def main() -> int:
    """Draw, ask, compare; print each and the share that holds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("--cases", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--requests", type=int, default=probes.WHOLE, help="of a run of the search")
    options = parser.parse_args()
    with patch.object(probes, "WHOLE", options.requests):
        return _counted(options.cases, options.seed)


def _counted(cases: int, seed: int) -> int:
    inside = 0
    for case in range(cases):
        start, scenario = time.process_time(), drawn(random.Random(f"{seed} {case}"))
        point, keeps = review(scenario, machine=InProcess()).deployments[0].queueing_point, truth(scenario)
        assert point is not None
        good = holds(point, keeps)
        inside += good
        said = "inside" if good else f"OUTSIDE: {point.value / turn(keeps, point.value) - 1:+.1%} of the turn"
        high = math.inf if point.high is None else point.high / point.value - 1
        seconds = time.process_time() - start
        print(
            f"{case:3} {point.value:9.3f}/s ({point.low / point.value - 1:+.1%}, {high:+.1%}) {said}"
            f"  [{inside}/{case + 1}; {seconds:.0f} CPU s]",
            flush=True,
        )
    print(f"{inside} of {cases} intervals hold the truth")
    return 0 if inside >= LEAST * cases else 1


if __name__ == "__main__":
    sys.exit(main())
