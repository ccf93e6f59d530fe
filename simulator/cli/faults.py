"""Faults of the program: what nobody foresaw is one line too, and the details go to a file."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
import traceback
from pathlib import Path

FAULT = 70  # EX_SOFTWARE of sysexits.h
_MOST_SAID = 200


def fault_message(problem: BaseException) -> str:
    """What is said of an error that is ours, in one line, with the file that its details were written to."""
    from simulator.text import visible

    said = " ".join(str(problem).split()) or "no message"
    kept = _kept(problem)
    details = f"the details are in {kept}" if kept else "the details could not be written to a file"
    what = visible(f"{type(problem).__name__}: {said[:_MOST_SAID]}")
    return f"this is a fault of the program, not of your input ({what}); please report it to {_tracker()}: {details}"


def _tracker() -> str:
    """Where faults are reported: the address that the package names, where it names one."""
    from importlib.metadata import PackageNotFoundError, metadata

    try:
        listed = metadata("inference-sizing-simulator").get_all("Project-URL") or []
    except PackageNotFoundError:
        listed = []
    named = dict(entry.split(", ", 1) for entry in listed if ", " in entry)
    return str(named.get("Issues", "the issue tracker of the project"))


def _kept(problem: BaseException) -> Path | None:
    """The file with the details, in the folder for temporary files, or here; None where neither takes one."""
    text = details_of(problem)
    name = f"sim-fault-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    for folder in (tempfile.gettempdir, os.getcwd):
        try:
            path = Path(folder()) / name
            path.write_text(text, "utf-8", errors="backslashreplace")
        except OSError:
            continue
        return path
    return None


def details_of(problem: BaseException) -> str:
    """The command, the versions, and where in the program it happened."""
    from simulator import __version__

    lines = "".join(traceback.format_exception(problem))
    return f"command: {sys.argv!r}\nversion: {__version__}\npython: {sys.version}\nplatform: {platform.platform()}\n\n{lines}"
