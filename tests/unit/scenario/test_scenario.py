"""Scenarios: what is written, what it means, and how mistakes are told."""

import contextlib
import dataclasses
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from simulator.document import Document, parse_yaml
from simulator.engine.fleet.router import LeastKvUse
from simulator.errors import NotModelled, ScenarioError, SimulatorError
from simulator.planning.costs import price_of
from simulator.planning.fleet_plan import plan_fleet
from simulator.planning.machines.pool import InProcess
from simulator.planning.run import review
from simulator.report.pages.run import run_page
from simulator.report.terminal import markdown
from simulator.results.summary import from_summary, to_summary
from simulator.scenario import Deployment, Scenario, dump, dumped, load, schema

SCENARIOS = sorted((Path(__file__).resolve().parents[3] / "scenarios").glob("*.yaml"))

TEXT = """\
model: llama-3.1-8b
engine: {version: vllm-0.19.0, max_model_len: 8192, max_num_seqs: 64}
workload:
  arrivals: {kind: poisson, rate: 4/s}
  prompt: 512
  output: 128
  requests: 100
slo: {ttft_s: 1.0}
deployments:
  - name: small
    gpu: l4
  - name: large
    gpu: h100_sxm
    max_num_seqs: 512
    quantization: fp8
"""


def read(tmp_path: Path, text: str, *settings: tuple[str, str]) -> Scenario:
    path = tmp_path / "case.yaml"
    path.write_text(text)
    return load(path, settings)


def test_the_file_names_the_scenario(tmp_path: Path) -> None:
    assert read(tmp_path, TEXT).name == "case"


def test_engine_arguments_hold_for_every_deployment_and_a_deployments_own_win(tmp_path: Path) -> None:
    small, large = (deployment.pool for deployment in read(tmp_path, TEXT).deployments)
    assert (small.max_model_len, small.max_num_seqs) == (8192, 64)
    assert (large.max_model_len, large.max_num_seqs) == (8192, 512)


def test_a_quantization_left_open_is_the_checkpoints_own(tmp_path: Path) -> None:
    small, large = (deployment.pool for deployment in read(tmp_path, TEXT).deployments)
    assert small.quantization is None
    assert large.quantization is not None
    assert large.quantization.name == "fp8"


def test_a_deployment_counts_its_gpus(tmp_path: Path) -> None:
    scenario = read(tmp_path, TEXT, ("deployments.large.replicas", "3"), ("deployments.large.tensor_parallel_size", "4"))
    assert scenario.deployments[1].gpus == 12


def test_settings_reach_any_field(tmp_path: Path) -> None:
    scenario = read(tmp_path, TEXT, ("workload.arrivals.rate", "90/min"), ("slo.tpot_s", "0.05"))
    assert scenario.workload.mean_rate() == pytest.approx(1.5)
    assert scenario.slo is not None
    assert scenario.slo.tpot_s == 0.05


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_dumped_scenario_reads_back_equal(path: Path, tmp_path: Path) -> None:
    scenario = load(path)
    again = tmp_path / "again.yaml"
    again.write_text(dump(scenario))
    assert load(again) == scenario


