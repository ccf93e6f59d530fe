"""Benchmark commands and configurations as workloads."""

import numpy as np
import pytest
from support.workloads import workload

from simulator.errors import NotModelled, ScenarioError
from simulator.workload.arrivals.steady import Poisson
from simulator.workload.benchmarks import workload_of_command, workload_of_inference_perf
from simulator.workload.sample import sample


def prefix(tokens, groups=1, **more):
    return {"kind": "shared_prefix", "system_prompt_len": tokens, "num_groups": groups, **more}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", {"prompt": 1024, "output": 128, "arrivals": {"kind": "all_at_once"}}),
        (
            "--random-input-len 1000 --random-output-len=200 --random-range-ratio 0.25 --request-rate 4 --num-prompts 50",
            {
                "prompt": {"kind": "uniform", "min": 750, "max": 1250},
                "output": {"kind": "uniform", "min": 150, "max": 250},
                "requests": 50,
            },
        ),
        (
            "--request-rate 2 --burstiness 0.5",
            {"prompt": 1024, "output": 128, "arrivals": {"kind": "gamma", "rate": 2, "burstiness": 0.5}},
        ),
        (
            "--max-concurrency 64 --request-rate inf --random-prefix-len 100",
            {"prompt": 1024, "output": 128, "arrivals": {"kind": "closed_loop", "concurrency": 64}, "prefix": prefix(100)},
        ),
        ("--dataset-name sonnet --request-rate 4", {"prompt": 350, "output": 150, "prefix": prefix(200)}),
        (
            "--dataset-name prefix_repetition --prefix-repetition-num-prefixes 5 --request-rate 4",
            {"prompt": 256, "output": 128, "prefix": prefix(256, 5)},
        ),
        ("--dataset-name sharegpt --request-rate 4 --sharegpt_output_len 99", {"dataset": "sharegpt", "output": 99}),
        (
            "--dataset-name burstgpt --dataset-path b.csv --request-rate 4",
            {"trace": "b.csv", "arrivals": "4/s", "requests": 1000},
        ),
    ],
)
def test_a_vllm_benchmark_is_the_workload_that_it_sends(options, expected):
    assert workload_of_command(f"vllm bench serve --model m --backend vllm {options} --ignore-eos") == workload(**expected)


def test_a_command_may_go_over_several_lines_and_use_the_old_script():
    assert workload_of_command(
        "python benchmarks/benchmark_serving.py \\\n  --request-rate 4 \\\n --random-input-len 7"
    ) == workload(prompt=7, output=128)


@pytest.mark.parametrize(
    ("command", "error", "told"),
    [
        ("wrk -t4 http://localhost", ScenarioError, "expected vllm bench serve"),
        ("vllm bench serve 'oops", ScenarioError, "cannot be read as a command"),
        ("vllm bench serve --request-rate fast", ScenarioError, "--request-rate: 'fast' is not a number"),
        (
            "vllm bench serve --num-prompts 0 --request-rate 1",
            ScenarioError,
            "requests: Input should be greater than or equal to 1",
        ),
        ("vllm bench serve --request-rate 4 --max-concurrency 0", ScenarioError, "max_concurrency"),
        ("vllm bench serve --ramp-up-strategy linear", NotModelled, "kind: ramp"),
        ("vllm bench serve --dataset-name hf --dataset-path x", NotModelled, "give prompt and output lengths"),
    ],
)
def test_a_command_that_cannot_be_sent_says_why(command, error, told):
    with pytest.raises(error, match=told):
        workload_of_command(command)


SPREAD = {"min": 10, "max": 1024, "mean": 50, "std_dev": 5}
NORMAL = {"kind": "normal", "mean": 50, "std": 5, "min": 10, "max": 1024}
STAGES = [{"rate": 2.5, "duration": 600}, {"rate": 6, "duration": 600}]


