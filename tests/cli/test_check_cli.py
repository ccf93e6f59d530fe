"""`sim check` from the outside, and how the program starts, looks and ends whatever the verb."""

import json
import os
import re
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import SMALL, sim, written

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
MAIN = "from simulator.cli import main; main()"
HEAVY = ("numpy", "polars", "altair", "pydantic", "ruamel", "simpy", "joblib", "importlib.metadata")
VERBS = ["run", "check", "memory", "size", "sweep", "compare", "report", "trace", "validate", "calibrate", "catalog"]


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Runs `sim ...` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: sim(capsys, monkeypatch, *words)


def shell(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`sim WORDS...` in a process of its own."""
    command = [sys.executable, "-c", MAIN, *words]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)


def test_every_deployment_is_shown_by_name_with_its_memory_and_nothing_is_written(run, tmp_path):
    found = run("check", str(SCENARIOS / "chatbot.yaml"))
    assert (found.code, found.err) == (0, "")
    for words in ("L4, 16-bit", "L40S, FP8", "T4, 16-bit", "KV cache size, tokens", "Does not start", "What would help"):
        assert words in found.out
    assert list(tmp_path.iterdir()) == []


def test_json_names_the_deployments_of_all_scenarios(run, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text(SMALL.replace("name: case", "name: other"))
    found = run("check", written(tmp_path), str(other), "--json")
    assert [plan["name"] for plan in json.loads(found.out)["plans"]] == ["case: one", "other: one"]


def test_a_later_file_that_is_wrong_is_told_before_anything_is_shown(run, tmp_path):
    found = run("check", written(tmp_path), "gone.yaml")
    assert (found.code, found.out) == (2, "")


@pytest.mark.parametrize("columns", [60, 100])
def test_no_figure_is_cut_where_the_terminal_is_narrow(run, monkeypatch, columns):
    plans = json.loads(run("check", str(SCENARIOS / "chatbot.yaml"), "--json").out)["plans"]
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = run("check", str(SCENARIOS / "chatbot.yaml")).out
    assert all(f"{plan['kv_tokens']:,}" in shown for plan in plans)
    assert "…" not in shown
    assert max(len(line) for line in shown.splitlines()) <= columns


@pytest.mark.parametrize(
    ("gpu", "quantization", "says"),
    [
        ("t4", "fp8", "t4 has no fp8: weights only, the matmul runs in fp16"),
        ("a100-80gb-sxm", "fp8", "a100-80gb-sxm has no fp8: weights only, the matmul runs in bf16"),
        ("a100-80gb-sxm", "nvfp4", "a100-80gb-sxm has no fp4: weights only"),
    ],
)
def test_a_type_the_gpu_lacks_is_weights_only_and_said_so(run, tmp_path, gpu, quantization, says):
    change = ("gpu: rtx-4090", f"gpu: {gpu}\n    quantization: {quantization}")
    assert says in run("check", written(tmp_path, change)).out


@pytest.mark.parametrize(
    "text",
    [
        SMALL.replace("\n", "\r\n"),
        "\ufeff" + SMALL,
        SMALL.replace("prompt: 200", "prompt: &same 200").replace("output: 20\n", "output: *same\n"),
        SMALL.replace("  - name: one\n", "  - &first\n    name: one\n") + "  - <<: *first\n    name: two\n",
    ],
    ids=["Windows line endings", "byte order mark", "anchor", "merge"],
)
def test_yaml_is_read_as_it_is_written(run, tmp_path, text):
    (tmp_path / "case.yaml").write_bytes(text.encode())
    assert run("check", "case.yaml").code == 0


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(run, verb):
    found = run(verb, "--help")
    assert found.code == 0 and found.err == ""
    assert f"Usage: sim {verb}" in found.out


def test_the_version_is_told(run):
    assert re.fullmatch(r"sim \d+\.\d+\.\d+\n", run("--version").out)


def test_help_starts_at_once_and_without_the_heavy_libraries():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = subprocess.run([sys.executable, "-X", "importtime", "-c", MAIN, "--help"], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    imported = {line.rsplit("|", 1)[-1].strip() for line in found.stderr.splitlines()}
    assert imported.isdisjoint(HEAVY)
    assert after.ru_utime - before.ru_utime < 1.0, "half a second of wall time on an idle machine; this is CPU on a busy one"


def test_completion_can_be_shown_and_completes(run, monkeypatch):
    monkeypatch.setattr("shellingham.detect_shell", lambda *_: ("bash", "/bin/bash"))
    assert "complete -o default -F _sim_completion sim" in run("--show-completion", "bash").out
    completed = shell(_SIM_COMPLETE="complete_bash", COMP_WORDS="sim ru", COMP_CWORD="1")
    assert (completed.stdout.strip(), completed.returncode) == ("run", 0)


def test_a_reader_who_leaves_ends_the_program_quietly():
    reader, writer = os.pipe()
    os.close(reader)
    found = subprocess.run([sys.executable, "-c", MAIN, "--version"], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (found.returncode, found.stderr) == (141, b"")


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-"])
def test_closed_streams_take_nothing_and_break_nothing(closed):
    command = [sys.executable, "-c", MAIN, "memory", "llama-3.1-8b", "--gpu", "l4"]
    found = subprocess.run(f"exec {shlex.join(command)} {closed}", shell=True, stderr=subprocess.PIPE, check=False)
    assert (found.returncode, found.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_one_line():
    with open("/dev/full", "w") as full:
        found = subprocess.run([sys.executable, "-c", MAIN, "--version"], stdout=full, stderr=subprocess.PIPE, check=False)
    assert (found.returncode, found.stderr) == (2, b"error: No space left on device\n")


def test_a_terminal_without_unicode_gets_figures_all_the_same(tmp_path):
    found = shell("check", written(tmp_path), PYTHONIOENCODING="ascii")
    assert (found.returncode, found.stderr) == (0, "")
    assert "KV cache size, tokens" in found.stdout and found.stdout.isascii()


def test_a_pipe_gets_no_colors_and_whole_names(run, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    shown = run("catalog", "models").out
    assert "\x1b" not in shown and "…" not in shown
    assert "qwen3-235b-a22b" in shown
