"""What is passed on says nothing of where a user keeps things."""

import json

import pytest
from support.command_line import sim
from support.hf_config_cases import BASE

TEXT = """\
name: case
model: mine/config.json
engine: {version: vllm-0.19.0, max_model_len: 512}
workload: {trace: trace.csv}
calibration: factors.yaml
deployments: [{name: one, gpu: rtx-4090}]
"""
FACTORS = """\
source: runs.csv
fitted: today
factors: [{model: mine, gpu: rtx-4090, quantization: bf16, decode: [{sequences: 1, factor: 1.1, percent: 2.0}]}]
"""


@pytest.mark.parametrize("here", [True, False])
def test_no_file_of_a_run_folder_names_a_folder_of_this_machine(capsys, monkeypatch, tmp_path, here):
    home = tmp_path / "very-private"
    (home / "mine").mkdir(parents=True)
    (home / "mine" / "config.json").write_text(json.dumps(BASE))
    (home / "trace.csv").write_text("arrival_s,prompt_tokens,output_tokens\n" + "".join(f"{at},100,9\n" for at in range(30)))
    (home / "factors.yaml").write_text(FACTORS)
    (home / "case.yaml").write_text(TEXT)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(home if here else tmp_path / "elsewhere")
    left = sim(capsys, monkeypatch, "run", str(home / "case.yaml"), "--no-limits", "--quiet", "--out", str(home / "out"))
    assert left.code == 0, left.err
    written = sorted((home / "out" / "case").iterdir())
    assert len(written) >= 6
    for path in written:
        assert b"very-private" not in path.read_bytes(), path.name
    assert "trace.csv" in (home / "out" / "case" / "scenario.yaml").read_text()
