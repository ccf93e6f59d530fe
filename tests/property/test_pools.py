"""Do two pools with a link between them do, in jumps, exactly what a naive tandem does step by step?

ENGINE_CASES=10 draws ten times as many cases.
"""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from support.draws import TIMES
from support.engine_cases import area_under_n_is_the_sum_of_sojourns, assert_equal_steps
from support.pool_cases import PoolCase, assert_pools_equal, pool_cases

from simulator.engine.record import FINISHED, REFUSED, RunRecord


def drawn(examples: int) -> settings:
    """So many cases in the quick suite, ENGINE_CASES times as many where that is given."""
    return settings(max_examples=TIMES * examples, suppress_health_check=[HealthCheck.too_slow])


@drawn(100)
@given(pool_cases())
def test_pools_equal_the_naive_tandem(case: PoolCase) -> None:
    trace, oracle = case.trace(), case.oracle()
    assert_pools_equal(trace, oracle)
    assert_equal_steps(trace, oracle)
    nothing_is_lost_or_held_twice(case, trace)
    for server in oracle.servers:
        if not server.waiting:
            assert server.used() == 0


def nothing_is_lost_or_held_twice(case: PoolCase, trace: RunRecord) -> None:
    """Every request leaves, in order of its parts; what is sent is what was needed, and from where it was computed."""
    r, sent = trace.requests, trace.transfers
    done = r["status"] == FINISHED
    through = done & (r["prefill_replica"] >= 0)
    for earlier, later in (
        *(("arrival_s", "scheduled_s"), ("scheduled_s", "prefilled_s"), ("prefilled_s", "handed_over_s")),
        *(("handed_over_s", "decode_scheduled_s"), ("decode_scheduled_s", "first_token_s"), ("first_token_s", "finish_s")),
    ):
        assert (r[earlier][through] <= r[later][through]).all(), (earlier, later)
    if not (done | (r["status"] == REFUSED)).all():
        return
    area_under_n_is_the_sum_of_sojourns(trace)
    assert len(np.unique(sent["request"])) == len(sent["request"])
    assert set(sent["request"].tolist()) <= set(np.flatnonzero(through).tolist())
    np.testing.assert_array_equal(sent["source"], r["prefill_replica"][sent["request"]])
    np.testing.assert_array_equal(sent["sink"], r["replica"][sent["request"]])
    size = case.decode.servers[0][1].block_size
    most = -(-r["prompt_tokens"][sent["request"]] // size) * case.link.block_bytes
    assert (sent["bytes"] <= most).all()
    assert (sent["bytes"] >= case.link.block_bytes).all()
    if case.requests.hashes is None:
        np.testing.assert_array_equal(sent["bytes"], most)
    assert (sent["end_s"] - sent["begin_s"] >= case.link.latency_s).all()
    fastest = np.minimum(np.array(case.link.out)[sent["source"]], np.array(case.link.into)[sent["sink"] - len(case.link.out)])
    assert ((sent["end_s"] - sent["begin_s"] - case.link.latency_s) * fastest >= sent["bytes"]).all()
