"""What a user gets wrong: one line on stderr that says where, what, and the way out; exit code 2; nothing written."""

import pytest
from support.command_line import SMALL, Finished, sim, written

GPU = "gpu: rtx-4090"


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Runs `sim ...` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: sim(capsys, monkeypatch, *words)


def mistake(found: Finished) -> str:
    """The one line of a mistake."""
    assert (found.code, found.out) == (2, ""), found
    assert found.err.startswith("error: ") and found.err.endswith("\n"), found.err
    assert found.err.count("\n") == 1 and found.err.rstrip("\n").isprintable(), found.err
    return found.err


MISTAKES = [
    # what is written, what is written instead, where, what is said
    ("llama-3.1-8b", "lama-3.1-8b", "2:1", "model: unknown model 'lama-3.1-8b'; did you mean 'llama-3.1-8b'"),
    ("llama-3.1-8b", "{layers: 3}", "2:1", "model: unknown field 'layers' of a model; it has name and dtype"),
    ("llama-3.1-8b", "[3]", "2:1", "model: must be the name of a model, as in `sim catalog models`, or the path"),
    (GPU, "gpu: rtx4091", "12:5", "deployments[0].gpu: unknown GPU 'rtx4091'; did you mean 'rtx-4090'"),
    (GPU, "gpu:", "12:5", "deployments[0].gpu: must be the name of a GPU"),
    (
        GPU,
        "gpu: {name: own}",
        "12:5",
        "GPU own: memory_gib missing",
    ),
    (GPU, f"{GPU}\n    quantization: gptq5", "13:5", "unknown quantization 'gptq5'; did you mean 'gptq'"),
    (GPU, f"{GPU}\n    quantization: 8", "13:5", "quantization: must be a name, as in `sim catalog quantizations`"),
    (GPU, f"{GPU}\n    tensor_paralel_size: 2", "13:5", "unknown field; did you mean 'tensor_parallel_size'"),
    (GPU, f"{GPU}\n    tensor_parallel_size: 3", "13:5", "tensor_parallel_size 3 does not divide its 32 attention heads"),
    (GPU, f"{GPU}\n    pipeline_parallel_size: 99", "13:5", "pipeline_parallel_size 99 exceeds its 32 layers"),
    (GPU, f"{GPU}\n    replicas: 1000000000000", "13:5", "1,000,000,000,000 engines; at most 10,000"),
    (
        GPU,
        f"{GPU}\n    autoscaler: {{kind: schedule, hours: [{{from_s: 0h, replicas: 10000000000}}]}}",
        "13:5",
        "10,000,000,000 engines; at most 10,000",
    ),
    (GPU, f"{GPU}\n    autoscaler: {{kind: hpa, target: 2, max_replicas: 3, interval_s: 1e-9}}", "13:57", "0.1, not 1e-09"),
    (
        "version: vllm-0.19.0",
        "version: sglang, spec_method: ngram, spec_tokens: 2, spec_acceptance_length: 1.5",
        "11:5",
        "speculative decoding by sglang-0.5.19; leave it out, or ask a release of vLLM",
    ),
    (
        "prompt: 200",
        "prompt: 200\n  adapters: {count: 3, rank: 64}",
        "12:5",
        "requests ask for LoRA adapters, and the engine serves none; set enable_lora: true",
    ),
    (
        GPU,
        f"{GPU}\n    enable_lora: true\n    max_loras: 4\n    max_cpu_loras: 3",
        "15:5",
        "max_cpu_loras (3) must be >= max_loras (4)",
    ),
    (GPU, f"{GPU}\n    enable_lora: true\n    scheduling_policy: priority", "11:5", "LoRA adapters with another scheduler"),
    (GPU, f"{GPU}\n    gpu_memory_utilization: 90", "13:5", "must be less than or equal to 1, not 90"),
    (
        GPU,
        f"{GPU}\n    watermark: 0.01",
        "13:5",
        "vllm-0.19.0 has no watermark: vLLM 0.24.0 introduced it; leave it out, or choose",
    ),
    (GPU, f"{GPU}\n    watermark: 1", "13:5", "watermark: must be less than 1"),
    (GPU, f"{GPU}\n    watermark: -0.1", "13:5", "watermark: must be greater than or equal to 0, not -0.1"),
    (GPU, f"{GPU}\n    max_num_queued_reqs: 3", "13:5", "has no max_num_queued_reqs: vLLM 0.29.0 introduced it"),
    (GPU, f"{GPU}\n    max_num_queued_tokens: -3", "13:5", "max_num_queued_tokens: must be greater than or equal to 0, not -3"),
    (GPU, f"{GPU}\n    kv_cache_dtype: fp7", "13:5", "must be 'auto', 'bf16', 'fp16', 'fp8'"),
    (GPU, f"{GPU}\n    max_num_seqs: 999999999", "13:5", "max_num_batched_tokens 2048 is below max_num_seqs 999999999"),
    (GPU, f"{GPU}\n    max_num_batched_tokens: 99999999999", "13:5", "exceeds the 10,000,000 modelled; lower it"),
    (GPU, "gpu: t4\n    quantization: fp32", "11:5", "no fp32 kernel is modelled on t4; known there: bf16"),
    ("version: vllm-0.19.0", "version: 0.19", "3:10", "must be an engine and its version, such as vllm-0.19.0, not 0.19"),
    ("version: vllm-0.19.0", "version: vlm", "3:10", "unknown engine 'vlm'; did you mean 'vllm'"),
    ("workload:", "workloads:", "4:1", "workloads: unknown field; did you mean 'workload'?"),
    ("kind: poisson", "kind: poison", "5:3", "workload.arrivals: unknown kind 'poison'; did you mean 'poisson'?"),
    ("kind: poisson, ", "", "5:3", "workload.arrivals: say its kind: poisson, gamma"),
    ("rate: 4/s", "rate: 4/fortnight", "5:29", "'4/fortnight' is not a rate; write a number per second, or one such as 4/s"),
    ("rate: 4/s", "rate: -4", "5:29", "must be greater than 0, not -4"),
    ("rate: 4/s", "rate: .nan", "5:29", "must be greater than 0, not nan"),
    ("rate: 4/s", "rate: .inf", "5:29", "must be a finite number, not inf"),
    ("rate: 4/s", "rate: 1e400", "5:29", "must be a finite number, not inf"),
    ("rate: 4/s", "rate: 1e300", "5:29", "1e+300 requests a second; is that the unit?"),
    ("rate: 4/s", "rate: true", "5:29", "must be a number, not True"),
    ("requests: 50", "requests: 0", "8:3", "workload.requests: must be greater than or equal to 1, not 0"),
    ("requests: 50", "requests: 1.5", "8:3", "workload.requests: must be a whole number, not 1.5"),
    ("requests: 50", "requests: 1000000000000", "8:3", "about 1,000,000,000,000 requests; at most 20,000,000"),
    ("requests: 50", "requests: 50\n  requests: 60", "9:3", 'found duplicate key "requests"'),
    ("prompt: 200", "prompt: 5000", "3:32", "prompts of 5,000 tokens exceed max_model_len 4,096"),
    ("prompt: 200", "prompt: 200 tokens", "6:3", "must be a whole number of tokens, or a law such as"),
    ("prompt: 200", "prompt: {kind: lognomal}", "6:3", "unknown kind 'lognomal'; did you mean 'lognormal'"),
    ("ttft_s: 1.0", "ttft_ms: 1000", "9:7", "slo.ttft_ms: unknown field; did you mean 'ttft_s'"),
    ("ttft_s: 1.0", "ttft_s: soon", "9:7", "slo.ttft_s: 'soon' is not a duration; write seconds as a number"),
    ("ttft_s: 1.0", "", "9:1", "slo: sets no limit; give one of ttft_s, tpot_s, e2e_s, or leave slo out"),
    ("name: case", "name: ../../etc/cron.d", "1:1", "cannot name a folder"),
    ("name: case", "name: /tmp/x", "1:1", "cannot name a folder"),
    ("name: case", "name: .", "1:1", "cannot name a folder"),
    ("name: case", 'name: "a\\e[31m"', "1:1", "has characters that cannot be printed"),
    ("name: one", 'name: "a\\nb"', "11:5", "has characters that cannot be printed"),
    ("name: case", "1: case", "1:1", "1: unknown field"),
    ("name: case", "? [a, b]\n: case", "1:3", "unknown field"),
    ("prompt: 200", "prompt: *never", "6:11", "not YAML: found undefined alias 'never'"),
    ("  prompt", "\tprompt", "6:1", r"not YAML: found character '\t' that cannot start any token"),
    ("  - name: one\n    gpu: rtx-4090\n", "  gpu: l4\n", "10:1", "deployments: must be a list, not a mapping"),
    ("  - name: one\n    gpu: rtx-4090\n", "  - l4\n", "11:5", "deployments[0]: must be a mapping, not 'l4'"),
    ("\n  - name: one\n    gpu: rtx-4090\n", " []\n", "10:1", "deployments: must have at least one entry"),
]


