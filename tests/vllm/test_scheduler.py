"""Is every request of vLLM's own scheduler served at the same ticks, release by release?

VLLM_CASES names another folder of such files; then the naive simulator serves all of them, not every fourth.
"""

from __future__ import annotations

import os

import pytest
from support.vllm_cases import CORPUS, POCKET, Served, served

FOLDERS = {"pocket": POCKET, "corpus": CORPUS}
NAIVE_EVERY = {"pocket": 1, "corpus": 1 if "VLLM_CASES" in os.environ else 4}
FAMILIES = [(name, *key) for name, folder in FOLDERS.items() for key in served(folder)]


def all_equal(cases: list[Served], found: dict[int, dict[str, tuple[list, list]]]) -> None:
    wrong = {i: differences for i, differences in found.items() if differences}
    first = next(iter(wrong), None)
    assert not wrong, f"{len(cases) - len(wrong)} of {len(cases)} equal; {first}: {wrong[first]}"


@pytest.mark.parametrize(("folder", "release", "family"), FAMILIES)
def test_the_naive_simulator_equals_vllm_in_every_tick(folder: str, release: str, family: str) -> None:
    cases = served(FOLDERS[folder])[release, family][:: NAIVE_EVERY[folder]]
    all_equal(cases, {i: c.differences(c.case().oracle().log) for i, c in enumerate(cases)})


@pytest.mark.parametrize(("folder", "release", "family"), FAMILIES)
def test_the_engine_equals_vllm_in_every_tick(folder: str, release: str, family: str) -> None:
    cases = served(FOLDERS[folder])[release, family]
    found = {}
    for i, served_case in enumerate(cases):
        columns = served_case.case().trace().requests
        said = {
            "first_token": columns["first_token_s"],
            "finish": columns["finish_s"],
            "preemptions": columns["preemptions"],
            "cached": columns["cached_tokens"],
        }
        found[i] = served_case.differences({n: list(values) for n, values in said.items()})
    all_equal(cases, found)


def test_the_corpus_is_there() -> None:
    if not CORPUS.is_dir():
        pytest.skip(f"no cases of vLLM's scheduler at {CORPUS}; VLLM_CASES names another folder")
    assert served(CORPUS), f"no *.jsonl.gz in {CORPUS}"
