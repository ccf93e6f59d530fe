"""Serving runs: what readers make of rows, and how far our figures are from published measurements."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.shared import SHARED, needs_shared

from simulator.errors import MeasurementError
from simulator.validation.compare import groups, report, validate
from simulator.validation.measurements import Findings, MeasurementTable, read_measurement_table
from simulator.validation.protocols import repeated, requests_of, second_pass, weighted_median
from simulator.validation.readers import closed_loop, open_loop, published, replay

VALIDATION = SHARED / "validation"
HEAD = (
    "model,gpu,engine,engine_version,tensor_parallel_size,moe_ep_size,attention_dp_size,gemm_dtype,moe_dtype,"
    "input_len,output_len,concurrency,length_range_ratio,ttft_ms_mean,tpot_ms_mean,source"
)
ROW = "meta-llama/Llama-3.1-8B-Instruct,h100_sxm,vllm,0.19.0,1,1,1,bfloat16,,1000,100,4,1.0,100,7.5,mine"


def measured(tmp_path: Path, *rows: str, head: str = HEAD) -> Findings:
    file = tmp_path / "runs.csv"
    file.write_text("\n".join([head, *rows]) + "\n")
    return validate(file)


def errors(found: Findings, metric: str, rows: Callable[[int], bool] = lambda row: True) -> np.ndarray:
    return np.abs([c.error_percent for c in found.comparisons if c.metric == metric and rows(c.row)])


def some(file: str, every: int, keep: Callable[[dict[str, str]], bool] = lambda row: True) -> MeasurementTable:
    """Every so-manieth row of a shared file, so that the check takes seconds."""
    table = read_measurement_table(VALIDATION / file)
    rows = tuple(row for row in table.rows if keep(dict(row)))[::every]
    return dataclasses.replace(table, rows=rows)


def test_a_row_is_simulated_and_labeled_with_what_it_ran_on(tmp_path: Path) -> None:
    found = measured(tmp_path, ROW)
    assert [c.metric for c in found.comparisons] == ["ttft_ms", "tpot_ms"]
    assert found.comparisons[0].labels == ("vllm 0.19.0", "llama-3.1-8b", "h100-sxm", "bf16")
    assert found.comparisons[1].predicted == pytest.approx(7.5, rel=0.2)
    assert json.loads(json.dumps(report(found)))["rows"][0]["gpu"] == "h100-sxm"
    assert any(group["group"] == "vllm 0.19.0 · llama-3.1-8b · h100-sxm · bf16" for group in groups(found))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (ROW.replace("7.5,mine", "0,mine"), "tpot_ms_mean: 0 cannot be"),
        (ROW.replace("7.5,mine", "0.0075,mine"), "was it written in seconds"),
        (ROW.replace("Llama-3.1-8B-Instruct", "Nobody-9000"), "nobody-9000"),
        (ROW.replace("h100_sxm", "h900"), "h900"),
        (ROW.replace(",4,1.0", ",2.5,1.0"), "'2.5' is not a whole number"),
        (ROW.replace("100,7.5,mine", ",,mine"), "the row has no measured value"),
    ],
)
def test_a_row_that_cannot_be_is_skipped_with_its_reason_and_the_rest_is_done(tmp_path: Path, changed: str, said: str) -> None:
    found = measured(tmp_path, changed, ROW)
    assert [skip.row for skip in found.skipped] == [1]
    assert said in found.skipped[0].reason
    assert {c.row for c in found.comparisons} == {2}


def test_a_row_may_state_what_the_server_was_started_with(tmp_path: Path) -> None:
    head, stated = f"{HEAD},max_num_seqs,enforce_eager,num_prompts", (",,,", ",2,,", ",,true,", ",,,4")
    varied = ROW.replace(",4,1.0,", ",4,0.5,")
    free, capped, eager, short = measured(tmp_path, *(varied + more for more in stated), head=head).comparisons[::2]
    assert capped.predicted > 5 * free.predicted, "two of four users wait for a place"
    assert eager.predicted > free.predicted
    assert short.predicted > free.predicted, "only the burst at the start"
    wrong = measured(tmp_path, ROW + ",,perhaps,", ROW + ",,,", head=head)
    assert "enforce_eager: 'perhaps' is neither true nor false" in wrong.skipped[0].reason


def test_a_row_may_state_a_request_rate_instead_of_a_concurrency(tmp_path: Path) -> None:
    head = HEAD.replace("concurrency", "request_rate").replace("tpot_ms_mean", "tpot_ms_mean,ttft_ms_p99,output_tok_s")
    at = ROW.replace("100,7.5,mine", "100,7.5,400,2000,mine")
    slow, fast, burst = (at.replace(",4,1.0,", f",{rate},1.0,") for rate in ("1", "30", "inf"))
    found = measured(tmp_path, slow, fast, burst, at.replace(",4,1.0,", ",,1.0,"), head=head)
    assert [skip.row for skip in found.skipped] == [4]
    assert "neither a concurrency nor a request_rate" in found.skipped[0].reason
    by_row = [{c.metric: c.predicted for c in found.comparisons if c.row == row} for row in (1, 2, 3)]
    assert set(by_row[0]) == {"ttft_ms", "ttft_ms_p99", "tpot_ms", "output_tok_s"}
    assert by_row[0]["output_tok_s"] == pytest.approx(100, rel=0.1)
    assert by_row[1]["output_tok_s"] == pytest.approx(3000, rel=0.1)
    assert by_row[0]["tpot_ms"] < by_row[1]["tpot_ms"] < by_row[2]["tpot_ms"]
    assert by_row[2]["ttft_ms"] > 10 * by_row[1]["ttft_ms"]


def test_lengths_may_be_uniform_from_the_first_token_on(tmp_path: Path) -> None:
    half, whole = measured(tmp_path, ROW.replace(",4,1.0,", ",4,0,"), ROW).comparisons[::2]
    assert half.predicted < whole.predicted


def test_a_file_whose_every_row_is_skipped_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="nothing to compare: .*h900"):
        measured(tmp_path, ROW.replace("h100_sxm", "h900"))


def test_a_repeated_run_finds_its_prompts_in_the_prefix_cache(tmp_path: Path) -> None:
    bench = published.Bench()
    row = {
        "model": "llama-3.1-8b",
        "gpu": "a100-80gb",
        "n_gpu": "1",
        "tp": "1",
        "engine_version": "0.20.1",
        "quant_class": "bf16",
    }
    server = published.servers_of({**row, "notes": "", "isl": "512", "osl": "8"})[0]
    once = requests_of(np.full(20, 512), np.full(20, 8), np.arange(20) * 0.1)
    trace = second_pass(bench.run(server, repeated(once)))
    assert len(trace) == 20
    assert (trace.requests["cached_tokens"] == 496).all(), "all but the last block, of which a token must be computed"
    assert np.diff(trace.requests["arrival_s"]) == pytest.approx(0.1)


def replayed(folder: Path, **stated: object) -> Path:
    """The log of four requests at once on a server, with what its engine.json states."""
    told = {"model": "Qwen/Qwen3-30B-A3B", "vllm_version": "0.19.0", "hardware": {"device_name": "NVIDIA H100 80GB HBM3"}}
    (folder / "engine.json").write_text(json.dumps(told | stated))
    head = "request_id,arrival_s,input_len,output_len,first_token_s,last_token_s"
    rows = [f"{i},0.0,1000,100,0.1,1.0" for i in range(4)]
    (folder / "requests.csv").write_text("\n".join([head, *rows]) + "\n")
    return folder / "requests.csv"


def test_a_data_parallel_replay_has_as_many_engines_as_its_file_states(tmp_path: Path) -> None:
    kwargs = {"data_parallel_size": 2, "enable_expert_parallel": True, "max_num_seqs": 1, "max_model_len": 4096}
    server = replay.server_beside(replayed(tmp_path, engine_kwargs=kwargs))
    assert (server.engines, server.args.data_parallel_size, server.args.enable_expert_parallel) == (2, 2, True)
    both = validate(replayed(tmp_path, engine_kwargs=kwargs)).comparisons
    one = validate(replayed(tmp_path, engine_kwargs=kwargs | {"data_parallel_size": 1})).comparisons
    last = [max(c.predicted for c in found if c.metric == "e2e_ms_each") for found in (both, one)]
    assert last[1] > 1.5 * last[0], "four requests one by one take longer than two and two"


def test_a_replay_has_the_kv_blocks_and_settings_that_its_file_states(tmp_path: Path) -> None:
    cache = {"num_gpu_blocks": 500, "block_size": 32, "enable_prefix_caching": True, "num_kv_tokens": 16_000}
    kwargs = {"enable_prefix_caching": None, "max_num_seqs": 8, "max_model_len": 4096, "seed": 42}
    server = replay.server_beside(replayed(tmp_path, engine_kwargs=kwargs, kv_cache=cache))
    limits = replay.Bench().bind(server).limits
    assert (limits.kv_blocks, limits.block_size, limits.max_num_seqs) == (499, 32, 8)
    assert limits.enable_prefix_caching


def test_a_replay_whose_file_states_nonsense_says_where(tmp_path: Path) -> None:
    path = replayed(tmp_path, engine_kwargs={"max_num_seqs": "many"})
    with pytest.raises(MeasurementError, match=r"engine\.json: max_num_seqs: 'many' cannot be"):
        replay.server_beside(path)


def test_a_highest_rate_without_its_split_is_that_of_the_best_one() -> None:
    """32B in BF16 leaves one H100 no room for a full batch; 7B gains nothing from a second one."""
    row = {
        "gpu_norm": "H100",
        "n_gpu": "2",
        "tp": "",
        "engine_version": "0.7.2",
        "quant_class": "bf16",
        "isl": "1024",
        "osl": "1024",
        "concurrency": "max",
        "notes": "maximum throughput QPS",
    }
    bench = published.Bench()
    large, small = (published.predict({**row, "model": name}, bench).server for name in ("qwen2.5-32b", "qwen2.5-7b"))
    assert (large.args.tensor_parallel_size, large.engines) == (2, 1)
    assert (small.args.tensor_parallel_size, small.engines) == (1, 2)


def test_what_was_measured_did_start_with_a_max_model_len_that_fits() -> None:
    server = closed_loop.closed_loop_server(dict(zip(HEAD.split(","), ROW.split(","), strict=True)))[0]
    few = dataclasses.replace(server, args=dataclasses.replace(server.args, num_gpu_blocks_override=1000))
    limits = closed_loop.Bench().bind(few).limits
    assert (limits.kv_blocks, limits.max_model_len) == (999, 16_000)
    stated = dataclasses.replace(few, args=dataclasses.replace(few.args, max_model_len=20_000))
    with pytest.raises(MeasurementError, match="does not start: To serve at least one request"):
        closed_loop.Bench().bind(stated)


def test_half_of_the_weight_lies_below_a_weighted_median() -> None:
    assert weighted_median(np.array([3.0, 1.0, 2.0]), np.array([1, 5, 3])) == 1.0
    assert weighted_median(np.array([3.0, 1.0, 2.0]), np.array([8, 5, 2])) == 3.0


@needs_shared
def test_tpot_of_closed_loops_is_near_what_servers_measured() -> None:
    """InferenceX and AIConfigurator rows (Apache-2.0), without data parallelism and capped rows: 8.5 % median, 11 % mean."""
    table = some("closed_loop_vllm.csv", 9, lambda row: (row["attention_dp_size"] or "1") == "1")
    found = closed_loop.compare_many(table)
    in_doubt = {skip.row for skip in found.suspect}
    off = errors(found, "tpot_ms", lambda row: row not in in_doubt)
    print(f"TPOT: median {np.median(off):.1f} %, mean {off.mean():.1f} % over {len(off)} rows")
    assert np.median(off) < 8.5
    assert off.mean() < 11


@needs_shared
@pytest.mark.parametrize(("source", "median"), [("InferenceX", 14), ("AIConfigurator lab", 25)])
def test_ttft_of_closed_loops_is_near_what_benchmark_clients_measured(source: str, median: float) -> None:
    """Users of equal requests who stayed in step would put the lab's rows 80 % off."""
    table = some("closed_loop_vllm.csv", 4, lambda row: row["source"] == source and (row["attention_dp_size"] or "1") == "1")
    found = closed_loop.compare_many(table)
    in_doubt = {skip.row for skip in found.suspect}
    off = errors(found, "ttft_ms", lambda row: row not in in_doubt)
    print(f"{source} TTFT: median {np.median(off):.1f} % over {len(off)} rows")
    assert np.median(off) < median