MISTAKES += [
    (GPU, "gpu: rtx-6000", "12:5", "'rtx-6000' may be any of several GPUs; write which: quadro-rtx-6000, rtx-6000-ada, "),
    ("ttft_s: 1.0", "ttft_s: 1.0, percentile: 0.95", "9:20", "0.95 reads as a share; a percentile is written 95"),
    ("ttft_s: 1.0", "ttft_s: 1.0, percentile: 1", "9:20", "1 reads as a share; a percentile is written 100"),
]


def test_all_mistakes_of_a_file_are_told_at_once(run, tmp_path):
    path = written(tmp_path, (GPU, "gpu: rtx4091"), ("requests: 50", "requests: 0"), ("prompt: 200", "promt: 200"))
    left = run("run", path)
    assert (left.code, left.out) == (2, "")
    lines = left.err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"error: {path}:") for line in lines)
    assert ["did you mean 'prompt'" in lines[0], "workload.requests" in left.err, "rtx-4090" in left.err] == [True] * 3


DOUBTS = [
    (("ttft_s: 1.0", "ttft_s: 3000"), "slo.ttft_s 3,000 is 50 minutes; as milliseconds it would be 3"),
    (("{kind: poisson, rate: 4/s}", "{kind: users, users: 2, each: 12}"), "was 12/h meant? A rate without a unit is per second"),
    (("{kind: poisson, rate: 4/s}", "{kind: closed_loop, concurrency: 4}"), "every output has 20 tokens, so that the users"),
    (
        ("prompt: 200", "prompt: {kind: lognormal, mean: 3000, p95: 9000, max: 20000}"),
        "than max_model_len 4,096 and get no answer",
    ),
    (
        ("{kind: poisson, rate: 4/s}", "{kind: diurnal, peak: 9/s, trough: 1/s}"),
        "the peak of 9/s comes after 12 h of a period of 24 h",
    ),
]


