"""What people write: frozen, keyword-only dataclasses that pydantic validates on construction and on `replace`."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable
from types import UnionType
from typing import Annotated, Any, NamedTuple, TypeVar, cast, dataclass_transform

from pydantic import AfterValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from simulator.errors import SimulatorError, did_you_mean, nearest_names
from simulator.numbers import LONGEST, MOST, MOST_REQUESTS

T = TypeVar("T")


def _measurable(value: float) -> float:
    """The value, if what it is multiplied with or divided by stays a number. Raises ValueError where it would not."""
    if 0 < abs(value) < _LEAST:
        raise ValueError(f"{value:g} is closer to 0 than anything that is measured; write at least {_LEAST:g}")
    if abs(value) > _GREATEST:
        raise ValueError(f"{value:g} is more than anything that is measured; write at most {_GREATEST:g}")
    return value


def _not_even(value: float) -> float:
    """A coefficient of variation that a law can have, or 0. Raises ValueError for one between."""
    if 0 < value < _LEAST_VARIATION:
        raise ValueError(f"{value:g} is as good as even; write 0, or at least {_LEAST_VARIATION:g}")
    return value


_LEAST, _GREATEST, _LEAST_VARIATION = 1e-18, 1e18, 1e-6
Measurable = AfterValidator(_measurable)
Count = Annotated[int, Field(ge=1, le=MOST, strict=True)]
Natural = Annotated[int, Field(ge=0, le=2**63 - 1, strict=True)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True), Measurable]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True), Measurable]
Fraction = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False, strict=True), Measurable]
Tokens = Annotated[int, Field(ge=1, le=LONGEST, strict=True)]
"""Tokens of a prompt or an answer; turns of a session."""
MeanTokens = Annotated[float, Field(ge=1e-3, le=LONGEST, allow_inf_nan=False, strict=True)]
Things = Annotated[int, Field(ge=1, le=MOST_REQUESTS, strict=True)]
"""Groups, documents, questions in stock: a table of each is held."""
Variation = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False, strict=True), AfterValidator(_not_even)]
"""A coefficient of variation: 0, or one that a law of gaps or lengths can have."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field, Field))
def spec(cls: type[T]) -> type[T]:
    """Make a class a spec: validated, immutable, keyword-only, unknown fields refused."""
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    made: Any = pydantic_dataclass(config=config, frozen=True, kw_only=True, slots=True)(cls)
    made.__init__ = _telling(made.__init__, cls.__name__)
    return cast("type[T]", made)


def _telling(construct: Callable[..., None], name: str) -> Callable[..., None]:
    """A constructor that names the field that was meant, where it is given one that it has not."""

    @functools.wraps(construct)
    def told(self: Any, *values: Any, **fields: Any) -> None:
        try:
            construct(self, *values, **fields)
        except ValidationError as problem:
            mistake = first_mistake(problem)
            if mistake.kind != "unexpected_keyword_argument":
                raise
            known = [f.name for f in dataclasses.fields(self)]
            known += [f.name for pool in _pools_of(self) for f in dataclasses.fields(pool)]
            unknown = str(mistake.location[-1])
            raise UnknownField(f"{name}: unknown field '{unknown}'{did_you_mean(nearest_names(unknown, known))}") from None

    return told


def _pools_of(made: Any) -> tuple[Any, ...]:
    """What a spec may be written as instead: a deployment as its only pool."""
    hint = typing.get_type_hints(type(made), include_extras=True).get("pools")
    return tuple(arg for arg in typing.get_args(typing.get_args(hint)[0]) if isinstance(arg, type)) if hint else ()


class UnknownField(SimulatorError, ValueError):
    """A spec was given a field that it has not. The message offers the nearest ones."""


def variants(union: Any) -> tuple[type, ...]:
    """The classes of a tagged union, in order: what contract tests loop over."""
    if typing.get_origin(union) is Annotated:
        return variants(typing.get_args(union)[0])
    if isinstance(union, UnionType) or typing.get_origin(union) is typing.Union:
        return typing.get_args(union)
    return (union,)


class Mistake(NamedTuple):
    """What is wrong with one field: where it stands, what pydantic says of it, its value, and the kind of the mistake."""

    location: tuple[str | int, ...]
    said: str
    value: Any
    kind: str

    @property
    def place(self) -> str:
        """The location as it is read: `lengths.0.mean`."""
        return ".".join(map(str, self.location))

    def __str__(self) -> str:
        """Place and mistake in one line."""
        return f"{self.place}: {self.said}"


def first_mistake(problem: ValidationError) -> Mistake:
    """The first mistake of a failed validation."""
    first = problem.errors()[0]
    return Mistake(first["loc"], first["msg"].removeprefix("Value error, "), first["input"], first["type"])
