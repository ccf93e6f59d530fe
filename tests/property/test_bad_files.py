"""Nothing that a file says breaks the program: it ends with an answer or with one line, in time and within memory.

The same cases every time; `make fuzz` draws others, FUZZ_CASES of them in all.
"""

import os
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import fuzzing

CASES = int(os.environ.get("FUZZ_CASES", "300"))


@pytest.mark.parametrize("name", fuzzing.DRAWS)
def test_a_bad_file_is_an_answer_or_one_line(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    @settings(
        max_examples=max(1, CASES // len(fuzzing.DRAWS)),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**32))
    def judge(seed: int) -> None:
        folder: Path = tmp_path_factory.mktemp("case")
        case = fuzzing.case_of(name, random.Random(seed), folder)
        fault = fuzzing.judged(case.words)
        assert fault is None, f"{case.words}: {fault.kind}\n{fault.details}"

    judge()
