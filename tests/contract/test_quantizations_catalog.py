"""What every quantization of the catalog must keep."""

from datetime import date

import pytest

from simulator.catalog import stanzas
from simulator.catalog.engines import EngineArgs
from simulator.catalog.gpus import gpu, gpus
from simulator.catalog.models import model
from simulator.catalog.quantizations import Quantization, quantization, quantizations, runs_as
from simulator.errors import NotModelled
from simulator.memory.weights import weight_bytes

each = pytest.mark.parametrize("entry", quantizations(), ids=lambda entry: entry.name)


def test_the_catalog_has_the_formats_people_use() -> None:
    for name in ("fp32", "bf16", "fp16", "int8-w8a8", "int8-weight-only", "gptq-int4", "awq-int4", "w4a16", "fp8", "fp8-block"):
        assert quantization(name)
    for name in ("nvfp4", "mxfp4", "bnb-nf4", "bnb-int8"):
        assert quantization(name)


@each
def test_a_quantization_says_where_its_bits_come_from_and_when_they_were_checked(entry: Quantization) -> None:
    assert len(entry.source) > 20
    assert date(2026, 1, 1) <= date.fromisoformat(entry.checked) <= date(2027, 12, 31)


@each
def test_every_alias_finds_its_quantization(entry: Quantization) -> None:
    for alias in (entry.name, *stanzas.load_entry("quantizations", entry.name).get("aliases", [])):
        assert quantization(str(alias)) == entry
        assert quantization(str(alias).upper()) == entry


@each
def test_it_runs_on_some_gpu_and_every_refusal_names_a_way_out(entry: Quantization) -> None:
    refusals = []
    for card in gpus():
        for form in set(entry.formats.values()):
            try:
                assert runs_as(form, card).compute in card.flops
            except NotModelled as refused:
                refusals.append(str(refused))
    assert len(refusals) < len(gpus())
    assert all("choose" in refusal for refusal in refusals)


@each
def test_fewer_bits_never_take_more_room(entry: Quantization) -> None:
    mixture = model("mixtral-8x7b")
    bits = max(form.bits for form in entry.formats.values())
    ours = weight_bytes(mixture, entry, EngineArgs()).bytes
    theirs = weight_bytes(mixture, quantization("bf16"), EngineArgs()).bytes
    assert (ours <= theirs) == (bits <= 16)


@each
def test_a_gpu_without_the_type_unpacks_to_16_bits(entry: Quantization) -> None:
    for form in set(entry.formats.values()):
        run = runs_as(form, gpu("a100-80gb-sxm"))
        assert run.compute in ("bf16", "fp16", "fp32", "int8")
        assert run.weight_only == (form.bits < 16 and run.compute != "int8")
