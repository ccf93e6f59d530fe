"""llama.cpp's memory against what its own logs print: files, caches, states and compute buffers."""

from __future__ import annotations

import pytest

from simulator.catalog.gguf import bytes_of, mixture, mixture_in, without_mixture
from simulator.catalog.gpus import gpu
from simulator.catalog.models import model
from simulator.errors import NotModelled, SimulatorError, UnknownName
from simulator.memory.llama_cpp.plan import LlamaCppArgs, LlamaCppPlan, plan_llama_cpp
from simulator.memory.llama_cpp.weights import file_weights
from simulator.scenario.llama_line import model_in, parse_llama
from simulator.units import GIB, MIB


def plan(name: str, kind: str, card: str = "rtx-3090", **args: object) -> LlamaCppPlan:
    return plan_llama_cpp(model(name), mixture(kind), gpu(card), LlamaCppArgs(**args))


@pytest.mark.parametrize(
    ("name", "kind", "mib", "off"),
    [
        ("llama-3.1-8b", "Q4_K_M", 4403.49 + 281.81, 0.02),  # DeepSeek-R1-Distill-Llama-8B under Ollama (public log)
        ("mistral-7b", "Q4_K_M", 4.07 * 1024, 6),  # "file size = 4.07 GiB (4.83 BPW)" (public log)
        ("qwen3-14b", "Q8_0", 14.61 * 1024, 6),  # "file size = 14.61 GiB (8.50 BPW)" (public log)
    ],
)
def test_a_file_is_as_large_as_it_is_published(name: str, kind: str, mib: float, off: float) -> None:
    weights, _ = file_weights(model(name), mixture(kind))
    assert weights.total / MIB == pytest.approx(mib, abs=off)


# GiB of Llama-3.1-8B, llama.cpp tools/quantize/README.md; its IQ4 files were made without an importance matrix, which is rare.
_LLAMA_8B = {
    "IQ1_S": 1.87, "IQ1_M": 2.01, "IQ2_XXS": 2.23, "IQ2_XS": 2.42, "IQ2_S": 2.56, "IQ2_M": 2.74, "IQ3_XXS": 3.04, "IQ3_XS": 3.27,
    "IQ3_S": 3.42, "IQ3_M": 3.52, "IQ4_XS": 4.17, "IQ4_NL": 4.38, "Q2_K_S": 2.78, "Q2_K": 2.95, "Q3_K_S": 3.41, "Q3_K_L": 4.02,
    "Q4_K_S": 4.36, "Q4_K_M": 4.58, "Q5_K_S": 5.21, "Q5_K_M": 5.33, "Q6_K": 6.14, "Q8_0": 7.95, "F16": 14.96,
}  # fmt: skip


@pytest.mark.parametrize("kind", _LLAMA_8B)
def test_every_mixture_has_the_size_that_llama_cpp_publishes(kind: str) -> None:
    weights, _ = file_weights(model("llama-3.1-8b"), mixture(kind))
    assert weights.total / GIB == pytest.approx(_LLAMA_8B[kind], abs=0.045 if kind.startswith("IQ4") else 0.006)


def test_the_embedding_stays_on_the_host_and_everything_else_goes_to_the_gpu() -> None:
    found = plan("llama-3.1-8b", "Q4_K_M", n_ctx=8192)
    assert found.weights_bytes / MIB == pytest.approx(4403.49, abs=0.02)
    assert found.host_bytes / MIB == pytest.approx(281.81, abs=0.02)


def test_four_slots_of_a_hybrid_share_a_cache_and_have_a_state_each() -> None:
    """Qwen3.6-27B at 131,072 cells in q8_0 (public log): 4,352.00, 598.50 and 495.00 MiB."""
    found = plan("qwen3.8-27b", "Q4_K_M", n_ctx=131072, n_parallel=4, type_k="q8_0", type_v="q8_0")
    assert found.kv_bytes / MIB == pytest.approx(4352.00)
    assert found.state_bytes / MIB == pytest.approx(598.50)
    assert found.compute_bytes / MIB == pytest.approx(495.00)


def test_the_last_layers_and_the_output_go_to_the_gpu_and_windows_keep_a_batch_beside_them() -> None:
    """Gemma-3-1B with -ngl 14 -c 1536 -ub 64 (public log): 535.31 MiB of weights, caches of 3.00 and 8.25, a buffer of 64.28."""
    found = plan("gemma-3-1b", "Q4_K_M", n_ctx=1536, n_gpu_layers=14, n_ubatch=64, flash_attention=False, n_parallel=1)
    assert found.layers_on_gpu == 13
    assert found.weights_bytes / MIB == pytest.approx(535.31, abs=0.1)
    assert found.kv_bytes / MIB == pytest.approx(3.00 + 8.25)
    assert found.compute_bytes / MIB == pytest.approx(64.28, abs=0.01)


