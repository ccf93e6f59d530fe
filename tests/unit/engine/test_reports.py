"""Load reports: what instances tell of themselves now and then."""

from __future__ import annotations

import numpy as np
from support.by_hand import ONE_SECOND, asked, limits

from simulator.engine.fleet.data_parallel import DataParallel
from simulator.engine.fleet.fleet import Fleet
from simulator.engine.fleet.reports import LoadReports
from simulator.engine.fleet.router import RoundRobin
from simulator.engine.load import OpenLoop


def test_a_report_has_the_step_that_begins_at_that_instant() -> None:
    """Blocks of 4 tokens, a prompt of 4: the step at 1 s takes the second block, the one at 5 s the third."""
    requests = asked((0, 4, 20))
    fleet = Fleet(requests, [(ONE_SECOND, limits(kv_blocks=10))], RoundRobin(), OpenLoop(), 0, 1.0, DataParallel(ranks=1))
    reports, told = LoadReports(fleet.clock, 5), []
    reports.of(fleet.instances)
    fleet.feed.start()
    while fleet.clock.work(1):
        if reports.latest:
            told.append((fleet.clock.now, next(iter(reports.latest.values())).kv_use))
    assert [5.0, 0.3] in np.array(told).round(9).tolist()
