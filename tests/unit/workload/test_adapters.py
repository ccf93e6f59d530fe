"""Which LoRA adapter each request asks for."""

import numpy as np
import pytest
from support.workloads import workload

from simulator.workload.adapters import Adapters
from simulator.workload.requests import Requests
from simulator.workload.sample import sample

EVEN = (np.arange(100_000) + 0.5) / 100_000


def drawn(seed: int = 1, **fields: object) -> Requests:
    usual = {"arrivals": "2/s", "requests": 400, "prompt": 64, "output": 8}
    return sample(workload(**(usual | fields)), seed=seed)


def test_adapters_are_as_popular_as_zipf_says() -> None:
    shares = np.bincount(Adapters(count=3, popularity=1.0).chosen(EVEN), minlength=4) / len(EVEN)
    assert shares == pytest.approx([0, 6 / 11, 3 / 11, 2 / 11], abs=1e-4)
    alike = np.bincount(Adapters(count=4, base_share=0.2).chosen(EVEN), minlength=5) / len(EVEN)
    assert alike == pytest.approx([0.2, 0.2, 0.2, 0.2, 0.2], abs=1e-4)


def test_requests_without_adapters_have_no_column() -> None:
    assert drawn().adapter is None
    assert set(drawn(adapters={"count": 3}).adapter.tolist()) == {1, 2, 3}


def test_adapters_change_nothing_else_of_what_is_drawn() -> None:
    without, having = drawn(3), drawn(3, adapters={"count": 3})
    assert (without.arrival_s == having.arrival_s).all()
    assert (without.output_tokens == having.output_tokens).all()


def test_a_session_keeps_its_adapter() -> None:
    requests = drawn(adapters={"count": 9}, sessions={"kind": "conversation", "turns": 3, "think": "1s"})
    later = np.flatnonzero(requests.previous >= 0)
    assert len(later)
    assert (requests.adapter[later] == requests.adapter[requests.previous[later]]).all()


def test_classes_have_adapters_of_their_own() -> None:
    lengths = {"prompt": 64, "output": 8}
    classes = [
        {"name": "a", "adapters": {"count": 2}, **lengths},
        {"name": "b", "adapters": {"count": 3}, **lengths},
        {"name": "c", **lengths},
    ]
    requests = sample(workload(arrivals="2/s", requests=600, classes=classes), seed=1)
    of = {name: set(requests.adapter[requests.label == index].tolist()) for index, name in enumerate("abc")}
    assert of == {"a": {1, 2}, "b": {3, 4, 5}, "c": {0}}


def test_what_one_adapter_computed_is_not_found_with_another() -> None:
    requests = drawn(adapters={"count": 3}, prefix={"kind": "shared_prefix", "system_prompt_len": 160})
    first = requests.hashes.ids[requests.hashes.offsets[:-1]]
    by_adapter = {a: set(first[requests.adapter == a].tolist()) for a in (1, 2, 3)}
    assert all(len(ids) == 1 for ids in by_adapter.values())
    assert len(set.union(*by_adapter.values())) == 3
