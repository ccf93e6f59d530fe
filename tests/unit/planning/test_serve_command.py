"""A deployment in words, and the command that serves it."""

import dataclasses
import shlex
from pathlib import Path

from support.planning_fixtures import small

from simulator.catalog import gpu, quantization
from simulator.latency.client import FrontEnd
from simulator.planning.fleet_plan import plan_fleet
from simulator.planning.launch import serve_command
from simulator.planning.run import named
from simulator.planning.serve_command import defaults, demand, title, wording
from simulator.scenario import Deployment, Scenario, load
from simulator.workload.sample import sample

H100 = gpu("h100-sxm")


def test_gpus_are_never_a_bare_number() -> None:
    assert wording(Deployment(gpu=H100)) == "1 GPU = 1 replica x 1 GPU"
    assert wording(Deployment(gpu=H100, tensor_parallel_size=8, replicas=5)) == "40 GPUs = 5 replicas x TP 8"
    both = Deployment(gpu=H100, tensor_parallel_size=4, pipeline_parallel_size=2, data_parallel_size=2)
    assert wording(both) == "16 GPUs = 1 replica x TP 4 x PP 2 x DP 2"


def test_a_title_says_what_it_runs_on() -> None:
    assert title(Deployment(gpu=H100, replicas=2), "fp8") == "2 x h100-sxm, fp8"


def test_deployments_without_a_name_get_one_of_their_own() -> None:
    plain = Deployment(gpu=H100)
    fp8 = Deployment(gpu=H100, quantization=quantization("fp8"))
    names = [d.name for d in named([plain, fp8, plain, plain, dataclasses.replace(plain, name="mine")])]
    assert names == [
        "1 x h100-sxm, as published",
        "1 x h100-sxm, fp8",
        "1 x h100-sxm, as published (2)",
        "1 x h100-sxm, as published (3)",
        "mine",
    ]


def _command(scenario: Scenario, **changes: object) -> list[str]:
    deployment = scenario.deployments[0].with_pool(**changes)
    return shlex.split(serve_command(scenario, deployment.pool, plan_fleet(scenario, deployment).plan))


def test_the_command_names_the_checkpoint_and_what_decides_memory_and_batching(tmp_path: Path) -> None:
    words = _command(load(small(tmp_path)))
    assert words[:3] == ["vllm", "serve", "meta-llama/Llama-3.1-8B"]
    flags = dict(zip(words[3::2], words[4::2], strict=True))
    assert flags == {
        "--gpu-memory-utilization": "0.9",
        "--max-model-len": "4096",
        "--max-num-seqs": "64",
        "--max-num-batched-tokens": "8192",
    }


def test_the_command_has_every_argument_that_was_given(tmp_path: Path) -> None:
    scenario = load(small(tmp_path))
    words = _command(
        scenario,
        tensor_parallel_size=2,
        kv_cache_dtype="fp8",
        enforce_eager=True,
        enable_prefix_caching=False,
        quantization=quantization("fp8"),
    )
    assert words[words.index("--tensor-parallel-size") + 1] == "2"
    assert words[words.index("--kv-cache-dtype") + 1] == "fp8"
    assert words[words.index("--quantization") + 1] == "fp8"
    assert {"--enforce-eager", "--no-enable-prefix-caching"} <= set(words)


def test_a_format_that_needs_its_own_checkpoint_asks_for_one(tmp_path: Path) -> None:
    words = _command(load(small(tmp_path)), quantization=quantization("gptq-int4"))
    assert words[2] == "<a gptq-int4 checkpoint of meta-llama/Llama-3.1-8B>"
    assert "--quantization" not in words


def test_a_half_precision_format_is_a_dtype(tmp_path: Path) -> None:
    words = _command(load(small(tmp_path)), quantization=quantization("fp16"))
    assert words[words.index("--dtype") + 1] == "float16"


def test_the_demand_is_a_sentence(tmp_path: Path) -> None:
    scenario = load(small(tmp_path))
    sentence = demand(scenario, sample(scenario.workload, 0))
    assert sentence == "400 requests, 20 requests/s (poisson), 100 prompt and 20 output tokens on average"
    loop = load(small(tmp_path), [("workload.arrivals", "{kind: closed_loop, concurrency: 8}")])
    assert "8 users, one request each at a time" in demand(loop, sample(loop.workload, 0))


def test_defaults_are_listed_once_and_by_name_where_they_differ(tmp_path: Path) -> None:
    scenario = load(small(tmp_path, ("frontend: {queue: false}\n", "")))
    resolved = {d.name: dataclasses.asdict(plan_fleet(scenario, d).plan.args) for d in scenario.deployments}
    lines = defaults(scenario, resolved)
    assert "gpu_memory_utilization = 0.9 (vllm-0.19.0)" in lines
    assert "max_num_batched_tokens = 2048 and 8192 (H100) (vllm-0.19.0)" in lines
    assert not any(line.startswith("max_num_seqs") for line in lines), "it was given"
    assert "frontend: 5.5 ms and 4.4 us a prompt token on the way to a first token" in lines
    assert "API server: 0.8 ms a request and 45 us a chunk of output (vllm-0.19.0, completions)" in lines
    own = dataclasses.replace(scenario, frontend=FrontEnd(fixed_ms=2.0))
    assert not any(line.startswith("frontend") for line in defaults(own, resolved)), "it was given"
