"""Size LLM inference before renting GPUs.

    import simulator as sim

    scenario = sim.load("scenarios/chatbot.yaml")
    result = sim.review(scenario)
    result.recommendation.sentence

Everything is imported on first use, so that `import simulator` stays quick.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

_HOMES = {
    "load": "simulator.scenario",
    "dump": "simulator.scenario",
    "Scenario": "simulator.scenario",
    "Deployment": "simulator.scenario",
    "Pool": "simulator.scenario",
    "Workload": "simulator.workload.workload",
    "Slo": "simulator.workload.slo",
    "gpu": "simulator.catalog",
    "model": "simulator.catalog",
    "quantization": "simulator.catalog",
    "engine": "simulator.catalog",
    "EngineArgs": "simulator.catalog.engine_args",
    "plan_memory": "simulator.memory.plan",
    "plan_server": "simulator.server",
    "plan_fleet": "simulator.planning.fleet_plan",
    "review": "simulator.planning.run",
    "size": "simulator.planning.size",
    "space": "simulator.planning.space",
    "sweep": "simulator.planning.sweep",
    "axis": "simulator.planning.axes",
    "compare": "simulator.planning.compare",
}
__all__ = ["__version__", *_HOMES]
__version__: str


class _Package(ModuleType):
    """The package as a module whose `engine` stays the function: the folder of that name is reached by importing from it."""

    @property
    def engine(self) -> Any:
        return getattr(import_module(_HOMES["engine"]), "engine")  # noqa: B009

    @engine.setter
    def engine(self, module: ModuleType) -> None:
        """What Python does once the folder is imported: it is left in sys.modules alone."""

    def __dir__(self) -> list[str]:
        return sorted(__all__)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("inference-sizing-simulator")
    if name not in _HOMES:
        from simulator.errors import did_you_mean, nearest_names

        raise AttributeError(f"module 'simulator' has no attribute '{name}'{did_you_mean(nearest_names(name, __all__))}")
    return getattr(import_module(_HOMES[name]), name)
