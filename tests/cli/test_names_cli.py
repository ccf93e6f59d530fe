"""Names with brackets through every verb that prints a name: they come out whole, and none is a traceback."""

from pathlib import Path

import pytest
from support.command_line import Finished, sim
from support.planning_fixtures import small

NAMES = ("H100 [fp8]", "H100 [int4]", "a [/x] b", "[bold]:smile:")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run `sim WORDS...` in a folder of its own, 160 characters wide."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def sim_(*words: str) -> Finished:
        left = sim(capsys, monkeypatch, *words)
        assert "Traceback" not in left.err, left.err
        return left

    return sim_


def scenario(folder: Path) -> str:
    lines = "\n".join(
        f"  - {{name: '{name}', gpu: l40s, quantization: {q}}}" for name, q in zip(NAMES, ("fp8", "bf16") * 2, strict=True)
    )
    text = small(folder).read_text()
    head = text[: text.index("deployments:")].replace("requests: 400", "requests: 60")
    (folder / "case.yaml").write_text(f"{head}deployments:\n{lines}\nseed: 7\ndescription: 'all of [red]them[/]'\n")
    return "case.yaml"


@pytest.mark.parametrize(
    "words",
    [
        ("run", "--no-limits"),
        ("check",),
        ("size", "--workers", "1"),
        ("sweep", "--over", "seed=1", "--workers", "1"),
    ],
    ids=lambda words: words[0],
)
def test_deployments_come_out_as_they_are_called(run, tmp_path: Path, words: tuple[str, ...]) -> None:
    left = run(words[0], scenario(tmp_path), *words[1:])
    assert left.code == 0, left.err
    for name in NAMES:
        assert name in left.out, left.out


def test_runs_and_deployments_that_are_compared_come_out_as_they_are_called(run, tmp_path: Path) -> None:
    (tmp_path / "[b]").mkdir()
    (tmp_path / "[i]").mkdir()
    for folder in ("[b]", "[i]"):
        scenario(tmp_path / folder)
    left = run("compare", "[b]/case.yaml", "[i]/case.yaml")
    assert left.code == 0, left.err
    for name in NAMES:
        assert f"{name}: against [b]/case" in left.out, left.out
    assert "[i]/case" in left.out


def test_the_markdown_and_the_page_of_a_run_hold_the_names(run, tmp_path: Path) -> None:
    assert run("run", scenario(tmp_path), "--no-limits", "--quiet").code == 0
    markdown = (tmp_path / "reports/small/summary.md").read_text()
    page = (tmp_path / "reports/small/index.html").read_text()
    for name in NAMES:
        assert name.replace("[", "\\[").replace("]", "\\]") in markdown
        assert f"<bdi>{name}</bdi>" in page


def test_a_trace_of_any_file_name_is_told(run, tmp_path: Path) -> None:
    name = "[bold]log[/x].csv"
    rows = "\n".join(f"{i * 0.7},{100 + i % 7},{20 + i % 5},[l]" for i in range(200))
    Path(name.replace("/", "∕")).write_text(f"arrival_s,input_len,output_len\n{rows.replace(',[l]', '')}\n")
    left = run("trace", name.replace("/", "∕"))
    assert left.code == 0, left.err
    assert left.out.startswith(f"{name.replace('/', '∕')}: 200 requests")


def test_measurements_of_any_file_name_are_compared(run) -> None:
    row = "0.19.0,meta-llama/Llama-3.1-8B,none,NVIDIA H100 80GB HBM3,1,0.95,8192,476016,ok"
    head = "engine_version,model,quantization,gpu,tp,gpu_memory_utilization,max_model_len,kv_tokens,outcome"
    Path("[fp8].csv").write_text(f"{head}\n{row}\n{row.replace('meta-llama/Llama-3.1-8B', '[no-such]')}\n")
    left = run("validate", ".")
    assert left.code == 0, left.err
    assert "skipped [fp8].csv row 2: unknown model '[no-such]'" in left.out
    assert "│ [fp8].csv" in left.out


def test_a_model_of_any_name_is_planned(run) -> None:
    left = run("memory", "[x]\x1b[31m", "--gpu", "l40s")
    assert left.code == 2
    assert "[x]\\x1b[31m" in left.err
    assert "\x1b" not in left.err
