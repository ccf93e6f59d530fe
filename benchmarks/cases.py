"""The cases: a chat deployment, and what is changed in it to strain the engine in one way each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from oracle import Oracle

from simulator.engine.fleet.router import LeastOutstanding, RoundRobin, Router
from simulator.engine.load import OpenLoop
from simulator.engine.record import RunRecord
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.engine.serve import serve
from simulator.latency.step import StepTime
from simulator.planning.capacity.full_batch import ceiling
from simulator.planning.fleet_plan import plan_fleet
from simulator.scenario import Scenario, load
from simulator.server import DoesNotStart, Server
from simulator.workload.lengths.continuous import LogNormal
from simulator.workload.lengths.discrete import Fixed
from simulator.workload.prompts.prefixes import SharedPrefix
from simulator.workload.prompts.sessions import Conversation
from simulator.workload.requests import Requests
from simulator.workload.sample import sample
from simulator.workload.workload import Workload

CHAT_FILE = Path(__file__).with_name("chat.yaml")
SEED = 1
CHAT, REPLICAS = "chat at 70 % load", "16 replicas, least outstanding"
WINDOWS = "shared prompt, sliding windows"
LONG, STARVED, TURNS = "long outputs, mean 2,000", "KV-starved", "prefix-cached multi-turn"
IN_TURN = RoundRobin()
_RATE_SAMPLE = 20_000


@dataclass(frozen=True, slots=True)
class Case:
    """A load and who serves it; `requests` are enough for the engine to be measured with, `oracle_requests` for the oracle."""

    name: str
    workload: Workload
    step_time: StepTime
    limits: SchedulerConfig
    requests: int
    oracle_requests: int
    replicas: int = 1
    router: Router = IN_TURN

    def draw(self, requests: int) -> Requests:
        """The first so many requests of the load."""
        return sample(replace(self.workload, requests=requests), SEED, self.limits.block_size)

    def serve(self, requests: Requests) -> RunRecord:
        """What the engine makes of them."""
        return serve(requests, [(self.step_time, self.limits)] * self.replicas, router=self.router, seed=SEED)

    def ask_oracle(self, requests: Requests) -> Oracle:
        """What the naive simulator of the tests makes of them."""
        return Oracle(requests, [(self.step_time, self.limits)] * self.replicas, self.router, OpenLoop(), SEED).run()


@cache
def planned_chat(model: str | None = None) -> tuple[Scenario, Server]:
    """The scenario in chat.yaml, and the server of its deployment; of another model if one is given."""
    scenario = load(CHAT_FILE)
    if model is not None:
        scenario = replace(scenario, model=model)
    fleet = plan_fleet(scenario, scenario.deployments[0])
    if isinstance(fleet, DoesNotStart):
        raise SystemExit(f"{CHAT_FILE}: {fleet.reason}")
    return scenario, fleet.server


def windows() -> Case:
    """A model of which half the layers have sliding windows: two layer groups, each with KV blocks of its own."""
    return replace(_case("gpt-oss-120b"), name=WINDOWS)


def chat() -> Case:
    """Chat at 70 % of what the deployment carries."""
    return _at_load(_case(), 0.7)


def _case(model: str | None = None) -> Case:
    scenario, server = planned_chat(model)
    return Case(CHAT, scenario.workload, server.step_time, server.limits, requests=15_000, oracle_requests=400)


def cases() -> Iterator[Case]:
    """Every case, those that are compared with the plain chat beside it."""
    plain = chat()
    yield plain
    yield from _replicas(plain)
    synchronous = replace(plain.limits, async_scheduling=False)
    yield replace(plain, name="chat, no async scheduling", limits=synchronous)
    yield _at_load(replace(plain, name="overload, 130 %"), 1.3)
    yield _long_outputs(plain)
    yield _short_outputs(plain)
    yield _kv_starved(plain)
    yield _conversations(plain)
    yield _shared_prompt(replace(plain, name="shared prompt"))
    yield _shared_prompt(windows())


def _long_outputs(plain: Case) -> Case:
    workload = replace(plain.workload, output=LogNormal(mean=2000, p95=4500, min=4, max=10_000))
    return _at_load(replace(plain, name=LONG, workload=workload, requests=10_000, oracle_requests=80), 0.7)


def _short_outputs(plain: Case) -> Case:
    workload = replace(plain.workload, output=LogNormal(mean=20, p95=50, min=1, max=200))
    return _at_load(replace(plain, name="short outputs, mean 20", workload=workload, oracle_requests=2_000), 0.7)


def _kv_starved(plain: Case) -> Case:
    """Short prompts with long answers, so that many are admitted who then run out of blocks together."""
    prompt, output = LogNormal(mean=100, p95=300, min=4, max=1000), LogNormal(mean=500, p95=1500, min=4, max=4000)
    workload = replace(plain.workload, prompt=prompt, output=output)
    limits = replace(plain.limits, kv_blocks=600)
    return _at_load(replace(plain, name=STARVED, workload=workload, limits=limits, requests=6_000, oracle_requests=300), 1.2)


def _replicas(plain: Case, copies: int = 16) -> Iterator[Case]:
    """The chat sixteen-fold, on as many replicas."""
    workload, asked = plain.workload.scaled(copies), 2 * plain.oracle_requests
    many = replace(plain, workload=workload, replicas=copies, oracle_requests=asked)
    yield replace(many, name="16 replicas, round robin")
    yield replace(many, name=REPLICAS, router=LeastOutstanding())


def _conversations(plain: Case) -> Case:
    """Chats of six turns that share a system prompt; more of them are going on than the KV cache can hold."""
    question = LogNormal(mean=150, p95=500, min=8, max=2000)
    sessions = Conversation(turns=Fixed(tokens=6), think=60.0, max_context=plain.limits.max_model_len)
    prefix = SharedPrefix(num_groups=20, system_prompt_len=Fixed(tokens=700))
    workload = replace(plain.workload, prompt=question, sessions=sessions, prefix=prefix)
    limits = replace(plain.limits, enable_prefix_caching=True)
    return _at_load(replace(plain, name=TURNS, workload=workload, limits=limits, requests=15_000, oracle_requests=60), 0.7)


def _shared_prompt(case: Case) -> Case:
    """A system prompt of 4,000 tokens before all that is asked, at half of what is carried without prefix hits."""
    prefix = SharedPrefix(num_groups=1, system_prompt_len=Fixed(tokens=4000))
    workload = replace(case.workload, prompt=LogNormal(mean=300, p95=900, min=16, max=2048), prefix=prefix)
    limits = replace(case.limits, enable_prefix_caching=True)
    return _at_load(replace(case, workload=workload, limits=limits, requests=5_000, oracle_requests=20), 0.5)


def _at_load(case: Case, load: float) -> Case:
    """The case at this share of the rate at which its replicas are full, prefix hits not counted."""
    full = ceiling(case.step_time, case.limits, case.draw(_RATE_SAMPLE)).requests_per_s * case.replicas
    return replace(case, workload=case.workload.at_rate(load * full))
