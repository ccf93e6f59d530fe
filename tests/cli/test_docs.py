"""What the documentation shows is what happens: every command and snippet is run, the reference is that of the code."""

import importlib.util
import json
import re
import shlex
from pathlib import Path

import pytest
from support.command_line import sim

from simulator.scenario.shipped import shipped_folder

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if path.parent.name != "reference")
FENCE = re.compile(r"```(sh|python)\n(.*?)```", re.DOTALL)


def generator():
    found = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(DOCS).with_suffix("")))
def test_every_command_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scenarios").symlink_to(shipped_folder())
    for language, block in FENCE.findall(page.read_text("utf-8")):
        if language == "python":
            exec(block, {})
            continue
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if not words:
                continue
            assert words[0] == "sim", f"{page.name}: only `sim` is shown in sh blocks: {line}"
            left = sim(capsys, monkeypatch, *words[1:])
            assert left.code == 0, f"{line}: {left.err or left.out}"


def test_the_reference_is_that_of_the_code() -> None:
    for name, text in generator().pages().items():
        assert (DOCS / "reference" / name).read_text("utf-8") == text, f"run make reference: {name} is stale"


def test_every_link_leads_somewhere_and_every_page_is_in_the_navigation() -> None:
    nav = (ROOT / "mkdocs.yml").read_text("utf-8")
    for page in DOCS.rglob("*.md"):
        assert str(page.relative_to(DOCS)) in nav, page
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_ways_through_the_code_name_what_is_there() -> None:
    named = re.findall(r"`([\w/]+\.py): (\w+)`", (DOCS / "explanation" / "code.md").read_text("utf-8"))
    assert len(named) > 20
    for path, name in named:
        code = (ROOT / "simulator" / path).read_text("utf-8")
        assert re.search(rf"^(def|class) {name}\b", code, re.MULTILINE), f"{path} has no {name}"


def test_the_notebook_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scenarios").symlink_to(shipped_folder())
    names: dict[str, object] = {}
    for cell in json.loads((DOCS / "notebook.ipynb").read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert "result" in names
