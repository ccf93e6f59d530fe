"""Speculative decoding as people write it: what is taken, what is refused, and what a run makes of it."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulator.catalog import engine, gpu, model
from simulator.catalog.acceptance import measured_acceptance
from simulator.catalog.engine_args import EngineArgs
from simulator.catalog.stanzas import stanzas
from simulator.engine.scheduler.config import Speculation
from simulator.errors import NotModelled, ScenarioError, SimulatorError
from simulator.planning.speculation import (
    gain,
    loses_from,
    speculation_notes,
    what_drafting_gains,
)
from simulator.results.time_breakdown import step_seconds
from simulator.scenario import load
from simulator.server import FleetPlan, PoolPlan, Server, plan_server
from simulator.workload.requests import Requests

EAGLE = "{method: eagle3, num_speculative_tokens: 3, synthetic_acceptance_length: 2.6}"


def scenario(tmp_path: Path, config: str, engine_name: str = "vllm-0.33.0", **deployment: Any) -> Any:
    more = "".join(f", {name}: {value}" for name, value in deployment.items())
    named = deployment.get("model", "llama-3.1-8b")
    path = tmp_path / "s.yaml"
    path.write_text(
        f"model: {named}\nengine: {{version: {engine_name}, max_model_len: 8192}}\n"
        "workload: {arrivals: {kind: poisson, rate: 1/s}, prompt: 100, output: 50, requests: 50}\n"
        f"deployments: [{{name: a, gpu: h100-sxm, speculative_config: {config}{more}}}]\n"
    )
    return load(path)


def server(name: str = "llama-3.1-8b", **args: Any) -> Server:
    given = EngineArgs(**{"max_model_len": 8192, **args})
    planned = plan_server(model(name), None, gpu("h100-sxm"), given, engine("vllm-0.33.0"))
    assert isinstance(planned, Server)
    return planned


def test_a_speculative_config_is_read_under_the_names_of_vllm(tmp_path: Path) -> None:
    pool = scenario(tmp_path, EAGLE).deployments[0].pool
    assert (pool.spec_method, pool.spec_tokens, pool.spec_acceptance_length) == ("eagle3", 3, 2.6)


@pytest.mark.parametrize(
    ("config", "more", "said"),
    [
        ("{method: eagle3, num_speculative_tokens: 3, synthetic_acceptance_length: 4.2}", {}, "must lie in 1 to 4"),
        ("{method: eagle3, num_speculative_tokens: 2, synthetic_acceptance_rates: [0.5, 0.6]}", {}, "must not rise"),
        ("{method: eagle3, num_speculative_tokens: 3}", {}, "is not known: state spec_acceptance_length"),
        ("{method: eagle3, synthetic_acceptance_length: 2}", {}, "drafts no tokens"),
        ("{method: eagle3, num_spec_tokens: 2}", {}, "unknown field 'num_spec_tokens'; did you mean 'num_speculative_tokens'"),
        ("{method: eagle3, num_speculative_tokens_per_batch_size: 2}", {}, "not modelled"),
        ("eagle3", {}, "must be a mapping such as"),
        (EAGLE, {"spec_tokens": 2}, "spec_tokens is in speculative_config too"),
        (
            "{method: ngram, num_speculative_tokens: 3, synthetic_acceptance_length: 2}",
            {"async_scheduling": "true"},
            "async_scheduling with speculative decoding by ngram: vllm-0.33.0 does not start so",
        ),
        (
            "{model: qwen3-0.6b, num_speculative_tokens: 3, synthetic_acceptance_length: 2}",
            {},
            "should have the same vocabulary size: llama-3.1-8b has 128,256, qwen3-0.6b 151,936",
        ),
        (EAGLE, {"model": "gpt-oss-20b"}, "sliding window give KV blocks back"),
        (EAGLE, {"max_num_batched_tokens": 512, "max_num_seqs": 256}, "raise it to 1024"),
    ],
)  # fmt: skip
def test_what_no_engine_takes_or_nobody_knows_is_refused_in_one_line(
    tmp_path: Path, config: str, more: dict[str, Any], said: str
) -> None:
    with pytest.raises((ScenarioError, SimulatorError), match=said.replace("[", r"\[")) as caught:
        scenario(tmp_path, config, **more)
    assert "\n" not in str(caught.value)


def _asked(n: int, every: float = 0.02) -> Requests:
    rng = np.random.default_rng(5)
    return Requests(every * np.arange(n), rng.integers(20, 600, n), rng.integers(1, 300, n))


def test_what_was_measured_of_a_model_is_taken_where_nothing_is_stated() -> None:
    drafts = {"spec_method": "mtp", "spec_tokens": 3, "tensor_parallel_size": 8}
    planned = plan_server(model("qwen3.5-397b-a17b"), None, gpu("b200-sxm"), EngineArgs(**drafts), engine("vllm-0.33.0"))
    assert isinstance(planned, Server) and planned.tokens_a_step == pytest.approx(3.39)
    assert measured_acceptance("llama-3.1-8b", "eagle3") is None


def test_each_measured_law_could_be() -> None:
    for name in stanzas("acceptance"):
        (first, *_) = name.rsplit("-", 1)
        method = name.rsplit("-", 1)[1]
        known = measured_acceptance(first, method)
        assert known is not None and model(first).name == first
        assert all(1.0 <= length <= n + 1 for n, length in enumerate(known.lengths, 1))


def test_the_scheduler_is_told_what_drafting_asks_of_it() -> None:
    stated = {"spec_tokens": 3, "spec_acceptance_length": 2.0}
    assert server(spec_method="eagle3", **stated).limits.speculation == Speculation(tokens=3, lookahead=3, drops_last_block=True)
    searching = server(spec_method="ngram", **stated)
    assert searching.limits.speculation == Speculation(tokens=3) and not searching.limits.async_scheduling
    assert server(spec_model="llama-3.2-1b", **stated).limits.speculation == Speculation(tokens=3, lookahead=3)
    assert server().limits.speculation is None and server().limits.async_scheduling


def test_a_run_has_its_tokens_in_fewer_steps_and_counts_them_all() -> None:
    asked = _asked(300)
    plain, drafting = (
        FleetPlan((PoolPlan(server(**given)),)).serve(asked, seed=1)
        for given in ({}, {"spec_method": "eagle3", "spec_tokens": 3, "spec_acceptance_length": 2.5})
    )
    assert drafting.tokens_a_step == pytest.approx(2.5, rel=0.02) and plain.tokens_a_step == 1.0
    for record in (plain, drafting):
        emitted = (record.emitted * record.stretches["steps"]).sum()
        assert emitted == pytest.approx(asked.output_tokens.sum(), rel=1e-9)
    long = asked.output_tokens > 50
    tpot = [
        ((r.requests["finish_s"] - r.requests["first_token_s"])[long] / (asked.output_tokens - 1)[long]).mean()
        for r in (plain, drafting)
    ]
    assert 1.5 < tpot[0] / tpot[1] < 2.5


def test_the_seconds_of_a_run_are_those_of_its_parts() -> None:
    planned = server(spec_method="eagle3", spec_tokens=3, spec_acceptance_length=2.5)
    from simulator.latency.models import Roofline

    record = FleetPlan((PoolPlan(planned),)).serve(_asked(200))
    parts = step_seconds(record, Roofline().parts(planned.target))
    s = record.stretches
    busy = (s["steps"] * s["base_s"] + s["slope_s"] * s["steps"] * (s["steps"] - 1.0) / 2).sum()
    assert sum(parts.values()) == pytest.approx(busy, rel=1e-6)
    assert 0.02 < parts["drafter"] / busy < 0.5


def test_speculation_gains_alone_and_loses_in_a_full_batch() -> None:
    plain, drafting = server(), server(spec_method="eagle3", spec_tokens=7, spec_acceptance_length=2.5)
    gains = [gain(drafting.step_time, plain.step_time, 2.5, n, 1000.0) for n in (1, 16, 128)]
    assert gains[0] > 1.3 and gains == sorted(gains, reverse=True)
    at = loses_from(drafting.step_time, plain.step_time, 2.5, 1000.0, 256)
    assert at is not None and gain(drafting.step_time, plain.step_time, 2.5, at - 1, 1000.0) >= 1.0
    assert loses_from(drafting.step_time, plain.step_time, 8.0, 1000.0, 4) is None


def test_a_request_without_drawn_steps_is_refused() -> None:
    from simulator.engine.serve import serve

    planned = server(spec_method="eagle3", spec_tokens=3, spec_acceptance_length=2.5)
    with pytest.raises(SimulatorError, match="decode_steps must have 4 entries"):
        serve(_asked(4), [(planned.step_time, planned.limits)])
    assert issubclass(NotModelled, SimulatorError)


def test_a_page_says_what_speculation_gains_and_where_it_loses(tmp_path: Path) -> None:
    config = "{method: eagle3, num_speculative_tokens: 7, synthetic_acceptance_length: 2.5}"
    found = scenario(tmp_path, config, max_num_seqs=256)
    drafting = server(spec_method="eagle3", spec_tokens=7, spec_acceptance_length=2.5, max_num_seqs=256)
    said = what_drafting_gains(found, drafting, _asked(50))
    assert re.search(r"decodes [12]\.\d+ times as fast as without speculation, which loses from \d+ at once on", said)
    assert "eagle3 drafts 7 tokens and a step gives a sequence 2.5 in the mean, as stated" in speculation_notes(drafting)[0]
    assert what_drafting_gains(found, server(), _asked(50)) == "" and speculation_notes(server()) == ()
