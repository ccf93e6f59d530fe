"""The page as text: complete, self-contained, escaped."""

import json
import re
from dataclasses import replace

import pytest
from jinja2 import UndefinedError
from support.report_fixtures import HARD_CASES, chatbot, overloaded, twenty

from simulator.report.pages import offline as offline
from simulator.report.pages import run as page
from simulator.report.pages.run import run_page
from simulator.results.assurance import Assurance
from simulator.results.files import read_run, write_run
from simulator.results.metrics import METRICS

ADDRESS = re.compile(r"""(?:https?:)?//[\w.-]+\.\w{2,}[^\s"'`)]*""")
NAMESPACES = ("www.w3.org/", "vega.github.io/schema/", "github.com/vega/vega-lite/issues/")


@pytest.fixture(scope="module")
def text() -> str:
    return run_page(chatbot())


def test_the_page_refers_to_nothing_outside_itself(text):
    shell = text.replace(offline.vega(), "")
    assert not re.search(r"<(?:link|img|iframe|script)[^>]+(?:src|href)=", shell)
    assert "@import" not in shell
    assert "url(" not in shell
    assert ADDRESS.findall(shell) == []


def test_the_embedded_vega_names_only_namespaces_and_schemas():
    found = {address for address in ADDRESS.findall(offline.vega()) if address.startswith("http")}
    assert [a for a in found if not any(known in a for known in NAMESPACES)] == []


def test_vega_is_embedded_once(text):
    assert text.count("window.vegaEmbed=") == 1


def test_the_order_is_recommendation_verdicts_comparison_evidence_method(text):
    places = [
        text.index(mark) for mark in (">Recommendation<", 'class="verdicts"', ">Comparison<", ">Evidence<", ">Method and trust<")
    ]
    assert places == sorted(places)


def test_every_metric_is_defined_on_the_page(text):
    from markupsafe import escape

    for metric in METRICS:
        assert f"<dt>{metric.name}" in text
        assert str(escape(metric.definition)) in text


def test_the_page_tells_how_to_trust_it_and_how_to_make_it_again(text):
    for expected in (
        "Not modelled",
        "TTFT −20% to +30%",
        "411 published runs",
        "2026-09-26",
        "sim run scenarios/chatbot.yaml",
        "vllm serve",
        "seed 0",
    ):
        assert expected in text


def test_names_are_escaped_in_markup_and_in_data():
    text = run_page(HARD_CASES["awkward-names"]())
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    panels = re.search(r'<script type="application/json" id="panels">(.*?)</script>', text, re.DOTALL)
    assert panels
    assert "<script>alert(1)</script>" in json.dumps(json.loads(panels[1]))


def test_a_variable_that_is_not_given_fails_instead_of_leaving_a_gap(monkeypatch):
    monkeypatch.setattr(page, "_trust", lambda run: {})
    with pytest.raises(UndefinedError):
        run_page(chatbot())


def test_what_does_not_fit_is_never_the_best_of_a_row(text):
    rows = re.findall(r"<tr><th scope=\"row\">Per hour</th>(.*?)</tr>", text, re.DOTALL)
    cells = re.findall(r"<td( class=\"best\")?><bdi>(.*?)</bdi>", rows[0])
    assert [value for best, value in cells if best] == ["$0.74"]


@pytest.mark.parametrize(("overloaded", "best"), [(("rtx-4090",), "$0.80"), ((), "$0.74"), (None, "$0.74")])
def test_what_is_overloaded_is_the_best_of_a_row_only_where_all_are(overloaded, best):
    run = chatbot()
    changed = [
        replace(d, verdict="overloaded") if d.runs and (overloaded is None or d.name in overloaded) else d
        for d in run.deployments
    ]
    row = re.search(r"<th scope=\"row\">Per hour</th>(.*?)</tr>", run_page(replace(run, deployments=tuple(changed))), re.DOTALL)
    assert re.findall(r"<td class=\"best\"><bdi>(.*?)</bdi>", row[1]) == [best]


def test_an_overloaded_run_prints_no_latency():
    text = run_page(overloaded())
    row = re.search(r"TTFT p50 / p99</th>(.*?)</tr>", text, re.DOTALL)
    assert row
    assert set(re.findall(r"<bdi>(.*?)</bdi>", row[1])) == {"not steady"}


def test_a_page_of_six_deployments_stays_under_3_mb_and_of_twenty_too(text):
    assert len(text.encode()) < 3_000_000
    assert len(run_page(twenty()).encode()) < 3_000_000


def test_a_run_read_from_its_folder_gives_the_same_page(text, tmp_path):
    assert run_page(read_run(write_run(chatbot(), tmp_path / "run", {}))) == text


def test_three_numbers_that_decide_stand_in_the_recommendation() -> None:
    run = chatbot()
    chosen = next(d for d in run.deployments if d.name == run.recommendation.deployment)
    sure = replace(
        chosen,
        cost=replace(chosen.cost, usd_per_month=1234.5),
        assurance=Assurance("meets", 0.95, sure_per_s=11.0),
    )
    others = tuple(sure if d is chosen else d for d in run.deployments)
    page = run_page(replace(run, deployments=others))
    numbers = page.split('<ul class="numbers">')[1].split("</ul>")[0]
    assert "<strong>$1,234</strong> a month" in numbers
    assert "<strong>TTFT p99 " in numbers
    assert "<strong>11/s</strong> 90% sure up to there, of a demand of 9/s" in numbers
    assert '<ul class="numbers">' not in run_page(HARD_CASES["nothing-fits"]())
