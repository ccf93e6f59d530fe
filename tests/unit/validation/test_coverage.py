"""How many measured values lie in the bands that predictions are shown with."""

import dataclasses

import pytest

from simulator.latency.error_bands import Setting, band_of, class_path
from simulator.validation.compare import covered
from simulator.validation.coverage import ENOUGH, coverage, path_of
from simulator.validation.measurements import Comparison, Findings

PLACE = Setting("vllm-v1", True, False, "16-bit", "one GPU")
BAND = band_of(class_path("tpot", PLACE, "loaded", tail=False))


def figure(multiple: float, metric: str = "tpot_ms") -> Comparison:
    """A measured value that is this multiple of the predicted one."""
    labels = ("vllm 0.19.0", "llama-3.1-8b", "h100-sxm", "bf16")
    return Comparison("runs.csv", 1, metric, 10.0 * multiple, 10.0, True, labels, PLACE, "loaded")


def test_values_are_counted_below_inside_and_above_their_band() -> None:
    inside = [figure(BAND.middle)] * 16
    outside = [figure(BAND.low * 0.99)] * 3 + [figure(BAND.high * 1.01)]
    (found,) = coverage([*inside, *outside])
    assert (found.below, found.inside, found.above) == (3, 16, 1)
    assert found.share == 0.8
    assert found.holds
    assert not coverage([*inside, *outside * 3])[0].holds
    assert coverage(outside)[0].holds, "too few to tell"
    assert len(outside) < ENOUGH


@pytest.mark.parametrize(
    ("metric", "family", "last"),
    [
        ("ttft_ms", "ttft", "middle"),
        ("ttft_ms_p99", "ttft", "tail"),
        ("itl_ms_p50", "tpot", "middle"),
        ("e2e_ms_p95", "tpot", "tail"),
        ("output_tok_s", "output_tokens_per_s", "middle"),
        ("request_rate", "output_tokens_per_s", "middle"),
    ],
)
def test_a_metric_is_of_its_family(metric: str, family: str, last: str) -> None:
    path = path_of(figure(1.0, metric))
    assert path is not None
    assert (path[0], path[-1]) == (family, last)


def test_memory_and_single_requests_have_no_band() -> None:
    assert path_of(figure(1.0, "ttft_ms_each")) is None
    assert path_of(figure(1.0, "kv_tokens")) is None
    assert path_of(dataclasses.replace(figure(1.0), setting=None)) is None


def test_the_report_has_the_classes_and_all_together() -> None:
    rows = covered(Findings([figure(BAND.middle)] * 8 + [figure(9.0)] * 2))
    assert rows[-1] == {"class": "all", "n": 10, "inside_percent": 80.0, "below": 0, "above": 2, "holds": True}
    assert rows[0]["class"].startswith("tpot / vllm-v1")
    assert covered(Findings()) == []
