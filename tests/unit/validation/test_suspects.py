"""Rows that say what cannot be."""

import dataclasses

import pytest

from simulator.catalog.engines import EngineArgs, engine
from simulator.catalog.gpus import gpu
from simulator.catalog.models import model
from simulator.validation.protocols import MeasuredServer
from simulator.validation.suspects import cannot_be, contradicted


def row(users: int, tpot: float, ttft: float = 100.0, server: str = "a") -> dict[str, str]:
    figures = {"tpot_ms_mean": str(tpot), "ttft_ms_mean": str(ttft)}
    return {"concurrency": str(users), "input_len": "1024", "server": server, **figures}


def doubts(*rows: dict[str, str]) -> list[int]:
    return sorted(contradicted(rows, lambda each: each["server"]))


def server() -> MeasuredServer:
    args = EngineArgs(enable_prefix_caching=False)
    return MeasuredServer(model("llama-3.1-70b"), None, gpu("h200"), engine("vllm-0.18.0"), args)


def test_a_step_of_few_users_is_no_longer_than_one_of_many() -> None:
    assert doubts(row(16, 5.8), row(32, 15.9), row(64, 9.7)) == [1]
    assert doubts(row(16, 5.8), row(32, 6.0), row(64, 5.7)) == [], "within what runs differ by"


def test_of_two_runs_of_one_server_the_much_slower_one_is_suspect() -> None:
    assert doubts(row(16, 64.0), row(16, 16.0)) == [0]
    assert doubts(row(16, 64.0), row(16, 16.0, server="b")) == []


def test_the_reason_names_the_row_that_contradicts() -> None:
    found = contradicted([row(64, 9.7), row(32, 15.9)], lambda each: each["server"])
    assert "15.9 ms with 32 users, but 9.7 ms with 64 in row 1" in found[1]


def test_no_first_token_comes_before_its_own_step_has_ended() -> None:
    assert "below TPOT" in (cannot_be(row(8, 30.0, ttft=20.0), server(), 80) or "")
    assert cannot_be(row(8, 30.0, ttft=400.0), server(), 80) is None


def test_a_burst_of_prompts_has_no_ttft_of_one_lone_prompt() -> None:
    """70.5e9 parameters times 2 times 1,024 tokens at 989 TFLOP/s are 146 ms; 64 users begin with 64 such, a tenth of all."""
    lone = row(64, 30.0, ttft=190.0)
    assert "the figure is of a lone prompt" in (cannot_be(lone, server(), 640) or "")
    assert cannot_be(row(1, 30.0, ttft=190.0), server(), 10) is None
    cached = dataclasses.replace(server(), args=EngineArgs(enable_prefix_caching=True))
    assert cannot_be(lone, cached, 640) is None, "cached prompts are not computed"


@pytest.mark.parametrize(("users", "ttft", "suspect"), [(64, 20_000, True), (512, 6_000, True), (64, 6_000, False)])
def test_a_ttft_of_many_seconds_waited_for_a_limit_that_is_not_stated(users: int, ttft: float, suspect: bool) -> None:
    assert ("waited for a limit" in (cannot_be(row(users, 30.0, ttft=ttft), server(), 10 * users) or "")) is suspect
