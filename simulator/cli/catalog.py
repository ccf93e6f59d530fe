"""`sim catalog`: what is known of GPUs, models, quantizations, engines and prices, with where it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from simulator.cli.options import Json

if TYPE_CHECKING:
    from rich.table import Table

    from simulator.catalog.engines import Engine
    from simulator.catalog.models import Model
    from simulator.catalog.quantizations import Quantization

app = typer.Typer(no_args_is_help=True, help="List what is known: GPUs, models, quantizations, engines, prices.")


@app.command("gpus")
def gpus_command(json: Json = False) -> None:
    """GPUs: memory as the driver reports it, bandwidth, dense TFLOP/s."""
    from simulator.catalog.gpus import gpus as known

    types = ("bf16", "fp16", "fp8", "fp4", "int8")
    head = ("name", "memory GiB", "GB/s", *types, "link GB/s", "TDP W")
    rows = [
        (
            g.name,
            f"{g.memory_bytes / 2**30:.2f}",
            f"{g.memory_bytes_per_s / 1e9:,.0f}",
            *(f"{g.flops[t] / 1e12:,.0f}" if t in g.flops else "-" for t in types),
            f"{g.link} {g.link_bytes_per_s / 1e9:.0f}",
            f"{g.tdp_watts:.0f}",
        )
        for g in known()
    ]
    _show("GPUs: dense TFLOP/s by type, one direction of the link", head, rows, known(), json)


@app.command("models")
def models_command(json: Json = False) -> None:
    """Models: layers, attention, experts, context. A config.json works wherever a name does."""
    from simulator.catalog.models import models as known

    head = ("name", "layers", "hidden", "vocabulary", "attention", "experts", "context", "checkpoint")
    rows = [
        (
            m.name,
            str(len(m.layers)),
            f"{m.hidden:,}",
            f"{m.vocabulary:,}",
            ", ".join(dict.fromkeys(layer.mixer.kind for layer in m.layers if layer.mixer)),
            _experts(m),
            f"{m.max_position:,}",
            m.quantization.name if m.quantization else m.dtype,
        )
        for m in known()
    ]
    _show("Models", head, rows, known(), json)


@app.command("quantizations")
def quantizations_command(json: Json = False) -> None:
    """Quantizations: bits with scales and zeros counted, and the type the matmuls run in."""
    from simulator.catalog.quantizations import quantizations as known

    head = ("name", "tensors", "bits", "activation bits", "compute", "KV cache", "also called")
    rows = [(q.name, *_formats(q), q.kv_cache_dtype or "-", ", ".join(q.aliases)) for q in known()]
    _show("Quantizations: tensors that are not named stay in the model's own type", head, rows, known(), json)


@app.command("engines")
def engines_command(json: Json = False) -> None:
    """Engines: defaults by release. A release between two of them has those of the earlier one."""
    from simulator.catalog.engines import engines as known

    head = (
        "from release",
        "memory share",
        "batched tokens / sequences",
        "chunked prefill",
        "prefix caching",
        "async",
        "graphs deducted",
    )
    rows = [
        (
            e.name,
            f"{e.gpu_memory_utilization:g} of {e.memory_fraction_of}",
            _batches(e),
            "on" if e.enable_chunked_prefill else f"above {e.chunked_prefill_above:,}" if e.chunked_prefill_above else "off",
            _on(e.enable_prefix_caching),
            _on(e.async_scheduling),
            _on(e.cuda_graphs_deducted),
        )
        for e in known()
    ]
    _show("Engines: extrapolated ones are in the JSON with their notes", head, rows, known(), json)


@app.command("prices")
def prices_command(json: Json = False) -> None:
    """Prices: dollars per GPU-hour by provider and commitment, each with its date."""
    from simulator.catalog.prices import prices as known

    head = ("GPU", "$/GPU-hour", "seen", "provider", "commitment", "note")
    listed = sorted(known(), key=lambda p: (p.gpu, p.usd_per_gpu_hour))
    rows = [(p.gpu, f"{p.usd_per_gpu_hour:.2f}", p.checked, p.provider, p.commitment, p.note) for p in listed]
    _show("Prices: read in price tables, not on the providers' pages", head, rows, listed, json)


def _experts(model: Model) -> str:
    from simulator.catalog.models import MoeMlp

    routed = [layer.mlp for layer in model.layers if isinstance(layer.mlp, MoeMlp)]
    return f"{routed[0].experts_per_token} of {routed[0].experts}" if routed else "-"


def _formats(quantization: Quantization) -> tuple[str, str, str, str]:
    formats = quantization.formats.values()
    return (
        ", ".join(quantization.formats) or "none",
        ", ".join(dict.fromkeys(f"{f.bits:g}" for f in formats)),
        ", ".join(dict.fromkeys(f"{f.activation_bits:g}" for f in formats)),
        ", ".join(dict.fromkeys(f.compute for f in formats)),
    )


def _batches(engine: Engine) -> str:
    return "\n".join(
        f"{d.max_num_batched_tokens:,} / {d.max_num_seqs:,}"
        + (f" from {d.min_memory_gib:g} GiB" if d.min_memory_gib else "")
        + (f" on {', '.join(d.named)}" if d.named else "")
        + (f" but {', '.join(d.except_named)}" if d.except_named else "")
        for d in engine.batch_defaults
    )


def _on(flag: bool) -> str:
    return "on" if flag else "off"


def _show(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], entries: Sequence[Any], as_json: bool) -> None:
    """The entries as JSON with every field, or the rows as a table."""
    if as_json:
        from pydantic import TypeAdapter

        typer.echo(TypeAdapter(list[Any]).dump_json(list(entries), indent=2))
        return
    from simulator.cli.console import WIDE, console, widths

    out, count = console(WIDE), len(head)
    while count > 1 and widths(_table(title, head[:count], rows)).minimum > out.width:
        count -= 1
    out.print(_table(title, head[:count], rows))
    if count < len(head):
        out.print(f"Not shown for lack of room: {', '.join(head[count:])}. A wider terminal or --json has them.")


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left", header_style="bold")
    for index, name in enumerate(head):
        table.add_column(name, overflow="fold", no_wrap=index == 0)
    for row in rows:
        table.add_row(*row[: len(head)])
    return table
