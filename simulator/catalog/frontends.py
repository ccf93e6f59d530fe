"""What an engine's API server takes for a request and for a chunk of output, by release and endpoint."""

from __future__ import annotations

from typing import Literal, get_args

from simulator.catalog import stanzas
from simulator.catalog.engines import Engine
from simulator.catalog.releases import at_least
from simulator.spec import NonNegative, spec

Endpoint = Literal["completions", "chat"]
ENDPOINTS: tuple[Endpoint, ...] = get_args(Endpoint)


@spec
class FrontEndCosts:
    """Milliseconds of one process for a request, microseconds for a chunk of its output."""

    request_ms: NonNegative
    chunk_us: NonNegative


def api_servers(engine: Engine, ranks: int) -> int:
    """Processes of the API server where their number is not given: one, or from vLLM 0.15 on one a data-parallel rank.

    Source: vllm-project/vllm#32525 (January 2026); vllm/entrypoints/cli/serve.py.
    """
    return ranks if engine.family == "vllm" and engine.at_least("0.15") else 1


def frontend_costs(engine: Engine, endpoint: Endpoint) -> FrontEndCosts | None:
    """What the API server of a release takes; None where nothing is known of one so old, or of its family.

    >>> from simulator.catalog.engines import engine
    >>> frontend_costs(engine("vllm-0.9.0"), "chat")
    FrontEndCosts(request_ms=6.3, chunk_us=117.0)
    """
    if engine.generation != "v1":
        return None
    entries = [stanzas.load_entry("frontends", name) for name in stanzas.stanzas("frontends")]
    reached = [entry for entry in entries if entry["family"] == engine.family and at_least(engine.version, entry["version"])]
    if not reached:
        return None
    request, chunk = (float(reached[-1][name][endpoint]) for name in ("request_ms", "chunk_us"))
    return FrontEndCosts(request_ms=request, chunk_us=chunk)
