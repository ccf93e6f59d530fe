"""What the recipes of measured prefill and decode pools pass to their engines: limits by engine, format, GPU and lengths.

The runs of InferenceX on several nodes are started by srt-slurm: Dynamo's front ends, several of them behind nginx, each of which
gives requests to workers in turn, so that nobody knows who is busy. A row states workers and parallelism, not these limits.

Source: NVIDIA/srt-slurm of 2026-08-21, recipes/trtllm/*/stp/*.yaml, recipes/{gb200-fp4,gb200-fp8,h200}/*.yaml and
src/srtctl/benchmarks/scripts/sa-bench/bench.sh; SemiAnalysisAI/InferenceX of 2026-08-21,
benchmarks/multi_node/srt-slurm-recipes/vllm/kimi-k2.5-fp4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Sequences of a TensorRT-LLM decode rank: recipes take the largest of these that the users fill.
_SEATS = (1, 4, 8, 16, 32, 48, 64, 128, 192, 256, 512, 768)
# Of decode workers without data parallel ranks one recipe serves a list of users: seats by (release before 1.0, prompt).
_SEATS_OF_A_LIST = {("0.8", 1024): 32, ("0.8", 8192): 16, ("0.5", 1024): 128, ("0.5", 8192): 32}
# Prompts and tokens of a step of TensorRT-LLM's prefill ranks, by (format, GPU, longest prompt).
_PROMPTS = {
    ("fp4", "b200", 1024): (8, 10_240),
    ("fp4", "b200", 8192): (2, 16_896),
    ("fp8", "b200", 8192): (1, 8320),
    ("fp4", "gb200", 8192): (2, 16_640),
}
_PROMPTS_ELSE = {1024: (16, 16_384), 8192: (2, 16_384)}
# Tokens of a step of SGLang's prefill ranks: of one rank and of each of several, by longest prompt.
_CHUNK_ALONE = {("fp4", 8192): 24_576, ("fp8", 8192): 16_384}
_CHUNK_OF_RANKS = 16_384
_CHUNK_OF_MANY = 131_072
# What it takes of a GPU where neither pool has data parallel ranks.
_MEMORY_ALONE = 0.95
_VLLM_TOKENS = 16_384
# Tokens that a sequence may be longer than stated.
_SPARE = 40


@dataclass(frozen=True, slots=True)
class PooledRun:
    """What a row states. `form` is `fp8` or `fp4`, `gpu` a catalog name; `ranks` are of a worker.

    `family` and `release` are the engine's as the row writes them.
    """

    family: str
    release: str
    form: str
    gpu: str
    prompt_tokens: int
    output_tokens: int
    users: int
    prefill_workers: int
    prefill_ranks: int
    decode_workers: int
    decode_ranks: int

    @property
    def card(self) -> str:
        """The GPU without its form factor: `b200`, `gb200`."""
        return self.gpu.split("-")[0]

    @property
    def users_a_rank(self) -> float:
        """Users for each rank of the decode pool."""
        return self.users / (self.decode_workers * self.decode_ranks)


def pool_arguments(run: PooledRun) -> dict[str, dict[str, Any]]:
    """Engine arguments of the `prefill` and of the `decode` pool, beside their parallelism.

    >>> run = PooledRun("tensorrt-llm", "0.8.1", "fp8", "gb200", 1024, 1024, 27, 1, 8, 3, 1)
    >>> pool_arguments(run)["decode"]["max_num_seqs"]
    8
    """
    both: dict[str, Any] = {"enable_prefix_caching": False, "kv_cache_dtype": "fp8"}
    if run.family == "tensorrt-llm":
        prefill, decode = _tensorrt_llm(run)
    elif run.family == "sglang":
        prefill, decode = _sglang(run)
    else:
        prefill, decode = {"max_num_batched_tokens": _VLLM_TOKENS}, {}
    return {"prefill": both | prefill, "decode": both | decode}


def _tensorrt_llm(run: PooledRun) -> tuple[dict[str, Any], dict[str, Any]]:
    known = _PROMPTS.get((run.form, run.card, run.prompt_tokens)) or _PROMPTS_ELSE.get(run.prompt_tokens)
    prefill: dict[str, Any] = {
        "async_scheduling": False,
        "enable_chunked_prefill": False,
        "max_model_len": run.prompt_tokens + _SPARE,
    }
    if known:
        prefill |= {"max_num_seqs": known[0], "max_num_batched_tokens": known[1]}
    else:
        prefill |= {"max_num_batched_tokens": max(_VLLM_TOKENS, run.prompt_tokens + _SPARE)}
    seats = _decode_seats(run)
    return prefill, {} if seats is None else {"max_num_seqs": seats, "max_num_batched_tokens": max(seats, 64)}


def _decode_seats(run: PooledRun) -> int | None:
    """Sequences of a decode rank; None where the recipe lets all users in."""
    if run.users_a_rank < 1 or (run.form == "fp8" and run.card == "b200" and run.prompt_tokens == 8192 and run.decode_ranks > 1):
        return None
    filled = max(seats for seats in _SEATS if seats <= run.users_a_rank)
    listed = _SEATS_OF_A_LIST.get((run.release[:3], run.prompt_tokens), 0)
    of_a_list = run.form == "fp4" and run.decode_ranks == 1 and run.output_tokens == 1024
    served = run.release < "0.8" or run.users_a_rank >= 2
    return listed if of_a_list and served and run.users_a_rank <= 1.6 * listed else filled


def _sglang(run: PooledRun) -> tuple[dict[str, Any], dict[str, Any]]:
    alone = run.prefill_ranks == run.decode_ranks == 1 and (run.prompt_tokens == 1024 or run.form == "fp4")
    memory = {"gpu_memory_utilization": _MEMORY_ALONE} if alone else {}
    if run.prefill_ranks > 1:
        return {"max_num_batched_tokens": _CHUNK_OF_RANKS}, {}
    if run.prefill_workers > 1:
        return {"max_num_batched_tokens": _CHUNK_OF_MANY}, {}
    if run.card == "h200":
        return {}, {}
    chunk = _CHUNK_ALONE.get((run.form, run.prompt_tokens), 8192)
    return {"max_num_batched_tokens": chunk, **memory}, memory
