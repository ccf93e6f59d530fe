"""The page of predictions beside measurements."""

import re

from simulator.report.pages import offline as offline
from simulator.report.pages.accuracy import accuracy_page
from simulator.validation.measurements import Comparison, Findings

FOUND = Findings(
    comparisons=[
        Comparison("runs.csv", 1, "tpot_ms", 10.0, 11.0),
        Comparison("runs.csv", 2, "tpot_ms", 20.0, 19.0),
        Comparison("logs.csv", 1, "outcome", "ok", "oom"),
    ]
)


def test_every_figure_is_drawn_and_every_group_is_listed() -> None:
    text = accuracy_page(FOUND, "runs", ["skipped runs.csv row 3: unknown <GPU>"])
    chart = re.search(r'id="figures">(.*?)</script>', text, re.DOTALL)
    assert chart is not None
    assert chart[1].count('"predicted":') >= 2
    assert "3 figures of runs" in text
    assert "unknown &lt;GPU&gt;" in text
    assert "<td>tpot_ms</td><td>2</td><td>7.5</td>" in text


def test_the_page_needs_no_network() -> None:
    text = accuracy_page(FOUND, "runs", []).replace(offline.vega(), "")
    addresses = re.findall(r"https?://[^\"'\s]+", text)
    assert all(address.startswith("https://vega.github.io/schema/") for address in addresses)
    assert "src=" not in re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
