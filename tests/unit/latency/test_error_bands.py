"""What is said of a step time that was not measured, and how far its class was off."""

from dataclasses import replace

import pytest
from support.latency_cases import Case, case
from support.untimed_cards import timed_cards

from simulator.catalog import stanzas
from simulator.catalog.engines import engine
from simulator.catalog.gpus import gpu
from simulator.latency.error_bands import extrapolations, typical_error


def said(c: Case, **more: float) -> tuple[str, ...]:
    return extrapolations(replace(c.target, **more))


def test_nothing_is_said_of_kernels_that_were_measured() -> None:
    assert said(case("llama-3.1-8b")) == ()
    assert said(case("deepseek-v3", "h200", tensor_parallel_size=8)) == ()


def test_a_sibling_is_named() -> None:
    (line,) = said(case("llama-3.1-8b", "gh200"))
    assert line == "gh200: no kernels of this GPU were measured: fractions of the datasheet taken from H100 SXM"


def test_a_kernel_that_was_taken_from_elsewhere_is_named_only_where_it_runs() -> None:
    (line,) = said(case("llama-3.1-8b", form="w4a16"))
    assert line.startswith("int4_wo matmuls on h100-sxm: taken from ")


def test_pcie_is_a_guess_until_the_link_is_given() -> None:
    c = case("llama-3.1-8b", "l40s", tensor_parallel_size=2)
    assert any("link_gb_per_s" in line for line in said(c))
    stated = said(c, link_bytes_per_s=20e9)
    assert not any("link_gb_per_s" in line for line in stated)
    assert any("of the link that is stated is taken from one server" in line for line in stated)


def test_cards_without_peer_access_say_so_whatever_link_is_given() -> None:
    c = case("llama-3.1-8b", "rtx 3090", tensor_parallel_size=2)
    assert any("no peer access" in line for line in said(c))
    assert any("no peer access" in line for line in said(c, link_bytes_per_s=16e9))
    assert not any("no peer access" in line for line in said(c, link_bytes_per_s=56e9)), "an NVLink bridge"


def test_parallelism_that_nothing_was_compared_with_is_said() -> None:
    assert any("pipeline" in line for line in said(case("llama-3.1-70b", "h200", pipeline_parallel_size=2)))
    both = case("deepseek-v3", "h200", data_parallel_size=8, enable_expert_parallel=True)
    assert any("expert parallelism" in line for line in said(both))


def test_an_engine_without_runs_is_said_to_be_taken_from_another() -> None:
    assert any("SGLang" in line for line in said(case("llama-3.1-8b", release="sglang")))


@pytest.mark.parametrize("name", ["vllm 0.7.3", "vllm 0.19.0", "sglang", "tensorrt-llm"])
@pytest.mark.parametrize("base", ["llama-3.1-8b", "qwen3-30b-a3b"])
def test_every_class_of_configurations_has_an_error(name: str, base: str) -> None:
    for card in timed_cards():
        found = typical_error(case(base).model, card, engine(name))
        assert found.keys() == {"ttft", "tpot", "e2e", "output_tokens_per_s"}
        assert all(0 < percent <= 100 and basis for percent, basis in found.values())


def test_what_was_not_measured_has_the_wider_band() -> None:
    llama = case("llama-3.1-8b").model
    near, far = (typical_error(llama, gpu(name), engine("vllm 0.19.0"))["tpot"][0] for name in ("h100", "l4"))
    assert near < far


@pytest.mark.parametrize("name", sorted(stanzas.stanzas("errors")))
def test_every_error_says_what_it_rests_on(name: str) -> None:
    fields = stanzas.load_entry("errors", name)
    assert fields["basis"]
    assert fields["source"]


def test_a_pipeline_and_the_hosts_memory_widen_what_is_stated() -> None:
    plain = case("llama-3.1-8b", "rtx 3090", tensor_parallel_size=2)
    alone = case("llama-3.1-8b", "rtx 3090")
    staged = case("llama-3.1-8b", "h100", pipeline_parallel_size=2)
    for c, factor in ((plain, 1.5), (alone, 1.0), (staged, 2.0)):
        usual, ours = typical_error(c.model, c.gpu, c.engine), typical_error(c.model, c.gpu, c.engine, c.args)
        assert ours["tpot"][0] == factor * usual["tpot"][0]
        assert (ours["tpot"][1] == usual["tpot"][1]) == (factor == 1)