@needs_shared
def test_throughput_of_one_h100_is_near_what_it_measured() -> None:
    """silybench-data, Qwen3-8B on one H100 (CC BY 4.0): 4 % median."""
    found = closed_loop.compare_one(some("closed_loop_h100_qwen3-8b_bf16.csv", 2))
    off, gaps = errors(found, "output_tok_s"), errors(found, "itl_ms_p50")
    print(f"tokens/s: median {np.median(off):.1f} %, worst {off.max():.1f} %; median ITL: {np.median(gaps):.1f} %")
    assert np.median(off) < 4
    assert np.median(gaps) < 4


@needs_shared
@pytest.mark.parametrize("case", ["rtx4090_llama-3.1-8b", "rtxpro6000_qwen3-32b_tp2"])
def test_a_replayed_log_has_the_times_that_the_engine_logged(case: str) -> None:
    """LLMServingSim's runs (MIT): mean TPOT and E2E within 8 %, the bus of the second a guess."""
    found = replay.compare_replay(read_measurement_table(VALIDATION / "replay" / case / "requests.csv"))
    off = {c.metric: c.error_percent for c in found.comparisons if not c.metric.endswith("_each")}
    print({name: round(value, 1) for name, value in off.items()})
    assert abs(off["tpot_ms_mean"]) < 8
    assert abs(off["e2e_ms_mean"]) < 8
    assert len(found.comparisons) > 600, "every request has its own times"


