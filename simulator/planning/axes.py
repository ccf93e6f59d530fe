"""Axes: what a sweep goes over, as it is written: `path=a,b,c`, `path=1:10:1`, `path=1:64:x2`,
`deployments`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from simulator.errors import ScenarioError

_MOST_VALUES = 10_000


@dataclass(frozen=True, slots=True)
class Axis:
    """A dotted path of the scenario and the values to set there, as YAML text. `deployments` names
    deployments, all without."""

    path: str
    values: tuple[str, ...]


def axis(text: str) -> Axis:
    """An axis from `path=values`. Values are separated by commas (not those in brackets), or a
    range `from:to:step` with its end in it, whose step is added, or multiplied when written `x2`.

    >>> axis("workload.arrivals.rate=2:8:x2")
    Axis(path='workload.arrivals.rate', values=('2', '4', '8'))

    Raises ScenarioError for an axis without path or values.
    """
    path, equals, values = text.partition("=")
    path = path.strip()
    if path == "deployments":
        return Axis(path, tuple(name.strip("'\"") for name in _split(values)))
    if not path or not equals:
        forms = "--over workload.arrivals.rate=2,4,8 or =1:10:1"
        raise ScenarioError(f"--over {text}: expected PATH=VALUES, e.g. {forms}")
    return Axis(path, _values(values, text))


def _values(values: str, text: str) -> tuple[str, ...]:
    """The values of an axis, each once."""
    found = [value for part in _split(values) for value in _range(part, text)]
    if not found:
        raise ScenarioError(f"--over {text}: no values; write them as a,b,c or from:to:step")
    return tuple(dict.fromkeys(found))


def _split(text: str) -> list[str]:
    """The parts between commas that are outside of brackets and quotes."""
    parts, depth, quote, start = [], 0, "", 0
    for i, c in enumerate(text):
        if quote:
            quote = "" if c == quote else quote
        elif c in "'\"":
            quote = c
        elif c in "[{(":
            depth += 1
        elif c in "]})":
            depth -= 1
        elif c == "," and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    return [part.strip() for part in [*parts, text[start:]] if part.strip()]


def _range(part: str, text: str) -> list[str]:
    """The values of `from:to:step`, or the part itself when it is not one."""
    *ends, by = part.split(":")
    numbers = [_number(piece) for piece in (*ends, by.removeprefix("x"))]
    if len(numbers) != 3 or None in numbers:
        return [part]
    first, last, step = (number for number in numbers if number is not None)
    times = by.startswith("x")
    _check_step(first, step, times, text)
    values = list(itertools.islice(_steps(first, last, step, times), _MOST_VALUES + 1))
    if len(values) > _MOST_VALUES:
        raise ScenarioError(f"--over {text}: more than {_MOST_VALUES:,} values")
    if not values:
        nowhere = f"the range {part} is empty; it goes from {first:g} up to {last:g}"
        raise ScenarioError(f"--over {text}: {nowhere}")
    return values


def _check_step(first: float, step: float, times: bool, text: str) -> None:
    """Raises ScenarioError for a step that never gets to the end of its range."""
    if step > 1 and first > 0 if times else step > 0:
        return
    least = "1 and its start above 0" if times else "0"
    raise ScenarioError(f"--over {text}: the step of a range must be above {least}")


def _steps(first: float, last: float, step: float, times: bool) -> Iterator[str]:
    """From first to last by a step that is added or multiplied, as text."""
    for count in itertools.count():
        value = first * step**count if times else first + step * count
        if not value <= last * (1 + 1e-9) + 1e-12:
            return
        yield f"{value:.12g}"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