MISTAKES = [
    ("gpu: l4", "gpu: l44", r"case.yaml:11:5: deployments\[0\].gpu: unknown GPU 'l44'; did you mean 'l4"),
    ("llama-3.1-8b", "llama-3.1-8x", r"case.yaml:1:1: model: unknown model 'llama-3.1-8x'; did you mean '[^']*llama-3.1-8b"),
    (
        "quantization: fp8",
        "quantization: fp9",
        r"case.yaml:15:5: deployments\[1\].quantization: unknown quantization 'fp9'; did you",
    ),
    ("version: vllm-0.19.0", "version: vlm", r"case.yaml:2:10: engine.version: unknown engine 'vlm'; did you mean"),
    ("max_num_seqs: 64", "max_num_seq: 64", r"case.yaml:2:53: engine.max_num_seq: unknown field; did you mean 'max_num_seqs'"),
    (
        "max_num_seqs: 512",
        "max_nm_seqs: 5",
        r"case.yaml:14:5: deployments\[1\].max_nm_seqs: unknown field; did you mean 'max_num_seqs'",
    ),
    ("kind: poisson", "kind: poison", r"case.yaml:4:3: workload.arrivals: unknown kind 'poison'; did you mean 'poisson'\?"),
    ("kind: poisson, ", "", r"case.yaml:4:3: workload.arrivals: say its kind: poisson, gamma"),
    ("rate: 4/s", "rate: -4/s", r"case.yaml:4:29: workload.arrivals.rate: "),
    ("rate: 4/s", "rate: 4/parsec", r"case.yaml:4:29: workload.arrivals.rate: .*/s"),
    ("rate: 4/s", "ratte: 4/s", r"case.yaml:4:29: workload.arrivals.ratte: unknown field; did you mean 'rate'"),
    ("rate: 4/s", "rate: 4/s, cv: 2", r"case.yaml:4:40: workload.arrivals.cv: unknown field; known: rate$"),
    ("requests: 100", "requests: 0", r"case.yaml:7:3: workload.requests: .*greater than or equal to 1, not 0"),
    ("requests: 100", "requests: many", r"case.yaml:7:3: workload.requests: must be a whole number, not 'many'"),
    (
        "  requests: 100\n",
        "  requests: 100\nprices: {provider: nobody}\n",
        r"case.yaml:8:10: prices.provider: unknown provider 'nobody'",
    ),
    (
        "  requests: 100\n",
        "  requests: 100\nprices: {usd_per_gpu_hour: {l44: 1.0}}\n",
        r"case.yaml:8:29: prices.usd_per_gpu_hour: unknown GPU 'l44'; did you mean 'l4'",
    ),
    (
        "  requests: 100\n",
        "  requests: 100\nprices: {spot_usd_per_gpu_hour: {l44: 1.0}}\n",
        r"case.yaml:8:34: prices.spot_usd_per_gpu_hour: unknown GPU 'l44'; did you mean 'l4'",
    ),
    ("requests: 100", "requests: 1000000000000", r"case.yaml:7:3: workload.requests: about 1,000,000,000,000 requests; at most"),
    ("requests: 100", "duration: 10000000d", r"case.yaml:7:3: workload.duration: about 3,456,000,000,000 requests; at most"),
    ("rate: 4/s", "rate: 1e300", r"case.yaml:4:29: workload.arrivals.rate: 1e\+300 requests a second; is that the unit"),
    ("rate: 4/s", "rate: 1e-300", r"case.yaml:4:29: workload.arrivals.rate: 1e-300 requests a second; is that the unit"),
    ("rate: 4/s", "rate: true", r"case.yaml:4:29: workload.arrivals.rate: must be a number, not True"),
    ("prompt: 512", "prompt: 0", r"case.yaml:5:3: workload.prompt"),
    ("prompt: 512", "prompt: 512 tokens", r"case.yaml:5:3: workload.prompt: must be a whole number of tokens, or a law"),
    ("ttft_s: 1.0", "tttft: 1.0", r"case.yaml:8:7: slo.tttft: unknown field; did you mean 'ttft_s'"),
    ("ttft_s: 1.0", "ttft: 1.0, ttft_s: 2", r"case.yaml:8:7: slo: ttft is ttft_s, which is written too; write one"),
    ("ttft_s: 1.0", "ttft: soon", r"case.yaml:8:7: slo.ttft: 'soon' is not a duration; write seconds as a number"),
    ("max_num_seqs: 512", "kv_transfer_config: 5", r"14:5: deployments\[1\].kv_transfer_config: an argument of vLLM that "),
    ("max_num_seqs: 512", "cpu_offload_gb: 5", r"cpu_offload_gb: an argument of vLLM that is not modelled \(weights in the"),
    ("max_num_seqs: 512", "mem_fraction_static: 0.8", r"mem_fraction_static: is sglang's name; write gpu_memory_utilization$"),
    ("max_num_seqs: 64", "hicache_ratio: 2", r"engine.hicache_ratio: an argument of sglang that is not modelled; leave"),
    ("ttft_s: 1.0", "ttft_s: -1.0", r"case.yaml:8:7: slo.ttft_s: .*greater than 0"),
    ("    gpu: l4\n", "", r"case.yaml:10:5: deployments\[0\].gpu: is missing"),
    ("model: llama-3.1-8b\n", "", r"case.yaml:1:1: model: is missing"),
    ("prompt: 512", "prompt: 8192", r"case.yaml:2:32: deployments\[0\]: prompts of 8,192 tokens exceed max_model_len 8,192"),
    ("max_num_seqs: 64", "tensor_parallel_size: 3", r"case.yaml:2:53: deployments\[0\]: .*tensor_parallel_size.*3"),
    ("max_num_seqs: 512", "replicas: 1000000", r"case.yaml:14:5: deployments\[1\]: 1,000,000 engines; at most"),
    ("    gpu: l4\n", "    gpu: 4\n", r"case.yaml:11:5: deployments\[0\].gpu: must be the name of a GPU, .* not 4"),
    ("    gpu: l4\n", "    gpu:\n", r"case.yaml:11:5: deployments\[0\].gpu: must be the name of a GPU, .* not None"),
    ("gpu: l4", "gpu: l4\n    router: least", r"case.yaml:12:5: deployments\[0\].router: unknown kind 'least'; did you mean"),
    (
        "model: llama-3.1-8b",
        "model: {layers: 3}",
        r"case.yaml:1:1: model: unknown field 'layers' of a model; it has name and dtype",
    ),
    ("model: llama-3.1-8b", "1: 2\nmodel: llama-3.1-8b", r"case.yaml:1:1: 1: unknown field; known: "),
    ("model: llama-3.1-8b", "name: ../up\nmodel: llama-3.1-8b", r"case.yaml:1:1: name: '../up' cannot name a folder"),
    ("name: small", 'name: "a\\nb"', r"case.yaml:10:5: deployments\[0\].name: .* cannot be printed"),
    ("requests: 100", "requests: 100\n  requests: 200", r"case.yaml:8:3: found duplicate key"),
]


