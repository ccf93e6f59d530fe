"""A queue kept short by turning requests away is no overload; where the engine turns does not depend on it."""

from pathlib import Path
from typing import Any

import pytest
from support.planning_fixtures import small

from simulator.planning.run import review
from simulator.results.model import DeploymentResult
from simulator.scenario import load

ABOVE = 400.0


def answered(folder: Path, limit: str, **how: Any) -> DeploymentResult:
    """One H100 above its queueing point, with a limit of its queue."""
    scenario = small(
        folder,
        ("version: vllm-0.19.0", f"version: vllm-0.33.0{limit}"),
        ("rate: 20/s", f"rate: {ABOVE:g}/s"),
        ("requests: 400", "requests: 4000"),
        ("  - {name: L40S, gpu: l40s}\n  - {name: T4, gpu: t4, quantization: fp16}\n", ""),
    )
    return review(load(scenario), **how).deployments[0]


def test_above_the_queueing_point_requests_are_turned_away_and_the_rest_are_steady(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full server completes some 64 in 20 steps of 10 ms and more, 300 requests/s, whatever its queue lets in."""
    monkeypatch.setattr("simulator.planning.capacity.probes.WHOLE", 4_000)
    limited = answered(tmp_path, ", max_num_queued_reqs: 80")
    assert limited.verdict == "requests unanswered"
    assert "refused, because the server answers 503 beyond max_num_queued_reqs=80" in limited.reason
    assert limited.queueing_point is not None and limited.queueing_point.value == pytest.approx(300, rel=0.05)
    above = [p for p in limited.curve if p.rate_per_s > 1.05 * limited.queueing_point.value]
    assert above and all(p.verdict == "requests unanswered" and p.ttft_p99_s is not None for p in above)


@pytest.mark.parametrize("limit", [", max_num_queued_reqs: 80", ", max_num_queued_tokens: 1500"])
def test_who_is_let_in_has_steady_latencies_where_all_would_not(tmp_path: Path, limit: str) -> None:
    limited, free = answered(tmp_path, limit, curve=False), answered(tmp_path, "", curve=False)
    assert (limited.verdict, free.verdict) == ("requests unanswered", "overloaded")
    assert limit.removeprefix(", ").replace(": ", "=") in limited.reason
    assert limited.metrics is not None and free.metrics is not None
    assert limited.metrics["refused"] == 4000 - (limited.metrics["finished"] or 0) > 100
    assert limited.metrics["ttft_p99_s"] is not None and free.metrics["ttft_p99_s"] is None


def test_limits_that_are_never_reached_change_nothing(tmp_path: Path) -> None:
    limited, free = (answered(tmp_path, limit, curve=False) for limit in (", max_num_queued_reqs: 4000", ""))
    assert (limited.verdict, limited.metrics) == (free.verdict, free.metrics)


def test_an_engine_that_lets_nobody_in_says_so(tmp_path: Path) -> None:
    found = answered(tmp_path, ", max_num_queued_reqs: 0")
    assert found.verdict == "requests unanswered"
    assert found.reason.startswith(
        "100% of the requests get no answer (4,000 of 4,000): 4,000 refused, because the server answers"
    )
