"""Pasted `vllm serve` lines, and what becomes of each of their arguments."""

import dataclasses
from pathlib import Path

import pytest

from simulator.catalog import stanzas
from simulator.catalog.engines import EngineArgs
from simulator.errors import NotModelled, SimulatorError
from simulator.scenario import load
from simulator.scenario.serve_line import _EXACT, _NESTED, model_of, parse, quantization_in, whole_number

HARMLESS = [
    name
    for entry in stanzas.stanzas("serve_arguments")
    if entry.startswith("harmless")
    for name in stanzas.load_entry("serve_arguments", entry)["names"]
]
NOT_MODELLED = stanzas.load_entry("serve_arguments", "not-modelled")["names"]
SHORT = stanzas.load_entry("serve_arguments", "abbreviations")["names"]


def test_each_argument_is_honoured_or_changes_nothing_or_is_refused_and_only_one_of_them() -> None:
    listed = [*HARMLESS, *NOT_MODELLED, *_EXACT, *_NESTED]
    assert len(set(listed)) == len(listed)
    fields = {f.name for f in dataclasses.fields(EngineArgs)}
    assert set(SHORT.values()) <= {*listed, "quantization"}
    own = {"fit_max_model_len", "memory_used_gib", "cudagraph_mode", "custom_ops", "float32_matmul_precision"}
    assert fields - own <= {*_EXACT, *_NESTED}, "each field of ours can be written in a line"


def test_every_argument_of_vllm_0_33_is_honoured_or_named_as_harmless_or_refused_as_not_modelled() -> None:
    listed = (Path(__file__).parent / "vllm_serve_0_33_0.txt").read_text().splitlines()[1:]
    assert len(listed) > 300
    found = {name: _what_becomes_of(name) for name in listed}
    assert not [name for name, fate in found.items() if "unknown argument" in fate]
    fates = list(found.values())
    assert min(fates.count(fate) for fate in ("honoured", "harmless", "not modelled")) > 30


def _what_becomes_of(name: str) -> str:
    """ "honoured", "harmless", "not modelled", or the complaint where nobody knows it."""
    try:
        line = parse(["vllm", "serve", "Qwen/Qwen3-8B", f"--{name.replace('_', '-')}=1"])
    except NotModelled:
        return "not modelled"
    except SimulatorError as mistake:
        return str(mistake) if "unknown argument" in str(mistake) else "honoured"  # known, and 1 is no value for it
    return "harmless" if name in line.harmless else "honoured"


@pytest.mark.parametrize(
    "line",
    [
        "vllm serve Qwen/Qwen3-8B --max-num-seqs 16",
        "CUDA_VISIBLE_DEVICES=0 vllm serve --max-num-seqs=16 Qwen/Qwen3-8B",
        "python3 -m vllm.entrypoints.openai.api_server --model Qwen/Qwen3-8B --max_num_seqs 16",
        "docker run --gpus all -p 8000:8000 --ipc=host vllm/vllm-openai:latest --model Qwen/Qwen3-8B --max-num-seqs 16",
        "Qwen/Qwen3-8B --max-num-seqs 16",
    ],
)
def test_a_line_is_read_however_the_server_is_started(line: str) -> None:
    found = parse(line)
    assert (found.model, found.arguments) == ("Qwen/Qwen3-8B", {"max_num_seqs": 16})


@pytest.mark.parametrize("line", ["-e vllm-0.19.0 vllm serve m", "m -x 3 vllm serve m", "--engin 3 -- vllm serve m"])
def test_words_before_the_program_that_start_no_line_are_not_swallowed(line: str) -> None:
    with pytest.raises(SimulatorError, match="stands before the server's own line"):
        parse(line)


def test_an_image_names_the_release() -> None:
    assert parse("docker run vllm/vllm-openai:v0.19.1 Qwen/Qwen3-8B").engine == "vllm-0.19.1"
    assert parse("docker run docker.io/vllm/vllm-openai:v0.24.0-cu129 Qwen/Qwen3-8B").engine == "vllm-0.24.0"
    assert parse("docker run vllm/vllm-openai:v0.10.1.1 Qwen/Qwen3-8B").engine == "vllm-0.10.1.1"
    assert parse("docker run vllm/vllm-openai:v0.33.1rc0.dev41 Qwen/Qwen3-8B").engine == "vllm-0.33.1rc0.dev41"
    assert parse("docker run vllm/vllm-openai:nightly-1a2b3c4 Qwen/Qwen3-8B").engine == "vllm-nightly"
    assert parse("docker run vllm/vllm-openai:latest Qwen/Qwen3-8B").engine is None


@pytest.mark.parametrize(
    ("text", "count"), [("32768", 32768), ("32k", 32000), ("32K", 32768), ("1.5k", 1500), ("2M", 2 * 1024**2), ("1m", 10**6)]
)
def test_counts_are_read_as_vllm_reads_them(text: str, count: int) -> None:
    assert whole_number(text, "max_model_len") == count


