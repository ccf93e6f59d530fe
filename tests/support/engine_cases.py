"""Small cases for the engine, drawn so that limits bind and times tie; and what must hold after every run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from oracle import ALONE, Arguments, Group, Oracle, Rules, rules_of

from simulator.engine.fleet.data_parallel import DataParallel
from simulator.engine.fleet.queue_limits import QueueLimits
from simulator.engine.fleet.router import (
    LeastKvUse,
    LeastOutstanding,
    LlmD,
    PowerOfTwoChoices,
    PrefixAffinity,
    Random,
    RoundRobin,
    Router,
    SessionAffinity,
)
from simulator.engine.instance.lock_step import LockStep
from simulator.engine.load import ClosedLoop, Load, OpenLoop
from simulator.engine.record import (
    CANCELLED,
    FINISHED,
    NEVER_SCHEDULED,
    REFUSED,
    TIMED_OUT,
    RunRecord,
    inter_token_latencies,
)
from simulator.engine.scheduler.config import AdapterSlots, KvGroup, SchedulerConfig, Speculation
from simulator.engine.scheduler.rules import SchedulerRules
from simulator.engine.scheduler.sglang_rules import SglangRules
from simulator.engine.serve import serve
from simulator.latency.client import ApiServer
from simulator.latency.step import AdapterTime, StepTime, Window
from simulator.workload.requests import BlockHashes, Requests


@dataclass
class Case:
    """One run: what is asked, of whom, and how.

    `rules` and `arguments` are the naive simulator's; the engine does as the defaults say.
    """

    requests: Requests
    replicas: list[tuple[StepTime, SchedulerConfig]]
    router: Router
    source: Load
    seed: int = 0
    data_parallel: DataParallel = ALONE
    front_end: ApiServer | None = None
    rules: Rules = field(default_factory=Rules)
    arguments: Arguments = field(default_factory=Arguments)

    def __repr__(self) -> str:
        columns = {name: getattr(self.requests, name) for name in ("arrival_s", "prompt_tokens", "output_tokens", "priority")}
        columns |= {name: getattr(self.requests, name) for name in ("previous", "think_s")}
        if self.requests.hashes is not None:
            columns["labels"] = self.requests.hashes.ids
            columns["offsets"] = self.requests.hashes.offsets
        shown = "\n  ".join(f"{k}={v.tolist()}" for k, v in columns.items() if v is not None)
        times = [
            (t.tokens[:3], t.sampled[:3], t.per_sequence, t.per_context, t.per_pair, t.constant, t.windows)
            for t, _ in self.replicas
        ]
        limits = "\n  ".join(str(limits) for _, limits in self.replicas)
        more = f"seed={self.seed} {self.data_parallel} {self.front_end}"
        how = f"{self.router} {self.source} {more}\n  {self.rules}\n  {self.arguments}"
        return f"Case(\n  {shown}\n  {limits}\n  {times}\n  {how})"

    def trace(self) -> RunRecord:
        """The engine's trace, in integer ticks of a second."""
        replicas = [(time, self.config(limits)) for time, limits in self.replicas]
        how = {"router": self.router, "load": self.source, "seed": self.seed, "data_parallel": self.data_parallel}
        how["queue_limits"] = QueueLimits(
            max_num_queued_reqs=self.arguments.max_num_queued_reqs, max_num_queued_tokens=self.arguments.max_num_queued_tokens
        )
        return serve(self.requests, replicas, tick_s=1.0, front_end=self.front_end, **how)

    def config(self, limits: SchedulerConfig) -> SchedulerConfig:
        """The engine's configuration, with the naive simulator's rules and arguments in it."""
        known = {f.name for f in fields(SchedulerConfig)}
        rules = SchedulerRules(**{name: value for name, value in asdict(self.rules).items() if name != "own_blocks"})
        given = {name: getattr(self.arguments, name) for name in asdict(self.arguments) if name in known}
        if self.arguments.watermark is not None:
            given["watermark_blocks"] = int(self.arguments.watermark * (limits.kv_blocks + 1))
        if self.arguments.groups is not None:
            given["kv_groups"] = tuple(KvGroup(window=g.window, block_size=g.block_size) for g in self.arguments.groups)
        return replace(limits, rules=rules, **given)

    def oracle(self) -> Oracle:
        """What the naive simulator makes of it."""
        how = self.rules, self.arguments, self.data_parallel, self.front_end
        return Oracle(self.requests, self.replicas, self.router, self.source, self.seed, *how).run()


