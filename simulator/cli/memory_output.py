"""How memory plans look: a table, a bar of where every GiB goes, and JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from simulator.cli.console import WIDE, console, widths
from simulator.cli.plain_console import plain
from simulator.memory.account import Part
from simulator.memory.llama_cpp.plan import LlamaCppPlan
from simulator.memory.plan import MemoryPlan
from simulator.memory.training.plan import TrainingPlan
from simulator.text import plural
from simulator.units import GIB

_CONTEXTS = (1024, 4096, 16384, 65536, 131072)
_BAR = 52
_STARTS = {"starts": "yes", "may_not_start": "may not"}
_PARTS: tuple[tuple[Part, str, str], ...] = (
    ("weights", "weights", "#4c78a8"),
    ("activation", "activation peak", "#f58518"),
    ("non_torch", "outside torch", "#b279a2"),
    ("cuda_graph", "CUDA graphs", "#eeca3b"),
    ("kv_cache", "KV cache", "#54a24b"),
    ("free", "free", "grey50"),
)


def print_plans(plans: Sequence[MemoryPlan], contexts: tuple[int, ...], as_json: bool, names: Sequence[str] = ()) -> None:
    """All plans: a table, then a bar each with the reason and what would help. `names` are those of the deployments."""
    called = list(names) or [""] * len(plans)
    if as_json:
        known = ({"name": name} if name else {} for name in called)
        data = [{**first, **plan_data(plan, _at(plan, contexts))} for first, plan in zip(known, plans, strict=True)]
        print(json.dumps({"plans": data}, indent=2, allow_nan=False))
        return
    out = console(WIDE)
    for table in _tables(list(zip(called, plans, strict=True)), contexts, out):
        out.print(table)
    for name, plan in zip(called, plans, strict=True):
        out.print(_bars(plan, name, "#.*" if out.options.ascii_only else "█·■"), *_words(plan), sep="\n")
        out.print()


def plan_data(plan: MemoryPlan, contexts: Sequence[int]) -> dict[str, Any]:
    """A plan as plain data: GiB on one GPU, tokens of one replica, and the whole deployment."""
    replicas = plan.args.data_parallel_size
    return {
        "model": plan.model.name,
        "gpu": plan.gpu.name,
        "quantization": _format(plan),
        "engine": plan.engine.name,
        "args": dataclasses.asdict(plan.args),
        "outcome": plan.outcome,
        "reason": plan.reason,
        "per_gpu_gib": {
            "total": plan.total_bytes / GIB,
            "reserved": plan.reserved_bytes / GIB,
            "weights": plan.weights_bytes / GIB,
            "activation": plan.activation_bytes / GIB,
            "non_torch": plan.non_torch_bytes / GIB,
            "cuda_graph": plan.cuda_graph_bytes / GIB,
            "kv_cache": plan.kv_cache_bytes / GIB,
            "kv_cache_low": plan.kv_cache_low_bytes / GIB,
            "kv_cache_high": plan.kv_cache_high_bytes / GIB,
            "kv_needed_at_max_model_len": plan.kv_needed_bytes / GIB,
        },
        "cuda_graph_deducted": plan.cuda_graph_deducted,
        "weights_gib_by_format": {name: size / GIB for name, size in plan.weights_by_format.items()},
        "kv_bytes_per_token": plan.kv_bytes_per_token,
        "block_size": plan.args.block_size,
        "num_gpu_blocks": plan.num_gpu_blocks,
        "kv_tokens": plan.kv_tokens,
        "max_concurrency": plan.max_concurrency,
        "concurrency": {str(context): plan.concurrency_at(context) for context in contexts},
        "estimated_max_model_len": plan.longest_sequence,
        "deployment": {
            "gpus": plan.gpu_count,
            "replicas": replicas,
            "memory_gib": plan.gpu_count * plan.total_bytes / GIB,
            "kv_tokens": replicas * plan.kv_tokens,
            "max_concurrency": replicas * plan.max_concurrency,
        },
        "remedies": [dataclasses.asdict(remedy) for remedy in plan.remedies],
        "notes": list(plan.notes),
    }


def _at(plan: MemoryPlan, contexts: Sequence[int]) -> tuple[int, ...]:
    """The contexts to count sequences at: those asked for, else the usual ones up to max_model_len, and that."""
    longest = plan.args.max_model_len or 1
    return tuple(contexts) or (*(c for c in _CONTEXTS if c < longest), longest)


def _format(plan: MemoryPlan) -> str:
    return plan.quantization.name if plan.quantization else plan.model.dtype


def _tables(named: Sequence[tuple[str, MemoryPlan]], contexts: Sequence[int], out: Console) -> list[Table]:
    """Tables side by side plans, as many of them in each as the console has room for without cutting a figure."""
    if not named:
        return []
    for count in range(len(named), 0, -1):
        table = _table(named[:count], contexts)
        if count == 1 or widths(table).maximum <= out.width:
            break
    return [table, *_tables(named[count:], contexts, out)]


def _table(named: Sequence[tuple[str, MemoryPlan]], contexts: Sequence[int]) -> Table:
    """One column a plan, so that rows can be compared across GPUs and quantizations."""
    plans = [plan for _, plan in named]
    first = plans[0]
    table = Table(title=f"{first.model.name} on {first.engine.name}", title_justify="left", header_style="bold")
    table.add_column("GiB on one GPU", no_wrap=True)
    for name, plan in named:
        head = plain("\n".join(part for part in (name, plan.gpu.name, _format(plan)) if part))
        table.add_column(head, justify="right", overflow="fold")
    rows = [
        ("total", [_gib(p.total_bytes) for p in plans]),
        ("reserved", [_gib(p.reserved_bytes) for p in plans]),
        ("weights", [_gib(p.weights_bytes) for p in plans]),
        ("activation peak", [_gib(p.activation_bytes) for p in plans]),
        ("outside torch", [_gib(p.non_torch_bytes) for p in plans]),
        ("CUDA graphs", [_gib(p.cuda_graph_bytes) for p in plans]),
        ("KV cache", [_gib(p.kv_cache_bytes) if p.kv_cache_bytes > 0 else "none" for p in plans]),
    ]
    rows += [("KV cache, from", [_gib(max(0.0, p.kv_cache_low_bytes)) for p in plans])]
    rows += [("KV cache, to", [_gib(max(0.0, p.kv_cache_high_bytes)) for p in plans])]
    rows += [("needed at max_model_len", [_gib(p.kv_needed_bytes) for p in plans])]
    rows += [("KV cache size, tokens", [f"{p.kv_tokens:,}" for p in plans])]
    every = sorted({context for plan in plans for context in _at(plan, contexts)})
    rows += [(f"sequences of {context:,}", [_sequences(plan, context) for plan in plans]) for context in every]
    if any(plan.gpu_count > 1 for plan in plans):
        rows += [("whole deployment", [_deployment(plan) for plan in plans])]
    rows += [("starts", [_STARTS.get(p.outcome, "no") for p in plans])]
    for name, cells in rows:
        table.add_row(name, *cells)
    return table


def _gib(size: float) -> str:
    return f"{size / GIB:.2f}"


def _sequences(plan: MemoryPlan, context: int) -> str:
    if context > (plan.args.max_model_len or context):
        return "-"
    return f"{plan.concurrency_at(context):,.2f}"


def _deployment(plan: MemoryPlan) -> str:
    replicas = plan.args.data_parallel_size
    split = f" = {replicas} x {plan.gpus_per_replica}" if replicas > 1 else ""
    return f"{plural(plan.gpu_count, 'GPU')}{split}\n{replicas * plan.kv_tokens:,} KV tokens"


def _bars(plan: MemoryPlan, name: str, signs: str) -> Group:
    """Two bars on the scale of the card: what the engine takes, and what it would with the KV cache of one longest sequence."""
    taken = plan.parts()
    needed: dict[Part, float] = {**taken, "kv_cache": float(plan.kv_needed_bytes), "free": 0.0}
    scale = max(plan.total_bytes, sum(needed.values()), sum(taken.values()))
    title = plain(f"{name + ': ' if name else ''}{plan.gpu.name}, {_format(plan)}", style="bold")
    legend = Text("  ").join(
        plain(f"{signs[2]} {label} {taken[part] / GIB:.1f}", style=color) for part, label, color in _PARTS if taken[part] > 0
    )
    return Group(title, _bar("taken", taken, scale, signs), _bar("needed", needed, scale, signs), legend)


def _bar(name: str, sizes: Mapping[Part, float], scale: float, signs: str) -> Text:
    colors = {part: color for part, _, color in _PARTS}
    bar = plain(f"{name:>9} ")
    drawn, position = 0, 0.0
    for part, size in sizes.items():
        position += size
        end = round(position / scale * _BAR)
        bar.append(signs[part == "free"] * (end - drawn), style=colors[part])
        drawn = end
    shown = sum(size for part, size in sizes.items() if part != "free")
    return bar.append(f" {shown / GIB:.1f} GiB")


def _words(plan: MemoryPlan) -> list[Text]:
    lines = []
    if plan.outcome == "may_not_start":
        lines.append(plain(f"{plan.reason[:1].upper()}{plan.reason[1:]}", style="yellow"))
    elif not plan.starts:
        lines.append(plain(f"Does not start ({plan.outcome}). {plan.reason}", style="red"))
    if plan.remedies:
        lines.append(plain("What would help:"))
        width = max(len(remedy.change) for remedy in plan.remedies)
        lines += [plain(f"  {remedy.change:<{width}}  {remedy.gives}") for remedy in plan.remedies]
    return lines + [plain(f"Note: {note}") for note in plan.notes if note != plan.reason]


def print_llama_cpp(plans: Sequence[LlamaCppPlan], as_json: bool) -> None:
    """Plans of llama.cpp: a table with one column a GPU, then whether each fits and what would help."""
    if as_json:
        print(json.dumps({"plans": [_llama_data(plan) for plan in plans]}, indent=2))
        return
    table = Table(title=f"{plans[0].model.name} under llama.cpp", title_justify="left", header_style="bold")
    table.add_column("GiB on the GPU", no_wrap=True)
    for plan in plans:
        table.add_column(plain(f"{plan.gpu.name}\n{plan.mixture.name}"), justify="right")
    for name, size in (
        ("weights", "weights_bytes"),
        ("KV cache", "kv_bytes"),
        ("recurrent states", "state_bytes"),
        ("compute buffer", "compute_bytes"),
        ("needed", "needed_bytes"),
        ("needed, from", "low_bytes"),
        ("needed, to", "high_bytes"),
        ("free on the GPU", "available_bytes"),
        ("weights on the host", "host_bytes"),
    ):
        if any(getattr(plan, size) for plan in plans):
            table.add_row(name, *(_gib(getattr(plan, size)) for plan in plans))
    table.add_section()
    table.add_row("layers on the GPU", *(f"{plan.layers_on_gpu} of {len(plan.model.layers)}" for plan in plans))
    table.add_row("tokens a slot", *(f"{'up to ' if plan.args.unified else ''}{plan.slot_tokens:,}" for plan in plans))
    table.add_row("slots", *(f"{plan.args.n_parallel}" for plan in plans))
    answers = {"fits": "yes", "may not fit": "perhaps not", "does not fit": "no"}
    table.add_row("fits", *(answers[plan.outcome] for plan in plans))
    out = console(WIDE)
    out.print(table)
    for plan in plans:
        lines = [plain(plan.reason, style="" if plan.outcome == "fits" else "red")]
        lines += [plain(f"  {remedy.change}: {remedy.gives}") for remedy in plan.remedies]
        out.print(*lines, *(plain(f"Note: {note}") for note in plan.notes), sep="\n")


def _llama_data(plan: LlamaCppPlan) -> dict[str, Any]:
    return {
        "model": plan.model.name,
        "gpu": plan.gpu.name,
        "quantization": plan.mixture.name,
        "engine": "llama.cpp",
        "args": dataclasses.asdict(plan.args),
        "outcome": plan.outcome,
        "reason": plan.reason,
        "gpu_gib": {
            "weights": plan.weights_bytes / GIB,
            "kv_cache": plan.kv_bytes / GIB,
            "states": plan.state_bytes / GIB,
            "compute": plan.compute_bytes / GIB,
            "needed": plan.needed_bytes / GIB,
            "needed_low": plan.low_bytes / GIB,
            "needed_high": plan.high_bytes / GIB,
            "free": plan.available_bytes / GIB,
        },
        "host_gib": plan.host_bytes / GIB,
        "layers_on_gpu": plan.layers_on_gpu,
        "slot_tokens": plan.slot_tokens,
        "remedies": [dataclasses.asdict(remedy) for remedy in plan.remedies],
        "notes": list(plan.notes),
    }


def print_training(plans: Sequence[TrainingPlan], as_json: bool) -> None:
    """Training plans: a table with one column a GPU, then whether each fits, what would help, and what it costs."""
    if as_json:
        print(json.dumps({"plans": [_training_data(plan) for plan in plans]}, indent=2))
        return
    first = plans[0]
    table = Table(title=f"Training {first.model.name}, {first.training.method}", title_justify="left", header_style="bold")
    table.add_column("GiB on one GPU")
    for plan in plans:
        table.add_column(plan.gpu.name, justify="right")
    for field in dataclasses.fields(first.bytes):
        sizes = [getattr(plan.bytes, field.name) for plan in plans]
        if any(sizes):
            table.add_row(field.name.replace("_", " "), *(f"{size / GIB:.2f}" for size in sizes))
    table.add_section()
    table.add_row("needed", *(f"{plan.bytes.total / GIB:.2f}" for plan in plans))
    table.add_row("needed, from", *(f"{plan.low_bytes / GIB:.2f}" for plan in plans))
    table.add_row("needed, to", *(f"{plan.high_bytes / GIB:.2f}" for plan in plans))
    table.add_row("of", *(f"{plan.gpu.memory_bytes / GIB:.2f}" for plan in plans))
    answers = {"fits": "yes", "may not fit": "perhaps not", "does not fit": "no"}
    table.add_row("fits", *(answers[plan.outcome] for plan in plans))
    out = console(WIDE)
    out.print(table)
    for plan in plans:
        out.print(*_training_words(plan), sep="\n")


def _training_words(plan: TrainingPlan) -> list[Text]:
    lines = [plain(f"{plan.gpu.name} {plan.reason}", style="" if plan.outcome == "fits" else "red")]
    lines += [plain(f"  {remedy.change}: {remedy.gives}") for remedy in plan.remedies]
    if plan.cost:
        usd = "" if plan.cost.usd is None else f", {plan.cost.usd:,.0f} USD"
        lines.append(
            plain(
                f"{plan.cost.gpu_hours:,.0f} GPU-hours, {plan.cost.hours:,.1f} hours on {plural(plan.training.gpus, 'GPU')}{usd}"
            )
        )
    return lines + [plain(f"Note: {note}") for note in plan.notes]


def _training_data(plan: TrainingPlan) -> dict[str, Any]:
    return {
        "model": plan.model.name,
        "gpu": plan.gpu.name,
        "training": dataclasses.asdict(plan.training),
        "parameters": plan.parameters,
        "trainable_parameters": plan.trainable_parameters,
        "per_gpu_gib": {name: size / GIB for name, size in dataclasses.asdict(plan.bytes).items()},
        "needed_gib": plan.bytes.total / GIB,
        "needed_low_gib": plan.low_bytes / GIB,
        "needed_high_gib": plan.high_bytes / GIB,
        "gpu_gib": plan.gpu.memory_bytes / GIB,
        "fits": plan.fits,
        "outcome": plan.outcome,
        "reason": plan.reason,
        "remedies": [dataclasses.asdict(remedy) for remedy in plan.remedies],
        "cost": None if plan.cost is None else {k: v for k, v in dataclasses.asdict(plan.cost).items() if k != "price"},
        "notes": list(plan.notes),
    }
