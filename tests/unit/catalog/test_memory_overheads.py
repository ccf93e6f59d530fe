"""Memory overheads of the catalog: which stanzas a release and a card take."""

import pytest

from simulator.catalog.engines import EngineArgs, engine
from simulator.catalog.gpus import gpus
from simulator.catalog.memory_overheads import architecture, memory_overheads, mxfp4_kernel, rented_cards
from simulator.catalog.models import model
from simulator.memory.weights import weight_bytes


def test_a_release_takes_the_stanzas_up_to_it_of_its_own_generation() -> None:
    assert memory_overheads(engine("vllm-0.6.3")).outside_torch_gib == 0.5
    assert memory_overheads(engine("vllm-0.8.5 V0")).outside_torch_gib == 0.25
    assert memory_overheads(engine("vllm-0.8.5")).filtered_copies is None
    assert memory_overheads(engine("vllm-0.19.0")).filtered_copies == 3.5


def test_other_engines_take_those_of_the_newest_release() -> None:
    assert memory_overheads(engine("sglang")) == memory_overheads(engine("vllm-0.33.0"))


@pytest.mark.parametrize("card", gpus(), ids=lambda card: card.name)
def test_every_card_has_an_architecture(card: object) -> None:
    assert architecture(card).source  # type: ignore[arg-type]


def test_rented_cards_grow_and_are_of_one_vendor() -> None:
    for vendor in ("nvidia", "amd"):
        cards = rented_cards(vendor)
        assert len(cards) > 2
        assert all(card.vendor == vendor for card in cards)
        sizes = [card.memory_bytes // 2**30 for card in cards]
        assert sizes == sorted(sizes)


def test_experts_in_mxfp4_are_padded_by_release_and_card() -> None:
    """gpt-oss-120b on H100 with 0.25.1 loads 61.29 GiB (public log); 64.4 with 0.14 (vllm#33155)."""
    cards = {card.name: card for card in gpus()}
    of_hopper = [mxfp4_kernel(engine(v), cards["h100-sxm"]) for v in ("0.11.0", "0.12.0", "0.20.2", "0.25.1")]
    assert of_hopper == ["marlin", "triton", "triton", "triton-unpadded"]
    assert mxfp4_kernel(engine("0.25.1"), cards["mi300x"]) == "aiter"
    oss = model("gpt-oss-120b")
    loaded = weight_bytes(oss, oss.quantization, EngineArgs(), "triton-unpadded").bytes / 2**30
    assert loaded == pytest.approx(61.29, rel=0.01)
