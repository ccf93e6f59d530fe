"""What a page carries so that it needs no network."""

import hashlib

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
    assert [file.name for file in (tmp_path / "cache" / "inference-sizing-simulator").iterdir() if file.suffix == ".js"] == [
        "x.js"
    ]


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


@pytest.fixture
def kept(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "inference-sizing-simulator" / "x.js"


@pytest.mark.parametrize("content", ["", "alert(1)", "a long text, "])
@pytest.mark.parametrize("digest", [None, hashlib.sha256("a long text, é".encode()).hexdigest()])
def test_a_kept_text_that_was_emptied_cut_or_changed_is_made_again(making, kept, content, digest):
    cached_text("x.js", making, digest)
    kept.write_text(content)
    assert cached_text("x.js", making, digest) == "a long text, é" == kept.read_text("utf-8")


def test_a_kept_text_that_others_may_write_is_made_again(making, kept):
    cached_text("x.js", making)
    kept.chmod(0o666)
    cached_text("x.js", making)
    assert len(making.times) == 2


def test_a_kept_text_of_another_digest_is_not_taken_whatever_stands_beside_it(making, kept):
    cached_text("x.js", making)
    assert cached_text("x.js", making, "0" * 64) == "a long text, é"
    assert len(making.times) == 2
