"""A run in words: terminal and Markdown."""

import dataclasses
import io
import re

import pytest
from rich.console import Console
from support.report_fixtures import HARD_CASES, chatbot, nothing_fits, overloaded

from simulator.latency.error_bands import ErrorBand
from simulator.report.comparison import comparison
from simulator.report.terminal import markdown, terminal
from simulator.report.words import (
    NOT_STEADY,
    band,
    folded,
    judged_line,
    mark,
    number_or_dash,
    percent,
    rate,
    remedy_line,
    seconds,
    slo_word,
    sureness,
    usd,
)
from simulator.results.assurance import Assurance
from simulator.results.slo import PromisedLatency
from simulator.text import number


def shown(case: str, width: int, **given: object) -> str:
    text = io.StringIO()
    Console(file=text, width=width, **given).print(terminal(HARD_CASES[case]()))
    return text.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("case", HARD_CASES)
def test_no_line_is_wider_than_the_terminal(case, width):
    from rich.cells import cell_len

    assert max(cell_len(line) for line in shown(case, width).splitlines()) <= width


@pytest.mark.parametrize("width", [60, 80, 200])
def test_every_deployment_and_its_verdict_is_shown_however_narrow(width):
    text = shown("twenty", width)
    for d in HARD_CASES["twenty"]().deployments:
        assert d.name in text
    assert text.count("the cheapest of") == 1


def test_the_answer_comes_first_then_verdicts_table_and_memory():
    text = shown("chatbot", 200)
    places = [text.index(said) for said in ("the cheapest of", "SLO met", "Starts to queue at", "Memory of one GPU")]
    assert places == sorted(places)
    assert markdown(chatbot()).index("the cheapest of") < markdown(chatbot()).index("SLO met")


def test_beyond_six_the_losers_are_told_in_a_line_each():
    run = HARD_CASES["twenty"]()
    lost = [dataclasses.replace(d, verdict="overloaded", reason="it drowns") for d in run.deployments[:15]]
    run = dataclasses.replace(run, deployments=(*lost, *run.deployments[15:]))
    full, short = folded(run)
    assert len(full) == 6 and len(short) == 14
    assert full[0].name == run.recommendation.deployment or run.recommendation.deployment is None
    text = io.StringIO()
    Console(file=text, width=200).print(terminal(run))
    assert text.getvalue().count("It drowns.") == sum(d.reason == "it drowns" for d in full)
    assert all(f"{d.name}  overloaded" in text.getvalue() for d in lost)


def sured(d, chance, standing, **more):
    return dataclasses.replace(d, assurance=Assurance(standing, chance, **more))


def test_a_verdict_says_how_sure_it_is_and_by_how_little_it_misses():
    d = next(d for d in chatbot().deployments if d.steady)
    check = dataclasses.replace(d.slo[0], measured=1.2, met=False, strain=1.2, chance=0.4, low=0.9, high=1.7)
    near = dataclasses.replace(d, slo=(check,), promised=(PromisedLatency("", "ttft", 99.0, 1.0, 0.3, 1.2, 0.9, 1.7),))
    near = sured(near, 0.4, "too close to call", sure_per_s=3.1, lost_per_s=11.0)
    assert slo_word(near) == "too close to call (40% sure)"
    assert sureness(near) == "misses p99 TTFT by 200 ms, inside the error; 90% sure up to 3.1/s; sure to fail from 11/s on"
    assert judged_line(near) == "TTFT p99 1.2 s (0.9 to 1.7) of 1 s"
    assert mark(near).sign == "◐"
    assert slo_word(sured(d, 0.954, "meets")) == "met (95% sure)"
    assert slo_word(sured(d, 0.7, "too few to say", needed=230)) == "too few requests to say (230 would tell)"


@pytest.mark.parametrize(
    ("low", "high", "said"), [(0.8, 1.3, "TTFT −20% to +30%"), (0.93, 1.07, "TTFT ±7%"), (1.1, 2.0, "TTFT +10% to +100%")]
)
def test_a_band_is_written_as_wide_as_it_is_on_each_side(low, high, said):
    assert band("ttft", ErrorBand(low, 1.15 if low > 1 else 1.0, high, "runs")) == said


