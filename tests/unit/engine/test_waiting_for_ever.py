"""vLLM 0.19 lets a prompt in only when all its blocks are free, those too that would leave a window."""

from __future__ import annotations

import numpy as np
from support.by_hand import ONE_SECOND, asked, limits

from simulator.engine.fleet.router import LlmD
from simulator.engine.load import ClosedLoop, OpenLoop
from simulator.engine.record import CANCELLED, FINISHED, NEVER_SCHEDULED, TIMED_OUT
from simulator.engine.scheduler.config import KvGroup
from simulator.engine.scheduler.rules import SchedulerRules
from simulator.engine.serve import serve

# 40 tokens fill 10 blocks of either group, and 20 are more than there are. A window of 8 and a step
# of 8 tokens need 5 at most, so without that gate they would be served.
SEES_NO_WINDOWS = limits(
    kv_blocks=16,
    max_num_batched_tokens=8,
    reserve_full_prompt=True,
    kv_groups=(KvGroup(), KvGroup(window=8)),
    rules=SchedulerRules(cap_at_admission=False),
)
LONG, SHORT = (0, 40, 2), (0, 8, 2)


def test_a_request_that_never_gets_in_is_named_with_its_cause_and_so_are_those_behind_it() -> None:
    record = serve(asked(SHORT, LONG, SHORT), [(ONE_SECOND, SEES_NO_WINDOWS)])
    assert record.requests["status"].tolist() == [FINISHED, NEVER_SCHEDULED, NEVER_SCHEDULED]
    assert record.refusals == {
        1: "its 40 prompt tokens take 20 KV blocks where nothing leaves a sliding window, of 16, and this release lets a "
        "request in only when all of them are free: set scheduler_reserve_full_isl to false",
        2: "request 1 is ahead of it, which can never be scheduled",
    }
    assert np.isnan(record.requests["left_s"][1:]).all()


def test_a_later_release_serves_it() -> None:
    config = limits(**{f: getattr(SEES_NO_WINDOWS, f) for f in ("kv_blocks", "max_num_batched_tokens", "kv_groups")})
    record = serve(asked(LONG), [(ONE_SECOND, config)])
    assert record.requests["status"].tolist() == [FINISHED]


def test_those_behind_get_in_when_its_client_gives_up() -> None:
    record = serve(asked(LONG, (3, 8, 2)), [(ONE_SECOND, SEES_NO_WINDOWS)], load=OpenLoop(timeout_s=5.0))
    assert record.requests["status"].tolist() == [TIMED_OUT, FINISHED]
    assert record.requests["scheduled_s"][1] == 5.0


def test_the_load_reports_of_a_router_end_with_the_run() -> None:
    router = LlmD(report_s=0.1)
    record = serve(asked(LONG, LONG), [(ONE_SECOND, SEES_NO_WINDOWS)] * 2, router=router)
    assert record.requests["status"].tolist() == [NEVER_SCHEDULED] * 2


def test_what_its_user_would_have_sent_next_is_not_sent() -> None:
    record = serve(asked(LONG, SHORT), [(ONE_SECOND, SEES_NO_WINDOWS)], load=ClosedLoop(concurrency=1))
    assert record.requests["status"].tolist() == [NEVER_SCHEDULED, CANCELLED]
    assert record.refusals[1] == "its client waits for requests that never finish"
