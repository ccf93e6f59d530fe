"""What every model of the catalog, and every kind of layer, must keep; a new stanza is tested the moment it is written."""

import csv
import re
from datetime import date
from time import process_time

import pytest
from support.shared import SHARED, needs_shared

from simulator.catalog import hf_config, stanzas
from simulator.catalog.checkpoints import checkpoint
from simulator.catalog.engines import EngineArgs
from simulator.catalog.models import Layer, Mixer, Mlp, Model, catalog_model, model, models
from simulator.errors import UnknownName
from simulator.memory.tensors import layer_tensors, tensors
from simulator.memory.weights import active_parameters, parameters, weight_bytes
from simulator.spec import variants

each = pytest.mark.parametrize("entry", models(), ids=lambda entry: entry.name)

# What the publishers' model cards say where the number in the name is a rounded one: billions of parameters.
PUBLISHED = {
    "mpt-7b": 6.65,
    "llama-2-7b": 6.74,
    "glm-4-9b-chat": 9.4,
    "codellama-7b": 6.74,
    "llama-3.2-1b": 1.24,
    "llama-3.2-3b": 3.21,
    "llama-3.2-11b-vision": 10.6,
    "falcon3-7b": 7.46,
    "falcon3-10b": 10.3,
    "mistral-7b-v0.1": 7.24,
    "mistral-7b-v0.2": 7.24,
    "mistral-7b-v0.3": 7.25,
    "mixtral-8x7b": 46.7,
    "mixtral-8x22b": 141.0,
    "qwen2-7b": 7.62,
    "qwen2.5-1.5b": 1.54,
    "qwen2.5-3b": 3.09,
    "qwen2.5-7b": 7.61,
    "qwen2.5-14b": 14.7,
    "qwen2.5-vl-7b": 7.61,
    "deepseek-r1-distill-qwen-1.5b": 1.78,
    "deepseek-r1-distill-qwen-7b": 7.62,
    "deepseek-r1-distill-qwen-14b": 14.8,
    "qwen3-14b": 14.8,
    "qwen3-embedding-8b": 7.57,
    "qwen3-vl-2b": 1.72,
    "gemma-2-2b": 2.61,
    "gemma-3-4b": 3.88,
    "gpt-oss-20b": 20.9,
    "granite-3-2b": 2.53,
    "granite-vision-3.3-2b": 2.53,
    "granite-3-8b": 8.17,
    "falcon-40b": 41.8,
    "olmo-2-7b": 7.30,
    "olmo-2-13b": 13.7,
    "nemotron-3-nano-30b-a3b": 31.6,
    "llama-4-scout": 109.0,
    "llama-4-maverick": 400.0,
    "deepseek-v2-lite": 15.7,
    "deepseek-v3": 671.0,
    "deepseek-r1": 671.0,
    "deepseek-v4-flash": 284.0,
    "glm-4.5-air": 106.0,
    "glm-4.5": 355.0,
    "glm-4.7": 355.0,
    "glm-5": 744.0,
    "kimi-k2": 1026.0,
    "minimax-m2": 229.0,
    "mimo-7b": 7.6,
    "mimo-v2-flash": 309.0,
    "phi-4": 14.7,
    "phi-4-mini": 3.84,
    "phi-3-mini-4k": 3.82,
    "phi-2": 2.78,
    "phi-3.5-moe": 41.9,
    "olmoe-1b-7b": 6.92,
    "granite-4.0-h-small": 32.2,
    "granite-4.0-h-tiny": 6.94,
    "ernie-4.5-21b-a3b": 21.8,
    "step-3.5-flash": 196.0,
    "ling-1t": 1000.0,
    "command-a-111b": 111.058,
    "starcoder2-15b": 15.96,
    "smollm3-3b": 3.08,
    "qwen1.5-7b": 7.72,
    "qwen2-vl-2b": 1.54,
    "qwen2-vl-7b": 7.62,
    "qwen3.5-0.8b": 0.873,
    "qwen3.5-2b": 1.88,
    "qwen3.5-4b": 4.21,
    "ministral-3-3b": 3.4,
    "ministral-3-3b-fp8": 3.4,
    "ministral-3-8b": 8.4,
    "ministral-3-8b-fp8": 8.4,
    "olmo-3-7b": 7.30,
    "internlm2.5-7b": 7.74,
}

# What they say of the parameters that work on one token where the name has no such number.
PUBLISHED_ACTIVE = {
    "mixtral-8x7b": 12.9,
    "mixtral-8x22b": 39.0,
    "llama-4-scout": 17.0,
    "llama-4-maverick": 17.0,
    "deepseek-v2-lite": 2.4,
    "deepseek-v3": 37.0,
    "deepseek-r1": 37.0,
    "gpt-oss-20b": 3.6,
    "gpt-oss-120b": 5.1,
    "kimi-k2": 32.0,
    "minimax-m2": 10.0,
    "mimo-v2-flash": 15.0,
    "glm-4.5": 32.0,
    "glm-4.5-air": 12.0,
    "glm-5": 40.0,
    "mistral-large-3-675b": 39.0,
    "phi-3.5-moe": 6.6,
    "olmoe-1b-7b": 1.3,
    "granite-4.0-h-small": 9.0,
    "granite-4.0-h-tiny": 1.0,
    "step-3.5-flash": 11.0,
    "ling-1t": 50.0,
    "dbrx-132b": 36.0,
}


