"""Did any number move? Every shipped scenario against the summary it gave when it was last looked at."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

from simulator.planning.machines.pool import InProcess
from simulator.planning.run import review
from simulator.results.summary import to_summary
from simulator.scenario import load

HERE = Path(__file__).parent
SCENARIOS = sorted((HERE.parents[1] / "scenarios").glob("*.yaml"))
VARIES = {"created_at", "version", "scenario_yaml", "scenario", "command"}
REQUESTS = 600


def numbers_of(path: Path) -> dict[str, Any]:
    """The summary of a shorter run of a scenario, without what differs between two runs of the same code or two places."""
    scenario = load(path)
    short = dataclasses.replace(scenario, workload=dataclasses.replace(scenario.workload, requests=REQUESTS))
    summary = to_summary(review(short, machine=InProcess(), curve=False))
    kept = {key: value for key, value in summary.items() if key not in VARIES}
    return json.loads(json.dumps(kept).replace(str(path.parent), "scenarios"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_scenario_gives_the_numbers_it_gave(path: Path, request: pytest.FixtureRequest) -> None:
    golden = HERE / f"{path.stem}.json"
    found = numbers_of(path)
    if request.config.getoption("--rewrite-golden"):
        golden.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    assert list(differences(json.loads(golden.read_text()), found)) == []


def differences(golden: Any, found: Any, place: str = "") -> list[str]:
    """Where two summaries differ, by more than one part in a billion for a number."""
    if isinstance(golden, dict) and isinstance(found, dict):
        keys = sorted(golden.keys() | found.keys())
        return [d for key in keys for d in differences(golden.get(key), found.get(key), f"{place}.{key}")]
    if isinstance(golden, list) and isinstance(found, list) and len(golden) == len(found):
        return [d for i, (g, f) in enumerate(zip(golden, found, strict=True)) for d in differences(g, f, f"{place}[{i}]")]
    if isinstance(golden, float) and isinstance(found, float):
        same = math.isclose(golden, found, rel_tol=1e-9)
    else:
        same = golden == found
    return [] if same else [f"{place}: {golden!r} became {found!r}"]


def test_a_difference_is_named_by_its_place() -> None:
    assert differences({"a": [1.0, {"b": 2}]}, {"a": [1.0, {"b": 3}]}) == [".a[1].b: 2 became 3"]
    assert differences({"a": 1.0}, {"a": 1.0 + 1e-7}) != []
    assert differences({"a": 1.0}, {"a": 1.0 + 1e-12}) == []
