"""Memory pages: the answer of `sim memory` for serving, training or llama.cpp, with its band and what would help."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simulator.memory.llama_cpp.plan import LlamaCppPlan
from simulator.memory.plan import MemoryPlan
from simulator.memory.remedies import Remedy
from simulator.memory.training.plan import TrainingPlan
from simulator.report.charts import theme as theme
from simulator.report.pages.simple import Drawing, PageTable, plain_page
from simulator.text import plural
from simulator.units import GIB

_SERVING = {
    "weights": "weights",
    "activation": "activations",
    "non_torch": "outside torch",
    "cuda_graph": "CUDA graphs",
    "kv_cache": "KV cache",
}


@dataclass(frozen=True, slots=True)
class _Answer:
    """One GPU's answer. Bytes: `parts` in the order in which they lie, `low` to `high` the band of their end, `has` the card."""

    name: str
    parts: Mapping[str, float]
    low: float
    high: float
    has: float
    verdict: str
    reason: str
    remedies: Sequence[Remedy] = ()
    notes: Sequence[str] = ()
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)


def serving_page(plans: Sequence[MemoryPlan]) -> str:
    """The page of plans for serving one model."""
    first = plans[0]
    return _page(f"Memory of {first.model.name} on {first.engine.name}", [_of_serving(plan) for plan in plans])


def training_page(plans: Sequence[TrainingPlan]) -> str:
    """The page of plans of one training run."""
    first = plans[0]
    return _page(f"Memory of training {first.model.name}, {first.training.method}", [_of_training(plan) for plan in plans])


def llama_page(plans: Sequence[LlamaCppPlan]) -> str:
    """The page of plans of one file under llama.cpp."""
    return _page(f"Memory of {plans[0].model.name} under llama.cpp", [_of_llama(plan) for plan in plans])


def _of_serving(plan: MemoryPlan) -> _Answer:
    parts = {_SERVING[name]: size for name, size in plan.parts().items() if name in _SERVING}
    form = plan.quantization.name if plan.quantization else plan.model.dtype
    verdict = {"starts": "starts", "may_not_start": "may not start"}.get(plan.outcome, "does not start")
    facts = {
        "GPUs": str(plan.gpu_count),
        "KV cache, tokens a replica": f"{plan.kv_tokens:,}",
        f"sequences of {plan.args.max_model_len:,}": f"{plan.max_concurrency:,.2f}",
    }
    return _Answer(
        name=f"{plan.gpu.name}, {form}",
        parts=parts,
        low=plan.used_bytes + max(plan.kv_cache_low_bytes, 0.0),
        high=plan.used_bytes + max(plan.kv_cache_high_bytes, 0.0),
        has=plan.total_bytes,
        verdict=verdict,
        reason=plan.reason or verdict,
        remedies=plan.remedies,
        notes=[note for note in plan.notes if note != plan.reason],
        facts=facts,
    )


def _of_training(plan: TrainingPlan) -> _Answer:
    sizes = {field.name.replace("_", " "): getattr(plan.bytes, field.name) for field in dataclasses.fields(plan.bytes)}
    facts = {"GPUs": f"{plan.training.gpus:,}", "parameters": f"{plan.parameters:,}"}
    facts |= {"trained parameters": f"{plan.trainable_parameters:,}"}
    if plan.cost:
        facts |= {"GPU-hours": f"{plan.cost.gpu_hours:,.0f}", "hours": f"{plan.cost.hours:,.1f}"}
        facts |= {} if plan.cost.usd is None else {"US dollars": f"{plan.cost.usd:,.0f}"}
    return _Answer(
        name=plan.gpu.name,
        parts={name: size for name, size in sizes.items() if size},
        low=plan.low_bytes,
        high=plan.high_bytes,
        has=plan.gpu.memory_bytes,
        verdict=plan.outcome,
        reason=plan.reason,
        remedies=plan.remedies,
        notes=plan.notes,
        facts=facts,
    )


def _of_llama(plan: LlamaCppPlan) -> _Answer:
    parts = {
        "weights": plan.weights_bytes,
        "KV cache": plan.kv_bytes,
        "recurrent states": plan.state_bytes,
        "compute buffer": plan.compute_bytes,
    }
    facts = {
        "layers on the GPU": f"{plan.layers_on_gpu} of {len(plan.model.layers)}",
        "tokens a slot": f"{plan.slot_tokens:,}",
        "weights on the host, GiB": f"{plan.host_bytes / GIB:.2f}",
    }
    return _Answer(
        name=f"{plan.gpu.name}, {plan.mixture.name}",
        parts={name: size for name, size in parts.items() if size},
        low=plan.low_bytes,
        high=plan.high_bytes,
        has=plan.available_bytes,
        verdict=plan.outcome,
        reason=plan.reason,
        remedies=plan.remedies,
        notes=plan.notes,
        facts=facts,
    )


