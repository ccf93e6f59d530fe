"""A CSV of one's own: more figures than published tables have, lengths as tools draw them, the link."""

from pathlib import Path

import numpy as np
import pytest

from simulator.errors import MeasurementError
from simulator.validation.measurements import MeasurementTable
from simulator.validation.readers.closed_loop import MANY, load_of
from simulator.validation.readers.own_columns import card_of, named_lengths, sent_in
from simulator.workload.lengths.presets import PRESETS

ROW = {
    "model": "meta-llama/Llama-3.1-8B-Instruct",
    "gpu": "h100-sxm",
    "engine_version": "0.30.0",
    "input_len": "200",
    "output_len": "40",
    "concurrency": "4",
    "num_prompts": "40",
    "max_model_len": "4096",
    "kv_cache_dtype": "fp8",
}


def compared(**more: str) -> dict[str, float]:
    row = {**ROW, **more}
    found = MANY.compare(MeasurementTable(Path("mine.csv"), tuple(row), (row,)))
    assert not found.skipped, found.skipped
    return {c.metric: c.predicted for c in found.comparisons}


def test_every_figure_that_a_tool_prints_may_be_stated() -> None:
    columns = {f"{name}_ms_{stat}": "9" for name in ("ttft", "tpot", "e2e") for stat in ("mean", "median", "p90", "p95", "p99")}
    found = compared(**columns, itl_ms_mean="9", output_tok_s="9", total_tok_s="9", req_s="9")
    assert len(found) == len(columns) + 4
    assert found["e2e_ms"] == pytest.approx(found["ttft_ms"] + 39 * found["tpot_ms"], rel=1e-6)
    assert found["total_tok_s"] == pytest.approx(6 * found["output_tok_s"])
    assert found["request_rate"] == pytest.approx(found["output_tok_s"] / 40)
    assert found["e2e_ms_p50"] <= found["e2e_ms_p90"] <= found["e2e_ms_p95"] <= found["e2e_ms_p99"]
    assert found["itl_ms"] == pytest.approx(found["tpot_ms"], rel=0.02)


def test_a_range_ratio_spreads_lengths_to_both_sides_as_vllm_does() -> None:
    prompt, output = named_lengths({**ROW, "random_range_ratio": "0.5"}, 5000, np.random.default_rng(0))
    assert (prompt.min(), prompt.max()) == (100, 300)
    assert (output.min(), output.max()) == (20, 60)
    assert prompt.mean() == pytest.approx(200, rel=0.02)
    with pytest.raises(MeasurementError, match="keep one"):
        named_lengths({**ROW, "random_range_ratio": "0.5", "length_range_ratio": "1"}, 5, np.random.default_rng(0))


def test_a_dataset_stands_in_place_of_lengths() -> None:
    row = {**ROW, "input_len": "", "output_len": "", "dataset": "ShareGPT", "num_prompts": "4000"}
    requests, _ = load_of(row)
    law = PRESETS["sharegpt"]
    assert requests.prompt_tokens.mean() == pytest.approx(law.prompt.expected(), rel=0.1)
    assert requests.output_tokens.mean() == pytest.approx(law.output.expected(), rel=0.1)
    with pytest.raises(MeasurementError, match="no lengths are known of 'sonnet'"):
        load_of({**row, "dataset": "sonnet"})


def test_a_dataset_row_is_compared() -> None:
    assert compared(input_len="", output_len="", dataset="sharegpt", ttft_ms_mean="30").keys() == {"ttft_ms"}


def test_a_rate_and_a_duration_say_how_many_requests_were_sent() -> None:
    row = {**ROW, "concurrency": "", "num_prompts": "", "request_rate": "4", "duration_s": "50"}
    assert len(load_of(row)[0]) == 200
    assert sent_in({"request_rate": "4"}, 1000, 10**6) == 1000
    assert sent_in(row, 1000, 150) == 150


def test_a_link_is_the_card_s_or_comes_with_its_bandwidth_and_a_fleet_is_refused() -> None:
    assert card_of({**ROW, "link": "NVLink"}).link_bytes_per_s == card_of(ROW).link_bytes_per_s
    assert card_of({**ROW, "link": "pcie", "link_gb_per_s": "20"}).link_bytes_per_s == 20e9
    with pytest.raises(MeasurementError, match="is linked by nvlink; give link_gb_per_s"):
        card_of({**ROW, "link": "pcie"})
    with pytest.raises(MeasurementError, match="column replicas: 3 servers behind a router"):
        card_of({**ROW, "replicas": "3"})
