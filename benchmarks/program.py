"""What is around the engine: memory, whole runs of `sim run`, binding a deployment, a step's time, a queueing-point search."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks import goals
from benchmarks.cases import CHAT_FILE, Case, planned_chat
from benchmarks.goals import Figure
from benchmarks.measure import Action, cpu_seconds, in_rounds
from simulator.latency.step import StepWork
from simulator.memory.plan import plan_memory
from simulator.planning.capacity.probes import CHECK, flows, full_server
from simulator.planning.capacity.search import queueing_point
from simulator.planning.fleet_plan import plan_fleet
from simulator.server import FleetPlan, PoolPlan

_ROOT = Path(__file__).resolve().parents[1]
_SIM = (sys.executable, "-c", "from simulator.cli import main; main()")
_STEP = StepWork(contexts=(700,) * 64, chunks=((0, 512, True),))


def memory(requests: int) -> Figure:
    """Peak above import of drawing and serving the chat, in MB per million requests."""
    name = f"memory above import per million requests, run of {requests:,}"
    if not Path("/proc/self/status").exists():
        return Figure(name, "MB", None, goals.MEMORY, "needs /proc")
    command = [sys.executable, "-m", "benchmarks.memory", str(requests)]
    told = subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, text=True)
    drawing, whole = (int(peak) / requests for peak in told.stdout.split())
    return Figure(name, "MB", whole, goals.MEMORY, f"drawing the requests alone peaks at {drawing:.0f} MB")


def whole_runs(case: Case, rounds: int, requests: int, *, only_plain: bool) -> list[Figure]:
    """`sim run` as a process of its own: without report, with it, and as it is by default, with the searches too."""
    rate = case.workload.mean_rate()
    load = ["--set", f"workload.arrivals.rate={rate}/s", "--set", f"workload.requests={requests}"]
    with tempfile.TemporaryDirectory() as folder:
        written = ["--out", folder, "--force"]
        variants = {"without report": ["--no-limits", "--no-report"]}
        if not only_plain:
            variants |= {"with report": ["--no-limits", *written], "with report and searches": written}
        times = {
            name: [_sim("run", str(CHAT_FILE), *load, *options) for _ in range(rounds)] for name, options in variants.items()
        }
    goal = goals.RUN_WITHOUT_REPORT if requests == 100_000 else None
    figures = []
    for name, pairs in times.items():
        cpu, wall = (median(seconds) for seconds in zip(*pairs, strict=True))
        what = f"sim run, {requests:,} requests, {name}"
        figures.append(Figure(what, "CPU s", cpu, goal if name == "without report" else None, f"{wall:.2f} s on the clock"))
    return figures


def _sim(*arguments: str) -> tuple[float, float]:
    """CPU seconds and seconds on the clock of one command."""
    before, start = _children_cpu_s(), time.perf_counter()
    ended = subprocess.run([*_SIM, *arguments], cwd=_ROOT, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(f"sim {' '.join(arguments)} failed:\n{ended.stderr}")
    return _children_cpu_s() - before, time.perf_counter() - start


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def binding(rounds: int) -> list[Figure]:
    """Milliseconds of a memory plan, of binding the latency model, of both together; microseconds of one step's time."""
    scenario, server = planned_chat()
    deployment, plan, step_time = scenario.deployments[0], server.plan, server.step_time
    actions: dict[str, Action] = {
        "memory plan of a deployment": lambda: plan_memory(
            plan.model, plan.quantization, plan.gpu, deployment.pool.engine_args(), scenario.engine
        ),
        "step time of a deployment (Roofline)": lambda: scenario.latency.bind(server.target),
        "binding a deployment, all of it": lambda: plan_fleet(scenario, deployment),
    }
    times = in_rounds(actions, max(5, rounds))
    step = median(cpu_seconds(lambda: step_time.seconds(_STEP), times=2_000) for _ in range(max(5, rounds)))
    note = "64 sequences decode beside a prompt of 512 tokens; the engine reads sums instead"
    return [
        *(Figure(name, "ms", 1e3 * median(seconds)) for name, seconds in times.items()),
        Figure("StepTime.seconds of one step", "us", 1e6 * step, None, note),
    ]


def search(case: Case, rounds: int) -> Figure:
    """CPU seconds of one search of the chat's queueing point, as `sim run` does it."""
    scenario, server = planned_chat()
    full = full_server(server, case.draw(case.requests))
    flow, check = (flows(FleetPlan((PoolPlan(server),)), case.workload, full, scenario.seed, share) for share in (1.0, CHECK))
    found = []

    def find() -> None:
        found.append(queueing_point(flow, full.requests_per_s, check=check).value)

    seconds = median(cpu_seconds(find) for _ in range(rounds))
    return Figure("queueing-point search", "CPU s", seconds, None, f"finds {found[0]:.1f} requests/s")