def number_in(name: str) -> float | None:
    found = re.search(r"(?:^|-)(\d+(?:\.\d+)?)([bm])(?:-|$)", name)
    return float(found[1]) / (1 if found[2] == "b" else 1000) if found else None


def test_the_catalog_has_the_models_people_serve() -> None:
    assert len(models()) >= 45
    for name in ("llama-3.1-405b", "mixtral-8x22b", "qwen3-235b-a22b", "deepseek-r1", "gemma-3-27b", "phi-4", "gpt-oss-120b"):
        assert model(name)
    for name in ("codellama-34b", "granite-3.3-8b-instruct", "kimi-k2.5", "minimax-m2.5", "llama-4-scout", "yi-34b", "glm-5"):
        assert model(name)


@each
def test_a_model_says_where_its_facts_come_from_and_when_they_were_checked(entry: Model) -> None:
    stanza = stanzas.load_entry("models", entry.name)
    assert stanza["source"].startswith("https://")
    assert date(2026, 1, 1) <= date.fromisoformat(str(stanza["checked"])) <= date(2027, 12, 31)


@each
def test_every_alias_finds_its_model(entry: Model) -> None:
    for alias in (entry.name, *stanzas.load_entry("models", entry.name).get("aliases", [])):
        assert catalog_model(str(alias)) == entry


@each
def test_the_parameters_agree_with_the_published_number_within_three_percent(entry: Model) -> None:
    number = PUBLISHED.get(entry.name) or number_in(entry.name)
    if number is not None:
        language = parameters(entry)
        either = (language / 1e9, (language + entry.vision_parameters) / 1e9)
        assert any(count == pytest.approx(number, rel=0.03) for count in either), either


def test_almost_every_model_has_a_number_to_agree_with() -> None:
    without = [entry.name for entry in models() if entry.name not in PUBLISHED and number_in(entry.name) is None]
    assert len(without) <= 0.15 * len(models()), without


@each
def test_the_active_parameters_are_the_published_ones_with_or_without_the_embedding(entry: Model) -> None:
    named = re.search(r"-a(\d+(?:\.\d+)?)b(?:-|$)", entry.name)
    number = float(named[1]) if named else PUBLISHED_ACTIVE.get(entry.name)
    if number is None:
        return
    without = active_parameters(entry) / 1e9
    either = (without, without + entry.vocabulary * entry.hidden / 1e9)
    assert any(abs(count / number - 1) <= 0.03 or number in (round(count), int(count)) for count in either), either


def test_almost_every_mixture_of_experts_has_a_number_of_active_parameters_to_agree_with() -> None:
    moe = [entry.name for entry in models() if entry.is_moe]
    without = [name for name in moe if name not in PUBLISHED_ACTIVE and not re.search(r"-a\d+(?:\.\d+)?b(?:-|$)", name)]
    assert len(without) <= 0.25 * len(moe), without


@each
def test_layers_norms_and_positions_are_whole(entry: Model) -> None:
    assert all(layer.mixer or layer.mlp for layer in entry.layers)
    assert entry.max_position >= 512
    assert active_parameters(entry) <= parameters(entry)
    assert all(tensor.parameters > 0 for tensor in tensors(entry))


@each
def test_the_account_of_one_gpu_adds_up(entry: Model) -> None:
    weights = weight_bytes(entry, None, EngineArgs())
    assert sum(weights.by_format.values()) == pytest.approx(weights.bytes)
    assert sum(weights.by_group.values()) == pytest.approx(weights.bytes)


def test_a_model_loads_in_under_30_ms() -> None:
    for name in ("llama-3.1-8b", "deepseek-v4-pro", "kimi-k2.5"):
        seconds = []
        for _ in range(5):
            stanzas.load_entry.cache_clear()
            began = process_time()
            hf_config.build(name, stanzas.load_entry("models", name)["config"], source="timed")
            seconds.append(process_time() - began)
        assert min(seconds) < 0.03, name


@pytest.mark.parametrize("kind", variants(Mixer), ids=lambda kind: kind.__name__)
def test_every_kind_of_mixer_has_tensors_that_can_be_counted(kind: type) -> None:
    found = next(layer.mixer for entry in models() for layer in entry.layers if isinstance(layer.mixer, kind))
    assert sum(tensor.parameters for tensor in layer_tensors(Layer(mixer=found, norms=0), 1024)) > 0


@pytest.mark.parametrize("kind", variants(Mlp), ids=lambda kind: kind.__name__)
def test_every_kind_of_feed_forward_has_tensors_that_can_be_counted(kind: type) -> None:
    found = next(layer.mlp for entry in models() for layer in entry.layers if isinstance(layer.mlp, kind))
    assert sum(tensor.parameters for tensor in layer_tensors(Layer(mlp=found, norms=0), 1024)) > 0


@needs_shared
def test_at_most_one_measured_row_in_ten_has_a_model_we_do_not_know() -> None:
    rows = [
        row["model"] for file in (SHARED / "validation").glob("*.csv") for row in csv.DictReader(file.open()) if row.get("model")
    ]
    assert len(rows) > 1000
    unknown = []
    for name in rows:
        try:
            checkpoint(name)
        except UnknownName:
            unknown.append(name)
    assert len(unknown) <= len(rows) / 100, set(unknown)
