"""What InferenceX's scripts pass to vLLM: settings by model, format, GPU and date.

A row's labels of parallelism come from a table of intentions; the script decides what ran.
Source: SemiAnalysisAI/InferenceX, benchmarks/single_node/*.sh and benchmarks/*_slurm.sh with
their dated history up to August 2026.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Any

# Scripts of Blackwell cards took over one common set of arguments on these days; before, or for
# what is not named, they passed less.
_BLACKWELL_SET = {
    ("minimax-m2", "b200"): date(2026, 4, 3),
    ("minimax-m2", "b300"): date(2026, 4, 3),
    ("kimi-k2.5", "b200"): date(2026, 4, 20),
    ("kimi-k2.5", "b300"): date(2026, 8, 1),
    ("minimax-m3", "b200"): date.min,
    ("minimax-m3", "b300"): date.min,
}
_NO_PREFIX_CACHING = date(2026, 3, 27)
# VLLM_FLOAT32_MATMUL_PRECISION=high in the scripts of MiniMax-M2.5.
_TF32 = date(2026, 4, 21)
_EXPERTS_ON_H200 = date(2026, 3, 13)
_KIMI_EXPERTS = date(2026, 8, 1)
# Only these scripts know DP_ATTENTION: one rank of tensor parallel 1 for each GPU.
_DATA_PARALLEL = {
    ("minimax-m2", "nvfp4"),
    ("kimi-k2.5", "nvfp4"),
    ("minimax-m3", "fp8"),
    ("minimax-m3", "nvfp4"),
}


# vLLM's image in the harness's workflows, from each day on; later rows state their own.
_IMAGES = (
    (date(2025, 9, 21), "0.10.2"),
    (date(2025, 11, 4), "0.11.0"),
    (date(2025, 12, 5), "0.11.2"),
    (date(2026, 1, 2), "0.13.0"),
    (date(2026, 2, 25), "0.15.1"),
)
_IMAGES_END = date(2026, 3, 27)
# Scripts of gpt-oss changed on these days.
_FP8_CACHE, _ASYNC_BY_DEFAULT = date(2025, 12, 5), date(2026, 2, 25)
_PIECEWISE = (date(2025, 11, 4), date(2025, 12, 5))


def image(day: date) -> str | None:
    """The release of vLLM that the harness ran on NVIDIA cards on a day; None where its rows say so themselves.

    Source: .github/workflows and .github/configs/nvidia-master.yaml with their dated history.

    >>> image(date(2025, 10, 29))
    '0.10.2'
    """
    if not _IMAGES[0][0] <= day < _IMAGES_END:
        return None
    return max(found for found in _IMAGES if found[0] <= day)[1]


@dataclass(frozen=True, slots=True)
class Run:
    """What a row states. `form` is `fp8`, `nvfp4`, `int4` or `mxfp4`; `gpu` a catalog name.

    `experts` and `ranks` are the row's labels of expert and attention-data parallelism.
    """

    model: str
    form: str
    gpu: str
    day: date
    prompt_tokens: int
    output_tokens: int
    users: int
    tensor: int
    experts: int = 1
    ranks: int = 1

    @property
    def card(self) -> str:
        """The GPU without its form factor: `h100`, `b200`."""
        return self.gpu.split("-")[0]

    @property
    def has_blackwell_set(self) -> bool:
        """Whether the script passes the arguments that Blackwell's scripts share."""
        if self.model == "kimi-k2.5" and self.form != "nvfp4":
            return False
        since = _BLACKWELL_SET.get((self.model, self.card))
        return since is not None and self.day >= since


@dataclass(frozen=True, slots=True)
class Script:
    """Engine arguments that a script passed."""

    args: dict[str, Any] = field(default_factory=dict)


