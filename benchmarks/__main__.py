"""Measure the simulator, print the tables, write them as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.cases import Case, cases, chat
from benchmarks.engine import SIZES, comparisons, growth, prepared
from benchmarks.goals import Figure
from benchmarks.program import binding, memory, search, whole_runs
from benchmarks.table import figure_to_dict, print_cases, print_figures, speed_to_dict


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under half a minute: small runs, once each")
    parser.add_argument("--rounds", type=int, default=5, help="how often each case is measured; --quick does so once")
    parser.add_argument("--out", type=Path, default=Path("reports/bench.json"), help="the JSON file that is written")
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    console = Console(width=None if Console().is_terminal else 170)
    found = measure(options.rounds, quick=options.quick, console=console, tell=Console(stderr=True).print)
    options.out.write_text(json.dumps(found | {"machine": _machine(), "quick": options.quick}, indent=2) + "\n")
    console.print(f"Also in {options.out}", highlight=False)


def measure(rounds: int, *, quick: bool, console: Console, tell: Callable[[str], None]) -> dict[str, Any]:
    """Everything, printed as it comes; the same as plain values."""
    rounds, shares = (1, (0.3, 0.05)) if quick else (max(1, rounds), (1.0, 1.0))
    speeds = {case.name: prepared(case, *shares) for case in cases()}
    for number in range(rounds):
        tell(f"cases, round {number + 1} of {rounds}")
        for found in filter(None, speeds.values()):
            found.measure()
    rows = [speed_to_dict(name, found) for name, found in speeds.items()]
    print_cases(rows, console)
    figures = comparisons(speeds)
    for title, more in _others(chat(), quick, rounds):
        tell(title)
        figures += more()
    print_figures(figures, console)
    return {"cases": rows, "figures": [figure_to_dict(figure) for figure in figures]}


def _others(plain: Case, quick: bool, rounds: int) -> list[tuple[str, Callable[[], list[Figure]]]]:
    """What is measured besides the cases: its name, and what measures it."""
    sizes, asked = (SIZES[:2], SIZES[0]) if quick else (SIZES, SIZES[1])
    few = min(rounds, 3)
    return [
        ("cost of long runs", lambda: growth(plain, few, sizes)),
        ("memory", lambda: [memory(sizes[-1])]),
        ("whole runs", lambda: whole_runs(plain, few, asked, only_plain=quick)),
        ("binding", lambda: binding(rounds)),
        ("search", lambda: [] if quick else [search(plain, few)]),
    ]


def _machine() -> dict[str, str | float | None]:
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


if __name__ == "__main__":
    main()
