"""Every chart draws every hard case as valid Vega-Lite, or says why it draws nothing."""

import json

import pytest
from support.report_fixtures import HARD_CASES

from simulator.report.charts.all import CHARTS
from simulator.report.charts.panels import specification

SOME = {
    name: HARD_CASES[name] for name in ("chatbot", "nothing-fits", "zero-completed", "overloaded", "one-request", "awkward-names")
}


@pytest.mark.parametrize("case", SOME)
@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.__name__)
def test_a_chart_is_valid_and_described(chart, case):
    """Altair checks each panel against the Vega-Lite schema as it is put together."""
    run = SOME[case]()
    figure = chart(run)
    assert figure.title
    assert figure.caption.strip().endswith(".")
    for panel in figure.panels:
        spec = specification(run, panel, figure.caption)
        text = json.dumps(spec, allow_nan=False)
        assert "$schema" not in spec
        assert "http" not in text
        assert {"rate", "focus"} <= {p["name"] for p in spec["params"]}


def test_the_ordinary_run_draws_every_chart():
    undrawn = [chart.__name__ for chart in CHARTS if not chart(HARD_CASES["chatbot"]()).panels]
    assert undrawn == []


def test_keys_are_given_once():
    keys = [chart(HARD_CASES["nothing-fits"]()).key for chart in CHARTS]
    assert len(set(keys)) == len(CHARTS)
