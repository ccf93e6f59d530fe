"""`sim ask` and `sim init`: an answer, and a scenario to go on with, from a handful of figures."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from simulator.cli.options import Quiet
from simulator.text import visible

Gpus = Annotated[str, typer.Option("--gpu", "--gpus", help="GPUs to compare: l40s,h100-sxm.")]
Users = Annotated[int | None, typer.Option("--users", min=1, help="People who ask; with --each.")]
Each = Annotated[str, typer.Option("--each", help="How often each of them asks: 12/h.")]
Rate = Annotated[str, typer.Option("--rate", help="Or requests in all: 4/s, 1.2 rps, 240/min.")]
Concurrency = Annotated[int | None, typer.Option("--concurrency", min=1, help="Or so many requests under way at all times.")]
Prompt = Annotated[int, typer.Option("--prompt", min=1, help="Tokens of a prompt, on average.")]
Output = Annotated[int, typer.Option("--output", min=1, help="Tokens of an answer, on average.")]
Ttft = Annotated[str, typer.Option("--ttft", help="SLO on the time to first token: 2, 2s, 800ms.")]
Tpot = Annotated[str, typer.Option("--tpot", help="SLO on the time per output token: 50ms.")]
E2e = Annotated[str, typer.Option("--e2e", help="SLO on the whole answer: 30s.")]
Quantization = Annotated[str, typer.Option("--quantization", "-q", help="A format; auto is the checkpoint's own.")]
Engine = Annotated[str, typer.Option("--engine", help="Engine and version: vllm-0.19.0.")]
Length = Annotated[int | None, typer.Option("--max-model-len", min=1, help="Longest request; by the lengths when not given.")]
Requests = Annotated[int, typer.Option("--requests", min=1, help="Requests to simulate.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]


def ask_command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name, or the path of a config.json.", show_default=False)],
    gpu: Gpus = "",
    users: Users = None,
    each: Each = "",
    rate: Rate = "",
    concurrency: Concurrency = None,
    prompt: Prompt = 512,
    output: Output = 256,
    ttft: Ttft = "",
    tpot: Tpot = "",
    e2e: E2e = "",
    quantization: Quantization = "auto",
    engine: Engine = "vllm",
    max_model_len: Length = None,
    requests: Requests = 1000,
    file: Annotated[Path | None, typer.Option("--file", "-o", help="Where the scenario goes; MODEL.yaml when not given.")] = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Answer in one line: which GPUs, how many, at what cost. Writes the scenario, to go on
    with."""
    from simulator.cli.size import size_command
    from simulator.scenario.drafting import DEFAULT_GPUS, Figures, draft, scenario_name

    figures = Figures(
        model=model, gpus=_names(gpu) or DEFAULT_GPUS, prompt=prompt, output=output, rate=rate, users=users, each=each,
        concurrency=concurrency, ttft=ttft, tpot=tpot, e2e=e2e, quantization=quantization, engine=engine,
        max_model_len=max_model_len, requests=requests, comment=f"Written by: {shlex.join(['sim', *sys.argv[1:]])}",
    )  # fmt: skip
    path = file or Path(f"{scenario_name(figures)}.yaml")
    _write(path, draft(figures), force=force)
    try:
        size_command(path, workers=1, quiet=quiet)
    finally:
        typer.echo(visible(f"Scenario: {path}  (sim run {path} writes the report)"), err=True)


File = Annotated[Path | None, typer.Argument(metavar="FILE", help="The scenario to write.", show_default=False)]
Template = Annotated[str, typer.Option("--from", help="Copy a shipped scenario: rag, chatbot ...")]
Model = Annotated[str, typer.Option("--model", help="A name, or the path of a config.json.")]


def init_command(
    file: File = None,
    template: Template = "",
    model: Model = "",
    gpu: Gpus = "",
    users: Users = None,
    each: Each = "",
    rate: Rate = "",
    concurrency: Concurrency = None,
    prompt: Prompt = 512,
    output: Output = 256,
    ttft: Ttft = "",
    tpot: Tpot = "",
    e2e: E2e = "",
    quantization: Quantization = "auto",
    engine: Engine = "vllm",
    max_model_len: Length = None,
    force: Force = False,
) -> None:
    """Write a scenario: from a shipped one, from figures, or from your answers to a few
    questions."""
    from simulator.errors import ScenarioError
    from simulator.scenario.drafting import DEFAULT_GPUS, Figures, draft, scenario_name
    from simulator.scenario.shipped import shipped_scenarios

    if template:
        _copy(template, file, force=force)
        return
    if not model:
        if not sys.stdin.isatty():
            known = ", ".join(shipped_scenarios())
            raise ScenarioError(f"sim init needs --from NAME (there are {known}), or --model with --rate or --users")
        model = typer.prompt("Model (a name, or the path of a config.json)")
        gpu = gpu or typer.prompt("GPUs to compare", default=",".join(DEFAULT_GPUS))
        rate = rate or ("" if users or concurrency else typer.prompt("Requests (4/s, 240/min, 500/h)", default="1/s"))
        prompt = typer.prompt("Tokens of a prompt, on average", default=prompt, type=int)
        output = typer.prompt("Tokens of an answer, on average", default=output, type=int)
        ttft = ttft or typer.prompt("Seconds to the first token, at most (p95)", default="1s")
    figures = Figures(
        model=model, gpus=_names(gpu) or DEFAULT_GPUS, prompt=prompt, output=output, rate=rate, users=users, each=each,
        concurrency=concurrency, ttft=ttft, tpot=tpot, e2e=e2e, quantization=quantization, engine=engine,
        max_model_len=max_model_len,
    )  # fmt: skip
    path = file or Path(f"{scenario_name(figures)}.yaml")
    _write(path, draft(figures), force=force)
    typer.echo(visible(f"wrote {path}; next: sim run {path}"))


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _write(path: Path, text: str, *, force: bool) -> None:
    """Write a scenario that reads. Raises ScenarioError where it does not, and SimulatorError where
    a file is in the way."""
    from simulator.document import Document, parse_yaml
    from simulator.errors import SimulatorError
    from simulator.files import write_file
    from simulator.scenario import scenario_of

    if path.exists() and not force:
        raise SimulatorError(f"{path} exists; add --force to replace it, or name another file")
    scenario_of(Document(path, parse_yaml(text, path)))
    write_file(path, text)


def _copy(template: str, file: Path | None, *, force: bool) -> None:
    """A shipped scenario with the files it refers to, beside each other as they are shipped."""
    import shutil

    from simulator.errors import SimulatorError
    from simulator.files import write_file
    from simulator.scenario.shipped import SCHEMA, shipped_folder, shipped_scenario

    source = shipped_scenario(template)
    path = file or Path(source.name)
    text = source.read_text("utf-8").replace(f"$schema={SCHEMA}", f"$schema={shipped_folder() / SCHEMA}", 1)
    files = [item for item in sorted(shipped_folder().iterdir()) if item.name in text and item.suffix != ".json"]
    for target in (path, *(path.parent / item.name for item in files if item.name != source.name)):
        if target.exists() and not force:
            raise SimulatorError(f"{target} exists; add --force to replace it, or name another file")
    write_file(path, text)
    for item in files:
        if item.name == source.name:
            continue
        if item.is_dir():
            shutil.copytree(item, path.parent / item.name, dirs_exist_ok=True)
        else:
            shutil.copyfile(item, path.parent / item.name)
    typer.echo(visible(f"wrote {path}; next: sim run {path}"))