@needs_shared
def test_open_loops_have_the_latencies_that_were_measured() -> None:
    """BLIS's runs on H100: ITL, TTFT with the usual front end, and E2E."""
    found = open_loop.compare_open_loop(read_measurement_table(VALIDATION / "open_loop_vllm.csv"))
    gaps, first, whole = (errors(found, metric) for metric in ("itl_ms", "ttft_ms", "e2e_ms"))
    print(f"ITL: median {np.median(gaps):.1f} %; TTFT: {np.median(first):.1f} %; E2E: {np.median(whole):.1f} %")
    assert np.median(gaps) < 10
    assert np.median(first) < 10
    assert np.median(whole) < 8


@needs_shared
@pytest.mark.parametrize("form", ["bf16", "int8", "int4"])
def test_single_streams_are_as_fast_as_published(form: str) -> None:
    """Qwen's documentation, A100 80 GB (Apache-2.0), vLLM rows: 10 % median for each quantization."""
    table = some("single_stream_a100_qwen2.5.csv", 2, lambda row: row["engine"] == "vLLM" and row["quant_class"].startswith(form))
    off = errors(published.compare_published(table), "output_tok_s")
    print(f"{form}: median {np.median(off):.1f} % over {len(off)} rows")
    assert np.median(off) < 10


@needs_shared
def test_the_highest_rate_is_near_what_model_cards_print() -> None:
    """Red Hat AI's model cards, vLLM 0.7.2: 15 % median."""
    off = errors(published.compare_published(some("quantised_serving_vllm.csv", 7)), "request_rate")
    print(f"highest rate: median {np.median(off):.1f} % over {len(off)} rows")
    assert np.median(off) < 15


@needs_shared
def test_the_protocol_of_a_row_is_read_from_its_notes() -> None:
    rows = [dict(row) for row in read_measurement_table(VALIDATION / "many_gpus_vllm.csv").rows]
    eager = published.servers_of(next(row for row in rows if "eager=True" in row["notes"]))[0]
    assert eager.args.enforce_eager
    (split,) = published.servers_of(next(row for row in rows if row["tp"] == "8"))
    assert (split.args.tensor_parallel_size, split.replicas) == (8, 1)
