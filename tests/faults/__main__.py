"""What can go wrong around the program, done to it: signals, full disks, missing folders, clusters that break.

    PYTHONPATH=tests python -m faults [--times 100] [--only NAME ...]

Every fault has a folder of its own. What is wrong is a traceback, more than three lines on stderr, a file that is cut, a
draft left behind by a process that could still tidy up, a process left running, or a resumed sweep with other bytes.
Prints a table of faults tried and failed; exit code 1 where one failed.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from faults import clusters, places, signals

FAULTS: dict[str, Callable[[Path, int, random.Random], list[str]]] = {
    **signals.FAULTS,
    **places.FAULTS,
    **clusters.FAULTS,
}


def main() -> int:
    """Do what was asked for; print what was tried and what went wrong."""
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument("--times", type=int, default=100, help="signals of a kind for each command")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=list(FAULTS), metavar="NAME", help=", ".join(FAULTS))
    options = parser.parse_args()
    failed = 0
    for name in options.only:
        with tempfile.TemporaryDirectory(prefix="sim-faults-") as folder:
            wrong = FAULTS[name](Path(folder), options.times, random.Random(options.seed))
        failed += bool(wrong)
        print(f"{name:32} {'ok' if not wrong else f'{len(wrong)} WRONG'}", flush=True)
        for line in sorted(set(wrong))[:10]:
            print(f"    {line[:300]}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
