"""What `sim memory --train` prints: the memory of a training run on each GPU, what would make it fit, its time and cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulator.memory.training import Training, TrainingCost, TrainingPlan


def show_training(model: str, gpus: Sequence[str], settings: Mapping[str, Any], as_json: bool = False) -> bool:
    """Print the training plan of a model on each GPU, as a table or as JSON; whether it fits on all of them.

    `settings` are fields of `simulator.memory.training.Training`; those that are None keep their default.
    Raises ScenarioError for a setting that cannot be, in one line.
    """
    from simulator import catalog
    from simulator.memory.training import plan_training

    training = training_of(settings)
    known = catalog.model(model)
    plans = [plan_training(known, catalog.gpu(name), training) for name in gpus]
    (_print_json if as_json else _print_table)(plans)
    return all(plan.fits for plan in plans)


def training_of(settings: Mapping[str, Any]) -> Training:
    """The training that the settings describe. Raises ScenarioError naming the setting that cannot be."""
    from pydantic import ValidationError

    from simulator.errors import ScenarioError
    from simulator.memory.training import Training

    try:
        return Training(**{name: value for name, value in settings.items() if value is not None})
    except ValidationError as problem:
        first = problem.errors()[0]
        raise ScenarioError(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}, not {first['input']!r}") from None


def _print_json(plans: Sequence[TrainingPlan]) -> None:
    import json
    from dataclasses import asdict

    def described(plan: TrainingPlan) -> dict[str, Any]:
        return {
            "model": plan.model.name,
            "gpu": plan.gpu.name,
            "gpus": plan.training.gpus,
            "training": asdict(plan.training),
            "bytes": {**asdict(plan.bytes), "total": plan.bytes.total, "available": plan.gpu.memory_bytes},
            "parameters": plan.parameters,
            "trainable_parameters": plan.trainable_parameters,
            "fits": plan.fits,
            "reason": plan.reason,
            "remedies": [asdict(remedy) for remedy in plan.remedies],
            "cost": asdict(plan.cost) if plan.cost else None,
            "notes": list(plan.notes),
        }

    print(json.dumps([described(plan) for plan in plans], indent=2))


def _print_table(plans: Sequence[TrainingPlan]) -> None:
    from rich.console import Console
    from rich.table import Table

    from simulator.units import GIB

    first = plans[0]
    table = Table("GiB per GPU", *(plan.gpu.name for plan in plans))
    for column in table.columns[1:]:
        column.justify = "right"
    for part in (*first.bytes.__dataclass_fields__, "total"):
        amounts = [getattr(plan.bytes, part) for plan in plans]
        if any(amounts):
            table.add_row(part.replace("_", " "), *(f"{amount / GIB:.2f}" for amount in amounts), end_section=part == "runtime")
    table.add_row("the GPU has", *(f"{plan.gpu.memory_bytes / GIB:.2f}" for plan in plans))
    console = Console(highlight=False)
    console.print(_title(first), markup=False)
    console.print(table)
    for line in _lines(plans):
        console.print(line, markup=False)


def _title(plan: TrainingPlan) -> str:
    training, million = plan.training, plan.trainable_parameters / 1e6
    batch = f"{training.micro_batch_size} x {training.sequence_length:,} tokens at a time"
    trained = f"{million:,.1f} of {plan.parameters / 1e6:,.0f} million parameters trained"
    return f"{plan.model.name}, {training.method} with {training.optimizer}, {training.precision} precision, {batch}; {trained}"


def _lines(plans: Sequence[TrainingPlan]) -> Iterator[str]:
    for plan in plans:
        yield plan.reason
        yield from (f"  {remedy.change}: {remedy.gives}" for remedy in plan.remedies)
        if plan.cost:
            yield f"  {_spent(plan.cost, plan.training.gpus)}"
    yield from dict.fromkeys(note for plan in plans for note in plan.notes)


def _spent(cost: TrainingCost, gpus: int) -> str:
    time = f"{cost.gpu_hours:,.1f} GPU-hours" + (f", {cost.hours:,.1f} hours on {gpus} GPUs" if gpus > 1 else "")
    if cost.usd is None:
        return f"{cost.flops:.3g} FLOPs: {time}, no price known"
    seen = f" ({cost.price.provider}, {cost.price.commitment}, seen {cost.price.checked})" if cost.price else ""
    return f"{cost.flops:.3g} FLOPs: {time}, ${cost.usd:,.0f} at ${cost.usd_per_gpu_hour:.2f} per GPU-hour{seen}"
