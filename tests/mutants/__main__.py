"""`python -m mutants`: see the package."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import mutants
from mutants.changes import Change, changes
from mutants.known import EQUIVALENT

ROOT = Path(__file__).resolve().parents[2]
TESTS = {
    "memory": (
        "tests/unit/memory",
        "tests/property/test_memory.py",
        "tests/property/test_weights.py",
        "tests/property/test_training.py",
        "tests/golden/test_plans.py",
        "tests/validation/test_startup_memory.py",
        "tests/validation/test_training_memory.py",
    ),
    "latency": (
        "tests/unit/latency",
        "tests/property/test_latency.py",
        "tests/contract/test_latency_models.py",
        "tests/golden/test_plans.py",
    ),
    "engine": (
        "tests/unit/engine",
        "tests/property/test_engine.py",
        "tests/property/test_pools.py",
        "tests/property/test_lives.py",
        "tests/contract/test_routers.py",
        "tests/contract/test_server.py",
    ),
    "results": (
        "tests/unit/results",
        "tests/property/test_results.py",
        "tests/contract/test_metrics_registry.py",
        "tests/cli/test_export_cli.py",
    ),
    "planning": ("tests/unit/planning", "tests/property/test_planning.py"),
}
WIDER = (
    "tests/unit/test_server.py",
    "tests/analytical",
    "tests/golden",
    "tests/cli",
    "tests/property/test_metamorphic.py",
    "tests/property/test_agreement.py",
    "tests/vllm",
)
WITHIN_S = 600


def main() -> int:
    """Try mutants and print those that live."""
    parser = argparse.ArgumentParser(prog="python -m mutants", description=mutants.__doc__)
    parser.add_argument("--each", type=int, default=40, help="mutants of a package")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=list(TESTS), metavar="PACKAGE", help=", ".join(TESTS))
    parser.add_argument("--file", nargs="*", default=[], help="of these files alone: simulator/memory/plan.py")
    parser.add_argument("--narrow", action="store_true", help="without the wider tests")
    options = parser.parse_args()
    lived = 0
    with tempfile.TemporaryDirectory(prefix="sim-mutants-") as made:
        copy = Path(shutil.copytree(ROOT / "simulator", Path(made) / "simulator"))
        shutil.copytree(ROOT / "scenarios", Path(made) / "scenarios")
        for package in options.only:
            lived += _package(package, copy, options)
    return 1 if lived else 0


def _package(package: str, copy: Path, options: argparse.Namespace) -> int:
    drawn = _drawn(package, options)
    killed: dict[str, int] = {}
    survivors = known = 0
    for path, change in drawn:
        source = path.read_text("utf-8")
        shown = change.shown(source)
        where = f"{path.relative_to(ROOT)}:{change.line}"
        if _explained(path, shown):
            known += 1
            continue
        by = _killed_by(copy / path.relative_to(ROOT / "simulator"), change.made(source), package, options.narrow)
        killed[by] = killed.get(by, 0) + 1
        print(f"{by or 'LIVES':9} {where}: {shown}", flush=True)
        survivors += not by
    print(f"{package}: {len(drawn)} tried, {len(drawn) - survivors - known} killed {killed}, {known} explained, {survivors} live")
    return survivors


def _drawn(package: str, options: argparse.Namespace) -> list[tuple[Path, Change]]:
    """Changes of the package's files, or of those that were named, drawn without regard to how long a file is twice."""
    files = sorted((ROOT / "simulator" / package).rglob("*.py"))
    if options.file:
        files = [path for path in files if str(path.relative_to(ROOT)) in options.file]
    every = [(path, change) for path in files for change in changes(path.read_text("utf-8"))]
    rng = random.Random(f"{options.seed} {package}")
    return rng.sample(every, min(options.each, len(every)))


def _explained(path: Path, shown: str) -> bool:
    return any(str(path.relative_to(ROOT)) == name and part in shown for name, part, _ in EQUIVALENT)


def _killed_by(target: Path, source: str, package: str, narrow: bool) -> str:
    """`own` or `wider`, whichever tests fail on a source, `time` where they do not end, empty where all pass."""
    original, times = target.read_text("utf-8"), target.stat()
    try:
        compile(source, str(target), "exec")
    except SyntaxError:
        return "syntax"
    target.write_text(source, "utf-8")
    try:
        for which, tests in (("own", TESTS[package]), *(() if narrow else (("wider", WIDER),))):
            try:
                if _run(target, tests):
                    return which
            except subprocess.TimeoutExpired:
                return "time"
        return ""
    finally:
        target.write_text(original, "utf-8")
        os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))


def _run(target: Path, tests: tuple[str, ...]) -> int:
    """Exit code of the tests on the copy that a file is in."""
    copy = next(above for above in target.parents if above.name == "simulator" and (above / "spec.py").exists()).parent
    env = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONSAFEPATH": "1"}
    words = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--no-header", *tests]
    return subprocess.run(words, cwd=ROOT, env=env, capture_output=True, timeout=WITHIN_S, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