@pytest.mark.parametrize(
    ("load", "data", "expected"),
    [
        (
            {"type": "constant", "stages": STAGES},
            {
                "type": "shared_prefix",
                "shared_prefix": {
                    "num_groups": 9,
                    "num_prompts_per_group": 5,
                    "system_prompt_len": 100,
                    "question_len": 447,
                    "output_len": 248,
                },
            },
            {
                "arrivals": {"kind": "stages", "stages": STAGES, "cv": 0},
                "prompt": 447,
                "output": 248,
                "prefix": prefix(100, 9, num_prompts_per_group=5),
            },
        ),
        (
            {"type": "poisson", "interval": 1, "stages": STAGES},
            {"type": "random", "input_distribution": SPREAD, "output_distribution": {"type": "uniform", "min": 5, "max": 9}},
            {
                "arrivals": {"kind": "stages", "stages": STAGES},
                "prompt": NORMAL,
                "output": {"kind": "uniform", "min": 5, "max": 9},
            },
        ),
        (
            {"type": "concurrent", "stages": [{"concurrency_level": 3, "num_requests": 40}]},
            {"type": "shareGPT", "path": "x"},
            {"arrivals": {"kind": "closed_loop", "concurrency": 3}, "requests": 40, "dataset": "sharegpt"},
        ),
        (
            {"type": "constant", "stages": STAGES},
            {"type": "synthetic", "input_distribution": {"mean": 50, "std_dev": 0}, "output_distribution": {"mean": 9}},
            {"arrivals": {"kind": "stages", "stages": STAGES, "cv": 0}, "prompt": 50, "output": 9},
        ),
    ],
)
def test_an_inference_perf_configuration_is_the_workload_that_it_sends(load, data, expected):
    assert workload_of_inference_perf({"load": load, "data": data}) == workload(**({"requests": None} | expected))


def test_the_requests_of_a_shared_prefix_run_come_evenly_and_repeat_their_prompts():
    spec = workload_of_inference_perf(
        {
            "load": {"type": "constant", "stages": [{"rate": 2, "duration": 30}]},
            "data": {
                "type": "shared_prefix",
                "shared_prefix": {
                    "num_groups": 2,
                    "num_prompts_per_group": 3,
                    "system_prompt_len": 64,
                    "question_distribution": SPREAD,
                    "output_len": 9,
                },
            },
        }
    )
    drawn = sample(spec, 1)
    assert np.diff(drawn.arrival_s) == pytest.approx(0.5)
    assert len(drawn) == 60
    assert drawn.prompt_tokens[:6].tolist() == drawn.prompt_tokens[54:].tolist()


@pytest.mark.parametrize(
    ("config", "error", "told"),
    [
        ({"load": {"type": "constant"}}, ScenarioError, "needs a load and a data block"),
        ({"load": {"type": "constant", "stages": []}, "data": {"type": "shareGPT"}}, ScenarioError, "give stages"),
        ({"load": {"type": "constant", "sweep": {}}, "data": {"type": "shareGPT"}}, NotModelled, "write stages"),
        (
            {"load": {"type": "trace_replay", "stages": STAGES}, "data": {"type": "shareGPT"}},
            NotModelled,
            "load type trace_replay",
        ),
        (
            {"load": {"type": "constant", "stages": STAGES}, "data": {"type": "cnn_dailymail"}},
            NotModelled,
            "data type cnn_dailymail",
        ),
        (
            {
                "load": {"type": "constant", "stages": STAGES},
                "data": {"type": "shared_prefix", "shared_prefix": {"enable_multi_turn_chat": True}},
            },
            NotModelled,
            "sessions: {kind: conversation",
        ),
    ],
)
def test_a_configuration_that_cannot_be_sent_says_why(config, error, told):
    with pytest.raises(error, match=told):
        workload_of_inference_perf(config)


def test_a_rate_with_a_concurrency_is_arrivals_by_the_clock_of_which_so_many_are_under_way():
    workload = workload_of_command("vllm bench serve --request-rate 4 --max-concurrency 8 --num-prompts 50")
    assert (workload.arrivals, workload.max_concurrency) == (Poisson(rate=4.0), 8)
    alone = workload_of_command("vllm bench serve --max-concurrency 8 --num-prompts 50")
    assert (alone.closed_loop.concurrency, alone.max_concurrency) == (8, None)