@pytest.mark.parametrize(("change", "said"), DOUBTS)
def test_what_can_hardly_be_meant_is_asked_about(run, tmp_path, change, said):
    path = written(tmp_path, change)
    checked = run("check", path)
    assert checked.code == 0
    assert "is it meant? case: " in checked.err and said in checked.err
    ran = run("run", path, "--no-limits", "--no-report", "--set", "workload.requests=20")
    assert ran.code == 0
    assert "Is it meant?" in ran.out and said.split(";")[0].split(",")[0].lower() in " ".join(ran.out.split()).lower()


@pytest.mark.parametrize("fine", [("rate: 4/s", "rate: 5/s"), ("ttft_s: 1.0", "ttft_s: 60")])
def test_what_is_usual_is_not_asked_about(run, tmp_path, fine):
    assert run("check", written(tmp_path, fine)).err == ""


@pytest.mark.parametrize(("right", "wrong", "place", "said"), MISTAKES, ids=[m[1].strip()[-30:] or m[3][:20] for m in MISTAKES])
def test_a_mistake_in_a_scenario_is_one_line_with_its_place(run, tmp_path, right, wrong, place, said):
    path = written(tmp_path, (right, wrong))
    line = mistake(run("run", path, "--out", "reports"))
    assert line.startswith(f"error: {path}:{place}: ") and said in line
    assert [left.name for left in tmp_path.iterdir()] == ["case.yaml"]


