"""A catalog of one's own beside the scenario."""

from pathlib import Path

import pytest

from simulator.catalog.engines import engine, on_card
from simulator.catalog.gpus import gpu
from simulator.catalog.kernels import overheads
from simulator.catalog.own_engine import engine_from_fields, engine_to_fields
from simulator.errors import ScenarioError
from simulator.planning.costs import price_of
from simulator.scenario import dump, load
from simulator.scenario.reading import own_gpus

OWN = """
gpus:
  our-card: {architecture: ada, memory_gib: 31.4, memory_gb_per_s: 900, tflops: {bf16: 150, fp16: 150}, link: pcie,
             link_gb_per_s: 26, tdp_watts: 300}
models: {our-tune: Qwen/Qwen3-8B}
engines:
  our-fork: {like: vllm-0.19.0, block_size: 32, overheads: {step_us: 500, sequence_us: 1}}
prices:
  - {gpu: our-card, usd_per_gpu_hour: 0.55, provider: ours, checked: 2026-11-30}
  - {gpu: NVIDIA L40S, usd_per_gpu_hour: 0.7, provider: ours}
  - {gpu: l40s, usd_per_gpu_hour: 0.6, provider: others}
  - {gpu: l40s, usd_per_gpu_hour: 0.1, provider: ours, commitment: spot}
"""
SCENARIO = """
catalog: own.yaml
model: our-tune
engine: {version: our-fork, max_model_len: 4k}
workload: {arrivals: 1/s, prompt: 100, output: 10, requests: 20}
deployments:
  - {name: own, gpu: our-card}
  - {name: known, gpu: l40s}
  - {name: dear, gpu: l40s, price: 2}
  - {name: listed, gpu: l4}
"""


def written(folder: Path, scenario: str = SCENARIO, own: str = OWN) -> Path:
    (folder / "own.yaml").write_text(own)
    (folder / "asked.yaml").write_text(scenario)
    return folder / "asked.yaml"


def test_names_of_an_own_catalog_stand_wherever_catalog_names_do(tmp_path: Path) -> None:
    scenario = load(written(tmp_path))
    assert scenario.model.checkpoint == "Qwen/Qwen3-8B"
    assert (scenario.engine.name, scenario.engine.block_size, scenario.engine.version) == ("our-fork", 32, "0.19.0")
    assert [d.pool.gpu.name for d in scenario.deployments] == ["our-card", "l40s", "l40s", "l4"]
    assert scenario.deployments[0].pool.max_model_len == 4000
    assert set(own_gpus(tmp_path / "asked.yaml")) == {"our-card"}


def test_what_is_written_of_it_loads_again_without_the_catalog(tmp_path: Path) -> None:
    scenario = load(written(tmp_path))
    again = tmp_path / "elsewhere" / "again.yaml"
    again.parent.mkdir()
    again.write_text(dump(scenario))
    assert load(again, [("name", scenario.name)]) == scenario


@pytest.mark.parametrize(("provider", "known"), [("", 0.6), ("ours", 0.7), ("Others", 0.6)])
def test_an_own_price_list_goes_before_the_catalog_and_after_what_a_deployment_says(tmp_path: Path, provider, known) -> None:
    settings = [("prices.provider", provider)] if provider else []
    scenario = load(written(tmp_path), settings)
    found = {d.name: price_of(d.pool, scenario.prices) for d in scenario.deployments}
    assert found["known"][0] == known
    assert found["dear"][0] == 2
    if provider == "Others":
        assert found["own"] is None
    else:
        assert found["own"] == (0.55, "ours on-demand, given in the scenario", "2026-11-30")
    assert (found["listed"] is None) == bool(provider)


def test_an_own_engine_has_its_own_overheads_and_the_release_s_where_it_says_nothing() -> None:
    own, release = (
        engine_from_fields({"name": "ours", "like": "vllm-0.19.0", "overheads": {"step_us": 500}}),
        engine("vllm-0.19.0"),
    )
    assert overheads(own).step_us == 500
    assert overheads(own).kernel_us == overheads(release).kernel_us
    assert own.taken_for == "ours is vllm-0.19.0 with its own overheads.step_us"
    assert engine_from_fields(engine_to_fields(own)) == own


def test_an_own_engine_starts_on_an_old_card_as_it_is_described() -> None:
    own = engine_from_fields({"name": "ours", "like": "vllm-0.8.4"})
    assert on_card(engine("vllm-0.8.4"), gpu("t4")).generation == "v0"
    assert on_card(own, gpu("t4")) is own


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ("card: {}", "own.yaml:1:1: card: unknown section; known: gpus, models, engines, prices"),
        ("gpus: {c: {architecture: ada}}", "gpus.c: GPU c: memory_gib missing"),
        ("engines: {e: {block_size: 32}}", "engines.e: engine e: like missing"),
        ("engines: {vllm-0.20.0: {like: vllm-0.19.0}}", "is the name of a release; call your own otherwise"),
        ("engines: {e: {like: vllm-0.19.0, block_sise: 32}}", "unknown field 'block_sise'; did you mean 'block_size'"),
        ("engines: {e: {like: vllm-0.19.0, block_size: none}}", "engines.e: engine e: block_size: "),
        ("engines: {e: {like: vllm-0.19.0, overheads: {step_us: -1}}}", "engines.e: engine e: overheads: step_us: "),
        ("engines: {e: {like: vllm-0.19.0, scheduler_rules: [fifo]}}", "no release has the scheduler rule 'fifo'; known: "),
        ("engines: {e: vllm-0.19.0}", "engines.e: must be a mapping of fields"),
        ("models: {m: nowhere/config.json}", "models.m: "),
        ("prices: {l40s: 0.8}", "prices: must be a list"),
        ("prices: [{gpu: l40s}]", "prices[0]: usd_per_gpu_hour"),
        ("prices: [{gpu: l40s, usd_per_gpu_hour: -1}]", "prices[0]: usd_per_gpu_hour"),
    ],
)
def test_a_mistake_in_an_own_catalog_is_pointed_at_in_its_own_file(tmp_path: Path, own: str, said: str) -> None:
    with pytest.raises(ScenarioError) as problem:
        load(written(tmp_path, own=own))
    assert f"{tmp_path / 'own.yaml'}:1" in str(problem.value)
    assert said in str(problem.value)


def test_a_price_of_a_card_that_nobody_has_and_a_catalog_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"prices.offers\[0\].gpu: unknown GPU 'nocard'"):
        load(written(tmp_path, own=OWN.replace("{gpu: our-card, usd", "{gpu: nocard, usd")))
    with pytest.raises(ScenarioError, match=r"asked.yaml:2:1: catalog: gone.yaml: no such file here or beside the scenario"):
        load(written(tmp_path, SCENARIO.replace("own.yaml", "gone.yaml")))
