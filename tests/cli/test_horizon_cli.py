"""`sim horizon`, as a user runs it."""

import json
from pathlib import Path

import pytest
from support.command_line import sim
from support.planning_fixtures import small

DAY = ("{kind: poisson, rate: 20/s}", "{kind: stages, rates: [0.01/s, 0.04/s], every: 12h}")


def test_days_are_told_in_words_as_data_and_on_a_page(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = str(small(tmp_path, DAY, ("requests: 400", "duration: 1d"), ("  - {name: T4, gpu: t4, quantization: fp16}\n", "")))
    page = tmp_path / "days.html"
    left = sim(capsys, monkeypatch, "horizon", path, "--workers", "1", "--report", str(page))
    assert left.code == 0, left.err
    assert "small: 24 hours" in left.out
    assert "Unused: " in left.out
    assert "Kinds of hours: L40S" in page.read_text("utf-8")
    told = json.loads(sim(capsys, monkeypatch, "horizon", path, "--workers", "1", "--json").out)
    assert [each["name"] for each in told["deployments"]] == ["H100", "L40S"]
    assert sum(len(kind["hours"]) for kind in told["deployments"][0]["kinds"]) == 24
    refused = sim(capsys, monkeypatch, "horizon", path, "--set", "workload.duration=1h")
    assert refused.code == 2
    assert "a horizon is of days; this workload lasts 1 h" in refused.err