@pytest.mark.parametrize(
    ("right", "wrong", "message"), MISTAKES, ids=[wrong.strip()[:30] or "left out" for _, wrong, _ in MISTAKES]
)
def test_a_mistake_is_one_line_with_its_place_and_the_way_out(right: str, wrong: str, message: str, tmp_path: Path) -> None:
    assert right in TEXT
    with pytest.raises(ScenarioError, match=message) as problem:
        read(tmp_path, TEXT.replace(right, wrong, 1))
    assert "\n" not in str(problem.value)


def test_no_deployments_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"case.yaml:9:1: deployments: must have at least one entry$"):
        read(tmp_path, TEXT[: TEXT.index("deployments:")] + "deployments: []\n")


def test_a_router_is_chosen_by_name_and_written_back(tmp_path: Path) -> None:
    scenario = read(tmp_path, TEXT, ("deployments.small.router", "least_kv_use"))
    assert isinstance(scenario.deployments[0].pool.router, LeastKvUse)
    assert read(tmp_path, dump(scenario)) == scenario


def test_one_mistake_is_not_counted_as_two(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="^((?!more).)*$"):
        read(tmp_path, TEXT.replace("gpu: l4", "gpu: l44"))


def test_a_trace_that_is_not_there_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"--set workload=\{trace: gone.csv\}: workload.trace: gone.csv: no such file"):
        read(tmp_path, TEXT, ("workload", "{trace: gone.csv}"))


def test_the_network_of_a_replica_is_a_link_by_name_or_by_its_figures(tmp_path: Path) -> None:
    named = read(tmp_path, TEXT.replace("gpu: l4", "gpu: h100\n    tensor_parallel_size: 16\n    network: rdma-200g"))
    assert named.deployments[0].pool.network.collective_bytes_per_s == pytest.approx(25e9 * 0.9)
    own = TEXT.replace("gpu: l4", "gpu: h100\n    tensor_parallel_size: 16\n    network: {gb_per_s: 100, efficiency: 0.8}")
    scenario = read(tmp_path, own)
    assert scenario.deployments[0].pool.network.collective_bytes_per_s == pytest.approx(80e9)
    assert read(tmp_path, dump(scenario)) == scenario
    with pytest.raises(ScenarioError, match="network.*unknown link 'infiniband'"):
        read(tmp_path, TEXT.replace("gpu: l4", "gpu: h100\n    network: infiniband"))


def test_a_price_may_be_that_of_a_gpu_of_ones_own(tmp_path: Path) -> None:
    own = """{name: proto, architecture: hopper, memory_gib: 96, memory_gb_per_s: 4000, tflops: {bf16: 800},
          link: pcie, link_gb_per_s: 64, tdp_watts: 5}"""
    text = TEXT.replace("gpu: l4", f"gpu: {own}") + "prices: {usd_per_gpu_hour: {proto: 3.5}}\n"
    scenario = read(tmp_path, text)
    assert price_of(scenario.deployments[0].pool, scenario.prices) == (3.5, "given in the scenario", "")