def step_time(
    limits: SchedulerConfig,
    *,
    base: int,
    token: int,
    sample: int,
    sequence: int,
    context: int,
    pair: int,
    windows: tuple[Window, ...] = (),
) -> StepTime:
    """An affine step time in whole ticks."""
    tokens = base + token * np.arange(limits.max_num_batched_tokens + 1, dtype=np.float64)
    sampled = sample * np.arange(limits.max_num_seqs + 1, dtype=np.float64)
    return StepTime(tokens, sampled, sequence, context, 2 * pair, 0, windows)


@st.composite
def limits(draw: st.DrawFn, **fixed: Any) -> SchedulerConfig:
    """SchedulerConfig that bind."""
    seqs = draw(st.integers(1, 8))
    size = draw(st.sampled_from([1, 2, 3, 4, 16]))
    chosen: dict[str, Any] = {
        "kv_blocks": max(draw(st.integers(28, 90)) // size, 1),
        "block_size": size,
        "max_num_seqs": seqs,
        "max_num_batched_tokens": seqs + draw(st.integers(0, 20)),
        "long_prefill_token_threshold": draw(st.sampled_from([0, 0, 0, 2, 5])),
        "scheduling_policy": draw(st.sampled_from(["fcfs", "fcfs", "priority"])),
        "enable_chunked_prefill": draw(st.sampled_from([True, True, True, False])),
        "reserve_full_prompt": draw(st.booleans()),
        "async_scheduling": draw(st.booleans()),
        "watermark_blocks": draw(st.sampled_from([0, 0, 1, 3])),
        "max_model_len": draw(st.sampled_from([None, None, 40])),
    }
    if not fixed.get("enable_prefix_caching") and fixed.get("scheduling_policy") != "static":
        chosen["state_blocks"] = draw(st.sampled_from([0, 0, 0, 1, 3]))
    return SchedulerConfig(**(chosen | fixed))


@st.composite
def step_times(draw: st.DrawFn, of: SchedulerConfig) -> StepTime:
    """Step times of a few ticks, so that many events fall on one instant."""
    small = st.integers(0, 3)
    base, token, sample = draw(st.integers(0, 4)), draw(small), draw(small)
    plain = step_time(
        of, base=base, token=token, sample=sample, sequence=draw(small), context=draw(small), pair=draw(st.integers(0, 1))
    )
    if not draw(st.booleans()):
        return plain
    prompt = np.array([draw(small) for _ in range(3)])[np.arange(of.max_num_batched_tokens + 1) % 3]
    return replace(plain, prompt=prompt.astype(np.float64))


@st.composite
def requests(draw: st.DrawFn, *, turns: bool = True) -> Requests:
    """A dozen requests that come in bursts, some of them later turns."""
    n = draw(st.integers(1, 14))

    def ints(low: int, high: int) -> np.ndarray:
        return np.array(draw(st.lists(st.integers(low, high), min_size=n, max_size=n)))

    gaps = ints(0, 1) * ints(0, 60)
    prompts, outputs = ints(1, 24), ints(1, 20)
    previous = think = None
    if turns and draw(st.booleans()):
        previous = np.array([draw(st.integers(-1, i - 1)) if draw(st.booleans()) else -1 for i in range(n)])
        think = ints(0, 4).astype(float)
    priority = ints(0, 2) if draw(st.booleans()) else None
    return Requests(np.cumsum(gaps).astype(float), prompts, outputs, priority=priority, previous=previous, think_s=think)


@st.composite
def hybrid_cases(draw: st.DrawFn, *, windows_of_one: bool = True, **fixed: Any) -> Case:
    """Any case with sliding windows, in the KV groups or in the step time or in both."""
    among = [w for w in WINDOWS if windows_of_one or 1 not in w]
    size = draw(st.sampled_from([1, 2, 3, 4]))
    case = draw(cases(block_size=size, **fixed))
    replicas = []
    for times, limits in case.replicas:
        groups = [KvGroup(groups=draw(st.integers(1, 2)), window=w) for w in draw(st.sampled_from(among))]
        windows = tuple(
            Window(w, draw(st.integers(0, 2)), 2 * draw(st.integers(0, 1)), draw(st.integers(0, 3)))
            for w in draw(st.sampled_from(SIZES))
        )
        blocks = sum(group.groups for group in groups) * limits.kv_blocks
        tight = draw(st.integers(blocks // 2 + 1, blocks))
        replicas.append((replace(times, windows=windows), replace(limits, kv_groups=tuple(groups), kv_blocks=tight)))
    return replace(case, replicas=replicas)


WINDOWS = ((None,), (None, 3), (None, 6), (None, 6, 9), (5,), (None, 1))
SIZES = ((), (), (3,), (6, 9), (8,))


@st.composite
def prefill_first_cases(draw: st.DrawFn, **fixed: Any) -> Case:
    """Any case in which prompts are computed whole, in steps without decodes."""
    return draw(
        cases(enable_chunked_prefill=False, async_scheduling=False, long_prefill_token_threshold=0, prefill_first=True, **fixed)
    )


@st.composite
def sglang_cases(draw: st.DrawFn, *, shared: bool, **fixed: Any) -> Case:
    """Any case of SGLang, with a radix tree where `shared`."""
    size = draw(st.sampled_from([1, 1, 2, 4]))
    chunk = draw(st.one_of(st.none(), st.integers(1, 6).map(lambda pages: pages * size)))
    rules = SglangRules(
        chunked_prefill_size=chunk,
        max_prefill_tokens=draw(st.integers(1, 60)),
        schedule_policy=draw(st.sampled_from(["fcfs", "lpm"])),
        schedule_conservativeness=draw(st.sampled_from([0.01, 0.01, 1.0, 2.0])),
        recv_interval=draw(st.sampled_from([1, 1, 2, 5, 30])),
        caches_answers=draw(st.booleans()),
    )
    usual = {"scheduling_policy": "fcfs", "state_blocks": 0, "max_num_batched_tokens": 128, "enable_chunked_prefill": True}
    usual |= {"block_size": size, "enable_prefix_caching": shared, "sglang": rules}
    case = draw(cases(**(usual | fixed)))
    if not shared or draw(st.booleans()):
        return case
    return replace(case, requests=replace(case.requests, hashes=draw(hashes(case.requests, size))))


@st.composite
def no_evict_cases(draw: st.DrawFn, *, shared: bool, **fixed: Any) -> Case:
    """Any case of TensorRT-LLM that reserves blocks to the end, with prefixes where `shared`."""
    size = draw(st.sampled_from([1, 2, 4]))
    usual = {"scheduling_policy": "fcfs", "state_blocks": 0, "block_size": size, "enable_prefix_caching": shared}
    usual |= {"long_prefill_token_threshold": 0, "watermark_blocks": 0, "guaranteed_no_evict": True}
    usual |= {"reserve_full_prompt": False}
    case = draw(cases(**(usual | fixed)))
    return replace(case, requests=replace(case.requests, hashes=draw(hashes(case.requests, size)))) if shared else case


@st.composite
def hashes(draw: st.DrawFn, of: Requests, block_size: int) -> BlockHashes:
    """Labels down the branches of one tree: some requests share prefixes, and some lists reach into the output."""
    children: dict[int, list[int]] = {0: []}
    lists = []
    for prompt, output in zip(of.prompt_tokens.tolist(), of.output_tokens.tolist(), strict=True):
        node, labels = 0, []
        for _ in range(draw(st.integers(0, (prompt + output) // block_size + 1))):
            branches = children[node]
            which = draw(st.integers(0, min(len(branches), 2)))
            if which == len(branches):
                branches.append(len(children))
                children[len(children)] = []
            node = branches[which]
            labels.append(node)
        lists.append(labels)
    offsets = np.cumsum([0, *map(len, lists)])
    return BlockHashes(block_size, offsets, np.array([label for labels in lists for label in labels], dtype=np.int64))


@st.composite
def cached_hybrid_cases(draw: st.DrawFn, **fixed: Any) -> Case:
    """Any case with sliding windows and a prefix cache.

    Windows of one token are in the family "rules, cached groups": vLLM needs no block of theirs,
    and the engine takes one.
    """
    case = draw(hybrid_cases(windows_of_one=False, enable_prefix_caching=True, **fixed))
    size = case.replicas[0][1].block_size
    return replace(case, requests=replace(case.requests, hashes=draw(hashes(case.requests, size))))


@st.composite
def cached_cases(draw: st.DrawFn, **fixed: Any) -> Case:
    """Any case with a prefix cache."""
    size = draw(st.sampled_from([1, 2, 4]))
    case = draw(cases(block_size=size, enable_prefix_caching=True, **fixed))
    asked = replace(case.requests, hashes=draw(hashes(case.requests, size)))
    return replace(case, requests=asked)


ROUTERS = (
    RoundRobin(),
    LeastOutstanding(),
    LeastKvUse(),
    PowerOfTwoChoices(),
    PrefixAffinity(slack=1, ratio=1.0),
    PrefixAffinity(threshold=0.0),
    Random(),
    SessionAffinity(),
    LlmD(report_s=0.0),
    LlmD(report_s=7.0, most_blocks=3),
    LlmD(report_s=20.0, queue=0.0, load_aware=1.0, threshold=2, prefix=0.0),
)


@st.composite
def cases(draw: st.DrawFn, *, most_replicas: int = 3, **fixed: Any) -> Case:
    """Any case."""
    replicas = []
    for _ in range(draw(st.integers(1, most_replicas))):
        some = draw(limits(**fixed))
        replicas.append((draw(step_times(some)), some))
    timeout = draw(st.sampled_from([None, None, 15.0, 60.0]))
    closed = draw(st.sampled_from([False, False, True]))
    asked = draw(requests(turns=not closed))
    think = draw(st.sampled_from([0.0, 0.0, 3.0]))
    source = (
        ClosedLoop(concurrency=draw(st.integers(1, 6)), think_s=think, timeout_s=timeout)
        if closed
        else OpenLoop(timeout_s=timeout, max_concurrency=draw(st.sampled_from([None, None, 1, 2, 5])))
    )
    return Case(asked, replicas, draw(st.sampled_from(ROUTERS)), source, seed=draw(st.integers(0, 3)))


@st.composite
def speculative(draw: st.DrawFn, of: st.SearchStrategy[Case]) -> Case:
    """A case in which tokens are drafted, and steps give as many as was drawn before."""
    case = draw(of)
    equal: dict[int, tuple[StepTime, SchedulerConfig]] = {}
    for pair in case.replicas:
        if id(pair) not in equal:
            equal[id(pair)] = draw(drafting(*pair))
    replicas = [equal[id(pair)] for pair in case.replicas]
    fewest = min(config.verified for _, config in replicas)
    left = case.requests.output_tokens - 1
    share = np.array(draw(st.lists(st.floats(0, 1), min_size=len(left), max_size=len(left))))
    low = np.maximum(-(-left // fewest), 1)
    steps = (low + np.rint(share * (np.maximum(left, 1) - low))).astype(np.int64)
    return replace(case, replicas=replicas, requests=replace(case.requests, decode_steps=steps))


@st.composite
def timed_windows(draw: st.DrawFn) -> Case:
    """Any case in which the time of a step depends on windows, and the KV blocks do not."""
    case = draw(cases())
    replicas = []
    for times, limits in case.replicas:
        sizes = draw(st.sampled_from(((3,), (6, 9), (8,), (15,))))
        kinds = [(w, draw(st.integers(0, 2)), draw(st.integers(0, 1)), draw(st.integers(0, 3))) for w in sizes]
        windows = tuple(Window(w, context, 2 * pair, beyond) for w, context, pair, beyond in kinds)
        replicas.append((replace(times, windows=windows), limits))
    return replace(case, replicas=replicas)


@st.composite
def drafting(draw: st.DrawFn, times: StepTime, limits: SchedulerConfig) -> tuple[StepTime, SchedulerConfig]:
    """A replica that drafts, with tables that reach as far as it needs."""
    drafts = Speculation(tokens=draw(st.integers(1, 4)), lookahead=draw(st.integers(0, 5)), drops_last_block=draw(st.booleans()))
    least = limits.seats * (1 + drafts.tokens)
    more = max(limits.max_num_batched_tokens, least + draw(st.integers(0, 12)))
    blocks = limits.kv_blocks + draw(st.integers(0, 15)) // limits.block_size
    config = replace(limits, speculation=drafts, max_num_batched_tokens=more, kv_blocks=blocks)
    drafted = np.array([draw(st.integers(0, 3)) for _ in range(3)])[np.arange(limits.max_num_seqs + 1) % 3]
    return _longer(times, config, drafted), config


def _longer(times: StepTime, config: SchedulerConfig, drafted: np.ndarray) -> StepTime:
    """Step times whose tables reach as far as a configuration needs."""
    tokens, sampled = config.max_num_batched_tokens + 1, config.max_num_seqs * config.verified + 1

    def reaching(table: np.ndarray, length: int) -> np.ndarray:
        slope = table[1] - table[0] if len(table) > 1 else 0.0
        return table[0] + slope * np.arange(length)

    prompt = np.resize(times.prompt, tokens) if len(times.prompt) else times.prompt
    return replace(
        times,
        tokens=reaching(times.tokens, tokens),
        sampled=reaching(times.sampled, sampled),
        prompt=prompt,
        drafted=drafted.astype(np.float64),
        verified=config.verified,
    )


@st.composite
def adapter_cases(draw: st.DrawFn, of: st.SearchStrategy[Case]) -> Case:
    """A case in which requests have LoRA adapters, so many of which run at once."""
    case = draw(of)
    n = len(case.requests)
    adapter = np.array(draw(st.lists(st.integers(0, draw(st.integers(1, 6))), min_size=n, max_size=n)))
    equal: dict[int, tuple[StepTime, SchedulerConfig]] = {}
    for pair in case.replicas:
        if id(pair) not in equal:
            times, limits = pair
            table = np.array([draw(st.integers(0, 2)) for _ in range(3)])[np.arange(limits.max_num_batched_tokens + 1) % 3]
            each, swap, load = (float(draw(st.integers(0, most))) for most in (2, 5, 9))
            most = draw(st.integers(1, 3))
            slots = AdapterSlots(max_loras=most, max_cpu_loras=most + draw(st.integers(0, 2)))
            adapters = AdapterTime(table.astype(np.float64), each, swap, load)
            equal[id(pair)] = replace(times, adapters=adapters), replace(limits, adapter_slots=slots)
    replicas = [equal[id(pair)] for pair in case.replicas]
    return replace(case, replicas=replicas, requests=replace(case.requests, adapter=adapter))


BALANCES = ("router", "in_turn", "fewest_waiting", "weighted", "rotating", "in_flight")


@st.composite
def parallel_cases(draw: st.DrawFn, *, lock_step: bool, **fixed: Any) -> Case:
    """Any case of servers with two or three ranks, equal within a server."""
    case = draw(cases(most_replicas=1, **fixed))
    ranks, servers = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    replicas = []
    for _ in range(servers):
        some = draw(limits(block_size=case.replicas[0][1].block_size, async_scheduling=draw(st.booleans()), **fixed))
        replicas += [(draw(step_times(some)), some)] * ranks
    together = LockStep(
        asks_every=draw(st.sampled_from([1, 3, 4, 32])),
        asks_first=draw(st.booleans()),
        pads_up_to=draw(st.sampled_from([0, 4, 99])),
    )
    parallel = DataParallel(
        ranks=ranks,
        balance=draw(st.sampled_from(BALANCES)),
        report_s=draw(st.sampled_from([0.0, 1.0, 9.0])),
        lock_step=together if lock_step else None,
    )
    router = draw(st.sampled_from(ROUTERS))
    return replace(case, replicas=replicas, router=router, data_parallel=parallel)


@st.composite
def fronted_cases(draw: st.DrawFn, **fixed: Any) -> Case:
    """Any case behind a front end, some of them so slow that it is what all wait for."""
    case = draw(cases(**fixed))
    request, token, chunk = draw(st.integers(0, 9)), draw(st.integers(0, 1)), draw(st.sampled_from([0, 1, 1, 3, 30]))
    return replace(case, front_end=ApiServer(request_s=float(request), prompt_token_s=float(token), chunk_s=float(chunk)))


# Rules of releases, and their arguments


@st.composite
def ruled(draw: st.DrawFn, of: st.SearchStrategy[Case], since: str = "0.19.0", **arguments: st.SearchStrategy) -> Case:
    """A case under the rules of some release, with arguments that it has."""
    release = draw(st.sampled_from(RELEASES[RELEASES.index(since) :]))
    chosen = {name: draw(values) for name, values in arguments.items()}
    return replace(draw(of), rules=rules_of(release), arguments=Arguments(**chosen))


@st.composite
def many_groups(draw: st.DrawFn, **fixed: Any) -> Case:
    """A case with several groups of windows, in blocks of one size or of several."""
    size = draw(st.sampled_from([1, 2, 4]))
    case = draw(cases(block_size=size, most_replicas=1, **fixed))
    windows = draw(st.lists(st.sampled_from([None, 1, 3, 6, 9, 17]), min_size=1, max_size=3))
    sizes = draw(st.sampled_from([(1, 1), (1, 1), (1, 2), (2, 1), (4, 1)]))
    several = [(None, sizes[0]), *((w, sizes[1]) for w in windows)]
    groups = tuple(Group(window=w, block_size=size * times) for w, times in several)
    if case.replicas[0][1].enable_prefix_caching:
        named = draw(hashes(case.requests, size * min(sizes)))
        case = replace(case, requests=replace(case.requests, hashes=named))
    times, limits = case.replicas[0]
    limits = replace(limits, kv_blocks=limits.kv_blocks * len(groups), state_blocks=0)
    return replace(case, replicas=[(times, limits)], arguments=Arguments(groups=groups))


@st.composite
def ruled_groups(draw: st.DrawFn, **fixed: Any) -> Case:
    """A case with several groups under the rules of some release."""
    case = draw(many_groups(**fixed))
    return replace(case, rules=rules_of(draw(st.sampled_from(RELEASES))))


@st.composite
def waits_for_ever(draw: st.DrawFn) -> Case:
    """A case of a release whose gate for whole prompts does not see windows, with blocks too few for that gate.

    With routers and front ends that read load reports, clients that give up, and ranks in lock step.
    """
    fixed = {"reserve_full_prompt": True, "enable_chunked_prefill": True, "max_model_len": None}
    fixed |= {"max_num_seqs": draw(st.integers(1, 8)), "max_num_batched_tokens": draw(st.integers(8, 12))}
    case = draw(st.one_of(cases(**fixed), parallel_cases(lock_step=draw(st.booleans()), **fixed)))
    groups = (KvGroup(), KvGroup(groups=draw(st.integers(1, 4)), window=draw(st.sampled_from([2, 3, 5]))))
    tokens = draw(st.integers(16, 32))
    replicas = []
    for times, limits in case.replicas:
        some = replace(limits, kv_groups=groups)
        replicas.append((times, replace(some, kv_blocks=some.blocks_for(tokens))))
    return replace(case, replicas=replicas, rules=rules_of("0.19.0"))


RELEASES = ("0.19.0", "0.20.2", "0.22.0", "0.23.0", "0.24.0", "0.26.0", "0.28.0", "0.31.0", "0.33.0")

NEW_FAMILIES: dict[str, st.SearchStrategy[Case]] = {
    "rules": ruled(cases()),
    "rules, cached": ruled(cached_cases()),
    "rules, windows": ruled(hybrid_cases()),
    "rules, cached windows": ruled(cached_hybrid_cases()),
    "rules, groups": ruled_groups(),
    "rules, cached groups": ruled_groups(enable_prefix_caching=True),
    "waiting for ever": waits_for_ever(),
    "nothing shared": ruled(cases(enable_prefix_caching=True)),
    "partial prefills": ruled(cases(long_prefill_token_threshold=3), long_prefill_token_threshold_adaptive=st.booleans()),
    "watermark": ruled(cases(watermark_blocks=0), since="0.24.0", watermark=st.sampled_from([0.0, 0.05, 0.2])),
    "fewer tokens": ruled(cases(), max_num_scheduled_tokens=st.integers(1, 20)),
    "fewer sequences": ruled(
        cases(max_num_seqs=4, max_num_batched_tokens=9, enable_chunked_prefill=True),
        since="0.31.0",
        max_num_active_seqs=st.integers(1, 4),
    ),
    "seldom prefills": ruled(cases(), since="0.33.0", prefill_schedule_interval=st.integers(2, 6)),
    "seldom prefills, lock step": ruled(
        st.one_of(parallel_cases(lock_step=True), parallel_cases(lock_step=True, enable_prefix_caching=True)),
        since="0.24.0",
        prefill_schedule_interval=st.integers(2, 6),
    ),
    "queue limits": ruled(
        cases(),
        since="0.31.0",
        max_num_queued_reqs=st.one_of(st.none(), st.integers(0, 8)),
        max_num_queued_tokens=st.one_of(st.none(), st.integers(0, 80)),
    ),
    "speculative": ruled(speculative(cases())),
    "speculative, nothing shared": ruled(speculative(cases(enable_prefix_caching=True))),
    "speculative, cached": ruled(speculative(cached_cases())),
    "speculative, ranks": ruled(speculative(st.one_of(parallel_cases(lock_step=True), parallel_cases(lock_step=False)))),
    "speculative, windows": ruled(speculative(timed_windows())),
    "speculative, front end": ruled(speculative(fronted_cases())),
    "queue limits, servers": ruled(
        st.one_of(parallel_cases(lock_step=False), parallel_cases(lock_step=True), fronted_cases()),
        since="0.31.0",
        max_num_queued_reqs=st.one_of(st.none(), st.integers(0, 8)),
        max_num_queued_tokens=st.one_of(st.none(), st.integers(0, 80)),
    ),
}
"""Families for the engine to be compared on, each once it has the rules; ENGINE_KNOWS lists those."""

ENGINE_KNOWS: tuple[str, ...] = (
    "rules",
    "rules, cached",
    "rules, windows",
    "rules, cached windows",
    "rules, groups",
    "rules, cached groups",
    "waiting for ever",
    "nothing shared",
    "partial prefills",
    "watermark",
    "fewer tokens",
    "fewer sequences",
    "seldom prefills",
    "seldom prefills, lock step",
    "queue limits",
    "queue limits, servers",
    "speculative",
    "speculative, nothing shared",
    "speculative, cached",
    "speculative, ranks",
    "speculative, windows",
    "speculative, front end",
)


def assert_equal(trace: RunRecord, oracle: Oracle) -> None:
    """Every time, count and step of the two is the same."""
    for column, log in (
        *((f"{name}_s", name) for name in ("arrival", "scheduled", "first_token", "finish", "left")),
        *(("replica", "replica"), ("status", "status"), ("preemptions", "preemptions"), ("cached_tokens", "cached")),
    ):
        np.testing.assert_array_equal(trace.requests[column], np.array(oracle.log[log]), err_msg=column)
    assert_equal_steps(trace, oracle)
    if not (trace.requests["status"] == TIMED_OUT).any():
        values, weights = inter_token_latencies(trace)
        assert sorted(np.repeat(values, weights).tolist()) == sorted(oracle.gaps)


def assert_equal_steps(trace: RunRecord, oracle: Oracle) -> None:
    """Each step of the oracle lies in its place in a stretch of the engine."""
    s = trace.stretches
    for replica in range(len(trace.block_size)):
        steps = [row for row in oracle.steps if row["replica"] == replica]
        at = 0
        for i in np.flatnonzero(s["replica"] == replica).tolist():
            run = steps[at : at + int(s["steps"][i])]
            at += len(run)
            assert len(run) == s["steps"][i]
            starts = s["start_s"][i] + np.concatenate([[0.0], np.cumsum(s["base_s"][i] + s["slope_s"][i] * np.arange(len(run)))])
            assert [row["start"] for row in run] == starts[:-1].tolist()
            assert starts[-1] == s["end_s"][i] == run[-1]["start"] + run[-1]["seconds"]
            for name in ("sequences", "prefill_tokens", "sampled"):
                assert {row[name] for row in run} == {s[name][i]}, name
            assert (run[0]["waiting"], run[0]["preempted"]) == (s["waiting"][i], s["preempted"][i])
            assert run[-1]["kv_blocks"] == s["kv_blocks"][i]
        assert at == len(steps)


def assert_invariants(case: Case, trace: RunRecord) -> None:
    """What holds of every run."""
    r, s = trace.requests, trace.stretches
    done = r["status"] == FINISHED
    nobody_is_lost(case, trace)
    assert (r["arrival_s"][done] <= r["scheduled_s"][done]).all()
    assert (r["scheduled_s"][done] <= r["first_token_s"][done]).all()
    assert (r["first_token_s"][done] <= r["finish_s"][done]).all()
    most = np.array([limits.kv_blocks for _, limits in case.replicas])
    assert ((s["kv_blocks"] >= 0) & (s["kv_blocks"] <= most[s["replica"]])).all()
    emitted = (s["sampled"].astype(int) * s["steps"]).sum()
    if not any(limits.scheduling_policy == "static" or limits.speculation for _, limits in case.replicas):
        wanted = r["output_tokens"][done].sum()
        never_began = np.isin(r["status"], (REFUSED, CANCELLED))
        assert emitted == wanted if (done | never_began).all() else emitted >= wanted
    area_under_n_is_the_sum_of_sojourns(trace)
    if case.rules.cap_at_admission:
        no_idle_step_while_work_waits(trace)


def nobody_is_lost(case: Case, trace: RunRecord) -> None:
    """Requests in = finished + refused + timed out + waiting for ever + never sent as an earlier one failed."""
    status = trace.requests["status"]
    unserved = np.isin(status, (REFUSED, NEVER_SCHEDULED, CANCELLED))
    assert len(trace) == len(case.requests)
    assert (unserved | np.isin(status, (FINISHED, TIMED_OUT))).all()
    assert set(trace.refusals) == set(np.flatnonzero(unserved).tolist())


def area_under_n_is_the_sum_of_sojourns(trace: RunRecord) -> None:
    """Little's law without its limits: the integral of the number in the system is the sum of the times in it.

    Those who wait for ever are left out.
    """
    arrived, left = trace.requests["arrival_s"], trace.requests["left_s"]
    inside = ~np.isnan(arrived) & (trace.requests["status"] != NEVER_SCHEDULED)
    times = np.concatenate([arrived[inside], left[inside]])
    change = np.concatenate([np.ones(inside.sum()), -np.ones(inside.sum())])
    order = np.argsort(times, kind="stable")
    area = (np.cumsum(change[order])[:-1] * np.diff(times[order])).sum() if len(order) else 0.0
    np.testing.assert_allclose(area, (left[inside] - arrived[inside]).sum(), rtol=1e-9, atol=1e-9)


def no_idle_step_while_work_waits(trace: RunRecord) -> None:
    """A replica stands still only when nothing that it was given is unfinished."""
    for replica in range(len(trace.block_size)):
        mine = trace.stretches["replica"] == replica
        start, end = trace.stretches["start_s"][mine], trace.stretches["end_s"][mine]
        assert (start[1:] >= end[:-1]).all()
        given = trace.requests["replica"] == replica
        for idle_from, idle_to in zip(end[:-1], start[1:], strict=True):
            if idle_to > idle_from:
                inside = (trace.requests["arrival_s"][given] < idle_to) & (trace.requests["left_s"][given] > idle_from)
                assert not inside.any()
