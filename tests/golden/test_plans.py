"""Did any formula move? Memory and step times of every kind of model, engine and split against what they once were.

Worked figures and measurements stand beside the formulas, in the unit and validation tests; they say what is right. This says
that something changed, in the kinds that those do not reach.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from golden.test_golden import differences

from simulator.catalog.engines import EngineArgs, engine
from simulator.catalog.gguf import mixture
from simulator.catalog.gpus import gpu
from simulator.catalog.models import model
from simulator.catalog.quantizations import quantization
from simulator.latency.sampling import Sampling
from simulator.latency.step import StepWork
from simulator.memory.llama_cpp.plan import LlamaCppArgs, plan_llama_cpp
from simulator.memory.plan import plan_memory
from simulator.memory.training.bytes import Training
from simulator.memory.training.plan import plan_training
from simulator.server import DoesNotStart, plan_server

GOLDEN = Path(__file__).parent / "plans.json"
WORKS = (
    StepWork(contexts=(500,)),
    StepWork(contexts=(1000,) * 24),
    StepWork(chunks=((0, 900, True), (512, 300, False))),
    StepWork(contexts=(200, 3000, 40), chunks=((128, 500, True),)),
)
TP8 = {"tensor_parallel_size": 8}
SERVED: tuple[tuple[str, str, str | None, str, dict[str, Any]], ...] = (
    ("llama-2-7b", "rtx-4090", "gptq", "vllm-0.19.0", {}),
    ("llama-3.1-8b", "h100-sxm", None, "vllm-0.19.0", {"sampling": Sampling(temperature=0.7, top_k=20, top_p=0.9)}),
    ("llama-3.1-8b", "h100-sxm", "fp8", "vllm-0.33.0", {"tensor_parallel_size": 2, "kv_cache_dtype": "fp8"}),
    ("llama-3.1-8b", "t4", "w8a8", "vllm-0.6.6", {"enforce_eager": True, "max_model_len": 2048}),
    ("llama-3.1-8b", "l40s", "nvfp4", "vllm-0.33.0", {"pipeline_parallel_size": 2}),
    ("llama-3.1-8b", "h100-sxm", None, "sglang", {}),
    ("llama-3.1-8b", "h100-sxm", "fp8", "tensorrt-llm", {"tensor_parallel_size": 2}),
    ("llama-3.1-8b", "h100-sxm", None, "vllm-0.33.0", {"spec_method": "ngram", "spec_tokens": 3, "spec_acceptance_length": 2.0}),
    ("llama-3.1-8b", "h100-sxm", None, "vllm-0.33.0",
     {"spec_method": "ngram_gpu", "spec_tokens": 3, "spec_acceptance_length": 2.0}),
    ("llama-3.1-8b", "h100-sxm", None, "vllm-0.33.0", {"spec_method": "eagle3", "spec_tokens": 3, "spec_acceptance_length": 2.0}),
    ("llama-3.1-8b", "h100-sxm", None, "vllm-0.33.0", {"spec_method": "medusa", "spec_tokens": 3, "spec_acceptance_length": 2.0}),
    ("llama-3.1-70b", "h100-sxm", None, "vllm-0.33.0",
     {"tensor_parallel_size": 4, "spec_method": "draft_model", "spec_model": "llama-3.2-1b", "spec_tokens": 3,
      "spec_acceptance_length": 2.0}),
    ("llama-4-scout", "h100-sxm", None, "vllm-0.33.0", {**TP8, "max_model_len": 32768}),
    ("llama-4-maverick", "h200-sxm", "fp8", "vllm-0.33.0", {**TP8, "max_model_len": 32768, "enable_expert_parallel": True}),
    ("qwen2.5-vl-7b", "l40s", None, "vllm-0.19.0", {"max_model_len": 8192}),
    ("gemma-3-27b", "h100-sxm", None, "vllm-0.19.0", {"max_model_len": 16384}),
    ("mistral-small-4-119b", "h200-sxm", None, "vllm-0.33.0", {"tensor_parallel_size": 4}),
    ("mixtral-8x7b", "a100-sxm-80gb", None, "vllm-0.11.0", {"tensor_parallel_size": 2}),
    ("qwen3-30b-a3b", "h100-sxm", "fp8-block", "vllm-0.19.0",
     {"tensor_parallel_size": 2, "data_parallel_size": 2, "enable_expert_parallel": True}),
    ("qwen3-next-80b-a3b", "h200-sxm", None, "vllm-0.33.0", {"tensor_parallel_size": 4, "max_model_len": 32768}),
    ("qwen3.5-9b", "l40s", None, "vllm-0.33.0", {"max_model_len": 32768}),
    ("qwen3.5-4b", "h100-sxm", None, "vllm-0.33.0", {"spec_method": "mtp", "spec_tokens": 1, "spec_acceptance_length": 1.5}),
    ("deepseek-v2-lite", "l40s", None, "vllm-0.11.0", {"max_model_len": 16384}),
    ("deepseek-v2-lite", "l40s", None, "vllm-0.19.0",
     {"max_model_len": 16384, "max_num_batched_tokens": 1200, "max_num_seqs": 24}),
    ("deepseek-v3", "h200-sxm", None, "vllm-0.19.0", {**TP8, "max_model_len": 16384}),
    ("deepseek-v3", "h200-sxm", None, "vllm-0.19.0", {**TP8, "max_model_len": 16384, "decode_context_parallel_size": 8}),
    ("deepseek-v3.2", "h200-sxm", None, "vllm-0.33.0", {**TP8, "max_model_len": 16384}),
    ("deepseek-v4-flash", "b200-sxm", None, "vllm-0.33.0", {"tensor_parallel_size": 4, "max_model_len": 32768}),
    ("gpt-oss-20b", "h100-sxm", None, "vllm-0.19.0", {}),
    ("gpt-oss-120b", "b200-sxm", None, "vllm-0.33.0", {"tensor_parallel_size": 2}),
    ("granite-4.0-h-tiny", "l40s", None, "vllm-0.19.0", {"max_model_len": 16384}),
    ("kimi-k2", "b200-sxm", None, "vllm-0.19.0", {**TP8, "max_model_len": 16384}),
    ("minimax-m2", "h200-sxm", None, "vllm-0.19.0", {"tensor_parallel_size": 4, "max_model_len": 32768}),
    ("glm-4.5-air", "h200-sxm", None, "vllm-0.19.0", {"tensor_parallel_size": 4, "max_model_len": 32768}),
    ("kimi-linear-48b-a3b", "h200-sxm", None, "vllm-0.33.0", {"tensor_parallel_size": 2, "max_model_len": 32768}),
    ("nemotron-nano-9b-v2", "l40s", None, "vllm-0.19.0", {"max_model_len": 16384}),
    ("nemotron-3-nano-30b-a3b", "h100-sxm", None, "vllm-0.33.0", {"max_model_len": 32768, "max_num_seqs": 64}),
    ("jamba-52b", "h200-sxm", None, "vllm-0.19.0", {"tensor_parallel_size": 2, "max_model_len": 16384}),
    ("mimo-v2-flash", "h200-sxm", None, "vllm-0.33.0", {**TP8, "max_model_len": 32768}),
    ("llama-3.1-70b", "l4", None, "vllm-0.19.0", {}),
)  # fmt: skip
TRAINED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("llama-3.1-8b", "h100-sxm", {"tokens": 10**9}),
    ("llama-3.1-8b", "a100-sxm-80gb", {"optimizer": "adamw-8bit", "activation_checkpointing": "full", "micro_batch_size": 2}),
    ("llama-3.1-8b", "h100-sxm", {"zero_stage": 1, "data_parallel_size": 8, "gradient_accumulation_steps": 4}),
    ("llama-3.1-8b", "h100-sxm", {"zero_stage": 2, "data_parallel_size": 8, "precision": "bf16"}),
    ("llama-3.1-8b", "h100-sxm", {"zero_stage": 3, "data_parallel_size": 8, "offload_optimizer": True}),
    ("llama-3.1-70b", "h100-sxm", {"tensor_parallel_size": 8, "pipeline_parallel_size": 2, "sequence_parallel": True}),
    ("llama-3.1-8b", "l40s", {"method": "lora", "activation_checkpointing": "full"}),
    ("llama-2-7b", "rtx-4090", {"method": "qlora", "activation_checkpointing": "full"}),
    ("mixtral-8x7b", "h200-sxm", {"zero_stage": 3, "data_parallel_size": 16, "activation_checkpointing": "full"}),
    ("mixtral-8x7b", "h200-sxm", {"optimizer": "muon", "activation_checkpointing": "full"}),
    ("qwen3-30b-a3b", "h200-sxm", {"optimizer": "adafactor", "activation_checkpointing": "selective"}),
    ("deepseek-v2-lite", "h200-sxm", {"framework": "torchtune", "optimizer_in_backward": True}),
)  # fmt: skip
LOCAL: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("llama-3.1-8b", "Q4_K_M", "rtx-3090", {}),
    ("gemma-3-27b", "Q4_K_M", "rtx-4090", {"n_parallel": 4, "n_ctx": 16384}),
    ("gemma-3-27b", "Q4_K_M", "rtx-4090", {"n_parallel": 4, "n_ctx": 16384, "unified": False}),
    ("gemma-3-27b", "Q8_0", "rtx-4090", {"n_gpu_layers": 20, "swa_full": True}),
    ("qwen3-30b-a3b", "Q4_K_M", "rtx-4090", {"n_cpu_moe": 10, "type_k": "q8_0", "type_v": "q8_0"}),
    ("gpt-oss-20b", "MXFP4_MOE", "rtx-4090", {}),
    ("granite-4.0-h-tiny", "Q4_K_M", "rtx-4090", {"n_parallel": 4}),
    ("deepseek-v2-lite", "Q4_K_M", "rtx-4090", {}),
    ("qwen3-next-80b-a3b", "Q4_K_M", "h100-sxm", {}),
)  # fmt: skip


def served(name: str, card: str, form: str | None, release: str, given: dict[str, Any]) -> dict[str, Any]:
    """Memory of one GPU, what would help where it does not start, and seconds of three steps where it does."""
    args = EngineArgs(**{key: value for key, value in given.items() if key != "sampling"})
    base, shape, server = model(name), quantization(form) if form else None, engine(release)
    plan = plan_memory(base, shape, gpu(card), args, server)
    found: dict[str, Any] = {
        **plan.parts(),
        "kv_low": plan.kv_cache_low_bytes,
        "kv_high": plan.kv_cache_high_bytes,
        "per_token": plan.kv_bytes_per_token,
        "blocks": plan.num_gpu_blocks,
        "kv_tokens": plan.kv_tokens,
        "longest": plan.longest_sequence,
        "outcome": plan.outcome,
        "remedies": [f"{remedy.change}: {remedy.gives}" for remedy in plan.remedies],
    }
    bound = plan_server(base, shape, gpu(card), args, server, sampling=given.get("sampling"))
    if not isinstance(bound, DoesNotStart):
        found["steps"] = [bound.step_time.seconds(work) for work in WORKS]
        found["verified"] = bound.step_time.verified
        found["seats"] = bound.limits.seats
    return found


def trained(name: str, card: str, given: dict[str, Any]) -> dict[str, Any]:
    """What a training run takes, and what would make it fit."""
    plan = plan_training(model(name), gpu(card), Training(**given))
    remedies = [dataclasses.astuple(remedy) for remedy in plan.remedies]
    return {
        "bytes": dataclasses.asdict(plan.bytes),
        "fits": plan.fits,
        "remedies": remedies,
        "hours": plan.cost and plan.cost.hours,
    }


def local(name: str, kind: str, card: str, given: dict[str, Any]) -> dict[str, Any]:
    """What llama.cpp takes of a card."""
    plan = plan_llama_cpp(model(name), mixture(kind), gpu(card), LlamaCppArgs(**given))
    sizes = {field.name: getattr(plan, field.name) for field in dataclasses.fields(plan) if field.name.endswith("_bytes")}
    others = {name: getattr(plan, name) for name in ("layers_on_gpu", "cells", "slot_tokens", "outcome")}
    return {**sizes, **others, "remedies": [dataclasses.astuple(remedy) for remedy in plan.remedies]}


def label(case: tuple[Any, ...]) -> str:
    *names, given = case
    return " ".join(map(str, [*filter(None, names), *(f"{key}={value}" for key, value in given.items())]))


KINDS = [(kind, case) for kind, cases in ((served, SERVED), (trained, TRAINED), (local, LOCAL)) for case in cases]


@pytest.fixture(scope="module")
def golden(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.config.getoption("--rewrite-golden"):
        found = {label(case): kind(*case) for kind, case in KINDS}
        GOLDEN.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    return json.loads(GOLDEN.read_text())


@pytest.mark.parametrize(("kind", "case"), KINDS, ids=[label(case) for _, case in KINDS])
def test_a_plan_gives_the_numbers_it_gave(kind: Any, case: tuple[Any, ...], golden: dict[str, Any]) -> None:
    assert list(differences(golden[label(case)], json.loads(json.dumps(kind(*case))))) == []
