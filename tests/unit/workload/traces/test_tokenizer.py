"""ShareGPT through a tokenizer: text counted by the model's own, or how to give one."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from simulator.errors import MeasurementError
from simulator.workload.traces.cleaning import record
from simulator.workload.traces.trace_file import TraceFile


class Words:
    """A tokenizer that counts words, in the shape of the library's."""

    @classmethod
    def from_file(cls, path):
        if "words" not in Path(path).read_text():
            raise Exception("expected value at line 1")
        return cls()

    def encode(self, text, add_special_tokens):
        assert add_special_tokens is False
        return SimpleNamespace(ids=text.split())


@pytest.fixture
def talk(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", SimpleNamespace(Tokenizer=Words))
    said = [
        {"id": str(i), "conversations": [{"from": "human", "value": "a " * (9 + i)}, {"from": "gpt", "value": "b " * (5 + i)}]}
        for i in range(20)
    ]
    (tmp_path / "talk.json").write_text(json.dumps(said))
    (tmp_path / "tokenizer.json").write_text('{"kind": "words"}')
    return tmp_path


def test_the_first_question_and_answer_are_counted_by_the_tokenizer(talk):
    found = record(TraceFile(path=str(talk / "talk.json"), tokenizer=str(talk / "tokenizer.json"))).requests
    assert found.prompt_tokens.tolist() == [9 + i for i in range(20)]
    assert found.output_tokens.tolist() == [5 + i for i in range(20)]
    folder = record(TraceFile(path=str(talk / "talk.json"), tokenizer=str(talk))).requests
    assert folder.prompt_tokens.tolist() == found.prompt_tokens.tolist()


def test_text_without_a_tokenizer_says_how_to_give_one(talk):
    with pytest.raises(MeasurementError, match="name the model's tokenizer.json \\(--tokenizer"):
        record(TraceFile(path=str(talk / "talk.json")))


def test_what_is_no_tokenizer_is_one_line(talk, monkeypatch):
    (talk / "other.json").write_text("{}")
    with pytest.raises(MeasurementError, match="not a tokenizer.json: expected value"):
        record(TraceFile(path=str(talk / "talk.json"), tokenizer=str(talk / "other.json")))
    with pytest.raises(MeasurementError, match="no such tokenizer"):
        record(TraceFile(path=str(talk / "talk.json"), tokenizer=str(talk / "none.json")))
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MeasurementError, match=r"pip install 'inference-sizing-simulator\[tokenizer\]'"):
        record(TraceFile(path=str(talk / "talk.json"), tokenizer=str(talk)))