def test_a_setting_that_leads_nowhere_offers_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"--set workload.arrivals.rat=3: .*did you mean 'rate'"):
        read(tmp_path, TEXT, ("workload.arrivals.rat", "3"))


def test_a_config_json_beside_the_scenario_is_a_model(tmp_path: Path) -> None:
    config = """{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 1024, "intermediate_size": 2816,
        "num_hidden_layers": 8, "num_attention_heads": 16, "num_key_value_heads": 4, "vocab_size": 32000,
        "max_position_embeddings": 8192, "tie_word_embeddings": false, "torch_dtype": "bfloat16"}"""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text(config)
    scenario = read(tmp_path, TEXT.replace("llama-3.1-8b", "mine/config.json"))
    assert scenario.model.hidden == 1024


def test_a_gpu_of_ones_own_is_read_and_written_back(tmp_path: Path) -> None:
    own = """{name: prototype, architecture: hopper, memory_gib: 96.5, memory_gb_per_s: 4000, tflops: {bf16: 800},
          link: pcie, link_gb_per_s: 64, tdp_watts: 500}"""
    scenario = read(tmp_path, TEXT.replace("gpu: l4", f"gpu: {own}"))
    assert scenario.deployments[0].pool.gpu.memory_bytes == round(96.5 * 2**30)
    assert read(tmp_path, dump(scenario)) == scenario


CALIBRATION = """source: one.csv
fitted: by hand
factors:
- {model: llama-3.1-8b, gpu: l4, quantization: bf16, tensor_parallel_size: 1, decode: [{sequences: 1, factor: 2.0, percent: 1}]}
"""


def test_a_calibration_beside_the_scenario_scales_the_deployment_it_was_made_for(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(CALIBRATION)
    plain, calibrated = read(tmp_path, TEXT), read(tmp_path, TEXT + "calibration: mine.yaml\n")
    for index, factor in ((0, 2.0), (1, 1.0)):
        before = plan_fleet(plain, plain.deployments[index]).server.step_time
        after = plan_fleet(calibrated, calibrated.deployments[index]).server.step_time
        assert before is not None
        assert after is not None
        assert after.constant + after.tokens[1] == pytest.approx(factor * (before.constant + before.tokens[1]), rel=0.05)


def test_a_calibration_that_is_not_there_is_a_mistake_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"case.yaml:16:1: calibration: .*mine.yaml"):
        read(tmp_path, TEXT + "calibration: mine.yaml\n")


@pytest.mark.parametrize("file", SCENARIOS, ids=lambda file: file.stem)
def test_what_is_written_is_known_without_reading_it_again(file):
    scenario = load(file)
    read = Document(file, parse_yaml(dump(scenario), file)).plain()
    assert repr(dumped(scenario).plain()) == repr(read)


def test_a_field_that_is_called_like_its_own_kind_is_told_from_it(tmp_path: Path) -> None:
    prefix = "  prefix: {kind: documents, documents: 5, tokens: 9}\n  requests: 100\n"
    with pytest.raises(ScenarioError, match=r"workload.prefix.tokens: unknown field; did you mean 'documents'"):
        read(tmp_path, TEXT.replace("  requests: 100\n", prefix))


def pooled(*pools: str) -> str:
    """The same with a third deployment that has pools."""
    return TEXT + "  - name: pooled\n    pools:\n" + "".join(f"      - {pool}\n" for pool in pools)


def test_a_deployment_is_its_only_pool_or_has_one(tmp_path: Path) -> None:
    scenario = read(tmp_path, pooled("{gpu: h100_sxm, max_num_seqs: 512, quantization: fp8}"))
    _, large, written = scenario.deployments
    assert written.pools == large.pools
    assert written.pool.max_model_len == 8192, "arguments for every deployment hold in its pools"
    assert read(tmp_path, dump(scenario)) == scenario
    assert "pools" not in dump(scenario)


def test_a_pool_is_changed_by_a_path_through_it(tmp_path: Path) -> None:
    scenario = read(tmp_path, pooled("{gpu: l4}"), ("deployments.pooled.pools.0.replicas", "3"))
    assert scenario.deployments[2].gpus == 3


