"""The page of a trace."""

import json
import re

import numpy as np

from simulator.report.pages import offline as offline
from simulator.report.pages.trace import trace_page
from simulator.workload.fit.statistics import portrait
from simulator.workload.fit.workload import fit
from simulator.workload.requests import Requests
from simulator.workload.traces.recording import Recording


def recorded(count: int) -> Recording:
    rng = np.random.default_rng(7)
    requests = Requests(
        arrival_s=np.cumsum(rng.exponential(0.5, count)) - 0.01,
        prompt_tokens=rng.integers(10, 2000, count),
        output_tokens=rng.integers(5, 300, count),
    )
    return Recording(requests=requests, format="azure", has_times=True, lines=count)


def test_rate_and_lengths_are_drawn_and_the_workload_can_be_copied() -> None:
    seen = recorded(400)
    text = trace_page("my <trace>.csv", portrait(seen), fit(seen))
    specs = re.search(r'id="figures">(.*?)</script>', text, re.DOTALL)
    assert specs is not None
    assert len(json.loads(specs[1])) == 2
    assert "my &lt;trace&gt;.csv" in text
    assert "400 requests" in text
    assert "workload:" in text


def test_a_trace_that_cannot_be_fitted_says_why() -> None:
    seen = recorded(400)
    text = trace_page("t", portrait(seen), "nothing to fit: 9 requests").replace(offline.vega(), "")
    assert "nothing to fit: 9 requests" in text
    assert "How well it fits" not in text
