"""The one binder: engine arguments become a memory plan, a step time and the scheduler's limits; servers become a fleet."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
from pydantic import ValidationError

from simulator.catalog.acceptance import family_of, measured_acceptance
from simulator.catalog.engine_args import EngineArgs, ResolvedArgs
from simulator.catalog.engines import Engine
from simulator.catalog.gpus import Gpu, require_rates
from simulator.catalog.kernels import overheads
from simulator.catalog.links import LinkSpec
from simulator.catalog.models import Model
from simulator.catalog.quantizations import Quantization
from simulator.engine.admission import most_tokens
from simulator.engine.fleet.data_parallel import Balance, DataParallel
from simulator.engine.fleet.hand_over import KvLink, PoolServers, Routing
from simulator.engine.fleet.operation import Operation
from simulator.engine.fleet.queue_limits import NO_LIMITS, QueueLimits
from simulator.engine.fleet.router import RoundRobin, Router
from simulator.engine.instance.lock_step import LockStep
from simulator.engine.load import Load, OpenLoop
from simulator.engine.record import REFUSED, RunRecord
from simulator.engine.scheduler.build import check_adapters, check_speculation
from simulator.engine.scheduler.config import AdapterSlots, KvGroup, SchedulerConfig, Speculation
from simulator.engine.scheduler.rules import SchedulerRules
from simulator.engine.scheduler.sglang_rules import SglangRules
from simulator.engine.serve import serve, serve_pools
from simulator.errors import NotModelled, SimulatorError
from simulator.latency import calibration as calibrated
from simulator.latency.calibration import Calibration
from simulator.latency.client import ApiServer, FrontEnd
from simulator.latency.host import Host
from simulator.latency.models import LatencySpec, Roofline
from simulator.latency.sampling import Sampling
from simulator.latency.step import StepTime
from simulator.latency.target import Target
from simulator.memory.plan import MemoryPlan, blocks_printed_as, plan_memory
from simulator.memory.speculative import reads_hidden_states
from simulator.numbers import MOST_ENGINES
from simulator.spec import first_mistake
from simulator.units import MS
from simulator.workload.acceptance import Acceptance
from simulator.workload.requests import Requests
from simulator.workload.streams import Streams


@dataclass(frozen=True, slots=True)
class Server:
    """One engine with everything a simulation of it needs; `target` is what its step time is bound to.

    `acceptance`: the law of accepted tokens, where tokens are drafted. `data_parallel`: how it is
    one of several ranks behind one front end, which turns requests away at the `queue_limits`.
    """

    plan: MemoryPlan
    target: Target
    step_time: StepTime
    limits: SchedulerConfig
    acceptance: Acceptance | None = None
    data_parallel: DataParallel = field(default_factory=lambda: DataParallel(ranks=1))
    queue_limits: QueueLimits = NO_LIMITS

    @property
    def tokens_a_step(self) -> float:
        """Tokens that a decode step gives a sequence in the mean: more than one where tokens are drafted."""
        return self.acceptance.mean_length if self.acceptance else 1.0


@dataclass(frozen=True, slots=True)
class DoesNotStart:
    """An engine that lacks memory: its plan says why, and what would help."""

    plan: MemoryPlan
    target: Target

    @property
    def reason(self) -> str:
        """What the engine would say."""
        return self.plan.reason


def plan_server(
    model: Model,
    quantization: Quantization | None,
    gpu: Gpu,
    args: EngineArgs,
    engine: Engine,
    *,
    latency: LatencySpec | None = None,
    calibration: Calibration | None = None,
    link_bytes_per_s: float | None = None,
    host: Host | None = None,
    sampling: Sampling | None = None,
    network: LinkSpec | None = None,
    kv_tokens: int | None = None,
    apart: bool = False,
) -> Server | DoesNotStart:
    """One engine as it runs with these arguments, or why it does not start.

    `quantization` None is the checkpoint's own, `latency` None the roofline. `link_bytes_per_s` is what the server gives from one
    GPU to another in one direction, in place of the datasheet's; `host` its processor, None a
    usual one; `sampling` how answers are sampled, None greedy; `network` what joins the servers of
    one replica, None the usual link. `kv_tokens` is the KV cache that
    the engine printed at its start: the plan then has the blocks that print so. `apart`: it is of a
    prefill or a decode pool.

    Raises NotModelled for what has no model, SimulatorError for arguments that the engine refuses.
    """
    plan = plan_memory(model, quantization, gpu, args, engine)
    if kv_tokens is not None:
        printed = replace(args, num_gpu_blocks_override=blocks_printed_as(plan, kv_tokens))
        plan = plan_memory(model, quantization, gpu, printed, engine)
    told = link_bytes_per_s, host or Host(), sampling or Sampling(), network or LinkSpec()
    target = Target(plan.model, plan.quantization, plan.gpu, plan.args, plan.engine, *told, apart)
    if not plan.starts:
        return DoesNotStart(plan, target)
    require_rates(gpu)
    step_time = (latency or Roofline()).bind(target)
    if calibration is not None:
        factors = calibration.find(plan.model, plan.quantization, plan.gpu, plan.args, plan.engine)
        step_time = calibrated.apply(step_time, factors)
    acceptance = _acceptance(plan)
    limits = _limits(plan.args, plan)
    if acceptance is not None and engine.family != "vllm":
        raise NotModelled(f"speculative decoding by {engine.name}; leave it out, or ask a release of vLLM")
    if limits.speculation:
        check_speculation(limits)
    if limits.adapter_slots:
        check_adapters(limits)
    return Server(plan, target, step_time, limits, acceptance, _data_parallel(plan), _queue_limits(plan.args))


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """Equal instances of a server behind a router, as they are simulated."""

    server: Server
    instances: int = 1
    router: Router = field(default_factory=RoundRobin)

    def __post_init__(self) -> None:
        if self.instances > MOST_ENGINES:
            raise SimulatorError(f"{self.instances:,} engines; at most {MOST_ENGINES:,} are simulated")

    @property
    def gpus(self) -> int:
        """GPUs of all its instances."""
        return self.instances * self.server.plan.gpus_per_replica

    def servers(self) -> PoolServers:
        """Its instances as the engine simulates them beside another pool."""
        each = self.server.step_time, self.server.limits
        return PoolServers((each,) * self.instances, self.router, self.server.data_parallel)


@dataclass(frozen=True, slots=True)
class LinkPlan:
    """What moves KV from a prefill pool to a decode pool.

    `port_bytes_per_s` is what one GPU can send or receive; `latency_s` passes before a transfer's first byte moves.
    """

    port_bytes_per_s: float
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """The pools that requests go through, all of which start: one, or a prefill pool and a decode pool with a link.

    `client` is what sees them: its API servers stand before the engines. None where the engine itself measures.
    `operation`: how replicas come and go; None where they all serve from start to end.
    """

    pools: tuple[PoolPlan, ...]
    client: FrontEnd | None = None
    link: LinkPlan | None = None
    routing: Routing = Routing()  # noqa: RUF009  a frozen spec
    operation: Operation | None = None

    @property
    def pool(self) -> PoolPlan:
        """The pool that answers: the only one, or the decode pool."""
        return self.pools[-1]

    @property
    def server(self) -> Server:
        """What each instance of the pool that answers is."""
        return self.pool.server

    @property
    def plan(self) -> MemoryPlan:
        """The memory plan of that server."""
        return self.server.plan

    @property
    def instances(self) -> int:
        """Engines of all pools."""
        return sum(pool.instances for pool in self.pools)

    @property
    def replicas(self) -> int:
        """Servers of its only pool, whatever ranks each has."""
        return self.pool.instances // self.server.data_parallel.ranks

    @property
    def gpus(self) -> int:
        """GPUs of all pools."""
        return sum(pool.gpus for pool in self.pools)

    def with_instances(self, instances: int) -> FleetPlan:
        """The fleet with so many instances in the pool that answers."""
        return replace(self, pools=(*self.pools[:-1], replace(self.pool, instances=instances)))

    @property
    def api_server(self) -> ApiServer | None:
        """The API server before each instance; None where none is modelled."""
        return self.client.api_server(self.server.target.engine, self.plan.args) if self.client else None

    @property
    def tokens_a_step(self) -> float:
        """Tokens that a decode step gives a sequence in the mean."""
        return self.server.tokens_a_step

    def letting_all_in(self) -> FleetPlan:
        """The fleet without limits of its queue: what it completes and where its queue would begin to grow."""
        unlimited = [replace(pool, server=replace(pool.server, queue_limits=NO_LIMITS)) for pool in self.pools]
        return replace(self, pools=tuple(unlimited))

    def turned_away(self, record: RunRecord) -> int:
        """Requests of a run that were refused though they could have been served: the queue limits were reached."""
        if not self.server.queue_limits.limit:
            return 0
        r = record.requests
        fits = r["prompt_tokens"] + r["output_tokens"] <= most_tokens(self.server.limits)
        return int(((r["status"] == REFUSED) & fits).sum())

    def serve(self, requests: Requests, *, source: Load | None = None, seed: int = 0) -> RunRecord:
        """Serve the requests, by default at their own times, and give the trace of it as the client sees it, or the engine."""
        if self.link is not None:
            return self._serve_pools(requests, self.link, source or OpenLoop(), seed)
        pool, api_server = self.pool, self.api_server
        acceptance = pool.server.acceptance
        if acceptance is not None:
            steps = acceptance.decode_steps(requests.output_tokens, Streams(seed).of("decode_steps"))
            requests = replace(requests, decode_steps=steps)
        parallel, door = self._ranks_together()
        life_rules = None if self.operation is None else self.operation.rules(self.replicas, requests, seed)
        trace = serve(
            requests,
            [(pool.server.step_time, pool.server.limits)] * (pool.instances if life_rules is None else parallel.ranks),
            router=pool.router,
            load=source or OpenLoop(),
            data_parallel=parallel,
            front_end=api_server,
            queue_limits=door,
            life_rules=life_rules,
            seed=seed,
        )
        return trace if self.client is None else _seen_by(self.client.beside(api_server), trace)

    def _serve_pools(self, requests: Requests, link: LinkPlan, load: Load, seed: int) -> RunRecord:
        prefill, decode = self.pools
        api_server = self.api_server
        trace = serve_pools(
            requests,
            prefill.servers(),
            decode.servers(),
            kv_link(prefill, decode, link),
            routing=self.routing,
            load=load,
            front_end=api_server,
            seed=seed,
        )
        return trace if self.client is None else _seen_by(self.client.beside(api_server), trace)

    def _ranks_together(self) -> tuple[DataParallel, QueueLimits]:
        """The ranks of a server as they are, and its queue limits; alone, with a share each, where some of them are simulated."""
        parallel, limits = self.server.data_parallel, self.server.queue_limits
        if self.pool.instances % parallel.ranks == 0:
            return parallel, limits
        ranks = 1 if parallel.balance == "router" else parallel.ranks
        return replace(parallel, ranks=1, lock_step=None), limits.shared(ranks)


def kv_link(prefill: PoolPlan, decode: PoolPlan, link: LinkPlan) -> KvLink:
    """The link as the engine has it: every GPU of an instance has a port of its own.

    Each GPU of a decode instance fetches what it keeps of a block itself, also where several keep
    the same: MLA's latent vectors, or KV heads that tensor parallelism repeats.

    Source: vLLM 0.33, vllm/distributed/kv_transfer/kv_connector/v1/nixl/tp_mapping.py.
    """
    senders, receivers = prefill.server.plan.gpus_per_replica, decode.server.plan.gpus_per_replica
    block = decode.server.plan.layout.block_bytes * receivers
    port = link.port_bytes_per_s
    known = overheads(decode.server.target.engine).apart
    return KvLink(
        out=(senders * port,) * prefill.instances,
        into=(receivers * port,) * decode.instances,
        block_bytes=block,
        latency_s=link.latency_s + (known.hand_over_ms * MS if known else 0.0),
    )


def _seen_by(client: FrontEnd, trace: RunRecord) -> RunRecord:
    """The trace with what the client adds to first tokens, by the mean decode step."""
    r = trace.requests
    finished = np.isfinite(r["finish_s"])
    if not finished.any():
        return trace
    gaps = np.maximum(r["output_tokens"][finished] - 1, 1)
    decode_step = float(((r["finish_s"] - r["first_token_s"])[finished] / gaps).mean())
    return trace.with_frontend(client.seconds(r["prompt_tokens"], decode_step))


_BALANCE: tuple[tuple[str, Balance], ...] = (
    ("0.27", "in_flight"),
    ("0.25", "rotating"),
    ("0.11", "weighted"),
    ("0.0", "fewest_waiting"),
)


def _data_parallel(plan: MemoryPlan) -> DataParallel:
    """How an engine is one of several data-parallel ranks.

    Ranks of vLLM make their steps together where they share experts, and before 0.14 whatever the
    model is. Other engines give requests to ranks in turn here.

    Source: vLLM 0.10 to 0.33, vllm/v1/engine/core.py `DPEngineCoreProc` (32 steps between two
    questions whether all are idle, 16 and after the first from 0.30 on), core_client.py.
    """
    args, engine = plan.args, plan.engine
    ranks = args.data_parallel_size
    if ranks == 1:
        return DataParallel(ranks=1)
    lock_step = None
    if plan.model.is_moe or (engine.family == "vllm" and not engine.at_least("0.14")):
        often = engine.family == "vllm" and engine.at_least("0.30")
        largest = engine.largest_cudagraph(args)
        lock_step = LockStep(asks_every=16 if often else 32, asks_first=often, pads_up_to=largest)
    balance: Balance = "router" if args.data_parallel_external_lb else "in_turn"
    if engine.family == "vllm" and not args.data_parallel_external_lb:
        balance = next(how for since, how in _BALANCE if engine.at_least(since))
    return DataParallel(ranks=ranks, balance=balance, lock_step=lock_step)


def _paces_prompts(plan: MemoryPlan) -> bool:
    """Whether prefill_schedule_interval acts: until 0.32 only among ranks in lock step.

    Source: vllm/v1/engine/core.py and vllm/v1/core/sched/scheduler.py of the 0.24 to 0.33 wheels.
    """
    return plan.engine.at_least("0.33") or (plan.args.data_parallel_size > 1 and plan.model.is_moe)


def _acceptance(plan: MemoryPlan) -> Acceptance | None:
    """The law of accepted tokens as stated, or as it was measured of the model and method; None where nothing is drafted.

    Raises SimulatorError for one that no engine takes, NotModelled where nobody has stated any.
    """
    args = plan.args
    if args.decode_length == 1:
        return None
    length, rates = args.spec_acceptance_length, args.spec_acceptance_rates
    fields = ("spec_acceptance_length", "spec_acceptance_rates")
    if length is not None and rates is not None:
        raise SimulatorError("spec_acceptance_length and spec_acceptance_rates say the same; state one", field=fields)
    try:
        if rates is not None:
            return Acceptance(tokens=args.spec_tokens, rates=rates)
        if length is not None:
            return Acceptance.of_length(args.spec_tokens, length)
    except ValueError as problem:
        said = first_mistake(problem).said if isinstance(problem, ValidationError) else str(problem)
        raise SimulatorError(f"speculative decoding: {said}", field=fields) from None
    method = family_of(args.spec_method, args.spec_model is not None)
    known = measured_acceptance(plan.model.name, method)
    if known is None or args.spec_tokens > len(known.lengths):
        raise NotModelled(
            f"how many of {args.spec_tokens} tokens that {method} drafts for {plan.model.name} are accepted is not known: state "
            "spec_acceptance_length, as the engine's metrics tell it (mean acceptance length), or spec_acceptance_rates",
            field="spec_method",
        )
    return Acceptance.of_length(args.spec_tokens, known.lengths[args.spec_tokens - 1])


def _speculation(args: ResolvedArgs) -> Speculation | None:
    """What drafting asks of the scheduler.

    Source: num_lookahead_tokens in vllm/config/vllm.py (0.33) and vllm/v1/core/sched/scheduler.py (0.12 to 0.24).
    """
    if args.decode_length == 1:
        return None
    reads = reads_hidden_states(args)
    own_kv = reads or family_of(args.spec_method, args.spec_model is not None) == "draft_model"
    return Speculation(tokens=args.spec_tokens, lookahead=args.spec_tokens if own_kv else 0, drops_last_block=reads)


def _adapter_slots(args: ResolvedArgs) -> AdapterSlots | None:
    if not args.enable_lora:
        return None
    return AdapterSlots(max_loras=args.max_loras, max_cpu_loras=args.max_cpu_loras or args.max_loras)


def _queue_limits(args: ResolvedArgs) -> QueueLimits:
    return QueueLimits(
        max_num_queued_reqs=args.max_num_queued_reqs,
        max_num_queued_tokens=args.max_num_queued_tokens,
    )


def _of_another_engine(args: ResolvedArgs, plan: MemoryPlan) -> SchedulerConfig:
    """The limits of SGLang's or TensorRT-LLM's own scheduler: one pool of blocks, whatever kinds of layers there are."""
    common = SchedulerConfig(
        kv_blocks=max(1, plan.scheduler_blocks - 1),
        block_size=args.block_size,
        max_num_seqs=args.max_num_seqs,
        max_num_batched_tokens=args.max_num_batched_tokens,
        max_model_len=args.max_model_len,
        enable_chunked_prefill=args.enable_chunked_prefill,
        enable_prefix_caching=args.enable_prefix_caching,
        async_scheduling=args.async_scheduling,
    )
    if plan.engine.family == "tensorrt-llm":
        return replace(common, guaranteed_no_evict=True)
    prompts = args.max_prefill_tokens or SglangRules().max_prefill_tokens
    rules = SglangRules(
        chunked_prefill_size=args.max_num_batched_tokens if args.enable_chunked_prefill else None,
        max_prefill_tokens=prompts if args.enable_chunked_prefill else min(prompts, args.max_num_batched_tokens),
        schedule_policy="lpm" if args.scheduling_policy == "lpm" else "fcfs",
        schedule_conservativeness=args.schedule_conservativeness,
        recv_interval=args.scheduler_recv_interval,
        caches_answers="caches_answers" in plan.engine.scheduler_rules,
    )
    return replace(common, enable_chunked_prefill=True, sglang=rules)


def _has_own_scheduler(args: ResolvedArgs, engine: Engine) -> bool:
    """Whether a scheduler of its own is modelled; MAX_UTILIZATION does as vLLM's, and static batches are the same for all."""
    if engine.family == "vllm" or args.scheduling_policy == "static":
        return False
    return engine.family == "sglang" or args.capacity_scheduler_policy != "max_utilization"