@pytest.mark.parametrize(
    ("pools", "message"),
    [
        (("{gpu: l4}", "{gpu: l4}"), r"case.yaml:19:9: deployments\[2\].pools\[1\]: a second pool: .* not modelled"),
        (("{gpu: l44}",), r"case.yaml:18:10: deployments\[2\].pools\[0\].gpu: unknown GPU 'l44'; did you mean 'l4'"),
        (("{gpu: l4, replica: 2}",), r"deployments\[2\].pools\[0\].replica: unknown field; did you mean 'replicas'"),
        (("{gpu: l4, name: a}",), r"deployments\[2\].pools\[0\].name: unknown field"),
        (("{replicas: 2}",), r"deployments\[2\].pools\[0\].gpu: is missing"),
        (("{gpu: l4, replicas: 1000000}",), r"case.yaml:18:19: deployments\[2\]: 1,000,000 engines"),
        (("{gpu: l4}\n    replicas: 2",), r"deployments\[2\]: has pools: write replicas in each of them"),
    ],
)
def test_a_mistake_in_a_pool_is_told_with_its_place(pools: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=message):
        read(tmp_path, pooled(*pools))


def test_pools_that_are_no_list_are_told(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"case.yaml:17:5: deployments\[2\].pools: must be a list"):
        read(tmp_path, TEXT + "  - name: pooled\n    pools: {gpu: l4}\n")


def test_requests_that_pass_between_pools_are_not_modelled(tmp_path: Path) -> None:
    scenario = read(tmp_path, TEXT)
    pool = scenario.deployments[0].pool
    two = Deployment(name="two", pools=(pool, pool))
    assert two.gpus == 2
    with pytest.raises(NotModelled, match="two has 2 pools: .* not modelled"):
        plan_fleet(scenario, two)


def test_the_schema_takes_a_deployment_in_either_form() -> None:
    told = Draft202012Validator(schema())

    def wrong(**deployment: object) -> str:
        written = {"name": "x", "model": {}, "workload": {}, "deployments": [deployment]}
        errors = [error for error in told.iter_errors(written) if list(error.absolute_path) == ["deployments", 0]]
        return "; ".join(error.message for error in errors)

    assert "'gpu' is a required property" in wrong(name="neither")
    assert wrong(gpu={}, replicas=2, max_num_seqs=64) == ""
    assert wrong(name="pooled", pools=[{"gpu": {}}]) == ""
    assert "'replica' was unexpected" in wrong(gpu={}, replica=2)


CONFIG = """{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192,
"num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "head_dim": 64,
"max_position_embeddings": 131072, "tie_word_embeddings": true, "torch_dtype": "bfloat16"}"""
MODELS = (
    "llama-3.1-8b", "Qwen/Qwen3-8B-AWQ", "qwen3-8b-fp8", "RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", "openai/gpt-oss-20b",
    "own", "own/config.json", "{name: Qwen/Qwen3-8B, dtype: float16}", "{name: own, dtype: half}",
)  # fmt: skip
GPUS = (
    "l40s",
    "{name: mine, memory_gib: 100, architecture: hopper, memory_gb_per_s: 3000, tflops: {bf16: 900, fp8: 1800}, link: nvlink, "
    "link_gb_per_s: 450, tdp_watts: 700}",
)
ENGINES = ("vllm", "vllm-0.19.0", "vllm 0.9.1 V0", "vllm-0.23.1rc1.dev550", "sglang", "tensorrt-llm")
LINES = (
    "",
    "vllm serve Qwen/Qwen3-32B-AWQ -tp 2",
    "vllm serve Qwen/Qwen3-8B --quantization fp8 --dtype half --max-model-len 8k --cudagraph-capture-sizes 1 2 4",
    "vllm serve own --limit-mm-per-prompt '{\"image\": 0}'",
)
LOADS = (
    "{arrivals: 2/s, prompt: 64, output: 8, requests: 20}",
    "{trace: asked.csv}",
    "{trace: {path: asked.csv, scale: 2x, time_unit: s}}",
    "{arrivals: {kind: recorded, trace: asked.csv}, prompt: 64, output: 8}",
    "{arrivals: {kind: closed_loop, concurrency: 4}, requests: 20, dataset: sharegpt}",
    "{arrivals: 2/s, requests: 20, prompt: 9, output: 8, prefix: {kind: documents, documents: 9, document_len: 16}}",
    "{duration: 1min, classes: [{name: a, arrivals: {kind: users, users: 20, each: 12/h}, prompt: 9, output: 9}]}",
)


