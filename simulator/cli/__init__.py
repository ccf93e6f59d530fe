"""The command line: parse, call the public functions, print. No logic."""

from __future__ import annotations

import io
import os
import sys
from importlib import import_module
from typing import Annotated, cast

import typer

from simulator.cli.faults import FAULT, fault_message
from simulator.cli.interrupts import INTERRUPTED, interruptible
from simulator.errors import SimulatorError
from simulator.text import shortened, visible

_COMMANDS = {
    "ask": "ask.ask_command",
    "init": "ask.init_command",
    "run": "run.run_command",
    "check": "run.check_command",
    "memory": "memory.memory_command",
    "size": "size.size_command",
    "sweep": "sweep.sweep_command",
    "horizon": "horizon.horizon_command",
    "compare": "compare.compare_command",
    "report": "report.report_command",
    "export": "export.export_command",
    "trace": "trace.trace_command",
    "validate": "validate.validate_command",
    "calibrate": "calibrate.calibrate_command",
    "catalog": "catalog.app",
    "explain": "explain.explain_command",
    "schema": "explain.schema_command",
    "doctor": "explain.doctor_command",
    "mcp": "mcp.mcp_command",
}

# What typer raises for a command line that it cannot parse: it has no public name.
_UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[1])
_REFUSED, _PIPE_CLOSED = 2, 141
_LONGEST_LINE = 600
# `sim memory` hands options that it has not to the reader of `vllm serve` lines, which names the nearest of what nobody has.
_UNKNOWN_KEPT = {"ignore_unknown_options": True}


def _print_version(wanted: bool) -> None:
    if wanted:
        from simulator import __version__

        typer.echo(f"sim {__version__}")
        raise typer.Exit


def application(command: str = "") -> typer.Typer:
    """The command line: of one command, so that the others need not be imported, or of all where there is none of that name."""
    app = typer.Typer(
        name="sim",
        help="Size LLM inference before renting GPUs: does it fit, how many at once, how fast, and where does it queue.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in [command] if command in _COMMANDS else _COMMANDS:
        module, _, function = _COMMANDS[name].partition(".")
        found = getattr(import_module(f"simulator.cli.{module}"), function)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name, context_settings=_UNKNOWN_KEPT if name == "memory" else None)(found)
    return app


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; each of a user's mistakes is one line on stderr, and exit code 2."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # no large matrices here: more threads would only cost their start
    _open_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a question mark where the terminal has no such character
    with interruptible():
        code = _code()
        if code == INTERRUPTED:
            print("interrupted", file=sys.stderr)
        _settle_stdout()
    sys.exit(code)


def _open_closed_streams() -> None:
    """Where a shell has closed stdout or stderr (`>&-`), what is written there goes nowhere.

    It would otherwise go to the next file that is opened, which takes the number of the stream.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115


def _code() -> int | str | None:
    """Run the command; what to exit with."""
    try:
        code: int | None = application(*sys.argv[1:2])(prog_name="sim", standalone_mode=False)
        print(end="", flush=True)
    except _UsageError as problem:
        return _refuse(_usage(problem))
    except SimulatorError as problem:
        return _refuse(*problem.lines)
    except MemoryError:
        return _refuse("this computer has not enough memory for it; ask for fewer requests or smaller limits")
    except SystemExit as left:  # how typer and rich leave when whoever reads stdout is gone
        return _PIPE_CLOSED if isinstance(left.__context__, BrokenPipeError) else left.code
    except BrokenPipeError:
        return _PIPE_CLOSED
    except OSError as problem:
        return _refuse(": ".join(str(part) for part in (problem.filename, problem.strerror or problem) if part))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseException as problem:
        if not isinstance(problem, Exception) and type(problem).__name__ != "PanicException":  # of a library in Rust
            raise
        return _refuse(fault_message(problem), code=FAULT)
    return code


def _refuse(*problems: str, code: int = _REFUSED) -> int:
    """Say what is wrong, a line a mistake that can be read, whatever is in the messages."""
    for problem in filter(None, problems):
        print("error:", shortened(visible(" ".join(problem.strip().splitlines())), _LONGEST_LINE), file=sys.stderr)
    return code


def _usage(problem: typer.BadParameter) -> str:
    """What is wrong with the command line, and where to read more; empty where its help was printed instead."""
    message, context = problem.format_message(), problem.ctx
    if not message.strip():
        return ""
    said = message[0].lower() + message[1:].rstrip(".")
    return f"{said} (see {context.command_path} --help)" if context else said


def _settle_stdout() -> None:
    """Where stdout takes nothing more, send what is buffered nowhere, so that Python does not stumble over it on its way out."""
    try:
        print(end="", flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