def script(run: Run) -> Script:
    """What the script of a run passed on its day.

    >>> script(Run("minimax-m2", "fp8", "h100-sxm", date(2026, 3, 28), 1024, 1024, 8, 4, 16, 4)).args
    ... # doctest: +NORMALIZE_WHITESPACE
    {'max_model_len': 2068, 'gpu_memory_utilization': 0.9, 'enable_prefix_caching': False,
     'tensor_parallel_size': 4, 'data_parallel_size': 1, 'enable_expert_parallel': True,
     'max_num_seqs': 256, 'cudagraph_mode': 'piecewise'}
    """
    spare = 20 if run.prompt_tokens == run.output_tokens == 1024 else 200
    args: dict[str, Any] = {
        "max_model_len": run.prompt_tokens + run.output_tokens + spare,
        "gpu_memory_utilization": 0.9,
        "enable_prefix_caching": False,
        **_parallelism(run),
    }
    args |= _OF_A_MODEL[run.model](run) if run.model in _OF_A_MODEL else {}
    if not run.has_blackwell_set:
        return Script(args)
    args |= {"kv_cache_dtype": "fp8", "max_num_batched_tokens": 2 * run.prompt_tokens}
    return Script(args | {"stream_interval": 20, "max_cudagraph_capture_size": 2048})


def _parallelism(run: Run) -> dict[str, Any]:
    if run.ranks > 1 and (run.model, run.form) in _DATA_PARALLEL:
        return {
            "tensor_parallel_size": 1,
            "data_parallel_size": run.tensor,
            "enable_expert_parallel": True,
        }
    return {
        "tensor_parallel_size": run.tensor,
        "data_parallel_size": 1,
        "enable_expert_parallel": run.experts > 1,
    }


def _minimax_m2(run: Run) -> dict[str, Any]:
    caching: dict[str, Any] = {"enable_prefix_caching": run.day < _NO_PREFIX_CACHING}
    if run.day >= _TF32:
        caching["float32_matmul_precision"] = "high"
    if run.card == "h100":
        return {**caching, "max_num_seqs": 256, "cudagraph_mode": "piecewise"}
    if run.form != "fp8" or run.has_blackwell_set:
        return caching
    experts = run.card != "h200" or run.day >= _EXPERTS_ON_H200
    return {**caching, "gpu_memory_utilization": 0.95, "enable_expert_parallel": experts}


def _kimi_k2_5(run: Run) -> dict[str, Any]:
    args: dict[str, Any] = {
        "max_num_seqs": run.users,
        "enable_prefix_caching": run.day < _NO_PREFIX_CACHING,
    }
    if run.form != "nvfp4":
        args["gpu_memory_utilization"] = 0.95
    if run.day < _KIMI_EXPERTS:
        args["enable_expert_parallel"] = False
    return args


def _gpt_oss(run: Run) -> dict[str, Any]:
    args: dict[str, Any] = {"max_num_batched_tokens": 8192, "max_cudagraph_capture_size": 2048}
    if run.card == "b200":
        args["max_num_seqs"] = 512
    elif run.day < _NO_PREFIX_CACHING:
        args["max_num_seqs"] = run.users
    if run.card == "h100" and run.day < _NO_PREFIX_CACHING:
        args["max_model_len"] = 10_240
    if run.day < _ASYNC_BY_DEFAULT:
        args["async_scheduling"] = True
    if run.card == "b200" and run.day >= _FP8_CACHE:
        args["kv_cache_dtype"] = "fp8"
    if run.card != "b200" and _PIECEWISE[0] <= run.day < _PIECEWISE[1]:
        args["cudagraph_mode"] = "piecewise"
    return args


def _llama_70b(run: Run) -> dict[str, Any]:
    args: dict[str, Any] = {
        "max_num_batched_tokens": 8192,
        "max_num_seqs": run.users,
        "async_scheduling": True,
        "kv_cache_dtype": "fp8",
    }
    if run.card == "h100":
        return {**args, "max_model_len": 10_240}
    if run.card == "b200":
        graphs = {"cudagraph_mode": "full_decode_only", "custom_ops": ("+quant_fp8", "+rms_norm")}
        return {**args, **graphs, "max_num_seqs": 512}
    return args


_OF_A_MODEL = {
    "minimax-m2": _minimax_m2,
    "kimi-k2.5": _kimi_k2_5,
    "gpt-oss-120b": _gpt_oss,
    "llama-3.1-70b": _llama_70b,
    "llama-3.3-70b": _llama_70b,
}
HARNESS_MODELS = frozenset(_OF_A_MODEL)
HARNESS_LENGTHS = {(1024, 1024), (1024, 8192), (8192, 1024)}
HARNESS_RATIO = 0.8
"""Models and lengths of the harness's runs, and how far down lengths go: --random-range-ratio."""
