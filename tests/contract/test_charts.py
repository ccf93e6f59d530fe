"""Every chart draws every hard case as valid Vega-Lite, or says why it draws nothing."""

import json

import pytest
from support.report_fixtures import HARD_CASES

from simulator.report.charts.all import CHARTS
from simulator.report.charts.panels import MOST_LINES, specification

SOME = {
    name: HARD_CASES[name]
    for name in ("chatbot", "nothing-fits", "zero-completed", "overloaded", "one-request", "a-day", "twenty", "awkward-names")
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


@pytest.mark.parametrize("key", ["throughput", "latency", "distributions", "timeline", "tradeoffs"])
def test_more_deployments_than_lines_can_be_told_apart_have_small_panels_of_their_own(key):
    run = HARD_CASES["twenty"]()
    figure = next(f for f in (chart(run) for chart in CHARTS) if f.key == key)
    assert not figure.names
    for panel in figure.panels:
        spec = specification(run, panel, figure.caption)
        assert spec["facet"]["field"] == "d"
        shown = {line.split(",")[0] for line in spec["data"]["values"].splitlines()[1:]}
        assert len(shown) > MOST_LINES
        assert all(d.name in spec["facet"]["header"]["labelExpr"] for d in run.deployments)
    ordinary = HARD_CASES["chatbot"]()
    few = next(f for f in (chart(ordinary) for chart in CHARTS) if f.key == key)
    assert not any("facet" in specification(ordinary, panel, few.caption) for panel in few.panels)


def test_the_ordinary_run_draws_every_chart():
    figures = [chart(HARD_CASES["chatbot"]()) for chart in CHARTS]
    undrawn = [figure.key for figure in figures if not figure.panels and not figure.needless]
    assert undrawn == []


def test_keys_are_given_once():
    keys = [chart(HARD_CASES["nothing-fits"]()).key for chart in CHARTS]
    assert len(set(keys)) == len(CHARTS)
