"""Space: every combination of GPUs, quantizations, tensor-parallel sizes and engine arguments, as
deployments."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from simulator.errors import ScenarioError, did_you_mean, nearest_names
from simulator.scenario import Deployment, Pool
from simulator.spec import first_mistake


def space(
    gpus: Sequence[str],
    quantizations: Sequence[str] = ("auto",),
    tensor_parallel_sizes: Sequence[int] = (1,),
    arguments: Mapping[str, Sequence[Any]] | None = None,
    for_all: Mapping[str, Any] | None = None,
) -> tuple[Deployment, ...]:
    """A deployment for each combination; `arguments` are engine arguments, or other fields of a
    deployment, with their values.

    `for_all`: arguments that every one of them has, where the combination does not say otherwise.

    Raises ScenarioError for a name that is not in the catalog or a value that a field cannot have,
    and for an empty space.
    """
    arguments = arguments or {}
    found = []
    for gpu, quantization, tp, *values in itertools.product(
        gpus, quantizations, tensor_parallel_sizes, *arguments.values()
    ):
        given = dict(zip(arguments, values, strict=True))
        fields = {
            **(for_all or {}),
            "gpu": gpu,
            "quantization": quantization,
            "tensor_parallel_size": tp,
            **given,
            "name": _name(gpu, quantization, tp, given),
        }
        found.append(_deployment(fields))
    if not found:
        raise ScenarioError(
            "the space is empty: give at least one GPU, quantization and tensor-parallel size"
        )
    return tuple(found)


def _name(gpu: str, quantization: str, tp: int, given: Mapping[str, Any]) -> str:
    parts = [
        f"{gpu} TP {tp}" if tp > 1 else gpu,
        *([] if quantization == "auto" else [quantization]),
    ]
    return ", ".join([*parts, *(f"{name}={value}" for name, value in given.items())])


def _deployment(fields: Mapping[str, Any]) -> Deployment:
    try:
        return TypeAdapter(Deployment).validate_python(fields)
    except ValidationError as problem:
        mistake = first_mistake(problem)
        place, said = (
            ".".join(str(part) for part in mistake.location if part not in ("pools", 0)),
            mistake.said,
        )
        if mistake.kind == "unexpected_keyword_argument":
            known = ["name", "model", *(f.name for f in dataclasses.fields(Pool))]
            said = f"unknown field{did_you_mean(nearest_names(place, known))}"
        raise ScenarioError(f"space: {place}: {said}") from None
