"""The command line: parse, call the public functions, print. No logic."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from simulator.cli.catalog import app as catalog
from simulator.cli.compare import compare
from simulator.cli.memory import memory
from simulator.cli.run import check, run
from simulator.cli.size import size
from simulator.cli.sweep import sweep
from simulator.cli.trace import trace
from simulator.cli.validate import validate
from simulator.errors import SimulatorError

app = typer.Typer(
    name="sim",
    help="Size LLM inference before renting GPUs: does it fit, how many at once, how fast, and where does it queue.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (run, check, memory, size, sweep, compare, trace, validate):
    app.command()(command)
app.add_typer(catalog, name="catalog")


def _print_version(wanted: bool) -> None:
    if wanted:
        from simulator import __version__

        typer.echo(f"sim {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit code 2."""
    try:
        app()
    except SimulatorError as problem:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
