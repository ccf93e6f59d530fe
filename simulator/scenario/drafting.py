"""Drafting: a scenario as YAML from a handful of figures, with what was assumed said beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from simulator import catalog
from simulator.catalog.engine_args import EngineArgs
from simulator.catalog.models import Model
from simulator.errors import ScenarioError, SimulatorError
from simulator.memory.plan import plan_memory
from simulator.numbers import LONGEST, integer
from simulator.scenario.shipped import SCHEMA, shipped_folder

_SIZES = (1, 2, 4, 8)
_P95, _MOST = 2.0, 4.0
_REQUESTS = 1000
DEFAULT_GPUS = ("l4", "l40s", "a100-80gb-sxm", "h100-sxm")


@dataclass(frozen=True, slots=True)
class Figures:
    """What somebody knows of a case: tokens are means; `rate` and `each` are as written, `4/s` and `12/h`.

    One of `rate`, `users` with `each`, or `concurrency` says how requests come.
    """

    model: str
    gpus: tuple[str, ...] = DEFAULT_GPUS
    prompt: int = 512
    output: int = 256
    rate: str = ""
    users: int | None = None
    each: str = ""
    concurrency: int | None = None
    ttft: str = ""
    tpot: str = ""
    e2e: str = ""
    quantization: str = "auto"
    engine: str = "vllm"
    max_model_len: int | None = None
    requests: int = _REQUESTS
    name: str = ""
    comment: str = field(default="")


def draft(figures: Figures) -> str:
    """The scenario of some figures, commented, each GPU with as few of them as hold the model.

    Raises SimulatorError for what is unknown, or where it is not said how requests come.
    """
    served = catalog.model(figures.model)
    engine = catalog.engine(figures.engine)
    for name in ("prompt", "output", "max_model_len"):
        if (tokens := getattr(figures, name)) is not None:
            integer(tokens, f"--{name.replace('_', '-')}", ScenarioError, least=1, most=LONGEST)
    length = figures.max_model_len or _length(served, figures)
    lines = [
        f"# yaml-language-server: $schema={shipped_folder() / SCHEMA}",
        *([f"# {figures.comment}"] if figures.comment else []),
        f"name: {scenario_name(figures)}",
        f"model: {figures.model}",
        "engine:",
        f"  version: {engine.name}",
        f"  max_model_len: {length}",
        "workload:",
        f"  arrivals: {_arrivals(figures)}",
        "  # The means are yours; how lengths spread around them is a guess. `sim trace FILE` fits your own.",
        f"  prompt: {_law(figures.prompt, (length - 1) * figures.prompt // (figures.prompt + figures.output))}",
        f"  output: {_law(figures.output, (length - 1) * figures.output // (figures.prompt + figures.output))}",
        f"  requests: {figures.requests}",
    ]
    terms = {"ttft": figures.ttft, "tpot": figures.tpot, "e2e": figures.e2e}
    if any(terms.values()):
        lines.append(f"slo: {{{', '.join(f'{name}: {value}' for name, value in terms.items() if value)}, percentile: 95}}")
    lines.append("deployments:")
    for gpu in figures.gpus:
        lines += _deployment(figures, served, gpu, length)
    return "\n".join([*lines, ""])


def scenario_name(figures: Figures) -> str:
    """A name that a folder can have: the given one, or the model's."""
    return re.sub(r"[^\w.-]+", "-", figures.name or figures.model.rstrip("/").rsplit("/", 1)[-1]).strip(".-").lower() or "mine"


def _arrivals(figures: Figures) -> str:
    ways = [figures.rate != "", figures.users is not None, figures.concurrency is not None]
    if sum(ways) != 1:
        raise ScenarioError("say how requests come, in one way: --rate 4/s, --users 150 --each 12/h, or --concurrency 32")
    if figures.concurrency is not None:
        return f"{{kind: closed_loop, concurrency: {figures.concurrency}}}"
    if figures.users is not None:
        if not figures.each:
            raise ScenarioError("--users needs --each: how often one of them asks, such as --each 12/h")
        return f"{{kind: users, users: {figures.users}, each: {figures.each}}}"
    return f"{{kind: poisson, rate: {figures.rate}}}"


def _law(mean: int, longest: int) -> str:
    """A law around a mean, cut where a request could not be served any more."""
    most = min(round(_MOST * mean), longest)
    if mean < 4 or most < _P95 * mean:
        return str(mean)
    return f"{{kind: lognormal, mean: {mean}, p95: {round(_P95 * mean)}, max: {most}}}"


def _length(served: Model, figures: Figures) -> int:
    """A max_model_len with room for the longest prompt and answer, in whole thousands of 1,024."""
    wanted = round(_MOST * (figures.prompt + figures.output)) + 1
    return min(served.max_position, -(-wanted // 1024) * 1024)


def _deployment(figures: Figures, served: Model, gpu: str, length: int) -> list[str]:
    size = _fewest(figures, served, gpu, length)
    lines = [f"  - name: {f'{size} x ' if size > 1 else ''}{gpu}", f"    gpu: {gpu}"]
    if figures.quantization != "auto":
        lines.append(f"    quantization: {figures.quantization}")
    return lines + ([f"    tensor_parallel_size: {size}"] if size > 1 else [])


def _fewest(figures: Figures, served: Model, gpu: str, length: int) -> int:
    """The fewest GPUs of a kind that the model starts on, 1 where it starts on none that are tried."""
    card, engine = catalog.gpu(gpu), catalog.engine(figures.engine)
    form = None if figures.quantization == "auto" else catalog.quantization(figures.quantization)
    for size in _SIZES:
        try:
            if plan_memory(served, form, card, EngineArgs(tensor_parallel_size=size, max_model_len=length), engine).starts:
                return size
        except SimulatorError:
            continue
    return 1