@pytest.mark.parametrize("length", ["auto", "-1"])
def test_a_length_may_be_left_to_the_memory(length: str) -> None:
    assert parse(f"vllm serve m --max-model-len {length} -tp 2").arguments == {
        "fit_max_model_len": True,
        "tensor_parallel_size": 2,
    }


def test_objects_are_read_as_json_by_dotted_names_and_as_pairs() -> None:
    found = parse(
        """vllm serve m --limit-mm-per-prompt '{"image": 2}' --limit-mm-per-prompt.video 0 --mm-processor-kwargs.max_pixels 1000
        -O '{"cudagraph_mode": "FULL"}'""".replace("-O ", "-cc ")
    ).arguments
    assert found == {
        "limit_mm_per_prompt": {"image": 2, "video": 0},
        "mm_processor_kwargs": {"max_pixels": 1000},
        "cudagraph_mode": "full",
    }
    assert parse("vllm serve m --limit-mm-per-prompt image=4,video=0").arguments == {
        "limit_mm_per_prompt": {"image": 4, "video": 0}
    }
    config = '{"method": "mtp", "num_speculative_tokens": 3}'
    assert parse(["m", "--speculative-config", config]).arguments == {"spec_method": "mtp", "spec_tokens": 3}


def test_ops_that_the_compiler_must_not_fuse_are_read_from_its_config() -> None:
    line = parse("""vllm serve m --compilation-config '{"custom_ops": ["+quant_fp8"]}'""")
    assert line.arguments == {"custom_ops": ("+quant_fp8",)}


def test_api_server_processes_and_the_length_of_chunks_are_arguments() -> None:
    assert parse("vllm serve m --api-server-count 4 --stream-interval=8").arguments == {
        "api_server_count": 4,
        "stream_interval": 8,
    }


def test_switches_may_be_negated_and_take_no_value() -> None:
    found = parse("vllm serve --no-enable-prefix-caching --enforce-eager --trust-remote-code m")
    assert found.model == "m"
    assert found.arguments == {"enable_prefix_caching": False, "enforce_eager": True}
    assert found.harmless == ("trust_remote_code",)


def test_optimization_levels_say_what_is_captured() -> None:
    assert parse("vllm serve m -O0").arguments == {"enforce_eager": True}
    assert parse("vllm serve m -O1").arguments == {"cudagraph_mode": "piecewise"}
    assert parse("vllm serve m --optimization-level 2").arguments == {}


@pytest.mark.parametrize("name", sorted(NOT_MODELLED))
def test_what_changes_memory_without_a_model_here_is_refused(name: str) -> None:
    with pytest.raises(NotModelled, match=f"--{name.replace('_', '-')}"):
        parse(["m", f"--{name.replace('_', '-')}", "1"])


@pytest.mark.parametrize("name", sorted(HARMLESS))
def test_what_changes_nothing_is_accepted_and_named(name: str) -> None:
    assert parse(["m", f"--{name.replace('_', '-')}=1"]).harmless == (name,)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("m --max-num-seq 4", "unknown argument --max-num-seq; did you mean '--max-num-seqs'"),
        ("m --max-model-len many", "--max-model-len: 'many' is not a number"),
        ("m --max-model-len", "--max-model-len: '' is not a number"),
        ("m --gpu-memory-utilization high", "--gpu-memory-utilization: 'high' is not a number"),
        ("m --limit-mm-per-prompt image", "no JSON object"),
        ("m --limit-mm-per-prompt 3", "must be a JSON object|no JSON object"),
        ("m --enforce-eager=perhaps", "not true or false"),
        ("m n", "unexpected word 'n'"),
    ],
)
def test_what_is_wrong_is_named(line: str, complaint: str) -> None:
    with pytest.raises(SimulatorError, match=complaint):
        parse(line)


def test_the_type_and_the_quantization_of_a_line() -> None:
    assert model_of(parse("vllm serve Qwen/Qwen3-8B --dtype half")).dtype == "fp16"
    with pytest.raises(SimulatorError, match="--dtype: 'int4' is not known"):
        model_of(parse("vllm serve Qwen/Qwen3-8B --dtype int4"))
    for line, made in (("--quantization fp8", "fp8"), ("-q bitsandbytes", "bnb-nf4"), ("", None), ("-q None", None)):
        found = parse(f"vllm serve Qwen/Qwen3-8B {line}")
        form = quantization_in(found, model_of(found))
        assert (form and form.name) == made
    awq = parse("vllm serve Qwen/Qwen3-32B-AWQ --quantization awq_marlin")
    assert quantization_in(awq, model_of(awq)) is None, "a checkpoint that is quantized says how"
    untold = parse("vllm serve Qwen/Qwen3-8B --quantization compressed-tensors")
    unquantized = model_of(untold)
    with pytest.raises(NotModelled, match="says how a checkpoint is packed"):
        quantization_in(untold, unquantized)


