"""Doctor: what this installation has, and whether the parts that are needed work."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from shutil import which

PACKAGE = "inference-sizing-simulator"


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One thing that was looked at: what was found, whether it is as it should be, and whether it
    is needed."""

    name: str
    found: str
    passed: bool
    needed: bool = True


def examination() -> tuple[HealthCheck, ...]:
    """Everything that is looked at, the needed things first."""
    return (*_needed(), *_wished())


def _needed() -> Iterator[HealthCheck]:
    yield HealthCheck("Python", sys.version.split()[0], sys.version_info >= (3, 11))
    yield HealthCheck(PACKAGE, _version(PACKAGE), True)
    for requirement in requires(PACKAGE) or ():
        if "extra ==" not in requirement:
            name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
            found = _version(name)
            yield HealthCheck(name, f"{found} (needs {requirement})", found != "not installed")
    yield _tried("shipped scenarios", _shipped)
    yield _tried("a memory plan", _plan)


def _wished() -> Iterator[HealthCheck]:
    extras = {
        "distributed": "dask: many machines",
        "huggingface_hub": "hf: models of the hub",
        "mcp": "mcp: sim mcp",
    }
    for name, what in extras.items():
        found = _version(name)
        yield HealthCheck(what, found, found != "not installed", needed=False)
    browser = next(
        filter(None, map(which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    yield HealthCheck(
        "Chromium, for PDF", browser or "not found", browser is not None, needed=False
    )
    yield HealthCheck("processors", str(os.cpu_count()), True, needed=False)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    writable = os.access(cache if cache.is_dir() else cache.parent, os.W_OK)
    yield HealthCheck("cache folder", str(cache), writable, needed=False)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _tried(name: str, work: Callable[[], str]) -> HealthCheck:
    try:
        return HealthCheck(name, work(), True)
    except Exception as problem:
        return HealthCheck(name, f"{type(problem).__name__}: {problem}", False)


def _shipped() -> str:
    from simulator.scenario import load
    from simulator.scenario.shipped import shipped_scenarios

    for path in shipped_scenarios().values():
        load(path)
    return f"{len(shipped_scenarios())} load"


def _plan() -> str:
    from simulator import catalog
    from simulator.catalog.engine_args import EngineArgs
    from simulator.memory.plan import plan_memory

    plan = plan_memory(
        catalog.model("llama-3.1-8b"), None, catalog.gpu("h100-sxm"), EngineArgs(), catalog.engine()
    )
    return f"{plan.kv_tokens:,} KV tokens"
