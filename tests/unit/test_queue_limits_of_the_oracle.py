"""The naive simulator turns requests away as vLLM's front end does: AsyncLLM.check_admission of 0.29.0 and later."""

from __future__ import annotations

import numpy as np
import pytest
from engine_cases import Case, step_time
from oracle import Arguments

from simulator.engine.limits import Limits
from simulator.engine.router import RoundRobin
from simulator.engine.source import OpenLoop
from simulator.workload.requests import Requests

LIMITS = Limits(kv_blocks=100, max_num_seqs=4, max_num_batched_tokens=16)
STEP = step_time(LIMITS, base=10, token=0, sample=0, sequence=0, context=0, pair=0)


def statuses(arrival: list[int], **limits: int) -> list[int]:
    """0: finished, 1: turned away. Prompts of 8 tokens and answers of 2, in steps of 10 ticks."""
    n = len(arrival)
    requests = Requests(np.array(arrival, dtype=float), np.full(n, 8), np.full(n, 2))
    case = Case(requests, [(STEP, LIMITS)], RoundRobin(), OpenLoop(), arguments=Arguments(**limits))
    return case.oracle().log["status"]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, [0, 0, 0, 0]),
        ({"max_num_queued_reqs": 2}, [0, 0, 1, 0]),  # at 15 both run, at 25 both are done
        ({"max_num_queued_reqs": 0}, [1, 1, 1, 1]),
        ({"max_num_queued_tokens": 16}, [0, 0, 0, 0]),  # at 15 both have their first token
        ({"max_num_queued_tokens": 8}, [0, 1, 0, 1]),  # at 25 the third waits for its first token, at 30
        ({"max_num_queued_tokens": 0}, [1, 1, 1, 1]),
    ],
)
def test_turned_away_by(limits: dict[str, int], expected: list[int]) -> None:
    assert statuses([0, 0, 15, 25], **limits) == expected