def test_servers_of_other_engines_have_their_own_names() -> None:
    found = parse(
        "python -m sglang.launch_server --model-path m --tp 8 --dp 8 --enable-dp-attention --context-length 32768 --port 1"
    )
    assert (found.model, found.engine, found.harmless) == ("m", "sglang", ("port",))
    assert found.arguments == {
        "tensor_parallel_size": 1, "data_parallel_size": 8, "enable_expert_parallel": True, "max_model_len": 32768,
    }, "data parallel attention is inside tensor parallelism: 8 GPUs"  # fmt: skip
    assert parse(["m", "--mem-fraction-static", "0.8"], "sglang").arguments == {"gpu_memory_utilization": 0.8}
    found = parse(
        "trtllm-serve m --max_batch_size 64 --max_num_tokens 1024 --kv_cache_free_gpu_memory_fraction 0.8 --backend pytorch"
    )
    assert found.engine == "tensorrt-llm"
    assert found.arguments == {"max_num_seqs": 64, "max_num_batched_tokens": 1024, "gpu_memory_utilization": 0.8}
    with pytest.raises(NotModelled, match="--max-total-tokens of sglang"):
        parse("python -m sglang.launch_server --model-path m --max-total-tokens 5")


def test_policies_of_other_schedulers_are_taken_or_refused_by_name() -> None:
    line = "python -m sglang.launch_server --model-path m --schedule-policy"
    assert parse(f"{line} lpm --disable-overlap-schedule --schedule-conservativeness 0.3").arguments == {
        "scheduling_policy": "lpm", "async_scheduling": False, "schedule_conservativeness": 0.3,
    }  # fmt: skip
    with pytest.raises(NotModelled, match="--schedule-policy dfs-weight of sglang: not modelled; modelled are fcfs, lpm"):
        parse(f"{line} dfs-weight")
    with pytest.raises(NotModelled, match="--enable-mixed-chunk of sglang"):
        parse(f"{line} fcfs --enable-mixed-chunk")
    line = "trtllm-serve m --capacity_scheduler_policy MAX_UTILIZATION --context_chunking_policy"
    assert parse(f"{line} FIRST_COME_FIRST_SERVED").arguments == {"capacity_scheduler_policy": "max_utilization"}
    with pytest.raises(NotModelled, match="--context-chunking-policy EQUAL_PROGRESS of tensorrt-llm"):
        parse(f"{line} EQUAL_PROGRESS")


def test_an_argument_of_vllm_in_another_engines_line_is_named_with_its_counterpart() -> None:
    with pytest.raises(SimulatorError, match="--gpu-memory-utilization is an argument of vLLM; sglang has --mem-fraction-static"):
        parse("python -m sglang.launch_server --model-path m --gpu-memory-utilization 0.9")
    with pytest.raises(SimulatorError, match="--max-num-seqs is an argument of vLLM; tensorrt-llm has --max-batch-size"):
        parse("trtllm-serve m --max_num_seqs 4")
    with pytest.raises(SimulatorError, match="--mem-fraction-static is an argument of sglang; vLLM has --gpu-memory-utilization"):
        parse("vllm serve m --mem-fraction-static 0.9")


@pytest.mark.parametrize("family", ["sglang", "tensorrt-llm"])
def test_what_other_servers_arguments_are_called_here_is_known_here(family: str) -> None:
    known = {*_EXACT, *_NESTED, "model", "harmless", "not-modelled", "expert_parallel_size"}
    assert set(stanzas.load_entry("serve_arguments", family)["names"].values()) <= known


SCENARIO = """
workload: {arrivals: {kind: poisson, rate: 2/s}, prompt: 1000, output: 100, requests: 20}
deployments:
  - name: a
    gpu: h100-sxm
    max_num_seqs: 8
    serve: docker run vllm/vllm-openai:v0.19.0 Qwen/Qwen3-8B --max-model-len 16k --max-num-seqs 32 --port 80 LAST
"""


def test_a_deployment_takes_its_line_and_what_is_written_beside_it_wins(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "s.yaml").write_text(SCENARIO.replace(" LAST", ""))
    found = load(tmp_path / "s.yaml")
    assert (found.model.name, found.engine.name) == ("qwen3-8b", "vllm-0.19.0")
    assert (found.deployments[0].pool.max_model_len, found.deployments[0].pool.max_num_seqs) == (16000, 8)


@pytest.mark.parametrize(
    ("last", "complaint"),
    [
        ("--cpu-offload-gb 3", r"s.yaml:7:5: deployments\[0\].serve: --cpu-offload-gb: .*not modelled"),
        ("--max-num-sequences 3", "unknown argument --max-num-sequences"),
        ("--spec-method mtp --spec-tokens 1", "has no draft layers"),
        ("--enable-lora --enforce-eager", "time of LoRA adapters with enforce_eager"),
        ("--watermark 0.01", "vllm-0.19.0 has no watermark: vLLM 0.24.0 introduced it"),
        ("--max-num-queued-reqs 8", "vllm-0.19.0 has no max_num_queued_reqs: vLLM 0.29.0 introduced it"),
    ],
)
def test_what_a_line_of_a_scenario_has_wrong_is_pointed_at(tmp_path, last: str, complaint: str) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "s.yaml").write_text(SCENARIO.replace("LAST", last))
    with pytest.raises(SimulatorError, match=complaint):
        load(tmp_path / "s.yaml")
