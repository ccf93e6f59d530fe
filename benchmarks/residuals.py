"""Residuals: every published figure that can be compared, beside its prediction, with the setting
that its error goes by.

Figures come from the tables that `sim validate` reads, from the catalog's reports of cards, and
from folders of scenarios with a `measured.json`: for each scenario's name the figures that its
public report prints (ttft_ms_mean, output_tok_s, ...).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.cards import REPORTS
from simulator.errors import SimulatorError
from simulator.latency.calibration import format_name
from simulator.latency.error_bands import setting
from simulator.planning.fleet_plan import plan_fleet
from simulator.planning.machines.pool import InProcess
from simulator.planning.run import review
from simulator.results.model import DeploymentResult
from simulator.results.steady_state import load_regime
from simulator.results.tables import latencies
from simulator.scenario import Scenario, load
from simulator.validation.compare import validate
from simulator.validation.measurements import Comparison
from simulator.workload.requests import Floats

MEASURED = "measured.json"
_PERCENTILES = {"median": 50, "p90": 90, "p95": 95, "p99": 99}


def comparisons(path: Path) -> list[Comparison]:
    """Every comparison of a folder's tables and scenarios, and of the catalog's own reports, that
    has a setting."""
    found = [*validate(path).comparisons, *validate(REPORTS).comparisons]
    for folder in sorted(file.parent for file in path.rglob(MEASURED)):
        found += reported(folder)
    return [each for each in found if each.setting is not None and isinstance(each.measured, float | int)]


def reported(folder: Path) -> Iterator[Comparison]:
    """The figures of the reports of a folder beside those of their scenarios; what cannot be run is
    left out."""
    measured = json.loads((folder / MEASURED).read_text("utf-8"))
    for row, (name, values) in enumerate(measured.items(), start=1):
        file = folder / f"{name}.yaml"
        if not file.exists():
            continue
        try:
            scenario = load(file)
            result = review(scenario, curve=False, machine=InProcess()).deployments[0]
        except SimulatorError:
            continue
        yield from _beside(f"{folder.name}/{name}", row, values, scenario, result)


def _beside(
    source: str, row: int, values: dict[str, float], scenario: Scenario, result: DeploymentResult
) -> Iterator[Comparison]:
    if result.trace is None:
        return
    deployment = scenario.deployments[0]
    plan = plan_fleet(scenario, deployment).server.target
    link = plan.link_bytes_per_s
    place = setting(plan.model, plan.quantization, plan.gpu, plan.engine, plan.args, link)
    labels = (
        f"{plan.engine.family} {plan.engine.version}",
        plan.model.name,
        plan.gpu.name,
        format_name(plan.model, plan.quantization),
    )
    ours = _figures(result)
    for metric, value in values.items():
        if metric in ours and value:
            load_ = load_regime(result.trace)
            yield Comparison(source, row, metric, value, ours[metric], True, labels, place, load_)


def _figures(result: DeploymentResult) -> dict[str, float]:
    """Figures over all requests that finished, as a benchmark's client counts them."""
    trace = result.trace
    assert trace is not None
    r, seen = trace.requests, latencies(trace)
    done = np.isfinite(r["finish_s"])
    if not done.any():
        return {}
    span = float(r["finish_s"][done].max() - r["arrival_s"].min())
    output, prompt = float(r["output_tokens"][done].sum()), float(r["prompt_tokens"][done].sum())
    found = {"output_tok_s": output / span, "req_s": float(done.sum()) / span, "total_tok_s": (output + prompt) / span}
    for name in ("ttft", "tpot", "e2e"):
        found |= _of(f"{name}_ms", 1e3 * seen[f"{name}_s"][np.isfinite(seen[f"{name}_s"])])
    gaps = (r["output_tokens"] - 1)[done & (r["output_tokens"] > 1)]
    if len(gaps):
        decoding = (r["finish_s"] - r["first_token_s"])[done & (r["output_tokens"] > 1)]
        found["itl_ms_mean"] = 1e3 * float(decoding.sum() / gaps.sum())
    return found


def _of(name: str, values: Floats) -> dict[str, float]:
    if not len(values):
        return {}
    tails = {f"{name}_{word}": float(np.percentile(values, q)) for word, q in _PERCENTILES.items()}
    return {f"{name}_mean": float(values.mean()), **tails}
