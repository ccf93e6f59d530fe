"""Runs of a prefill and a decode pool in a file: what servers a row states, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.validation.measurements import MeasurementTable
from simulator.validation.protocols import Bench
from simulator.validation.readers.disaggregated import READER, compare_disaggregated, link_of_card, pool_of, predict_apart

ROW = {
    "engine": "vllm",
    "engine_version": "0.19.0",
    "model": "llama-3.1-8b",
    "gpu": "h100_sxm",
    "input_len": "1000",
    "output_len": "50",
    "concurrency": "8",
    "prefill_num_workers": "2",
    "prefill_tp_size": "1",
    "decode_num_workers": "1",
    "decode_tp_size": "2",
    "ttft_ms_mean": "60",
    "tpot_ms_mean": "6",
}


def test_a_row_states_two_pools() -> None:
    prefill, decode = pool_of(ROW, "prefill"), pool_of(ROW, "decode")
    assert (prefill.workers, prefill.server.args.tensor_parallel_size, prefill.instances) == (2, 1, 2)
    assert (decode.workers, decode.server.args.tensor_parallel_size, decode.instances) == (1, 2, 1)


def test_attention_ranks_are_instances_and_experts_too_narrow_to_split_are_whole() -> None:
    wide = ROW | {
        "model": "deepseek-ai/DeepSeek-V3",
        "decode_tp_size": "1",
        "decode_attention_dp_size": "32",
        "decode_moe_tp_size": "32",
    }
    decode = pool_of(wide, "decode")
    assert decode.instances == 32
    assert decode.server.args.data_parallel_size == 32
    assert decode.server.args.enable_expert_parallel


def test_cards_of_one_rack_are_joined_by_nvlink_others_by_rdma() -> None:
    rack = link_of_card(pool_of(ROW | {"gpu": "gb200"}, "decode").server)
    assert rack.port_bytes_per_s == pytest.approx(720e9)
    assert link_of_card(pool_of(ROW, "decode").server).port_bytes_per_s == pytest.approx(24e9)


def test_a_first_token_takes_prefill_and_transfer_more_than_a_step() -> None:
    found = predict_apart(ROW, Bench()).values
    prefill_s, transfer_s = 16e9 * 1000 / 989e12, 1000 * 131_072 / 24e9
    assert found["ttft_ms"] > 1e3 * (prefill_s + transfer_s) + found["tpot_ms"]
    assert found["ttft_ms"] < 300


def test_a_file_is_read_by_its_columns_and_what_has_no_model_is_skipped(tmp_path: Path) -> None:
    wide = ROW | {"decode_tp_size": "3"}
    table = MeasurementTable(tmp_path / "apart.csv", tuple(ROW), (ROW, wide))
    assert not READER.missing(table)
    findings = compare_disaggregated(table)
    assert {(c.row, c.metric) for c in findings.comparisons} == {(1, "ttft_ms"), (1, "tpot_ms")}
    assert [skipped.row for skipped in findings.skipped] == [2]
