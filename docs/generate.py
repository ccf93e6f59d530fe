"""The reference pages, made from the code: `make reference` writes them into docs/reference/."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from simulator.results.metrics import METRICS
from simulator.scenario.reference import KindReference, example, reference

HERE = Path(__file__).resolve().parent
PLACES = (
    "", "engine", "workload", "workload.arrivals", "workload.prompt", "workload.prefix", "workload.sessions", "workload.trace",
    "workload.classes", "slo", "deployments", "deployments.router", "latency", "frontend", "prices", "prices.owned",
)  # fmt: skip
NOTE = "<!-- Made by docs/generate.py; change the code instead. -->\n\n"


def pages() -> dict[str, str]:
    """The text of each reference page by its file name."""
    found = {"scenario.md": scenario(), "commands.md": commands(), "metrics.md": metrics(), "files.md": files()}
    return {name: NOTE + text for name, text in found.items()}


def scenario() -> str:
    parts = ["# Scenario\n\nThe fields of a scenario file, from the code. `sim explain PLACE` prints the same.\n"]
    for place in PLACES:
        parts.append(f"## {f'`{place}`' if place else 'The whole file'}\n")
        parts += [_kind(kind) for kind in reference(place)]
        if shown := example(place):
            parts.append(f"```yaml\n{shown}\n```\n")
    return "\n".join(parts)


def _kind(kind: KindReference) -> str:
    lines = [f"### `kind: {kind.kind}`\n"] if kind.kind else []
    lines.append(f"{_escaped(kind.meaning)}\n")
    if kind.fields:
        lines += ["| field | what | default |", "|---|---|---|"]
        lines += [f"| `{f.name}` | {_cell(f.type)} | {_cell(f.default) or 'required'} |" for f in kind.fields]
    return "\n".join([*lines, ""])


def commands() -> str:
    from typer.main import get_command

    from simulator.cli import application

    lines = ["# Commands\n"]
    for name, command in get_command(application()).commands.items():  # type: ignore[attr-defined]
        lines += [f"## `sim {name}`\n", f"{_escaped(command.help or '')}\n"]
        options = [p for p in command.params if p.name != "help"]
        if options:
            lines += ["| option | what |", "|---|---|"]
            lines += [f"| `{_called(option)}` | {_cell(getattr(option, 'help', '') or '')} |" for option in options]
        lines.append("")
    return "\n".join(lines)


def _called(option: Any) -> str:
    """An option by all its names, an argument by the word that stands for it."""
    return " ".join(option.opts) if option.opts[0].startswith("-") else option.metavar or option.name.upper()


def metrics() -> str:
    lines = ["# Metrics\n", "| metric | unit | definition |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| `{m.name}` | {m.unit} | {_cell(m.definition)} |" for m in METRICS), ""])


def files() -> str:
    from simulator import validation

    folder = Path(validation.__file__ or "").parent
    told = ast.get_docstring(ast.parse((folder / "measured_run.py").read_text("utf-8"))) or ""
    lines = ["# Files of other tools\n", told, "", "| reader | what it reads |", "|---|---|"]
    for path in sorted((folder / "readers").glob("*.py")):
        doc = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        if path.stem.startswith(("bench_", "startup_log")):
            lines.append(f"| `{path.stem}` | {_cell(doc.splitlines()[0])} |")
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    return _escaped(" ".join(text.split())).replace("|", "\\|")


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;")


if __name__ == "__main__":
    for name, text in pages().items():
        (HERE / "reference" / name).write_text(text, "utf-8")