def _limits(args: ResolvedArgs, plan: MemoryPlan) -> SchedulerConfig:
    if _has_own_scheduler(args, plan.engine):
        return _of_another_engine(args, plan)
    blocks, groups, states = kv_pool(plan)
    return SchedulerConfig(
        kv_blocks=blocks,
        kv_groups=groups,
        state_blocks=states,
        block_size=args.block_size,
        max_num_seqs=args.max_num_seqs,
        max_num_batched_tokens=args.max_num_batched_tokens,
        max_model_len=args.max_model_len,
        long_prefill_token_threshold=args.long_prefill_token_threshold,
        max_num_partial_prefills=args.max_num_partial_prefills,
        scheduling_policy="fcfs" if args.scheduling_policy == "lpm" else args.scheduling_policy,
        enable_chunked_prefill=args.enable_chunked_prefill,
        prefill_first=plan.engine.generation == "v0" and not args.enable_chunked_prefill,
        enable_prefix_caching=args.enable_prefix_caching,
        reserve_full_prompt=args.scheduler_reserve_full_isl,
        async_scheduling=args.async_scheduling,
        watermark_blocks=int(args.watermark * (blocks + 1)),
        max_num_scheduled_tokens=args.max_num_scheduled_tokens,
        max_num_active_seqs=args.max_num_active_seqs,
        long_prefill_token_threshold_adaptive=args.long_prefill_token_threshold_adaptive,
        prefill_schedule_interval=args.prefill_schedule_interval if _paces_prompts(plan) else 1,
        rules=SchedulerRules.of(plan.engine.scheduler_rules) if plan.engine.family == "vllm" else SchedulerRules(),
        speculation=_speculation(args),
        adapter_slots=_adapter_slots(args),
    )


def kv_pool(plan: MemoryPlan) -> tuple[int, tuple[KvGroup, ...], int]:
    """The blocks that requests share, the layer groups that take them, and the blocks of a sequence's states.

    One block fewer than the plan has, which is vLLM's null block. Where ranks split a sequence's tokens, or block sizes are no
    multiples of the smallest, the pool is that of one group which holds as many sequences of max_model_len.
    """
    layers = plan.layout.groups
    states = sum(layer.states for layer in layers if layer.kind == "state")
    growing = [layer for layer in layers if layer.kind != "state" or not layer.states]
    smallest = plan.args.block_size
    if plan.layout.shards > 1 or not growing or any(layer.block_size % smallest for layer in growing):
        return max(1, plan.scheduler_blocks - 1), (KvGroup(),), 0
    kinds = Counter((layer.reach or None, layer.block_size) for layer in growing)
    groups = tuple(
        KvGroup(groups=n, window=reach, block_size=None if size == smallest else size) for (reach, size), n in kinds.items()
    )
    return max(1, plan.num_gpu_blocks - 1), groups, states
