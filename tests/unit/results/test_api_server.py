"""How long requests wait for the API server, by hand."""

import numpy as np
from support.by_hand import asked, limits, served

from simulator.latency.client import ApiServer
from simulator.results.api_server import waiting_s


def test_waits_that_overlap_count_once() -> None:
    """Each takes 2 s: those that come at 0 wait for 0, 2 and 4 s, the one at 10 does not wait, the two at 20 for 0 and 2 s."""
    rows = [(0.0, 4, 1)] * 3 + [(10.0, 4, 1)] + [(20.0, 4, 1)] * 2
    trace = served(asked(*rows), limits(), front_end=ApiServer(request_s=2.0))
    assert waiting_s(trace, 0.0) == 4.0 + 2.0
    assert waiting_s(trace, 3.0, 21.0) == 1.0 + 1.0


def test_without_an_api_server_nothing_waits_for_it() -> None:
    trace = served(asked((0.0, 4, 1), (0.0, 4, 1)), limits())
    assert waiting_s(trace, 0.0, np.inf) == 0.0
