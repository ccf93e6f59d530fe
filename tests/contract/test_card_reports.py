"""What every public report behind a derating must keep, and every derating."""

import csv
from datetime import date

import pytest

from benchmarks.cards import REPORTS, middle
from simulator.catalog import stanzas
from simulator.catalog.gpus import gpu, gpus
from simulator.catalog.kernels import kernels
from simulator.catalog.models import model
from simulator.errors import NotModelled

ROWS = list(csv.DictReader(REPORTS.open(encoding="utf-8")))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['gpu']}-{row['model'].split('/')[-1]}-{row['concurrency']}")
def test_a_report_says_where_it_is_from_and_measures_something(row: dict[str, str]) -> None:
    assert row["source"].startswith("https://")
    assert date(2023, 1, 1) <= date.fromisoformat(row["measured"]) <= date(2026, 11, 30)
    assert gpu(row["gpu"]).name == row["gpu"]
    assert model(row["model"])
    assert any(row[name] for name in ("ttft_ms_mean", "tpot_ms_mean", "output_tok_s"))


def test_cards_of_a_class_share_its_derating() -> None:
    found: dict[str, set[float]] = {}
    for card in gpus():
        try:
            known = kernels(card)
        except NotModelled:
            continue
        if known.derating_class:
            found.setdefault(known.derating_class, set()).add(known.derating)
    assert found
    assert all(len(figures) == 1 for figures in found.values()), found


def test_every_class_has_a_report() -> None:
    classes = {stanzas.load_entry("kernels", name).get("derating_class") for name in stanzas.stanzas("kernels")} - {None}
    assert {kernels(gpu(row["gpu"])).derating_class for row in ROWS} >= classes


def test_a_card_with_many_reports_counts_as_one() -> None:
    assert middle({"a": [1.0] * 50, "b": [2.0], "c": [3.0]}) == 2.0