def _page(title: str, answers: Sequence[_Answer]) -> str:
    said = "; ".join(f"{answer.name}: {answer.verdict}" for answer in answers)
    lines = [f"{answer.name}: {answer.reason}" for answer in answers]
    lines += dict.fromkeys(note for answer in answers for note in answer.notes)
    return plain_page(title, f"{said}.", [_bars(answers)], [_table(answers), *_help(answers)], lines=("In words", lines))


def _bars(answers: Sequence[_Answer]) -> Drawing:
    """A bar an answer, each part behind the one before, with a tick at what the card has and a rule from low to high."""
    import altair as alt
    import polars as pl

    parts = list(dict.fromkeys(part for answer in answers for part in answer.parts))
    rows: list[dict[str, Any]] = []
    ends: list[dict[str, Any]] = []
    names = [f"{index}. {answer.name}" for index, answer in enumerate(answers, start=1)]
    for index, answer in enumerate(answers):
        name, at = names[index], 0.0
        for part, size in answer.parts.items():
            rows.append({"card": name, "part": part, "from": at / GIB, "to": (at + size) / GIB, "order": parts.index(part)})
            at += size
        ends.append({"card": name, "has": answer.has / GIB, "low": answer.low / GIB, "high": answer.high / GIB})
    place = alt.Y("card:N", title=None, sort=names, axis=alt.Axis(labels=False, ticks=False, domain=False))
    scale = alt.Scale(domain=parts, range=[theme.PARTS[i % len(theme.PARTS)] for i in range(len(parts))])
    bars = (
        alt.Chart(pl.DataFrame(rows))
        .mark_bar(height=18)
        .encode(
            x=alt.X("from:Q", title="GiB of one GPU", axis=alt.Axis(tickCount=5)),
            x2="to:Q",
            y=place,
            color=alt.Color("part:N", scale=scale, sort=parts, legend=alt.Legend(columns=2)),
            tooltip=["card:N", "part:N", alt.Tooltip("from:Q", format=".2f"), alt.Tooltip("to:Q", format=".2f")],
        )
    )
    marked = alt.Chart(pl.DataFrame(ends))
    card = marked.mark_tick(thickness=3, height=28, color=theme.LIMIT).encode(x="has:Q", y=place)
    band = marked.mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q", y=place)
    titles = marked.mark_text(align="left", baseline="bottom", dy=-14, fontSize=12).encode(x=alt.value(0), y=place, text="card:N")
    chart = alt.layer(bars, card, band, titles).properties(width="container", height=52 * len(answers))
    drawn: dict[str, Any] = chart.to_dict()
    caption = "Red tick: what the card has. The line at a bar's end: from the least to the most that it may take."
    return Drawing("Where the bytes go", caption, drawn)


def _table(answers: Sequence[_Answer]) -> PageTable:
    parts = dict.fromkeys(part for answer in answers for part in answer.parts)
    rows = [[part, *(_gib(answer.parts.get(part, 0.0)) for answer in answers)] for part in parts]
    rows += [
        ["together", *(_gib(sum(answer.parts.values())) for answer in answers)],
        ["from", *(_gib(answer.low) for answer in answers)],
        ["to", *(_gib(answer.high) for answer in answers)],
        ["the card has", *(_gib(answer.has) for answer in answers)],
        ["answer", *(answer.verdict for answer in answers)],
    ]
    facts = dict.fromkeys(fact for answer in answers for fact in answer.facts)
    rows += [[fact, *(answer.facts.get(fact, "") for answer in answers)] for fact in facts]
    return PageTable("GiB on one GPU", ("", *(answer.name for answer in answers)), rows)


def _help(answers: Sequence[_Answer]) -> list[PageTable]:
    rows = [[r.change, r.gives, answer.name] for answer in answers for r in answer.remedies]
    title = f"What would help: {plural(len(rows), 'change')}"
    return [PageTable(title, ("change", "gives", "on"), rows)] if rows else []


def _gib(size: float) -> str:
    return f"{size / GIB:,.2f}"