def test_without_color_there_are_no_escape_codes():
    assert "\x1b" not in shown("chatbot", 100, force_terminal=True, no_color=True, color_system=None)


def test_a_terminal_without_unicode_gets_ascii():
    text = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    Console(file=text, width=100).print(terminal(chatbot()))
    text.flush()


def test_an_overloaded_run_shows_no_latency():
    rows = {row.label: row.say(overloaded().deployments[0]) for row in comparison(overloaded())}
    assert rows["TTFT p50 / p99"] == rows["E2E p50 / p99"] == rows["Goodput"] == NOT_STEADY
    assert re.search(r"\d", rows["Output tokens/s"])


def test_each_term_of_the_slo_has_a_row_with_what_was_measured():
    run = chatbot()
    rows = {row.label: [row.say(d) for d in run.deployments] for row in comparison(run) if row.group == "SLO"}
    assert list(rows) == ["p99 TTFT, at most 1 s", "p99 TPOT, at most 50 ms", "goodput share, at least 95%"]
    for d, texts in zip(run.deployments, zip(*rows.values(), strict=True), strict=True):
        if not d.runs:
            assert set(texts) == {"–"}
        elif not d.steady:
            assert set(texts) == {NOT_STEADY}
        else:
            assert [text.endswith(", missed") for text in texts] == [not check.met for check in d.slo]
            assert texts[0].removesuffix(", missed") == f"{number(d.slo[0].measured)} s", "in the unit of its limit"


def test_error_bands_are_said_in_the_words_of_the_table():
    assert "Error bands: TPOT ±12%, TTFT −20% to +30%, output tokens/s ±11%, E2E −10% to +13%." in markdown(chatbot())


def test_many_missed_terms_are_counted():
    run = chatbot()
    d = next(d for d in run.deployments if d.steady)
    missed = tuple(dataclasses.replace(check, met=False, label=name) for name in "ab" for check in d.slo)
    assert slo_word(dataclasses.replace(d, slo=missed)) == "missed: a: p99 TTFT, 5 more terms"


def test_markdown_has_a_table_of_as_many_columns_as_deployments_and_escapes_names():
    text = markdown(HARD_CASES["awkward-names"]())
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6}
    assert "<script>" not in text[: text.index("```")]
    assert r"\<script\>" in text


def test_markdown_names_the_command_and_what_is_not_modelled():
    text = markdown(chatbot())
    assert chatbot().command in text
    assert "Not modelled: speculative decoding" in text


def test_rows_of_which_nothing_is_known_are_left_out():
    assert "TTFT p50" not in markdown(nothing_fits())
    assert "TTFT p50" in markdown(chatbot())


def test_the_remedy_of_too_little_capacity_is_how_many_replicas_are_needed():
    d = overloaded().deployments[0]
    assert remedy_line(chatbot().deployments[4], 9.0) == ""
    assert remedy_line(nothing_fits().deployments[0], 9.0).startswith("quantization=awq-int4")
    from dataclasses import replace

    from simulator.results.model import Estimate

    short = replace(d, remedies=(), slo=(), queueing_point=Estimate(3.0, 2.9, 3.1), replicas=2)
    assert remedy_line(short, 10.0) == "7 replicas, each takes 1.5/s"
    promised = replace(d, remedies=(), slo_capacity=Estimate(1.0, 0.9, 1.1), replicas=2)
    assert remedy_line(promised, 10.0) == "at most 20 replicas; one alone takes 0.5/s within the SLO"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (seconds(0.0123), "12.3 ms"),
        (seconds(0.9999), "1 s"),
        (seconds(59.9), "59.9 s"),
        (seconds(3725), "62 min 5 s"),
        (seconds(None), "–"),
        (number_or_dash(0), "0"),
        (number_or_dash(999.6), "1,000"),
        (number_or_dash(1e9), "1,000,000,000"),
        (percent(0.99996), "99.9%"),
        (percent(1), "100%"),
        (usd(0.126), "$0.13"),
        (rate(3.0), "3/s"),
    ],
)
def test_numbers_are_written_as_people_read_them(written, expected):
    assert written == expected
