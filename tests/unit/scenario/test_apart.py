"""Prefill and decode pools in a scenario: as they are written, and what is refused of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command_line import written

from simulator.errors import ScenarioError
from simulator.scenario import dumped, load
from simulator.scenario.reading import scenario_of

BOTH = "prefill: {gpu: l4}, decode: {gpu: l4}"
ONE = "  - name: one\n    gpu: rtx-4090\n"


def scenario(folder: Path, deployment: str, *more: tuple[str, str]) -> str:
    return written(folder, (ONE, f"  - {{name: apart, {deployment}}}\n"), *more)


def test_two_pools_are_written_as_prefill_and_decode(tmp_path: Path) -> None:
    text = "prefill: {gpu: h100-sxm, tp: 2}, decode: {gpu: a100-80gb-sxm, replicas: 3, router: random}, link: rdma"
    (deployment,) = load(scenario(tmp_path, text)).deployments
    prefill, decode = deployment.pools
    assert deployment.apart
    assert (prefill.gpu.name, prefill.tensor_parallel_size, prefill.replicas) == ("h100-sxm", 2, 1)
    assert (decode.gpu.name, decode.replicas, decode.router.kind) == ("a100-80gb-sxm", 3, "random")
    assert deployment.gpus == 5
    assert deployment.pool is decode
    assert deployment.link is not None
    assert deployment.link.kind == "rdma-400g"


def test_arguments_for_all_hold_in_both_pools(tmp_path: Path) -> None:
    (deployment,) = load(scenario(tmp_path, "prefill: {gpu: l4}, decode: {gpu: l4, max_model_len: 2048}")).deployments
    assert [pool.max_model_len for pool in deployment.pools] == [4096, 2048]


def test_what_is_written_again_reads_the_same(tmp_path: Path) -> None:
    link, routing = "{gb_per_s: 10, efficiency: 0.5}", "{decode_first: true, local_below: 64}"
    text = f"{BOTH}, link: {link}, routing: {routing}"
    read = load(scenario(tmp_path, text))
    assert scenario_of(dumped(read)) == read


def test_a_link_says_what_its_catalog_entry_does_not(tmp_path: Path) -> None:
    (d,) = load(
        scenario(tmp_path, "prefill: {gpu: l4}, decode: {gpu: l4}, link: {kind: rdma-200g, efficiency: 0.5, latency_us: 7}")
    ).deployments
    assert d.link is not None
    assert d.link.port_bytes_per_s == 12.5e9
    assert d.link.latency_s == pytest.approx(7e-6)


@pytest.mark.parametrize(
    ("deployment", "said"),
    [
        ("prefill: {gpu: l4}", r"deployments\[0\]: has no decode pool; write both prefill and decode"),
        ("decode: {gpu: l4}", r"deployments\[0\]: has no prefill pool"),
        ("gpu: l4, link: rdma", r"deployments\[0\]: link is between a prefill pool and a decode pool"),
        ("prefill: {gpu: l4}, decode: {gpu: l4}, replicas: 2", r"write replicas in each of them"),
        ("prefill: {gpu: l4}, decode: {gpu: none-such}", r"case.yaml:11:\d+: deployments\[0\].decode.gpu: unknown GPU"),
        ("prefill: {gpu: l4, replica: 2}, decode: {gpu: l4}", r"deployments\[0\].prefill.replica: unknown field; did you mean"),
        (f"{BOTH}, link: {{gb_per_s: 0}}", r"link.gb_per_s: must be greater than 0, .* no KV ever arrives"),
        (f"{BOTH}, link: carrier-pigeon", r"link.*unknown link 'carrier-pigeon'"),
        ("prefill: {gpu: l4}, decode: {gpu: l4}, routing: {local_below: 9}", r"routing: .*only where that is chosen first"),
        ("prefill: {gpu: l4}, decode: {gpu: l4, block_size: 32}", r"the prefill pool has block_size 16 and the decode pool 32"),
        ("prefill: {gpu: l4, kv_cache_dtype: fp8}, decode: {gpu: l4}", r"has kv_cache_dtype fp8 and the decode pool bf16"),
        ("prefill: {gpu: l4}, decode: {gpu: l4, scheduling_policy: priority}", r"scheduling_policy priority in a decode pool"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_where_it_stands(tmp_path: Path, deployment: str, said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        load(scenario(tmp_path, deployment))


def test_sliding_windows_between_pools_are_refused_by_name(tmp_path: Path) -> None:
    text = "prefill: {gpu: h100-sxm}, decode: {gpu: h100-sxm}"
    with pytest.raises(ScenarioError, match="sliding windows, recurrent states .* full attention only"):
        load(scenario(tmp_path, text, ("model: llama-3.1-8b", "model: gpt-oss-20b")))
