"""Which releases of vLLM have an argument, and values that an engine does not start with.

Source: vllm/engine/arg_utils.py and vllm/config/scheduler.py of the wheels of 0.9 to 0.33; the stanzas of engines.yaml
say what each release `adds` and `removes`.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import NamedTuple

from simulator.catalog import stanzas
from simulator.catalog.engine_args import EngineArgs, ResolvedArgs
from simulator.catalog.releases import at_least
from simulator.errors import NotModelled, SimulatorError


class Span(NamedTuple):
    """The release of vLLM that introduced an argument, and the one that removed it; "" where none is known to have."""

    since: str = ""
    until: str = ""


@cache
def spans() -> dict[str, Span]:
    """The releases of every argument that some release lacks."""
    found: dict[str, Span] = {}
    for name in stanzas.stanzas("engines"):
        stanza = stanzas.load_entry("engines", name)
        for argument in stanza.get("adds", ()):
            found[argument] = Span(since=stanza["version"])
        for argument in stanza.get("removes", ()):
            found[argument] = found.get(argument, Span())._replace(until=stanza["version"])
    return found


def check_arguments(args: EngineArgs, name: str, family: str, version: str) -> None:
    """Raise SimulatorError for an argument that an engine of this name, family and version does not have.

    What an engine is resolved to run with was checked when it was resolved.
    """
    if isinstance(args, ResolvedArgs):
        return
    defaults = {f.name: f.default for f in dataclasses.fields(EngineArgs)}
    _check_family(args, name, family)
    for argument, (since, until) in spans().items():
        if argument not in defaults or getattr(args, argument) == defaults[argument]:
            continue
        if family != "vllm":
            if argument in _OF_ALL:
                continue
            other = _COUNTERPARTS.get((family, argument), "leave it out")
            raise SimulatorError(f"{name} has no {argument}: it is an argument of vLLM; {other}", field=argument)
        if since and not at_least(version, since):
            way_out = f"leave it out, or choose a release from {since} on"
            raise SimulatorError(f"{name} has no {argument}: vLLM {since} introduced it; {way_out}", field=argument)
        if until and at_least(version, until):
            raise SimulatorError(f"{name} has no {argument}: vLLM {until} removed it; leave it out", field=argument)


# The overlap schedule and chunks of several tokens of SGLang and TensorRT-LLM, too.
_OF_ALL = ("async_scheduling", "stream_interval")
_COUNTERPARTS = {
    ("sglang", "watermark"): "there schedule_conservativeness keeps room for answers",
    ("sglang", "max_num_active_seqs"): "there max_num_seqs is max_running_requests",
    ("tensorrt-llm", "watermark"): "there capacity_scheduler_policy keeps room for answers",
}
_OF_SGLANG = {
    "schedule_conservativeness": "watermark keeps blocks free",
    "max_prefill_tokens": "max_num_batched_tokens limits a step",
    "scheduler_recv_interval": "new requests are seen in every step",
}


def _check_family(args: EngineArgs, name: str, family: str) -> None:
    """Raise for an argument or a policy of SGLang given to another engine, or for one of another that SGLang has not."""
    if family != "tensorrt-llm" and args.capacity_scheduler_policy is not None:
        other = "schedule_conservativeness" if family == "sglang" else "scheduler_reserve_full_isl and watermark"
        raise SimulatorError(
            f"{name} has no capacity_scheduler_policy: it is an argument of TensorRT-LLM; here {other} decide who is let in; "
            "leave it out",
            field="capacity_scheduler_policy",
        )
    if family == "sglang":
        if args.scheduling_policy == "priority":
            raise NotModelled(f"{name} with scheduling_policy priority (--enable-priority-scheduling)", field="scheduling_policy")
        if args.scheduler_recv_interval > 1 and args.data_parallel_size > 1:
            raise NotModelled(
                f"{name} with scheduler_recv_interval above 1 and data_parallel_size above 1", field="scheduler_recv_interval"
            )
        return
    for argument, counterpart in _OF_SGLANG.items():
        if getattr(args, argument) != getattr(EngineArgs(), argument):
            raise SimulatorError(
                f"{name} has no {argument}: it is an argument of SGLang; in vLLM {counterpart}; leave it out", field=argument
            )
    if args.scheduling_policy == "lpm":
        raise SimulatorError(
            f"{name} has no scheduling_policy lpm: it is a policy of SGLang; choose fcfs", field="scheduling_policy"
        )


def check_values(args: ResolvedArgs, name: str, family: str, version: str) -> None:
    """Raise SimulatorError for scheduling arguments that vLLM does not start with, or cannot compute a step with.

    A threshold above the length is refused from 0.27 on; before, only beside partial prefills.

    Source: vllm/config/scheduler.py (verify_max_model_len) of 0.11 to 0.33.
    """
    if family != "vllm":
        return
    several = args.max_num_partial_prefills > 1
    if several and not args.enable_chunked_prefill:
        raise SimulatorError(
            f"max_num_partial_prefills {args.max_num_partial_prefills} needs chunked prefill, and {name} does not start so; "
            "leave it out, or set enable_chunked_prefill",
            field=("max_num_partial_prefills", "enable_chunked_prefill"),
        )
    if several or at_least(version, "0.27"):
        _check_at_most(name, args, "long_prefill_token_threshold", "max_model_len")
    _check_at_most(name, args, "max_num_active_seqs", "max_num_seqs")
    if args.enable_lora:
        _check_adapters(name, args)
    _check_at_most(
        name,
        args,
        "max_num_scheduled_tokens",
        "max_num_batched_tokens",
        why="a step of so many tokens does not fit the buffers of the engine",
    )


_LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def _check_adapters(name: str, args: ResolvedArgs) -> None:
    """Raise SimulatorError for slots of LoRA adapters that vLLM does not make. Source: vllm/config/lora.py (0.33)."""
    if args.max_lora_rank not in _LORA_RANKS:
        ranks = ", ".join(map(str, _LORA_RANKS))
        raise SimulatorError(f"max_lora_rank {args.max_lora_rank}: {name} has {ranks}", field="max_lora_rank")
    if args.max_cpu_loras is not None and args.max_cpu_loras < args.max_loras:
        raise SimulatorError(
            f"max_cpu_loras ({args.max_cpu_loras}) must be >= max_loras ({args.max_loras})",
            field=("max_cpu_loras", "max_loras"),
        )


def _check_at_most(name: str, args: ResolvedArgs, smaller: str, larger: str, why: str = "") -> None:
    least, most = getattr(args, smaller), getattr(args, larger)
    if least is not None and least > most:
        raise SimulatorError(
            f"{smaller} {least} is above {larger} {most}, and {why or f'{name} does not start so'}; "
            f"lower the first to {most} or raise the second to {least}",
            field=(smaller, larger),
        )
