"""A run in other formats."""

import pytest
from support.report_fixtures import nothing_fits, one_request

from simulator.errors import SimulatorError
from simulator.report import export as module
from simulator.report.export import FORMATS, export


def test_html_and_markdown_are_files(tmp_path):
    assert export(one_request(), "html", tmp_path / "a.html") == [tmp_path / "a.html"]
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")
    export(one_request(), "md", tmp_path / "a.md")
    assert (tmp_path / "a.md").read_text().startswith("# one-request")


def test_png_is_an_image_for_each_chart_that_draws(tmp_path):
    written = export(nothing_fits(), "png", tmp_path / "charts")
    assert [path.name for path in written] == ["memory.png"]
    assert written[0].read_bytes().startswith(b"\x89PNG")


def test_pdf_without_chromium_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "chromium", lambda: None)
    with pytest.raises(SimulatorError, match="needs Chromium"):
        export(one_request(), "pdf", tmp_path / "a.pdf")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format_", FORMATS)
def test_what_exists_is_not_replaced_unless_forced(tmp_path, format_):
    (tmp_path / "a").write_text("mine")
    with pytest.raises(SimulatorError, match="--force"):
        export(one_request(), format_, tmp_path / "a")
    assert (tmp_path / "a").read_text() == "mine"


def test_forcing_replaces(tmp_path):
    (tmp_path / "a.md").write_text("mine")
    export(one_request(), "md", tmp_path / "a.md", force=True)
    assert (tmp_path / "a.md").read_text() != "mine"


def test_an_unknown_format_names_the_known_ones(tmp_path):
    with pytest.raises(SimulatorError, match="html, md, pdf, png"):
        export(one_request(), "docx", tmp_path / "a.docx")


def test_a_place_below_a_file_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SimulatorError) as problem:
        export(one_request(), "md", tmp_path / "file" / "a.md")
    assert "\n" not in str(problem.value)
