"""YAML documents that remember where everything stands."""

from pathlib import Path

import pytest

from simulator.document import Document, parse_yaml, read_document
from simulator.errors import ScenarioError

TEXT = """\
name: a
workload:
  arrivals: {kind: poisson, rate: 4/s}
deployments:
  - name: small
    gpu: l4
  - name: large
    gpu: h100-sxm
"""


@pytest.fixture
def document() -> Document:
    return Document(Path("x.yaml"), parse_yaml(TEXT, Path("x.yaml")))


def test_a_location_is_line_and_column_of_its_key(document: Document) -> None:
    assert document.where(("deployments", 1, "gpu")) == "x.yaml:8:5"
    assert document.where(("workload", "arrivals", "rate")) == "x.yaml:3:29"


def test_a_location_that_is_not_written_points_at_its_nearest_ancestor(document: Document) -> None:
    assert document.where(("deployments", 0, "replicas")) == "x.yaml:5:5"
    assert document.where(("workload", "arrivals", "poisson", "rate")) == "x.yaml:3:29"


def test_a_value_is_set_by_index_and_by_name(document: Document) -> None:
    changed = document.with_value("deployments.large.gpu", "b200").with_value("deployments.0.replicas", "3")
    assert changed.plain()["deployments"] == [{"name": "small", "gpu": "l4", "replicas": 3}, {"name": "large", "gpu": "b200"}]
    assert document.plain()["deployments"][1]["gpu"] == "h100-sxm"


def test_a_set_value_is_blamed_by_its_setting(document: Document) -> None:
    changed = document.with_value("deployments.large.gpu", "b2000")
    assert changed.where(("deployments", 1, "gpu")) == "--set deployments.1.gpu=b2000"


def test_a_value_can_be_set_where_nothing_was_written(document: Document) -> None:
    changed = document.with_value("slo.ttft_s", "0.5")
    assert changed.plain()["slo"] == {"ttft_s": 0.5}
    assert changed.where(("slo", "ttft_s")) == "--set slo.ttft_s=0.5"


def test_an_unknown_name_in_a_list_offers_the_nearest(document: Document) -> None:
    with pytest.raises(ScenarioError, match="nothing called 'larg'.*did you mean 'large'"):
        document.with_value("deployments.larg.gpu", "l4")


def test_a_value_cannot_be_set_under_a_plain_value(document: Document) -> None:
    with pytest.raises(ScenarioError, match="under the plain value 'a'"):
        document.with_value("name.first", "b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.yaml:1:1: the file is empty"),
        ("# only a comment\n", "x.yaml:1:1: the file is empty"),
        ("- a\n- b\n", "x.yaml:1:1: expected a mapping .* found a list"),
        ("just words", "expected a mapping .* found the text 'just words'"),
        ("a: 1\nb: 2\na: 3\n", 'x.yaml:3:1: found duplicate key "a"'),
        ("a: [1, 2\nb: 3\n", r"x.yaml:\d+:\d+: not YAML"),
        ("a:\n\t- b\n", r"x.yaml:\d+:\d+: not YAML"),
    ],
)
def test_what_is_not_a_scenario_is_refused_with_its_place(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ScenarioError, match=message) as problem:
        read_document(path)
    assert "\n" not in str(problem.value)


def test_a_missing_file_offers_its_neighbors(tmp_path: Path) -> None:
    (tmp_path / "chatbot.yaml").write_text(TEXT)
    with pytest.raises(ScenarioError, match="no such file; did you mean 'chatbot.yaml'"):
        read_document(tmp_path / "chatbt.yaml")


def test_a_directory_and_a_binary_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="is a directory"):
        read_document(tmp_path)
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ScenarioError, match="cannot be read as UTF-8"):
        read_document(tmp_path / "b.yaml")


def test_yaml_1_2_words_stay_words() -> None:
    assert Document(Path("x"), parse_yaml("a: no\nb: 1e-3\nc: 1:30\n", Path("x"))).plain() == {"a": "no", "b": 0.001, "c": "1:30"}


def test_a_key_that_is_no_text_has_a_place() -> None:
    document = Document(Path("x.yaml"), parse_yaml("a: 1\n2: b\n? [c]\n: d\n", Path("x.yaml")))
    assert document.where(("2",)) == "x.yaml:2:1"


def test_a_setting_is_blamed_for_what_it_opened(document: Document) -> None:
    assert document.with_value("workload.arivals.rate", "3").where(("workload", "arivals")) == "--set workload.arivals.rate=3"


def test_a_setting_changes_only_one_of_two_that_share_by_alias() -> None:
    text = "prompt: &p {kind: uniform, min: 1, max: 9}\noutput: *p\n"
    changed = Document(Path("x"), parse_yaml(text, Path("x"))).with_value("output.max", "5").plain()
    assert (changed["prompt"]["max"], changed["output"]["max"]) == (9, 5)


@pytest.mark.parametrize("dotted", [".workload", "workload.", "workload..rate"])
def test_an_empty_name_in_a_path_is_refused(document: Document, dotted: str) -> None:
    with pytest.raises(ScenarioError, match="an empty name in the path"):
        document.with_value(dotted, "3")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: 1\nb: \x07\n", r"x.yaml:2:4: not YAML: the character U\+0007 is not allowed"),
        (b"a: 1\nb: caf\xe9\n", r"x.yaml:2:7: cannot be read as UTF-8"),
        (b"a: 2024-99-99\n", "x.yaml: not YAML: month must be"),
        (b"a: !!bool maybe\n", "x.yaml: not YAML: 'maybe'"),
        (b"a: " + b"9" * 5000, "x.yaml: not YAML: Exceeds the limit"),
        (b"a: " + b"[" * 500 + b"]" * 500, "nested too deeply"),
    ],
)
def test_what_yaml_cannot_hold_is_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(ScenarioError, match=message) as problem:
        read_document(path)
    assert "\n" not in str(problem.value)


def test_an_alias_may_be_used_many_times() -> None:
    text = "one: &one {a: 1, b: [2, 3]}\nall: [" + ", ".join(["*one"] * 1000) + "]\n"
    assert len(Document(Path("x"), parse_yaml(text, Path("x"))).plain()["all"]) == 1000


def test_a_long_list_without_aliases_is_read() -> None:
    text = "all: [" + ", ".join(["1"] * 5_000) + "]\n"
    assert len(Document(Path("x"), parse_yaml(text, Path("x"))).plain()["all"]) == 5_000


def test_a_long_text_that_is_repeated_counts_by_its_length() -> None:
    text = "one: &one '" + "x" * 64_000 + "'\nall: [" + ", ".join(["*one"] * 1000) + "]\n"
    with pytest.raises(ScenarioError, match="its aliases repeat more than 100,000 values"):
        parse_yaml(text, Path("x"))
