"""Comparing with a measurement: a benchmark tool's run as one more column beside simulated ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simulator.errors import NoSuchDeployment
from simulator.results.model import DeploymentResult
from simulator.validation.measured_run import MeasuredRun

_MS = {
    f"{latency}_{statistic}_s": f"{latency}_ms{'' if statistic == 'mean' else f'_{statistic}'}"
    for latency in ("ttft", "tpot", "e2e")
    for statistic in ("mean", "p50", "p99")
}


@dataclass(frozen=True, slots=True)
class Measured:
    """A measured run, put beside every deployment that it is compared with: which one was measured,
    the file does not say."""

    deployments: tuple[DeploymentResult, ...]

    def deployment(self, name: str) -> DeploymentResult:
        """The measurement as that of a deployment."""
        found = next((d for d in self.deployments if d.name == name), None)
        if found is None:
            raise NoSuchDeployment("deployment", name, [d.name for d in self.deployments])
        return found


def measured_beside(run: MeasuredRun, names: Sequence[str]) -> Measured:
    """A measured run as the result of each deployment of these names."""
    metrics = figures(run)
    return Measured(
        tuple(
            DeploymentResult(
                name=name,
                title=run.tool,
                wording="",
                gpu="",
                gpus=1,
                replicas=1,
                verdict="stable",
                reason=f"measured by {run.tool}",
                metrics=dict(metrics),
            )
            for name in names
        )
    )


def figures(run: MeasuredRun) -> Mapping[str, float]:
    """What was measured under the names of METRICS: seconds and rates."""
    known = {name: run.values[ms] / 1e3 for name, ms in _MS.items() if ms in run.values}
    if (tokens := run.values.get("output_tok_s")) is not None:
        known["output_tokens_per_s"] = tokens
    if (rate := run.values.get("request_rate")) is not None:
        known["requests_per_s"] = rate
    return known
