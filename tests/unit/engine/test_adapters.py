"""Who runs with which LoRA adapter, and what waits for an adapter's slot."""

import numpy as np

from simulator.engine.scheduler.config import AdapterSlots, SchedulerConfig
from simulator.engine.serve import serve
from simulator.latency.step import AdapterTime, StepTime
from simulator.workload.requests import Requests


def served(adapter: list[int], slots: AdapterSlots, times: AdapterTime | None = None) -> dict[str, np.ndarray]:
    """Requests of 4 prompt and 5 output tokens that come at once; a step takes a second."""
    n = len(adapter)
    asked = Requests(np.zeros(n), np.full(n, 4), np.full(n, 5), adapter=np.array(adapter))
    limits = SchedulerConfig(kv_blocks=99, max_num_seqs=8, max_num_batched_tokens=64, adapter_slots=slots)
    none = AdapterTime(np.zeros(65))
    time = StepTime(np.zeros(65), np.zeros(9), 0.0, 0.0, 0.0, 1.0, adapters=times or none)
    return serve(asked, [(time, limits)], tick_s=1.0).requests


def test_a_request_with_one_adapter_too_many_is_passed_over() -> None:
    r = served([1, 2, 0, 1], AdapterSlots(max_loras=1, max_cpu_loras=1))
    assert r["first_token_s"].tolist() == [1, 6, 1, 1], "the second waits for the first to end; those behind it do not"


def test_all_run_where_there_are_slots_for_all() -> None:
    r = served([1, 2, 0, 1], AdapterSlots(max_loras=2, max_cpu_loras=2))
    assert r["first_token_s"].tolist() == [1, 1, 1, 1]


def test_a_step_waits_for_what_is_loaded_and_moved() -> None:
    times = AdapterTime(np.zeros(65), each=0.0, swap=10.0, load=100.0)
    r = served([1, 2, 1], AdapterSlots(max_loras=2, max_cpu_loras=2), times)
    assert r["first_token_s"].tolist() == [221, 221, 221], "two are read and moved, each once"


def test_what_is_in_host_memory_is_moved_and_not_read_again() -> None:
    times = AdapterTime(np.zeros(65), each=0.0, swap=10.0, load=100.0)
    r = served([1, 2, 1], AdapterSlots(max_loras=1, max_cpu_loras=2), times)
    assert r["first_token_s"].tolist() == [111, 111 + 4 + 111, 111]
