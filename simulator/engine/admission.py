"""What is refused before the clock starts, and what is refused at the door."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from simulator.engine.load import ClosedLoop, Load
from simulator.engine.request import Request
from simulator.engine.scheduler.config import SchedulerConfig
from simulator.errors import SimulatorError
from simulator.workload.requests import Bools, Requests

# SGLang takes no request that would fill its KV cache to the last two tokens: managers/scheduler.py `init_req_max_new_tokens`.
SGLANG_SPARES = 2


def check_requests(requests: Requests, load: Load) -> None:
    """Raise SimulatorError for columns that no run can be made of."""
    n = len(requests)
    for name in ("prompt_tokens", "output_tokens"):
        column = getattr(requests, name)
        if len(column) != n or (n and column.min() < 1):
            raise SimulatorError(f"requests: {name} must have {n} entries of at least 1")
    if not isinstance(load, ClosedLoop):
        _check_arrivals(requests)
    if requests.think_s is not None and not (np.isfinite(requests.think_s).all() and (requests.think_s >= 0).all()):
        raise SimulatorError("requests: think_s must be finite and 0 or more")
    if requests.previous is not None and (requests.previous >= np.arange(n)).any():
        raise SimulatorError("requests: `previous` must name an earlier request")


def check_decode_steps(requests: Requests, configs: Sequence[SchedulerConfig]) -> None:
    """Raise SimulatorError where tokens are drafted and nobody says in how many steps each request has its tokens."""
    for config in configs:
        if config.speculation is None:
            continue
        steps, left = requests.decode_steps, requests.output_tokens - 1
        if steps is None or len(steps) != len(requests):
            raise SimulatorError(f"requests: decode_steps must have {len(requests)} entries where tokens are drafted")
        if (steps < 1).any() or (steps > np.maximum(left, 1)).any() or (steps * config.verified < left).any():
            raise SimulatorError(f"requests: decode_steps must give each step 1 to {config.verified} tokens")


def _check_arrivals(requests: Requests) -> None:
    arrivals = requests.arrival_s if requests.previous is None else requests.arrival_s[requests.previous < 0]
    if not (np.isfinite(arrivals).all() and (arrivals >= 0).all()):
        raise SimulatorError("requests: arrival_s must be finite and 0 or more")
    if (np.diff(arrivals) < 0).any():
        at = int(np.argmax(np.diff(arrivals) < 0)) + 1
        raise SimulatorError(f"requests: arrival_s must not decrease; request {at} comes before the one ahead of it")


def most_tokens(config: SchedulerConfig) -> int:
    """The most prompt and output tokens of a request that an instance can serve: what fits in its KV blocks, alone."""
    most = config.max_model_len or sys.maxsize
    if config.sglang is not None:
        return min(most, config.kv_blocks * config.block_size - SGLANG_SPARES)
    if config.guaranteed_no_evict:
        most = min(most, config.kv_blocks * config.block_size)
    if not config.enable_chunked_prefill and config.longest_prefill > config.token_budget:
        most = min(most, config.token_budget + 1)
    unbounded = config.blocks_for(sys.maxsize) <= config.kv_blocks
    if unbounded or (most < sys.maxsize and config.blocks_for(most - 1) <= config.kv_blocks):
        return most
    fits, too_many = 0, min(most, config.kv_blocks * config.alignment + 2)
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        fits, too_many = (middle, too_many) if config.blocks_for(middle - 1) <= config.kv_blocks else (fits, middle)
    return fits


def never_answered(requests: Requests, config: SchedulerConfig) -> Bools:
    """Which requests such a instance refuses at the door, or will never be sent, because it refuses a turn before them.

    Shape (n,).
    """
    refused = requests.prompt_tokens + requests.output_tokens > most_tokens(config)
    if requests.previous is None:
        return refused
    lost, later = refused, requests.previous >= 0
    while not np.array_equal(further := refused | (later & lost[requests.previous]), lost):
        lost = further
    return lost


def why_never(request: Request, config: SchedulerConfig) -> str:
    """Why an instance can never serve a request of more than `most_tokens`."""
    total = request.prompt + request.output
    if config.max_model_len is not None and total > config.max_model_len:
        return f"{request.prompt} prompt and {request.output} output tokens exceed max_model_len={config.max_model_len}"
    if config.sglang is not None:
        return f"{total} tokens exceed {most_tokens(config)}: the KV cache without the {SGLANG_SPARES} that SGLang spares"
    if config.guaranteed_no_evict and total > config.kv_blocks * config.block_size:
        return f"{total} tokens exceed the {config.kv_blocks} KV blocks of {config.block_size} tokens"
    if config.blocks_for(total - 1) > config.kv_blocks:
        return f"{total - 1} tokens exceed the {config.kv_blocks} KV blocks of {config.block_size} tokens"
    return f"{total - 1} tokens exceed {config.budget_argument}={config.token_budget} without chunked prefill"


def why_stuck(request: Request, config: SchedulerConfig) -> str:
    """Why a request that an idle instance does not let in never gets in.

    It fits, as blocks leave its windows while it is computed, but the gate for whole prompts does
    not see that in releases without `cap_at_admission`. Such an engine waits for ever: vLLM 0.19.0,
    vllm/v1/core/sched/scheduler.py `schedule` and vllm/v1/engine/core.py `run_busy_loop`.
    """
    needed = config.state_blocks
    needed += sum(group.groups * -(-request.known // config.size_of(group)) for group in config.kv_groups)
    known = f"{request.known} prompt tokens" if not request.generated else f"{request.known} prompt and answered tokens"
    return (
        f"its {known} take {needed} KV blocks where nothing leaves a sliding window, of {config.kv_blocks}, and this release "
        "lets a request in only when all of them are free: set scheduler_reserve_full_isl to false"
    )
