"""What a page carries so that it needs no network."""

import pytest

from simulator.report.pages.offline import cached_text


@pytest.fixture
def making():
    made = []

    def make():
        made.append(1)
        return "a long text, é"

    make.times = made
    return make


def test_what_is_slow_to_make_is_made_once(monkeypatch, tmp_path, making):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cached_text("x.js", making) == cached_text("x.js", making) == "a long text, é"
    assert len(making.times) == 1
    assert [file.name for file in (tmp_path / "cache" / "inference-sizing-simulator").iterdir()] == ["x.js"]


def test_where_nothing_can_be_kept_it_is_made_each_time(monkeypatch, tmp_path, making):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cached_text("x.js", making) == cached_text("x.js", making) == "a long text, é"


def test_a_kept_text_that_cannot_be_read_is_made_again(monkeypatch, tmp_path, making):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cached_text("x.js", making)
    (tmp_path / "inference-sizing-simulator" / "x.js").write_bytes(b"\xff\xfe\xff")
    assert cached_text("x.js", making) == cached_text("x.js", making) == "a long text, é"
    assert len(making.times) == 2
