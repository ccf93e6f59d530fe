"""In which stretches the SLO was kept."""

from __future__ import annotations

import numpy as np
from support.by_hand import ONE_SECOND, asked, limits

from simulator.engine.fleet.lives import Fault, LifeRules
from simulator.engine.record import RunRecord
from simulator.engine.serve import serve
from simulator.results.kept import share_kept, stretches_kept
from simulator.results.slo import Promise
from simulator.workload.slo import Slo


def record() -> RunRecord:
    """A request a second of one step each; the only replica is away from second 10 to 15."""
    life = LifeRules(replicas=1, cold_start_s=4, faults=(Fault(at_s=10, replicas=(0,), restart_after_s=1),))
    return serve(asked(*[(i, 1, 1) for i in range(20)]), [(ONE_SECOND, limits())], life_rules=life, tick_s=1.0)


def test_a_stretch_keeps_the_slo_where_enough_of_those_who_asked_in_it_are_served_in_time() -> None:
    edges = np.array([0.0, 5.0, 10.0, 15.0, 20.0, 25.0])
    kept = stretches_kept(record(), [Promise(Slo(ttft_s=1.5, percentile=90))], edges)
    assert kept.tolist()[:3] == [1.0, 1.0, 0.0]
    assert np.isnan(kept[4]), "nobody asked"
    assert 0.5 <= share_kept(kept) < 1


def test_a_class_is_judged_by_its_own_promise() -> None:
    of = np.arange(20) < 10
    edges = np.array([0.0, 10.0, 20.0])
    kept = stretches_kept(record(), [Promise(Slo(ttft_s=1.5, percentile=90), of, "early")], edges)
    assert kept[0] == 1.0
    assert np.isnan(kept[1])
    assert share_kept(np.array([np.nan])) == 1.0
