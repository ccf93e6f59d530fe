"""What InferenceX's scripts pass to SGLang and TensorRT-LLM, by model, format, GPU and date.

Source: SemiAnalysisAI/InferenceX, its scripts of single servers with their dated history from
October 2025 to April 2026 (dsr1_*, qwen3.5_* and gptoss_* of benchmarks/).
"""

from __future__ import annotations

from datetime import date
from typing import Any

from simulator.validation.readers.inferencex import Run

_FEW_USERS = 16
"""Below them SGLang's scripts have the scheduler look for new requests more often."""
_LABELS_RULE = date(2025, 11, 21)
_WIDE_GRAPHS = date(2026, 1, 25)
"""From this day TensorRT-LLM's scripts capture graphs up to the users, and let a step have 8,192 tokens at least."""


def other_script(run: Run, family: str) -> dict[str, Any]:
    """Engine arguments of a run of another engine than vLLM; nothing for a model without a script that was read.

    >>> run = Run("deepseek-r1", "fp8", "b200-sxm", date(2026, 3, 25), 1024, 1024, 4, 8, 8)
    >>> other_script(run, "sglang")["scheduler_recv_interval"]
    10
    """
    known = _SGLANG if family == "sglang" else _TRTLLM
    found = known.get(run.model)
    return found(run) if found else {}


def _sglang_deepseek(run: Run) -> dict[str, Any]:
    if run.card == "h200":
        short = run.prompt_tokens == run.output_tokens == 1024
        return _sglang(0.82, 512 if short else 256, 32768, 1, kv="auto")
    if run.form == "nvfp4":
        return {**_sglang(0.85, 256, 16384, _interval(run)), "max_prefill_tokens": 16384}
    if run.tensor == 4 and run.day >= date(2026, 3, 1):
        return _sglang(0.95, 32, 8192, 10)
    return _sglang(0.82, 128, 32768, _interval(run))


def _sglang_qwen(run: Run) -> dict[str, Any]:
    length = {"max_model_len": run.prompt_tokens + run.output_tokens + 20}
    graphs = {"max_cudagraph_capture_size": run.users}
    if run.card == "h200":
        return {**_sglang(0.8, 128, 16384, 1), **length, **graphs}
    sixteen = run.form not in ("fp8", "nvfp4")
    share = 0.85 if run.form == "nvfp4" else 0.82
    return {
        **_sglang(share, 128, 32768, _interval(run), kv="auto" if sixteen else "fp8"),
        **length,
        **graphs,
    }


def _sglang(share: float, most: int, chunk: int, interval: int, kv: str = "fp8") -> dict[str, Any]:
    return {
        "gpu_memory_utilization": share,
        "max_num_seqs": most,
        "max_num_batched_tokens": chunk,
        "max_prefill_tokens": chunk,
        "scheduler_recv_interval": interval,
        "stream_interval": 10,
        "kv_cache_dtype": kv,
    }


def _interval(run: Run) -> int:
    return 10 if run.users < _FEW_USERS else 30


def _trtllm_deepseek(run: Run) -> dict[str, Any]:
    later = run.day >= _WIDE_GRAPHS
    tokens = -(-(run.users + run.prompt_tokens + 64) // 64) * 64
    length = _length(run)
    share, graphs = 0.8, run.users
    if run.card == "h200":
        share, graphs = 0.75, 128
    elif not later:
        graphs = 512 if run.form == "nvfp4" else 256
    elif run.form == "nvfp4":
        graphs = max(1, run.users // 4) if run.ranks > 1 and run.users >= 4 else run.users
    elif run.output_tokens == 8192 and run.users >= 256:
        share, graphs = 0.7, run.users // 8
    elif run.tensor == 4 and run.prompt_tokens == 8192:
        share = 0.75
    return {
        **_by_users(run),
        "gpu_memory_utilization": share,
        "kv_cache_dtype": "fp8",
        "max_num_batched_tokens": max(tokens, 8192) if later else tokens,
        "max_model_len": max(length, 8192) if later else length,
        "max_cudagraph_capture_size": graphs,
        "stream_interval": 10,
    }


def _by_users(run: Run) -> dict[str, Any]:
    """Parallelism that TensorRT-LLM's first scripts chose by the number of users, whatever the label; nothing for later ones."""
    if run.day >= _LABELS_RULE:
        return {}
    long, gpt = run.prompt_tokens == 8192, run.model == "gpt-oss-120b"
    apart = run.users > 32 if long and not gpt else run.users > (64 if run.card == "h200" else 255)
    few = 32 if long or run.tensor == 4 else 8 if run.output_tokens == 1024 else 16
    whole = apart or (run.card != "h200" and not gpt and run.users > few)
    if not whole:
        return {}
    ways = {"tensor_parallel_size": 1, "data_parallel_size": run.tensor} if apart else {}
    return {**ways, "enable_expert_parallel": True}


def _trtllm_gpt_oss(run: Run) -> dict[str, Any]:
    return {
        **_by_users(run),
        "gpu_memory_utilization": 0.85,
        "kv_cache_dtype": "fp8",
        "max_num_seqs": 512,
        "max_num_batched_tokens": 20000,
        "max_model_len": _length(run),
        "max_cudagraph_capture_size": run.users,
        "stream_interval": 20,
    }


def _length(run: Run) -> int:
    spare = 20 if run.prompt_tokens == run.output_tokens == 1024 else 200
    return run.prompt_tokens + run.output_tokens + spare


_DRAFTED = "a run with drafted tokens (the harness's MTP script), which its columns do not tell"
_TRT_DRAFTED = {date(2026, 1, 14), date(2026, 2, 5), date(2026, 2, 6)}
_COMPILED = "a run whose first prompts waited for kernels to be compiled: 5 to 12 s in the mean for 4 users as for 128"
_COMPILING = date(2025, 11, 10)
_BOTH_AT_ONCE, _TRT_MOST_USERS = date(2026, 3, 25), 64


def doubtful(run: Run, family: str, *, faster_twin: bool) -> str | None:
    """Why a run is not what its columns say, by the harness's configuration of its day; None where it is.

    `faster_twin`: another run has the same labels on the same day, and took longer for a token.
    """
    if run.model == "deepseek-r1" and family == "tensorrt-llm":
        late = run.day == date(2026, 1, 28) and run.users > _TRT_MOST_USERS
        return _DRAFTED if run.day in _TRT_DRAFTED or late else None
    if run.model == "deepseek-r1" and (run.form, run.day) == ("nvfp4", _COMPILING) and family == "sglang":
        return _COMPILED
    if run.model == "deepseek-r1" and (run.card, run.form, run.day) == ("b200", "fp8", _BOTH_AT_ONCE):
        most = 4 if run.prompt_tokens == 8192 else 64
        return _DRAFTED if run.tensor == 8 and (faster_twin or run.users > most) else None
    if run.model.startswith("qwen3.5") and (run.card, run.form) == ("b200", "fp8"):
        return _DRAFTED if run.tensor == 4 and run.experts == 1 else None
    return None


_SGLANG = {"deepseek-r1": _sglang_deepseek, "qwen3.5-397b-a17b": _sglang_qwen}
_TRTLLM = {"deepseek-r1": _trtllm_deepseek, "gpt-oss-120b": _trtllm_gpt_oss}
OTHERS_MODELS = frozenset({*_SGLANG, *_TRTLLM})
"""Models of which a script of another engine was read."""
