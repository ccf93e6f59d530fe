"""Every trace format that is known by its columns gives the same requests for the same traffic."""

import json

import numpy as np
import polars as pl
import pytest
from support.shared import SHARED, needs_shared
from support.workloads import write_json_lines, write_lines

from simulator.workload.traces.cleaning import record
from simulator.workload.traces.trace_file import TraceFile

N = 40
SECONDS = [0.25 * i for i in range(N)]
PROMPT = [520 + 7 * i for i in range(N)]
OUTPUT = [5 + i for i in range(N)]
ROWS = list(zip(SECONDS, PROMPT, OUTPUT, strict=True))


def azure(folder):
    rows = [f"2024-05-10 00:00:{s:09.6f}+00:00,{p},{o}" for s, p, o in ROWS]
    return write_lines(folder / "azure.csv", ["TIMESTAMP,ContextTokens,GeneratedTokens", *rows])


def azure_multimodal(folder):
    rows = [f"2025-01-01 00:00:{s:010.7f},0,{p},{o}" for s, p, o in ROWS]
    return write_lines(folder / "azure.csv", ["TIMESTAMP,NumImages,ContextTokens,GeneratedTokens", *rows])


def mooncake(folder):
    rows = [
        {"timestamp": int(1000 * s), "input_length": p, "output_length": o, "hash_ids": [0, i + 1]}
        for i, (s, p, o) in enumerate(ROWS)
    ]
    return write_json_lines(folder / "mooncake.jsonl", rows)


def bailian(folder):
    rows = [
        {
            "chat_id": i,
            "parent_chat_id": -1,
            "timestamp": s,
            "input_length": p,
            "output_length": o,
            "type": "text",
            "turn": 1,
            "hash_ids": [9],
        }
        for i, (s, p, o) in enumerate(ROWS)
    ]
    return write_json_lines(folder / "bailian.jsonl", rows)


def burstgpt(folder):
    header = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type"
    rows = [f"{s},,1.5,GPT-4,{p},{o},{p + o},API log" for s, p, o in ROWS]
    return write_lines(folder / "burst.csv", [header, *rows[:9], "2.1,,0,ChatGPT,700,0,700,API log", *rows[9:]])


def burstgpt_older(folder):
    rows = [f"{s},ChatGPT,{p},{o},{p + o},Conversation log" for s, p, o in ROWS]
    return write_lines(folder / "burst.csv", ["Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type", *rows])


def llmservingsim(folder):
    return write_json_lines(
        folder / "sim.jsonl", [{"input_toks": p, "output_toks": o, "arrival_time_ns": int(1e9 * s)} for s, p, o in ROWS]
    )


def request_log(folder):
    rows = [f"bench-{i},{s},{p},{o},{s + 0.1},{s + 3}" for i, (s, p, o) in enumerate(ROWS)]
    return write_lines(folder / "requests.csv", ["request_id,arrival_s,input_len,output_len,scheduled_s,last_token_s", *rows])


def vidur(folder):
    return write_lines(
        folder / "vidur.csv", ["arrived_at,num_prefill_tokens,num_decode_tokens", *(f"{s},{p},{o}" for s, p, o in ROWS)]
    )


def vllm_save_detailed(folder):
    path = folder / "vllm.json"
    columns = {"start_times": [1.76e9 + s for s in SECONDS], "input_lens": PROMPT, "output_lens": OUTPUT, "ttfts": [0.1] * N}
    path.write_text(json.dumps({"backend": "vllm", "num_prompts": N, "errors": [], **columns}))
    return path


def aiperf_export(folder):
    rows = [
        {
            "metadata": {"request_start_ns": int(1.76e18) + int(1e9 * s), "worker_id": "w"},
            "metrics": {
                "input_sequence_length": {"value": p, "unit": "tokens"},
                "output_sequence_length": {"value": o, "unit": "tokens"},
            },
        }
        for s, p, o in ROWS
    ]
    return write_json_lines(folder / "profile_export.jsonl", rows)