@given(
    st.sampled_from(MODELS), st.sampled_from(GPUS), st.sampled_from(ENGINES), st.sampled_from(LINES), st.sampled_from(LOADS),
    st.booleans(), st.sampled_from(["", ", quantization: fp8", ", quantization: bf16", ", cudagraph_mode: none"]),
)  # fmt: skip
@settings(max_examples=8, deadline=None, phases=[Phase.generate])
def test_a_written_scenario_reads_back_equal_from_anywhere(
    model: str, gpu: str, engine: str, line: str, load_: str, beside: bool, more: str
) -> None:
    with TemporaryDirectory() as name, TemporaryDirectory() as elsewhere:
        folder = Path(name)
        (folder / "own").mkdir()
        (folder / "own" / "config.json").write_text(CONFIG)
        (folder / "asked.csv").write_text("timestamp,input_length,output_length\n0,64,8\n1,32,8\n2,64,9\n")
        serve = f", serve: {json.dumps(line)}" if line else ""
        text = f"model: {model}\nengine: {engine}\nworkload: {load_}\ndeployments: [{{name: a, gpu: {gpu}{serve}{more}}}]\n"
        try:
            with contextlib.chdir(folder if beside else elsewhere):
                scenario = read(folder, text)
        except ScenarioError as refused:
            assume("unknown" not in str(refused))  # what an engine or a GPU does not run is another test's
            assume(False)
        with contextlib.chdir(elsewhere):
            again = read(Path(elsewhere), dump(scenario))
            assert dump(again) == dump(scenario)
    assert again == scenario or "serve" in text
    assert again.model.checkpoint == scenario.model.checkpoint


def test_what_the_engine_filled_in_stands_beside_the_deployment(tmp_path: Path) -> None:
    scenario = read(tmp_path, TEXT)
    resolved = {d.name: dataclasses.asdict(plan_fleet(scenario, d).plan.args) for d in scenario.deployments}
    text = dump(scenario, resolved)
    assert "# vllm-0.19.0 fills in gpu_memory_utilization 0.9, max_num_batched_tokens 2048, " in text
    assert read(tmp_path, text) == scenario


def test_a_model_made_by_hand_is_not_written_as_another(tmp_path: Path) -> None:
    scenario = read(tmp_path, TEXT)
    other = dataclasses.replace(scenario, model=dataclasses.replace(scenario.model, hidden=1024))
    with pytest.raises(SimulatorError, match=r"save its config.json and name its path"):
        dump(other)


def test_short_names_and_units_are_read_as_people_write_them(tmp_path: Path) -> None:
    text = TEXT.replace("rate: 4/s", "rate: 1.2 rps").replace("ttft_s: 1.0", "ttft: 3000ms, goodput: 99%, percentile: p95")
    text = text.replace("max_model_len: 8192", "max_model_len: 16k").replace("prompt: 512", "prompt: 2k")
    text = text.replace("max_num_seqs: 512", "tp: 2\n    dp: 2\n    count: 3\n    price: $2.5/h")
    scenario = read(tmp_path, text, ("deployments[0].gpu", "l40s"))
    large = scenario.deployments[1].pool
    assert (large.tensor_parallel_size, large.data_parallel_size, large.replicas, large.usd_per_gpu_hour) == (2, 2, 3, 2.5)
    assert scenario.slo is not None
    assert (scenario.slo.ttft_s, scenario.slo.goodput, scenario.slo.percentile) == (3.0, 0.99, 95.0)
    assert scenario.workload.mean_rate() == 1.2
    assert scenario.deployments[0].pool.max_model_len == 16_000
    assert scenario.deployments[0].pool.gpu.name == "l40s"
    assert read(tmp_path, dump(scenario)) == scenario


def test_one_deployment_that_cannot_run_does_not_stop_the_others(tmp_path: Path) -> None:
    scenario = read(tmp_path, TEXT.replace("max_num_seqs: 512", "tensor_parallel_size: 3"))
    result = review(scenario, machine=InProcess(), curve=False)
    assert [d.verdict for d in result.deployments][1] == "cannot run"
    assert "tensor_parallel_size" in result.deployments[1].reason
    assert result.deployments[0].metrics is not None
    assert "cannot run" in run_page(result)
    assert "cannot run" in markdown(result)
    assert from_summary(to_summary(result)).deployments[1].verdict == "cannot run"
