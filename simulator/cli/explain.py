"""`sim explain`, `sim schema` and `sim doctor`: what can be written, and whether this installation works."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simulator.cli.options import Json, save_file
from simulator.text import visible


def explain_command(
    path: Annotated[str, typer.Argument(metavar="[PATH]", help="A place in a scenario: workload.arrivals, slo ...")] = "",
    as_json: Json = False,
) -> None:
    """Tell what may stand at a place of a scenario: fields, units, defaults, and an example."""
    from dataclasses import asdict

    from simulator.scenario.reference import example, reference

    kinds = reference(path)
    if as_json:
        import json

        print(json.dumps([asdict(kind) for kind in kinds], indent=1))
        return
    for kind in kinds:
        typer.echo(visible(f"{path or 'scenario'}{f' (kind: {kind.kind})' if kind.kind else ''}"))
        for line in kind.meaning.splitlines():
            typer.echo(visible(f"  {line}".rstrip()))
        width = max((len(field.name) for field in kind.fields), default=0)
        for field in kind.fields:
            said = "required" if not field.default else f"default: {field.default}"
            typer.echo(visible(f"    {field.name:<{width}}  {field.type}; {said}"))
        typer.echo()
    if shown := example(path):
        typer.echo(f"Example, from {visible(shown, keep=chr(10))}".replace("from # ", "from ", 1))


def schema_command(
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A file to write instead of the terminal.")] = None,
) -> None:
    """Print the JSON Schema of a scenario file, for editors (# yaml-language-server: $schema=FILE)."""
    import json

    from simulator.scenario.json_schema import file_schema

    text = json.dumps(file_schema(), indent=1) + "\n"
    if out is None:
        print(text, end="")
    else:
        save_file(out, text, "--out")


def doctor_command() -> None:
    """Tell what is installed, and whether it works here; exit with 1 where something that is needed does not."""
    from simulator.planning.machines.doctor import examination

    checks = examination()
    for check in checks:
        sign = "ok  " if check.passed else "FAIL" if check.needed else "-   "
        typer.echo(visible(f"{sign} {check.name}: {check.found}"))
    if any(check.needed and not check.passed for check in checks):
        raise typer.Exit(1)
