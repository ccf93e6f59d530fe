"""A fingerprint changes with everything a result depends on, and with nothing else."""

import shutil
from pathlib import Path
from typing import Any

import pytest

import simulator
from simulator.planning.machines.fingerprint import fingerprint, package_digest


def test_the_order_of_keys_does_not_matter(tmp_path: Path) -> None:
    assert fingerprint({"a": 1, "b": 2}, tmp_path) == fingerprint({"b": 2, "a": 1}, tmp_path)


def test_a_value_matters(tmp_path: Path) -> None:
    assert fingerprint({"a": 1}, tmp_path) != fingerprint({"a": 2}, tmp_path)


def test_the_content_of_a_file_that_is_named_matters(tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text("1")
    before = fingerprint({"trace": {"path": "trace.csv"}}, tmp_path)
    assert fingerprint({"trace": {"path": "trace.csv"}}, tmp_path) == before
    (tmp_path / "trace.csv").write_text("2")
    assert fingerprint({"trace": {"path": "trace.csv"}}, tmp_path) != before


def test_the_configuration_in_a_folder_that_is_named_matters(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    before = fingerprint({"model": "./model"}, tmp_path)
    (tmp_path / "model" / "config.json").write_text("{ }")
    assert fingerprint({"model": "./model"}, tmp_path) != before


def test_the_digest_of_the_package_stays_the_same_while_its_files_do() -> None:
    package_digest.cache_clear()
    first = package_digest()
    package_digest.cache_clear()
    assert package_digest() == first


def test_every_file_of_the_package_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(Path(simulator.__file__).parent, tmp_path / "simulator"))
    monkeypatch.setattr(simulator, "__file__", str(folder / "__init__.py"))
    digests = {_anew(package_digest)}
    for changed in ("units.py", "engine/clock.py", "catalog/data/gpus.yaml"):
        with (folder / changed).open("a") as file:
            file.write("# another version\n")
        digests.add(_anew(package_digest))
    package_digest.cache_clear()
    assert len(digests) == 4


def _anew(digest: Any) -> str:
    digest.cache_clear()
    return str(digest())
