"""What people write: frozen, keyword-only dataclasses that pydantic validates on construction and on `replace`."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable
from types import UnionType
from typing import Annotated, Any, NamedTuple, TypeVar, cast, dataclass_transform

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from simulator.errors import SimulatorError, did_you_mean, nearest_names

T = TypeVar("T")

Count = Annotated[int, Field(ge=1, strict=True)]
Natural = Annotated[int, Field(ge=0, strict=True)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Fraction = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False, strict=True)]


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
