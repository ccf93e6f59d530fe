"""A run in words: terminal and Markdown."""

import dataclasses
import io
import re

import pytest
from rich.console import Console
from support.report_fixtures import HARD_CASES, chatbot, nothing_fits, overloaded

from simulator.report.comparison import comparison
from simulator.report.terminal import markdown, terminal
from simulator.report.words import NOT_STEADY, number_or_dash, percent, rate, remedy_line, seconds, slo_word, usd


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


def test_verdicts_come_before_the_recommendation_and_that_before_the_table():
    text = shown("chatbot", 200)
    assert (
        text.index("SLO met") < text.index("the cheapest of") < text.index("Starts to queue at") < text.index("Memory of one GPU")
    )


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
            assert texts[0].removesuffix(", missed") == seconds(d.slo[0].measured)


def test_error_bands_are_said_in_the_words_of_the_table():
    assert "Error bands: TPOT ±12%, TTFT ±30%, output tokens/s ±11%, E2E ±13%." in markdown(chatbot())


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