@pytest.mark.parametrize(
    ("name", "cells", "flash", "mib"),
    [
        ("qwen2.5-7b", 2048, True, 304.00),
        ("llama-2-7b", 4096, False, 296.00),
        ("llama-3-8b", 8192, False, 560.00),
        ("llama-2-7b", 512, True, 70.50),
    ],
)
def test_the_compute_buffer_is_logits_and_hidden_states_or_scores(name: str, cells: int, flash: bool, mib: float) -> None:
    assert plan(name, "Q4_K_M", n_ctx=cells, flash_attention=flash).compute_bytes / MIB == pytest.approx(mib)


def test_slots_that_share_no_cache_have_a_part_each() -> None:
    apart = plan("qwen3-8b", "Q4_K_M", n_ctx=32768, n_parallel=4, unified=False)
    assert apart.slot_tokens == 8192
    assert apart.kv_bytes == plan("qwen3-8b", "Q4_K_M", n_ctx=32768).kv_bytes


def test_experts_may_stay_on_the_host() -> None:
    found = plan("gpt-oss-20b", "MXFP4", card="rtx-3060-12gb", n_ctx=131072)
    assert found.outcome != "fits"
    remedy = next(r for r in found.remedies if r.change.startswith("--n-cpu-moe"))
    kept = int(remedy.change.split()[1])
    assert plan("gpt-oss-20b", "MXFP4", card="rtx-3060-12gb", n_ctx=131072, n_cpu_moe=kept).outcome == "fits"


def test_what_does_not_fit_is_told_with_what_would() -> None:
    found = plan("qwen3.5-27b", "Q4_K_M", card="rx-9060-xt-16gb", n_ctx=32768)
    assert found.outcome == "does not fit"
    assert [remedy.change.split()[0] for remedy in found.remedies] == ["-ngl", "-c"]


def test_types_chosen_by_the_files_maker_widen_the_band() -> None:
    sure, unsure = plan("qwen3-8b", "Q4_K_M", n_ctx=8192), plan("qwen3-8b", "UD-Q4_K_XL", n_ctx=8192)
    assert unsure.high_bytes - unsure.low_bytes > 5 * (sure.high_bytes - sure.low_bytes)
    assert any("matrix by matrix" in note for note in unsure.notes)


def test_rows_that_are_no_multiple_of_a_block_are_stored_in_smaller_blocks() -> None:
    assert bytes_of("q4_k", 896, row=896) == 896 / 32 * 22
    assert bytes_of("q6_k", 896, row=896) == 896 / 32 * 34


def test_names_of_files_and_repositories_tell_model_and_type() -> None:
    for written in ("unsloth/Qwen3-8B-GGUF:Q4_K_M", "models/Qwen3-8B-Q4_K_M.gguf", "Qwen3-8B-Q4_K_M-00001-of-00002.gguf"):
        found = mixture_in(written)
        assert found is not None and found.name == "q4_k_m"
    assert without_mixture("models/Qwen3-8B-Q4_K_M-00001-of-00002.gguf") == "Qwen3-8B"
    assert model_in(parse_llama(["-hf", "unsloth/Qwen3-8B-GGUF:IQ4_XS"]))[0].name == "qwen3-8b"
    with pytest.raises(UnknownName, match="q4_k_m"):
        mixture("Q4_K_N")


def test_a_line_is_read_as_llama_server_reads_it() -> None:
    line = "llama-server -m a-Q4_K_M.gguf -c 65536 -np 2 --no-kv-unified -ngl all -ncmoe 4 -fa off -ub 1024 -b 512 -nkvo --jinja"
    args = parse_llama(line.split()).args
    assert (args.n_ctx, args.n_parallel, args.unified, args.n_gpu_layers, args.n_cpu_moe) == (65536, 2, False, None, 4)
    assert (args.flash_attention, args.n_ubatch, args.no_kv_offload) == (False, 512, True)


@pytest.mark.parametrize(
    ("line", "error", "said"),
    [
        ("llama-server -m a.gguf --ctx-sise 5", SimulatorError, "unknown argument --ctx-sise; did you mean '--ctx-size'"),
        ("llama-server -m a.gguf -ts 1,1", NotModelled, "-ts of llama.cpp: not modelled"),
        ("llama-server -m a.gguf -c many", SimulatorError, "'many' is not a whole number"),
    ],
)
def test_arguments_that_nobody_knows_or_models_are_refused(line: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        parse_llama(line.split())


def test_a_cache_type_that_llama_cpp_lacks_is_refused_with_those_it_has() -> None:
    with pytest.raises(SimulatorError, match=r"no cache of type 'fp8'; its types are .*q8_0"):
        plan("qwen3-8b", "Q4_K_M", type_k="fp8")
