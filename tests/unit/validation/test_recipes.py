"""What the recipes of measured pools pass to their engines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simulator.engine.fleet.router import Random, RoundRobin
from simulator.validation.readers.disaggregated import pool_of, router_of
from simulator.validation.readers.recipes import PooledRun, pool_arguments

RUN = PooledRun(
    family="tensorrt-llm",
    release="0.8.1.post2",
    form="fp8",
    gpu="gb200",
    prompt_tokens=1024,
    output_tokens=1024,
    users=27,
    prefill_workers=1,
    prefill_ranks=8,
    decode_workers=3,
    decode_ranks=1,
)
FP4 = replace(RUN, form="fp4", prefill_ranks=4, decode_workers=4)
ROW = {
    "source": "InferenceX / AIConfigurator silicon sample",
    "engine": "tensorrt-llm",
    "engine_version": "0.8.1.post2",
    "model": "deepseek-ai/DeepSeek-V3",
    "gpu": "gb200",
    "precision": "fp8",
    "gemm_dtype": "fp8",
    "moe_dtype": "fp8",
    "input_len": "1024",
    "output_len": "1024",
    "concurrency": "27",
    "prefill_num_workers": "1",
    "prefill_tp_size": "1",
    "prefill_attention_dp_size": "8",
    "prefill_moe_ep_size": "8",
    "decode_num_workers": "3",
    "decode_tp_size": "8",
    "decode_attention_dp_size": "1",
    "decode_moe_ep_size": "8",
}


@pytest.mark.parametrize(
    ("users", "workers", "ranks", "seats"),
    [(3, 3, 1, 1), (18, 3, 1, 4), (27, 3, 1, 8), (63, 3, 1, 16), (2253, 1, 32, 64), (6144, 1, 8, 768), (1606, 1, 8, 192)],
)
def test_a_decode_rank_has_as_many_seats_as_its_users_fill(users: int, workers: int, ranks: int, seats: int) -> None:
    run = replace(RUN, users=users, decode_workers=workers, decode_ranks=ranks)
    assert pool_arguments(run)["decode"]["max_num_seqs"] == seats


@pytest.mark.parametrize(("users", "prompt", "seats"), [(12, 1024, 32), (192, 1024, 32), (5, 1024, 1), (76, 8192, 16)])
def test_one_recipe_serves_a_list_of_users(users: int, prompt: int, seats: int) -> None:
    assert pool_arguments(replace(FP4, users=users, prompt_tokens=prompt))["decode"]["max_num_seqs"] == seats


def test_recipes_of_long_prompts_on_b200_let_all_users_in() -> None:
    run = replace(RUN, gpu="b200-sxm", prompt_tokens=8192, users=128, decode_workers=1, decode_ranks=8)
    assert "max_num_seqs" not in pool_arguments(run)["decode"]
    assert pool_arguments(run)["prefill"]["max_num_seqs"] == 1


def test_sglang_has_a_chunk_and_no_seats() -> None:
    pools = pool_arguments(replace(FP4, family="sglang", release="0.5.8"))
    assert pools["prefill"]["max_num_batched_tokens"] == 16_384
    assert "max_num_seqs" not in pools["decode"]


def test_a_measured_pool_runs_as_its_recipe_and_another_as_its_row_says() -> None:
    decode = pool_of(ROW, "decode").server
    assert (decode.args.max_num_seqs, decode.apart) == (8, True)
    assert isinstance(router_of(ROW), Random)
    other = ROW | {"source": "a lab"}
    assert pool_of(other, "decode").server.args.max_num_seqs is None
    assert isinstance(router_of(other), RoundRobin)
