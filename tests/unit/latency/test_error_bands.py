"""What is said of a step time that was not measured, and how far its class was off."""

import math
from dataclasses import replace

import pytest
from support.latency_cases import Case, case
from support.untimed_cards import timed_cards

from simulator.catalog import stanzas
from simulator.catalog.kernels import kernels
from simulator.catalog.links import LinkSpec
from simulator.latency.error_bands import ErrorBand, Setting, band_of, bands, class_of, class_path, extrapolations, setting


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


def test_a_replica_of_several_servers_says_what_joins_them() -> None:
    two = case("llama-3.1-70b", "h100", tensor_parallel_size=16)
    assert any("16 GPUs on servers of 8: traffic between them is taken as rdma-400g (network)" in line for line in said(two))
    assert any("as stated" in line for line in said(two, network=LinkSpec(gb_per_s=25)))
    assert not any("network" in line for line in said(case("deepseek-v3", "gb200", tensor_parallel_size=16)))


def test_an_engine_without_runs_is_said_to_be_taken_from_another() -> None:
    assert any("SGLang" in line for line in said(case("llama-3.1-8b", release="sglang")))


METRICS = {"ttft", "ttft_tail", "tpot", "tpot_tail", "e2e", "e2e_tail", "output_tokens_per_s"}


def place(c: Case) -> Setting:
    return setting(c.model, c.quantization, c.gpu, c.engine, c.args)


@pytest.mark.parametrize("name", ["vllm 0.7.3", "vllm 0.19.0", "sglang", "tensorrt-llm"])
@pytest.mark.parametrize("base", ["llama-3.1-8b", "qwen3-30b-a3b"])
@pytest.mark.parametrize("load", ["alone", "loaded", "waiting"])
def test_every_setting_has_a_band_under_every_load(name: str, base: str, load: str) -> None:
    for card in timed_cards():
        c = case(base, release=name)
        found = bands(replace(place(c), measured=kernels(card).measured), load)
        assert found.keys() == METRICS
        assert all(0 < band.low < band.middle < band.high and band.basis for band in found.values())


def test_a_setting_says_what_errors_go_by() -> None:
    assert place(case("llama-3.1-8b")) == Setting("vllm-v1", True, False, "16-bit", "one GPU")
    split = case("qwen3-30b-a3b", "l40s", form="fp8", tensor_parallel_size=2)
    assert place(split) == Setting("vllm-v1", True, True, "8-bit", "PCIe")
    assert not place(case("llama-3.1-8b", "l4")).measured
    assert not place(case("llama-3.1-8b", release="sglang")).measured


def test_a_band_gives_back_what_it_was_made_of() -> None:
    band = ErrorBand(0.8, 1.1, 2.0, "runs")
    for share in (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        assert band.share_below(band.quantile(share)) == pytest.approx(share)
    assert [band.quantile(share) for share in (0.1, 0.5, 0.9)] == pytest.approx([0.8, 1.1, 2.0])
    assert band.share_below(1e-300) == pytest.approx(0.0)
    assert band.share_below(1e300) == pytest.approx(1.0)
    assert [band.inverse().quantile(share) for share in (0.1, 0.9)] == pytest.approx([0.5, 1.25])


def test_a_band_is_wider_by_a_factor_on_both_sides_and_says_why() -> None:
    wide = ErrorBand(0.5, 1.0, 2.0, "runs").wider(2.0, "hosts differ")
    assert (wide.low, wide.middle, wide.high) == pytest.approx((0.25, 1.0, 4.0))
    assert wide.basis == "runs; times 2: hosts differ"


def test_sampling_widens_a_band_as_independent_errors_do() -> None:
    band = ErrorBand(math.exp(-0.3), 1.0, math.exp(0.3), "runs")
    blurred = band.blurred(0.4 / 1.2816)
    assert (blurred.low, blurred.high) == pytest.approx((math.exp(-0.5), math.exp(0.5)))
    assert band.blurred(0.0) == band


def test_a_kind_without_rows_of_its_own_takes_the_wider_class_and_is_wider() -> None:
    for name in stanzas.stanzas("error_bands"):
        known = class_of(tuple(name.split(" / ")))
        assert known.name == name
        unseen = band_of((*name.split(" / "), "never seen"))
        assert (unseen.low, unseen.high) != (known.low, known.high)
        assert unseen.low < known.low < known.high < unseen.high


def test_the_narrowest_class_of_a_path_is_taken() -> None:
    path = class_path("tpot", Setting("vllm-v1", True, False, "16-bit", "one GPU"), "loaded", tail=False)
    names = [" / ".join(path[:n]) for n in range(1, len(path) + 1)]
    known = [name for name in names if name in stanzas.stanzas("error_bands")]
    assert class_of(path).name == known[-1]
    assert class_of(("ttft", "an engine of tomorrow")).name == "ttft"


@pytest.mark.parametrize("name", sorted(stanzas.stanzas("error_bands")))
def test_every_band_says_what_it_rests_on(name: str) -> None:
    known = class_of(tuple(name.split(" / ")))
    assert known.rows >= 20
    assert known.combinations >= 1
    assert f"{known.rows:,} published figure" in known.basis
    assert known.source.startswith("python -m benchmarks.bands on ")
    assert known.checked


def test_a_pipeline_and_the_hosts_memory_widen_what_is_stated() -> None:
    plain = case("llama-3.1-8b", "rtx 3090", tensor_parallel_size=2)
    alone = case("llama-3.1-8b", "rtx 3090")
    staged = case("llama-3.1-8b", "h100", pipeline_parallel_size=2)
    for c, factor in ((plain, 1.5), (alone, 1.0), (staged, 2.0)):
        usual = bands(place(c), "loaded")["tpot"]
        ours = bands(place(c), "loaded", c.args, c.gpu)["tpot"]
        assert math.log(ours.high / ours.middle) == pytest.approx(factor * math.log(usual.high / usual.middle))
        assert (ours.basis == usual.basis) == (factor == 1)
