"""Tools: what an assistant asks, as plain functions with plain answers, so that it plans with
numbers and not with guesses.

`sim mcp` serves them; each answer is JSON.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from simulator import catalog
from simulator.catalog.engine_args import EngineArgs
from simulator.document import Document, parse_yaml
from simulator.errors import ScenarioError
from simulator.memory.plan import plan_memory
from simulator.planning.machines.pool import InProcess
from simulator.planning.run import review
from simulator.planning.size import size
from simulator.planning.space import space
from simulator.planning.sure import chosen
from simulator.results.notebook import deployments_frame
from simulator.scenario import Scenario, scenario_of
from simulator.scenario.reference import example, reference
from simulator.units import GIB

_MOST_REQUESTS = 2000


def memory_tool(
    model: str,
    gpu: str,
    quantization: str = "auto",
    tensor_parallel_size: int = 1,
    max_model_len: int | None = None,
    gpu_memory_utilization: float | None = None,
    engine: str = "vllm",
) -> dict[str, Any]:
    """Does a model fit on a GPU, and how many tokens and sequences does its KV cache hold? Bytes
    are GiB of one GPU."""
    form = None if quantization == "auto" else catalog.quantization(quantization)
    args = EngineArgs(
        tensor_parallel_size=tensor_parallel_size,
        max_model_len=max_model_len,
        gpu_memory_utilization=gpu_memory_utilization,
    )
    plan = plan_memory(catalog.model(model), form, catalog.gpu(gpu), args, catalog.engine(engine))
    return {
        "outcome": plan.outcome,
        "reason": plan.reason,
        "remedies": [f"{remedy.change}: {remedy.gives}" for remedy in plan.remedies],
        "gib_by_part": {part: round(taken / GIB, 3) for part, taken in plan.parts().items()},
        "kv_tokens": plan.kv_tokens,
        "max_model_len": plan.args.max_model_len,
        "sequences_of_max_model_len": round(plan.max_concurrency, 2),
        "notes": list(plan.notes),
    }


def run_tool(scenario_yaml: str, limits: bool = False) -> dict[str, Any]:
    """Simulate a scenario, given as YAML: verdict, latencies, throughput and cost of each
    deployment, and what to take.

    `limits` also searches the rate at which each begins to queue, which takes longer. `explain`
    tells what may be written.
    """
    scenario = _scenario(scenario_yaml)
    result = review(scenario, machine=InProcess(), curve=limits)
    rows = deployments_frame(result).to_dicts()
    return {
        "recommendation": result.recommendation.sentence,
        "demand": result.workload.sentence,
        "slo": list(result.slo),
        "deployments": [
            {name: _finite(value) for name, value in row.items() if value is not None}
            for row in rows
        ],
        "not_modelled": list(result.not_modelled),
    }


def size_tool(scenario_yaml: str, gpus: list[str] | None = None) -> dict[str, Any]:
    """The cheapest configuration that carries a scenario's demand within its SLO, and why each
    other one lost.

    `gpus` compares these in place of the scenario's deployments.
    """
    scenario = _scenario(scenario_yaml)
    found = size(scenario, deployments=space(gpus) if gpus else None, machine=InProcess())
    choice = chosen(found)
    return {
        "best": choice.candidate.deployment.name if choice else None,
        "replicas": choice.replicas if choice else None,
        "usd_per_hour": _finite(choice.usd_per_hour) if choice else None,
        "candidates": [
            {
                "name": c.deployment.name,
                "wording": c.wording,
                "replicas": c.replicas,
                "usd_per_hour": _finite(c.usd_per_hour),
                "why_not": c.why,
            }
            for c in found.candidates
        ],
    }


def explain_tool(place: str = "") -> dict[str, Any]:
    """What may be written at a place of a scenario, such as `workload.arrivals`: fields, kinds,
    defaults, an example."""
    return {
        "kinds": [dataclasses.asdict(kind) for kind in reference(place)],
        "example": example(place),
    }


def _scenario(text: str) -> Scenario:
    """A scenario from YAML text; it names no file of this machine. Raises ScenarioError, and for
    more than is simulated here."""
    path = Path("scenario.yaml")
    root = parse_yaml(text, path)
    if not isinstance(root, dict):
        raise ScenarioError("scenario.yaml: expected a mapping such as 'model: llama-3.1-8b'")
    scenario = scenario_of(Document(path, root))
    if (scenario.workload.requests or 0) > _MOST_REQUESTS:
        raise ScenarioError(
            f"scenario.yaml: workload.requests: at most {_MOST_REQUESTS:,} here; `sim run` takes "
            "more"
        )
    return scenario


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


TOOLS_OF_ASSISTANTS = {
    "memory": memory_tool,
    "run": run_tool,
    "size": size_tool,
    "explain": explain_tool,
}