def test_a_refusal_points_at_the_argument_it_is_about_not_at_one_whose_name_it_contains(run, tmp_path):
    (tmp_path / "replicas").mkdir()
    (tmp_path / "replicas" / "config.json").write_text(CONFIG)
    model, deployment = ("llama-3.1-8b", "replicas/config.json"), (GPU, f"{GPU}\n    replicas: 2\n    tensor_parallel_size: 3")
    path = written(tmp_path, model, deployment)
    line = mistake(run("check", path))
    assert "replicas: tensor_parallel_size 3 does not divide its 4 attention heads" in line
    assert line.startswith(f"error: {path}:14:5: ")


CONFIG = """{"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2,
"intermediate_size": 128, "vocab_size": 1000, "max_position_embeddings": 4096, "torch_dtype": "bfloat16"}"""

BOMB = b"a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 30)
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "case.yaml:1:1: the file is empty; a scenario needs at least model, workload and deployments"),
        (b"---\n# nothing\n", "case.yaml:1:1: the file is empty"),
        (b"{[}", "case.yaml:1:3: not YAML: expected the node content"),
        (b"- a\n", "case.yaml:1:1: expected a mapping such as 'model: llama-3.1-8b', found a list"),
        (SMALL.encode() + b"---\n" + SMALL.encode(), "case.yaml:13:1: not YAML: but found another document"),
        (SMALL.encode("utf-16"), "case.yaml:1:1: cannot be read as UTF-8 text; save the file as UTF-8"),
        (b"name: a\x00b\n", "case.yaml:1:8: not YAML: the character U+0000 is not allowed"),
        (b"description: " + b"[" * 500 + b"]" * 500, "case.yaml: not YAML that can be read: it is nested too deeply"),
        (BOMB, "case.yaml: its aliases repeat more than 100,000 values; write out what is meant"),
        (b"seed: " + b"9" * 5000, "case.yaml: not YAML: Exceeds the limit"),
        (SMALL.encode() + b"description: !!python/object/apply:os.abort []\n", "13:1: description: must be text"),
    ],
)
def test_a_file_that_is_no_scenario_is_refused(run, tmp_path, content, said):
    (tmp_path / "case.yaml").write_bytes(content)
    assert said in mistake(run("check", "case.yaml"))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cas.yaml", "cas.yaml: no such file; did you mean 'case.yaml'?"),
        ("nowhere/case.yaml", "nowhere/case.yaml: no such file"),
        (".", ".: is a directory; name a file in it"),
        ("case.yaml/case.yaml", "case.yaml/case.yaml: cannot be read: not a directory"),
        ("a\nb.yaml", "a b.yaml: no such file"),
        ("x" * 5000, ": cannot be read: file name too long"),
    ],
)
@pytest.mark.parametrize("verb", ["run", "check", "size"])
def test_a_file_that_is_not_there_is_refused(run, tmp_path, verb, name, said):
    written(tmp_path)
    assert said in mistake(run(verb, name))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("requests", "--set requests: expected PATH=VALUE, e.g. --set workload.arrivals.rate=6/s"),
        ("=3", "--set =3: expected PATH=VALUE"),
        ("workload..requests=3", "--set workload..requests: an empty name in the path"),
        ("workload.requests=0", "--set workload.requests=0: workload.requests: must be greater than or equal to 1, not 0"),
        ("workload.requests=[", "--set workload.requests:1:2: not YAML"),
        ("workload.requests.x=3", "'x' would stand under the plain value 50; set workload.requests itself"),
        ("workload.requests.re.x=3", "'re' would stand under the plain value 50; set workload.requests itself"),
        ("workload.arivals.rate=3", "--set workload.arivals.rate=3: workload.arivals: unknown field; did you mean 'arrivals'?"),
        ("deployments.7.gpu=l4", "--set deployments.7.gpu: nothing called '7' in the list; its entries are numbered 0 to 0"),
        ("deployments.²=l4", "nothing called '²' in the list"),
        ("deployments.on.gpu=l4", "nothing called 'on' in the list; did you mean 'one'?"),
        ("deployments.one.gpu=l44", "--set deployments.0.gpu=l44: deployments[0].gpu: unknown GPU 'l44'; did you mean 'l4'"),
        ("name=../up", "--set name=../up: name: '../up' cannot name a folder"),
    ],
)
def test_a_setting_that_is_wrong_is_blamed(run, tmp_path, setting, said):
    assert said in mistake(run("run", written(tmp_path), "--set", setting))
    assert [left.name for left in tmp_path.iterdir()] == ["case.yaml"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run"], "error: missing argument 'FILE...' (see sim run --help)\n"),
        (["memory", "llama-3.1-8b"], "error: missing option '--gpu' / '-g' (see sim memory --help)\n"),
        (["chek"], "error: no such command 'chek'. Did you mean 'check', 'schema'? (see sim --help)\n"),
        (["catalog", "gpu"], "error: no such command 'gpu'. Did you mean 'gpus'? (see sim catalog --help)\n"),
        (["run", "--jsn", "x.yaml"], "no such option: --jsn"),
        (["run", "--seed", "x", "x.yaml"], "invalid value for '--seed'"),
        (["run", "--seed", "-1", "x.yaml"], "invalid value for '--seed'"),
        (["memory", "llama-3.1-8b", "--gpu", "l4", "--gpu-memory-utilization", "nan"], "a finite number"),
        (["memory", "lama", "--gpu", "l4"], "unknown model 'lama'; did you mean"),
        (["memory", "zzzzzzzzzz", "--gpu", "l4"], "unknown model 'zzzzzzzzzz'; `sim catalog` lists what is known"),
    ],
)
def test_a_command_line_that_cannot_be_meant_is_one_line(run, words, said):
    assert said in mistake(run(*words))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"architectures": ["FooForCausalLM"]}', "architecture 'FooForCausalLM' is not known"),
        ("{", "config.json:1:2: not JSON"),
        ("[]", "config.json: must be a JSON object"),
        ("[" * 100_000, "config.json: not JSON that can be read: it is nested too deeply"),
    ],
)
def test_a_config_json_that_is_not_understood_is_refused(run, tmp_path, content, said):
    (tmp_path / "config.json").write_text(content)
    assert said in mistake(run("check", written(tmp_path, ("llama-3.1-8b", "config.json"))))
    assert said in mistake(run("memory", "config.json", "--gpu", "l4"))


@pytest.mark.parametrize("verb", ["run", "size"])
@pytest.mark.parametrize("place", [".", "case.yaml/junit.xml"])
def test_a_junit_file_that_cannot_be_written_is_told_before_the_work(run, tmp_path, verb, place):
    assert f"--junit {place}: cannot be written" in mistake(run(verb, written(tmp_path), "--junit", place))
    assert [left.name for left in tmp_path.iterdir()] == ["case.yaml"]


@pytest.mark.parametrize("verb", ["catalog", None])
def test_no_verb_shows_the_help_and_is_no_success(run, verb):
    found = run(*([verb] if verb else []))
    assert found.code == 2
    assert "Usage: sim" in found.out + found.err and "error:" not in found.err
