"""`sim run` from the outside: what it prints, what it leaves, how it ends."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.command_line import SMALL, Finished, sim, written

START = [sys.executable, "-c", "from simulator.cli import main; main()"]
COMPLETE = {"index.html", "summary.json", "summary.md", "scenario.yaml", "requests.parquet", "steps.parquet"}
QUICK = "--no-limits"
DOES_NOT_START = ("gpu: rtx-4090", "gpu: t4")


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Runs `sim run ...` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: sim(capsys, monkeypatch, "run", *words)


def strict(text: str):
    """JSON as other languages read it: no NaN, no Infinity."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def refused(found: Finished) -> str:
    """The one line of a mistake."""
    assert (found.code, found.out) == (2, "")
    assert found.err.startswith("error: ") and found.err.count("\n") == 1, found.err
    return found.err


def test_a_run_leaves_a_whole_folder_and_says_where(run, tmp_path):
    found = run(written(tmp_path))
    assert found.code == 0 and found.err.startswith("one: ") and found.err.count("\n") == 1
    assert "RTX" not in found.out and "one" in found.out and "KV" in found.out
    assert "reports/case/index.html" in found.out
    assert {path.name for path in (tmp_path / "reports" / "case").iterdir()} == COMPLETE
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["case"]


def test_quick_stops_at_the_verdicts(run, tmp_path):
    found = run(written(tmp_path), "--quick", "--json")
    (one,) = strict(found.out)["deployments"]
    assert (one["verdict"], one["queueing_point"], one["curve"]) == ("stable", None, [])


def test_an_interrupted_search_leaves_a_page_that_says_so(run, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("simulator.planning.capacity.curve.queueing_point", interrupted)
    found = run(written(tmp_path))
    assert found.code == 130 and found.err.splitlines()[-1] == "interrupted"
    assert found.err.startswith("one: stable, ")
    assert "the search was interrupted" in (tmp_path / "reports" / "case" / "index.html").read_text()
    assert "reports/case/index.html" in found.out


def test_json_is_all_of_stdout_and_the_summary(run, tmp_path):
    found = run(written(tmp_path), "--json", QUICK)
    summary = strict(found.out)
    assert summary["deployments"][0]["name"] == "one"
    assert found.err == ""
    assert strict((tmp_path / "reports" / "case" / "summary.json").read_text()) == summary


def test_json_of_several_scenarios_is_one_list(run, tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(SMALL.replace("name: case\n", "").replace(*DOES_NOT_START))
    second.write_text(first.read_text())
    assert [summary["name"] for summary in strict(run(str(first), str(second), "--json", "--no-report").out)] == [
        "first",
        "second",
    ]
    assert not (tmp_path / "reports").exists()


def test_quiet_prints_nothing(run, tmp_path):
    found = run(written(tmp_path, DOES_NOT_START), "--quiet")
    assert (found.code, found.out, found.err) == (0, "", "")
    assert (tmp_path / "reports" / "case" / "index.html").is_file()


def test_a_seed_repeats_a_run_and_another_one_does_not(run, tmp_path):
    def latencies(*words):
        return strict(run(written(tmp_path), "--json", "--no-report", QUICK, *words).out)["deployments"][0]["metrics"]

    assert latencies("--seed", "7") == latencies("--seed", "7") != latencies("--seed", "8")
    assert latencies("--set", "seed=7") == latencies("--seed", "7")


def test_several_settings_hold_at_once(run, tmp_path):
    settings = ["--set", "workload.requests=7", "--set", "deployments.one.gpu=l4", "--set", "slo.tpot_s=0.5"]
    summary = strict(run(written(tmp_path), "--json", "--no-report", QUICK, *settings).out)
    assert summary["workload"]["requests"] == 7
    assert summary["deployments"][0]["gpu"] == "l4"
    assert len(summary["slo"]) == 2
    assert all(setting in summary["command"] for setting in settings)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (("requests: 50", "requests: 400"), 0),
        (("requests: 50", "requests: 50"), 1),
        (("ttft_s: 1.0", "ttft_s: 0.0001"), 1),
        (("requests: 50\nslo: {ttft_s: 1.0}", "requests: 400\nslo: {ttft_s: 0.08}"), 1),
        (DOES_NOT_START, 1),
        (("prompt: 200", "prompt: {kind: uniform, min: 3000, max: 5000}"), 1),
    ],
    ids=["kept", "too few to say", "missed", "too close to call", "nothing starts", "half is refused"],
)
def test_fail_on_slo_fails_unless_a_deployment_is_sure_to_keep_it(run, tmp_path, change, code):
    assert run(written(tmp_path, change), "--fail-on-slo", "--no-report", "--quiet", QUICK).code == code


@pytest.mark.parametrize("slo", ["", "slo: null\n"])
def test_fail_on_slo_without_an_slo_is_a_mistake(run, tmp_path, slo):
    assert "has no slo to fail on" in refused(run(written(tmp_path, ("slo: {ttft_s: 1.0}\n", slo)), "--fail-on-slo"))


def test_what_is_not_a_run_is_replaced_only_by_force(run, tmp_path):
    own = tmp_path / "out" / "case" / "precious"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    path = written(tmp_path, DOES_NOT_START)
    assert "not a run; choose another place with --out, or --force" in refused(run(path, "--out", "out"))
    assert own.read_text() == "mine"
    assert run(path, "--out", "out", "--force", "-q").code == 0
    assert not own.exists()
    assert run(path, "--out", "out", "-q").code == 0