def parquet(folder):
    path = folder / "log.parquet"
    pl.DataFrame({"timestamp": SECONDS, "prompt_tokens": PROMPT, "completion_tokens": OUTPUT}).write_parquet(path)
    return path


def json_list(folder):
    path = folder / "requests.json"
    path.write_text(json.dumps([{"arrival_time": s, "isl": p, "osl": o} for s, p, o in ROWS]))
    return path


def sharegpt(folder):
    path = folder / "sharegpt.json"
    turn = lambda who, n: {"from": who, "value": "...", "tokens": n}  # noqa: E731
    path.write_text(
        json.dumps(
            [
                {"id": str(i), "conversations": [turn("human", p), turn("gpt", o), turn("human", 9)]}
                for i, (_, p, o) in enumerate(ROWS)
            ]
        )
    )
    return path


WRITERS = {
    "azure": (azure, azure_multimodal),
    "mooncake": (mooncake,),
    "bailian": (bailian,),
    "burstgpt": (burstgpt, burstgpt_older),
    "llmservingsim": (llmservingsim,),
    "columns": (request_log, vidur, vllm_save_detailed, aiperf_export, parquet, json_list, sharegpt),
}
CASES = [(name, writer) for name, writers in WRITERS.items() for writer in writers]


@pytest.mark.parametrize(("name", "writer"), CASES, ids=lambda case: getattr(case, "__name__", ""))
def test_a_format_is_known_by_its_columns_and_gives_the_requests(name, writer, tmp_path):
    found = record(TraceFile(path=str(writer(tmp_path))))
    assert found.format == name
    assert found.requests.prompt_tokens.tolist() == PROMPT
    assert found.requests.output_tokens.tolist() == OUTPUT
    assert found.broken == 0
    if writer is sharegpt:
        assert not found.has_times
    else:
        assert found.requests.arrival_s == pytest.approx(SECONDS, abs=1e-6)


def test_failures_of_burstgpt_are_dropped_and_counted(tmp_path):
    found = record(TraceFile(path=str(burstgpt(tmp_path))))
    assert (found.failures, found.lines, len(found.requests)) == (1, N + 1, N)


@pytest.mark.parametrize(("writer", "size"), [(mooncake, 512), (bailian, 16)])
def test_hash_ids_keep_the_block_size_of_their_format(writer, size, tmp_path):
    assert record(TraceFile(path=str(writer(tmp_path)))).requests.hashes.block_tokens == size


@pytest.mark.parametrize(("name", "writer"), [case for case in CASES if case[1].__name__ in ("azure", "request_log", "vidur")])
def test_a_packed_file_is_the_same_trace(name, writer, tmp_path):
    import gzip

    plain = writer(tmp_path)
    packed = plain.with_suffix(".csv.gz")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert np.array_equal(
        record(TraceFile(path=str(packed))).requests.arrival_s, record(TraceFile(path=str(plain))).requests.arrival_s
    )


@needs_shared
@pytest.mark.parametrize(
    ("file", "name", "requests", "rate", "prompt", "output"),
    [
        ("traces/azure_llm_2023_conv.csv", "azure", 19366, 5.530, 1154.70, 211.13),
        ("traces/azure_llm_2023_code.csv", "azure", 8819, 2.566, 2047.85, 27.88),
        ("traces/mooncake_conversation.jsonl", "mooncake", 12031, 3.401, 12035.06, 342.62),
        ("validation/replay/rtx4090_llama-3.1-8b/requests.csv", "columns", 300, 10.275, 857.46, 652.51),
        ("validation/replay/rtx4090_llama-3.1-8b/trace.jsonl", "mooncake", 300, 10.275, 857.46, 652.51),
    ],
)
def test_published_traces_are_read_whole(file, name, requests, rate, prompt, output):
    found = record(TraceFile(path=str(SHARED / file)))
    assert (found.format, len(found.requests), found.broken) == (name, requests, 0)
    assert found.rate() == pytest.approx(rate, abs=5e-4)
    assert found.requests.prompt_tokens.mean() == pytest.approx(prompt, abs=5e-3)
    assert found.requests.output_tokens.mean() == pytest.approx(output, abs=5e-3)
