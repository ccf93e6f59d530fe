"""What every GPU of the catalog must keep, so that a new stanza is tested the moment it is written."""

import csv
import re
from datetime import date

import pytest
from support.shared import SHARED, needs_shared

from simulator.catalog import stanzas
from simulator.catalog.gpus import Gpu, gpu, gpus
from simulator.errors import SimulatorError, UnknownName
from simulator.units import GIB

each = pytest.mark.parametrize("card", gpus(), ids=lambda card: card.name)


def test_the_catalog_has_the_gpus_people_rent() -> None:
    assert len(gpus()) >= 28
    for name in ("t4", "v100", "a10g", "l4", "l40s", "a40", "a100-40gb-pcie", "h100-nvl", "h200", "b200", "b300", "gb200"):
        assert gpu(name)
    for name in ("rtx-3090", "rtx-4090", "rtx-5090", "a6000", "rtx-6000-ada", "rtx-pro-6000", "mi300x", "mi325x", "gh200", "h20"):
        assert gpu(name)


@each
def test_a_gpu_says_where_its_figures_come_from_and_when_they_were_checked(card: Gpu) -> None:
    assert len(card.source) > 20
    assert date(2026, 1, 1) <= date.fromisoformat(card.checked) <= date(2027, 12, 31)


@each
def test_every_alias_finds_its_gpu_in_any_writing(card: Gpu) -> None:
    for alias in (card.name, *card.aliases):
        for spelling in (alias, alias.upper(), alias.replace("-", "_"), stanzas.key(alias), f"NVIDIA {alias}"):
            if stanzas.key(spelling) == "rtx6000" and "quadro" not in spelling.lower():  # three generations have the name
                with pytest.raises(SimulatorError, match=f"write which: .*{card.name}"):
                    gpu(spelling)
            else:
                assert gpu(spelling) == card


@each
def test_the_driver_reports_a_little_less_memory_than_the_box_says(card: Gpu) -> None:
    gib = card.memory_bytes / GIB
    sizes = [int(s) for s in re.findall(r"(\d+)\s?GB\b", " ".join((card.name.upper(), *card.aliases)).upper()) if int(s) < 400]
    assert not sizes or all(0.85 * size * 1e9 / GIB < gib <= 1.001 * size for size in sizes), (gib, sizes)


@each
def test_rates_double_from_type_to_narrower_type(card: Gpu) -> None:
    rates = card.flops
    assert rates.get("bf16", rates["fp16"]) == rates["fp16"]
    assert rates["fp32"] < rates["fp16"] or card.architecture == "pascal", "which computes FP16 in FP32"
    if "fp8" in rates:
        assert rates["fp8"] / rates["fp16"] == pytest.approx(2, rel=0.03)
    if "fp4" in rates:
        assert 1.9 < rates["fp4"] / rates["fp8"] < 4.1
    if "int4" in rates:
        assert rates["int8"] <= rates["int4"] <= 2.01 * rates["int8"]


@each
def test_compute_per_byte_of_bandwidth_is_that_of_a_real_card(card: Gpu) -> None:
    assert 25 < card.flops["fp16"] / card.memory_bytes_per_s < 1000
    assert 0.004 < card.memory_bytes / card.memory_bytes_per_s < 0.5, "seconds to read the whole memory once"
    assert card.link_bytes_per_s < card.memory_bytes_per_s
    assert 0.03e12 < card.flops["fp16"] / card.tdp_watts < 4e12


@each
def test_types_follow_the_architecture(card: Gpu) -> None:
    assert card.computes("bf16") == (card.architecture not in ("pascal", "volta", "turing"))
    without_fp8 = ("pascal", "volta", "turing", "ampere", "cdna2", "rdna3", "xe2")
    assert card.computes("fp8") == (card.architecture not in without_fp8)
    assert card.computes("fp4") == card.architecture.startswith("blackwell")


@each
def test_links_are_one_direction(card: Gpu) -> None:
    bounds = {"pcie": (1 if card.name == "cmp-170hx" else 15, 65), "nvlink": (100, 900), "infinity-fabric": (100, 600)}
    low, high = bounds[card.link]
    assert low <= card.link_bytes_per_s / 1e9 <= high


@each
def test_a_misspelt_name_offers_the_right_one(card: Gpu) -> None:
    with pytest.raises(UnknownName) as problem:
        gpu(card.name + "q")
    assert stanzas.normal(card.name) in problem.value.nearest


@needs_shared
def test_the_gpus_of_published_measurements_are_known() -> None:
    written = {
        row.get("gpu") or row.get("gpu_norm") or ""
        for path in (SHARED / "validation").glob("*.csv")
        for row in csv.DictReader(path.open(encoding="utf-8"))
    } - {""}
    bare = {re.sub(r"^not stated \((.*) used\)$", r"\1", name) for name in written}
    unknown = {name for name in bare if not _known(re.sub(r" \(.*", "", name))}
    assert unknown <= {"RTX 5070 Ti 16GB + RTX 5090 D 32GB", "AMD Instinct MI308X"}, "two cards in one server; no public rates"


def _known(name: str) -> bool:
    try:
        return bool(gpu(name))
    except UnknownName:
        return False