@pytest.mark.parametrize("out", ["case.yaml", "case.yaml/below", "/dev/null/x", "/proc/nowhere"])
def test_a_place_that_cannot_be_written_is_said_in_one_line(run, tmp_path, out):
    assert "cannot write" in refused(run(written(tmp_path, DOES_NOT_START), "--out", out))
    assert [path.name for path in tmp_path.iterdir()] == ["case.yaml"]


@pytest.mark.parametrize("most", [100, 20_000], ids=["in a table", "in the page"])
def test_a_full_disk_leaves_nothing_behind(run, tmp_path, most):
    path, limits = written(tmp_path, DOES_NOT_START), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        found = run(path, "--quiet")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "cannot write reports/case" in refused(found)
    assert list((tmp_path / "reports").iterdir()) == []


def test_two_scenarios_of_one_name_are_not_written_over_each_other(run, tmp_path):
    path, other = written(tmp_path), tmp_path / "other.yaml"
    other.write_text(SMALL)
    assert "other.yaml: called 'case' as " in refused(run(path, str(other)))
    assert not (tmp_path / "reports").exists()


def test_a_model_beside_the_scenario_is_found_from_elsewhere(run, tmp_path, monkeypatch):
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 1024, "intermediate_size": 2816}
    config |= {"num_hidden_layers": 8, "num_attention_heads": 16, "num_key_value_heads": 4, "vocab_size": 32000}
    config |= {"max_position_embeddings": 8192, "tie_word_embeddings": False, "torch_dtype": "bfloat16"}
    (tmp_path / "mine.json").write_text(json.dumps(config))
    path = written(tmp_path, ("llama-3.1-8b", "mine.json"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert run(path, "--no-report", "--quiet", QUICK).code == 0


@pytest.mark.parametrize("name", ["Größe 模型 🚀", "<script>alert(1)<script>", "[red]x [b] $HOME"])
def test_a_name_is_shown_as_it_is_and_never_run(run, tmp_path, name):
    path = written(tmp_path, ("name: case", f"name: '{name}'"), ("name: one", f"name: '{name}'"), DOES_NOT_START)
    found = run(path)
    assert found.code == 0 and name in found.out
    assert "<script>alert" not in (tmp_path / "reports" / name / "index.html").read_text()


def test_more_users_than_requests_cost_nothing(run, tmp_path):
    loop = ("{kind: poisson, rate: 4/s}", "{kind: closed_loop, concurrency: 1000000000000}")
    assert run(written(tmp_path, loop), "--no-report", "--quiet", QUICK).code == 0


def test_requests_that_queue_limits_turn_away_are_counted_and_named(run, tmp_path):
    limited = ("version: vllm-0.19.0", "version: vllm-main, max_num_queued_reqs: 4")
    scenario = written(tmp_path, limited, ("rate: 4/s", "rate: 400/s"), ("requests: 50", "requests: 400"))
    shown = run(scenario, QUICK, "--no-report")
    assert "refused, because the server answers 503 beyond max_num_queued_reqs=4 unfinished requests" in " ".join(
        shown.out.split()
    )
    assert "vllm-main is taken for 0.33.0, the newest release known here" in " ".join(shown.out.split())
    deployment = strict(run(scenario, QUICK, "--no-report", "--json").out)["deployments"][0]
    metrics = deployment["metrics"]
    assert deployment["verdict"] == "requests unanswered"
    assert f"{metrics['refused']:.0f} refused, because the server answers 503" in deployment["reason"]
    assert metrics["refused"] + metrics["finished"] == 400
    assert metrics["unanswered_share"] == metrics["refused"] / 400
    assert metrics["running_peak"] <= 4


def test_requests_that_can_never_fit_are_a_result(run, tmp_path):
    found = run(written(tmp_path, ("output: 20", "output: 10000000")), "--no-report")
    assert (found.code, found.err) == (0, "")
    assert "Nothing here completed a request" in found.out


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def heed_ctrl_c() -> None:
    """Undo what a shell does to commands in the background, and these tests may be in one: it makes them deaf to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_deaf(pid: int) -> bool:
    """Whether a process ignores Ctrl-C, as ours does while it starts workers, who inherit that."""
    status = Path(f"/proc/{pid}/status").read_text()
    ignored = int(status.split("SigIgn:")[1].split()[0], 16)
    return bool(ignored >> (signal.SIGINT - 1) & 1)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="child processes are read from /proc")
@pytest.mark.parametrize("presses", [[signal.SIGINT, signal.SIGINT], [signal.SIGTERM]], ids=["Ctrl-C twice", "termination"])
def test_an_interrupted_run_leaves_no_file_no_process_and_no_traceback(tmp_path, presses):
    long = ("requests: 50", "requests: 200000"), ("    gpu: rtx-4090\n", "    gpu: rtx-4090\n  - name: two\n    gpu: l4\n")
    command = [*START, "run", written(tmp_path, *long)]
    environment = {**os.environ, "LOKY_MAX_CPU_COUNT": "2"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=heed_ctrl_c
    ) as process:
        limit = time.monotonic() + 60
        while (len(workers := children(process.pid)) < 3 or is_deaf(process.pid)) and time.monotonic() < limit:
            time.sleep(0.05)
        for press in presses:
            os.killpg(process.pid, press) if press == signal.SIGINT else process.send_signal(press)
            time.sleep(0.1)
        _, said = process.communicate(timeout=60)
    assert said.splitlines()[-1] == b"interrupted" and b"Traceback" not in said
    assert process.returncode in {130, -signal.SIGINT}
    while any(map(alive, workers)) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not any(map(alive, workers))
    assert [path.name for path in tmp_path.iterdir()] == ["case.yaml"]
