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
from simulator.spec import Mistake, first_mistake


def space(
    gpus: Sequence[str],
    quantizations: Sequence[str] = ("auto",),
    tensor_parallel_sizes: Sequence[int] = (1,),
    arguments: Mapping[str, Sequence[Any]] | None = None,
    for_all: Mapping[str, Any] | None = None,
    cards: Mapping[str, Any] | None = None,
) -> tuple[Deployment, ...]:
    """A deployment for each combination; `arguments` are engine arguments, or other fields of a
    deployment, with their values.

    `for_all`: arguments that every one of them has, where the combination does not say otherwise.

    `cards`: the fields of GPUs of one's own, by their names.

    Raises ScenarioError for a name that is not in the catalog or a value that a field cannot have,
    and for an empty space.
    """
    arguments = arguments or {}
    found = []
    axes = (gpus, quantizations, tensor_parallel_sizes, *arguments.values())
    for gpu, form, parallel, *values in itertools.product(*axes):
        given = dict(zip(arguments, values, strict=True))
        name = _name(gpu, form, parallel, given)
        card = {
            "gpu": (cards or {}).get(gpu, gpu),
            "quantization": form,
            "tensor_parallel_size": parallel,
        }
        found.append(_deployment({**(for_all or {}), **card, **given, "name": name}))
    if not found:
        empty = "the space is empty: give at least one GPU, quantization and tensor-parallel size"
        raise ScenarioError(empty)
    return tuple(found)


def _name(gpu: str, quantization: str, tp: int, given: Mapping[str, Any]) -> str:
    card = f"{gpu} TP {tp}" if tp > 1 else gpu
    form = [] if quantization == "auto" else [quantization]
    return ", ".join([card, *form, *(f"{name}={value}" for name, value in given.items())])


def _deployment(fields: Mapping[str, Any]) -> Deployment:
    try:
        return TypeAdapter(Deployment).validate_python(fields)
    except ValidationError as problem:
        raise ScenarioError(f"space: {_said(first_mistake(problem))}") from None


def _said(mistake: Mistake) -> str:
    """The mistake of a combination, at its place."""
    place = ".".join(str(part) for part in mistake.location if part not in ("pools", 0))
    if mistake.kind != "unexpected_keyword_argument":
        return f"{place}: {mistake.said}"
    known = ["name", "model", *(f.name for f in dataclasses.fields(Pool))]
    return f"{place}: unknown field{did_you_mean(nearest_names(place, known))}"
