"""`sim size`, as a user and as a build server run it."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support.command_line import Finished, sim
from support.planning_fixtures import small

from simulator.cli.size import _space
from simulator.scenario.reading import arguments_for_all


@pytest.fixture
def size(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run `sim size` on the small scenario, in this process."""

    def run(*words: str) -> Finished:
        return sim(capsys, monkeypatch, "size", str(small(tmp_path)), "--workers", "1", *words)

    return run


def test_the_answer_is_a_table_a_sentence_and_why_the_others_lost(size) -> None:
    left = size("--growth", "2", "--months", "6")
    assert left.code == 0, left.err
    assert "what carries 20 requests/s within the SLO" in left.out
    assert "Take L40S: 1 GPU = 1 replica x 1 GPU" in left.out
    assert "Growing x2 in 6 months, it is outgrown in about" in left.out
    assert "not H100: costs $2.00 an hour more (200%)" in left.out
    assert "not T4: does not start:" in left.out


def test_json_has_every_candidate(size) -> None:
    answer = json.loads(size("--json").out)
    assert answer["best"] == "L40S"
    assert [c["name"] for c in answer["candidates"]] == ["L40S", "H100", "T4"]
    assert answer["candidates"][0]["usd_per_month"] == 730.0
    assert answer["candidates"][2]["usd_per_hour"] is None


def test_a_budget_that_is_kept_exits_0_and_one_that_is_not_exits_1(size, tmp_path: Path) -> None:
    assert size("--max-cost", "1.0", "--quiet").code == 0
    left = size("--max-cost", "0.99", "--quiet", "--junit", str(tmp_path / "size.xml"))
    assert left.code == 1
    suite = ElementTree.parse(tmp_path / "size.xml").getroot()
    assert suite.get("failures") == "1"


def test_nothing_that_will_do_exits_1_and_says_what_is_nearest(size) -> None:
    left = size("--set", "slo.tpot_s=0.005")
    assert left.code == 1
    assert "Nothing here will do." in left.out
    assert "p95 TPOT is 0.01 s against 0.005 s even when hardly used" in left.out


def test_a_space_replaces_the_listed_deployments(size) -> None:
    left = size("--gpus", "l40s,t4", "--quantizations", "auto,fp8", "--over", "max_num_seqs=32", "--json")
    names = {c["name"] for c in json.loads(left.out)["candidates"]}
    assert names == {f"{gpu}{q}, max_num_seqs=32" for gpu in ("l40s", "t4") for q in ("", ", fp8")}


def test_a_space_keeps_the_engine_arguments_of_the_scenario(tmp_path: Path) -> None:
    stated = arguments_for_all(small(tmp_path))
    assert stated == {"max_model_len": 4096, "max_num_seqs": 64}
    (only,) = _space("l40s", "auto", "1", [], stated, {})
    assert (only.pool.max_model_len, only.pool.max_num_seqs) == (4096, 64)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--gpus", "h10"), "h100"),
        (("--gpus", "l40s", "--tensor-parallel-size", "two"), "expected whole numbers"),
        (("--quantizations", "fp8"), "give --gpus"),
        (("--github-summary",), "GITHUB_STEP_SUMMARY is not set"),
        (("--set", "slo.ttft_s=-1"), "slo.ttft_s"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    size, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    left = size(*words)
    assert left.code == 2
    assert message in left.err
    assert left.err.count("\n") == 1


OVER_TIME = """\
deployments:
  - {name: fixed, gpu: l40s}
  - {name: failing, gpu: l40s, faults: [{kind: random, mtbf_s: 1h, detected_after_s: 5}], cold_start: {engine_s: 10}}
"""


@pytest.fixture
def over_time(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run `sim size` on the small scenario over two minutes, with replicas that fail."""
    path = small(tmp_path, ("requests: 400", "duration: 2min"))
    text = path.read_text("utf-8")
    path.write_text(text[: text.index("deployments:")] + OVER_TIME, "utf-8")

    def run(*words: str) -> Finished:
        return sim(capsys, monkeypatch, "size", str(path), "--workers", "1", *words)

    return run


def test_replicas_that_fail_are_sized_with_spares(over_time, tmp_path: Path) -> None:
    left = over_time("--availability", "0.95", "--report", str(tmp_path / "size.html"), "--max-cost", "0.5")
    assert left.code == 1, left.err
    assert "failing: spares" in left.out
    assert "Take failing (1 replica, 0 of them spare), $24.00 a day." in left.out
    assert "not fixed (1 replica all the time): the same" in left.out
    page = (tmp_path / "size.html").read_text("utf-8")
    assert "Spares against availability: failing" in page


def test_a_size_over_time_is_data_too(over_time) -> None:
    answer = json.loads(over_time("--availability", "0.95", "--json").out)
    assert [fleet["name"] for fleet in answer["fleets"]] == ["failing", "fixed"]
    assert answer["fleets"][0]["spares"][0]["spares"] == 0
    assert answer["fleets"][1]["needs"] == [1] * 24


def test_a_size_over_time_has_no_spares_or_growth_beside_its_availability(over_time) -> None:
    left = over_time("--spare", "1")
    assert left.code == 2
    assert "--spare and --growth of a size over time" in left.err
