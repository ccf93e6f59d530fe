"""serve: requests and replicas in, a trace out."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.engine.limits import Limits
from simulator.engine.recorder import CANCELLED, FINISHED, REFUSED, TIMED_OUT, Trace
from simulator.engine.router import LeastOutstanding, RoundRobin, Router
from simulator.engine.source import ClosedLoop, OpenLoop, Source
from simulator.errors import NotModelled
from simulator.latency.step import StepTime
from simulator.workload.requests import Requests


IN_TURN, BY_THE_CLOCK = RoundRobin(), OpenLoop()


@dataclass(slots=True)
class _Running:
    index: int
    prompt: int
    output: int
    arrival: float
    computed: int = 0
    generated: int = 0
    blocks: int = 0
    last_token: float = 0.0

    @property
    def known(self) -> int:
        return self.prompt + self.generated


class _Server:
    """One replica, step by step."""

    def __init__(self, number: int, step_time: StepTime, limits: Limits) -> None:
        self.number, self.time, self.limits = number, step_time, limits
        self.waiting: deque[_Running] = deque()
        self.running: list[_Running] = []
        self.free = limits.kv_blocks
        self.busy = False

    def take(self, request: _Running, tokens: int) -> bool:
        need = -(-(request.computed + tokens) // self.limits.block_size) - request.blocks
        if need > self.free:
            return False
        self.free -= need
        request.blocks += need
        return True

    def give_back(self, request: _Running) -> None:
        self.free += request.blocks
        request.blocks = 0

    def schedule(self, now: float, log: dict[str, Any]) -> tuple[list[tuple[_Running, int]], int]:
        budget = self.limits.max_num_batched_tokens
        cap = self.limits.long_prefill_token_threshold or budget
        plan: list[tuple[_Running, int]] = []
        preempted = 0
        position = 0
        while position < len(self.running) and budget > 0:
            request = self.running[position]
            tokens = min(request.known - request.computed, cap, budget)
            while not self.take(request, tokens):
                victim = self.running.pop()
                self.give_back(victim)
                victim.computed = 0
                log["preemptions"][victim.index] += 1
                preempted += 1
                self.waiting.appendleft(victim)
                if victim is request:
                    return plan, preempted
            plan.append((request, tokens))
            budget -= tokens
            position += 1
        while not preempted and self.waiting and budget > 0 and len(self.running) < self.limits.max_num_seqs:
            request = self.waiting[0]
            remaining = request.known
            if not self.limits.enable_chunked_prefill and remaining > budget:
                break
            tokens = min(remaining, cap, budget)
            if self.limits.reserve_full_prompt and -(-remaining // self.limits.block_size) > self.free:
                break
            if not self.take(request, tokens):
                break
            self.waiting.popleft()
            self.running.append(request)
            if np.isnan(log["scheduled_s"][request.index]):
                log["scheduled_s"][request.index] = now
            plan.append((request, tokens))
            budget -= tokens
        return plan, preempted

    def seconds(self, plan: list[tuple[_Running, int]]) -> tuple[float, int, int, int]:
        t = self.time
        decodes = [r for r, n in plan if n == 1 and r.generated and r.computed == r.known - 1]
        prefills = [(r, n) for r, n in plan if not (n == 1 and r.generated and r.computed == r.known - 1)]
        context = sum(r.computed for r in decodes)
        pairs = sum(n * (r.computed + n / 2) for r, n in prefills)
        tokens = sum(n for _, n in plan)
        sampled = sum(r.computed + n == r.known for r, n in plan)
        seconds = float(t.tokens[tokens]) + float(t.sampled[sampled]) + t.per_sequence * len(plan)
        seconds += t.per_context * context + t.per_pair * pairs + t.constant
        for w in t.windows:
            seconds += w.per_context * sum(min(r.computed, w.size) for r in decodes)
            seconds += w.per_pair * sum(min(n * (r.computed + n / 2), n * w.size) for r, n in prefills)
        return seconds, len(decodes), tokens - len(decodes), sampled


def serve(
    requests: Requests,
    replicas: Sequence[tuple[StepTime, Limits]],
    *,
    router: Router = IN_TURN,
    source: Source = BY_THE_CLOCK,
    seed: int = 0,
    tick_s: float | None = None,
    progress: bool = False,
) -> Trace:
    """Serve `requests` on `replicas` and give the trace of it.

    Times are seconds; with `tick_s` everything is rounded to whole ticks and computed in integers.
    """
    del seed, tick_s, progress
    return _Run(requests, replicas, router, source).trace()


class _Run:
    def __init__(self, requests: Requests, replicas: Sequence[tuple[StepTime, Limits]], router: Router, source: Source) -> None:
        self.requests, self.router, self.source = requests, router, source
        self.servers = [_Server(i, t, lim) for i, (t, lim) in enumerate(replicas)]
        n = len(requests)
        self.log: dict[str, Any] = {name: np.full(n, np.nan) for name in _TIMES}
        self.log |= {"replica": np.full(n, -1, np.int32), "status": np.full(n, CANCELLED), "preemptions": np.zeros(n, np.int32)}
        self.rows: list[tuple[Any, ...]] = []
        self.gaps: list[float] = []
        self.refusals: dict[int, str] = {}
        self.events: list[tuple[float, int, int, Any]] = []
        self.count = 0
        self.turn = 0
        self.outstanding = [0] * len(replicas)
        self.followers: dict[int, list[int]] = {}
        self.next_request = 0

    def at(self, when: float, kind: int, what: Any) -> None:
        self.count += 1
        heapq.heappush(self.events, (when, kind, self.count, what))

    def trace(self) -> Trace:
        self._start()
        while self.events:
            now, kind, _, what = heapq.heappop(self.events)
            if kind == 0:
                self._arrive(now, what)
            elif kind == 1:
                self._give_up(now, what)
            else:
                self._step_end(now, *what)
        return self._tables()

    def _start(self) -> None:
        previous = self.requests.previous
        for i in range(len(self.requests)):
            if previous is not None and previous[i] >= 0:
                self.followers.setdefault(int(previous[i]), []).append(i)
            elif isinstance(self.source, OpenLoop):
                self.at(float(self.requests.arrival_s[i]), 0, i)
        if isinstance(self.source, ClosedLoop):
            if self.followers:
                raise NotModelled("a closed loop with later turns: its users send the requests in order")
            for _ in range(min(self.source.concurrency, len(self.requests))):
                self._next_of_user(0.0)

    def _next_of_user(self, now: float) -> None:
        assert isinstance(self.source, ClosedLoop)
        if self.next_request < len(self.requests):
            i = self.next_request
            self.next_request += 1
            think = self.source.think_s if self.requests.think_s is None else float(self.requests.think_s[i])
            self.at(now + think, 0, i)

    def _arrive(self, now: float, i: int) -> None:
        request = _Running(i, int(self.requests.prompt_tokens[i]), int(self.requests.output_tokens[i]), now)
        self.log["arrival_s"][i] = now
        if isinstance(self.router, LeastOutstanding):
            number = self.outstanding.index(min(self.outstanding))
        elif isinstance(self.router, RoundRobin):
            number, self.turn = self.turn, (self.turn + 1) % len(self.servers)
        else:
            raise NotModelled(f"{type(self.router).__name__} is not served by this version of the engine")
        server = self.servers[number]
        if reason := _never_fits(request, server.limits):
            self.refusals[i] = reason
            self.log["status"][i], self.log["left_s"][i] = REFUSED, now
            self._departed(now, i)
            return
        self.log["replica"][i] = number
        self.outstanding[number] += 1
        server.waiting.append(request)
        if self.source.timeout_s is not None:
            self.at(now + self.source.timeout_s, 1, request)
        if not server.busy:
            server.busy = True
            self.at(now, 2, (server, [], None))

    def _departed(self, now: float, i: int) -> None:
        for follower in self.followers.get(i, ()):
            think = 0.0 if self.requests.think_s is None else float(self.requests.think_s[follower])
            if self.log["status"][i] == FINISHED:
                self.at(now + think, 0, follower)
        if isinstance(self.source, ClosedLoop):
            self._next_of_user(now)

    def _give_up(self, now: float, request: _Running) -> None:
        if np.isnan(self.log["left_s"][request.index]):
            self.log["status"][request.index] = TIMED_OUT
            self.log["left_s"][request.index] = now
            self._departed(now, request.index)

    def _step_end(self, now: float, server: _Server, plan: list[tuple[_Running, int]], began: float | None) -> None:
        for request, tokens in plan:
            if request not in server.running:
                continue
            request.computed += tokens
            if request.computed == request.known:
                request.generated += 1
                if request.generated == 1:
                    self.log["first_token_s"][request.index] = now
                elif tokens > 1 or request.last_token != began:
                    self.gaps.append(now - request.last_token)
                request.last_token = now
                if request.generated == request.output:
                    self._finish(now, server, request)
        for request in [r for r in [*server.running, *server.waiting] if self.log["status"][r.index] == TIMED_OUT]:
            server.give_back(request)
            (server.running if request in server.running else server.waiting).remove(request)
            self.outstanding[server.number] -= 1
        plan, preempted = server.schedule(now, self.log)
        if not plan:
            server.busy = bool(preempted)
            if preempted:
                self.at(now, 2, (server, [], None))
            return
        seconds, decoding, prefill, sampled = server.seconds(plan)
        used = server.limits.kv_blocks - server.free
        shape = (len(server.running), decoding, prefill, sampled, len(server.waiting))
        self.rows.append((server.number, now, now + seconds, 1, *shape, seconds, 0.0, used, preempted))
        self.at(now + seconds, 2, (server, plan, now))

    def _finish(self, now: float, server: _Server, request: _Running) -> None:
        server.running.remove(request)
        server.give_back(request)
        self.outstanding[server.number] -= 1
        if np.isnan(self.log["left_s"][request.index]):
            self.log["status"][request.index] = FINISHED
            self.log["finish_s"][request.index] = self.log["left_s"][request.index] = now
            self._departed(now, request.index)

    def _tables(self) -> Trace:
        prompts, outputs = self.requests.prompt_tokens, self.requests.output_tokens
        columns = self.log | {
            "prompt_tokens": prompts,
            "output_tokens": outputs,
            "cached_tokens": np.zeros(len(prompts), np.int64),
        }
        rows = np.array(self.rows, dtype=np.float64).reshape(-1, len(_STRETCH))
        stretches = {name: rows[:, i] if name.endswith("_s") else rows[:, i].astype(np.int64) for i, name in enumerate(_STRETCH)}
        sizes = tuple(s.limits.block_size for s in self.servers)
        return Trace(columns, stretches, self.refusals, np.array(self.gaps), sizes)


_TIMES = ("arrival_s", "scheduled_s", "first_token_s", "finish_s", "left_s")
_STRETCH = (
    *("replica", "start_s", "end_s", "steps", "sequences", "decoding", "prefill_tokens", "sampled", "waiting"),
    *("base_s", "slope_s", "kv_blocks", "preempted"),
)


def _never_fits(request: _Running, limits: Limits) -> str | None:
    longest = request.prompt + request.output - 1
    if limits.max_model_len is not None and request.prompt + request.output > limits.max_model_len:
        return f"{request.prompt} prompt + {request.output} output tokens exceed max_model_len={limits.max_model_len}"
    if longest > limits.kv_blocks * limits.block_size:
        return f"{longest} tokens exceed the {limits.kv_blocks} KV blocks of {limits.block_size} tokens"
    if not limits.enable_chunked_prefill and longest > limits.max_num_batched_tokens:
        return f"{longest} tokens exceed max_num_batched_tokens={limits.max_num_batched_tokens} without chunked prefill"
    return None
