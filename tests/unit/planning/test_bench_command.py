"""The benchmark beside a prediction sends the load that was simulated."""

import shlex
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.planning_fixtures import small

from simulator.planning.bench_command import bench_command, random_load
from simulator.scenario import load
from simulator.workload.arrivals.steady import ClosedLoopArrivals, Gamma, Poisson
from simulator.workload.benchmarks import workload_of_command
from simulator.workload.lengths.discrete import Fixed, Uniform
from simulator.workload.requests import BlockHashes, Requests
from simulator.workload.sample import sample
from simulator.workload.streams import Streams
from simulator.workload.traces.replay import recording
from simulator.workload.traces.trace_file import TraceFile
from simulator.workload.traces.writing import mooncake_trace
from simulator.workload.workload import Workload

ARRIVALS = [Poisson(rate=3.7), Gamma(rate=2.0, burstiness=0.3), ClosedLoopArrivals(concurrency=16)]


@given(st.sampled_from(ARRIVALS), st.integers(1, 4000), st.integers(1, 900), st.integers(0, 500))
def test_a_load_that_vllm_can_send_reads_back_from_its_options(arrivals, prompt, output, spread) -> None:
    laws = {"prompt": Fixed(tokens=prompt), "output": Fixed(tokens=output)}
    if 0 < spread < prompt:
        laws = {"prompt": Uniform(min=prompt - spread, max=prompt + spread), "output": Uniform(min=1, max=1)}
        laws["output"] = laws["prompt"]
    workload = Workload(arrivals=arrivals, requests=50, **laws)
    options = random_load(workload, 50)
    assert options is not None
    assert workload_of_command(f"vllm bench serve {shlex.join(options)}") == workload


@pytest.mark.parametrize(
    "asked",
    [
        {"prompt": "{kind: lognormal, mean: 512, p95: 1500}"},
        {"arrivals": "{kind: stages, stages: [{rate: 4, duration: 60}]}"},
        {"prefix": "{kind: documents, documents: 9, document_len: 64}"},
    ],
)
def test_any_other_load_is_replayed_from_the_requests_themselves(asked: dict[str, str], tmp_path: Path) -> None:
    scenario = load(small(tmp_path), [(f"workload.{name}", text) for name, text in asked.items()])
    requests = sample(scenario.workload, 0)
    command = bench_command(scenario, scenario.deployments[0].pool, scenario.model, requests)
    assert command.startswith("guidellm run --backend kind=openai_http")
    assert ("kind=mooncake" in command) == ("prefix" in asked)


def test_sessions_have_no_times_of_their_own(tmp_path: Path) -> None:
    sessions = ("workload.sessions", "{kind: conversation, turns: 3, think: 5s}")
    scenario = load(small(tmp_path), [sessions])
    requests = sample(scenario.workload, 0)
    assert bench_command(scenario, scenario.deployments[0].pool, scenario.model, requests) == ""
    with pytest.raises(Exception, match="later turns"):
        mooncake_trace(requests)


def test_a_written_trace_reads_back_with_what_prompts_share(tmp_path: Path) -> None:
    hashes = BlockHashes(16, np.array([0, 2, 4, 4]), np.array([0, 1, 0, 2]))
    asked = Requests(np.array([0.0, 0.5, 2.25]), np.array([40, 48, 5]), np.array([3, 1, 9]), hashes=hashes)
    path = tmp_path / "requests.jsonl"
    path.write_text(mooncake_trace(asked))
    seen = recording(TraceFile(path=str(path), block_size=16), Streams(0)).requests
    assert seen.arrival_s.tolist() == [0.0, 0.5, 2.25]
    assert (seen.prompt_tokens.tolist(), seen.output_tokens.tolist()) == ([40, 48, 5], [3, 1, 9])
    assert seen.hashes is not None
    first, second = (seen.hashes.ids[seen.hashes.offsets[i] : seen.hashes.offsets[i + 1]].tolist() for i in (0, 1))
    assert first[0] == second[0] and first[1] != second[1]
