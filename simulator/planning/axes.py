"""Axes: what a sweep goes over, as it is written: `path=a,b,c`, `path=1:10:1`, `path=1:64:x2`,
`deployments`."""

from __future__ import annotations

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
        raise ScenarioError(
            f"--over {text}: expected PATH=VALUES, e.g. --over workload.arrivals.rate=2,4,8 or "
            "=1:10:1"
        )
    found = tuple(value for part in _split(values) for value in _range(part, text))
    if not found:
        raise ScenarioError(f"--over {text}: no values; write them as a,b,c or from:to:step")
    return Axis(path, tuple(dict.fromkeys(found)))


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
    pieces = part.split(":")
    if len(pieces) != 3 or not all(
        _number(piece.removeprefix("x")) is not None for piece in pieces
    ):
        return [part]
    first, last = float(pieces[0]), float(pieces[1])
    times, step = pieces[2].startswith("x"), float(pieces[2].removeprefix("x"))
    if (step <= 1 or first <= 0) if times else step <= 0:
        raise ScenarioError(
            f"--over {text}: the step of a range must be above "
            f"{'1 and its start above 0' if times else '0'}"
        )
    values: list[str] = []
    while (
        value := first * step ** len(values) if times else first + step * len(values)
    ) <= last * (1 + 1e-9) + 1e-12:
        values.append(f"{value:.12g}")
        if len(values) > _MOST_VALUES:
            raise ScenarioError(f"--over {text}: more than {_MOST_VALUES:,} values")
    if not values:
        raise ScenarioError(
            f"--over {text}: the range {part} is empty; it goes from {first:g} up to {last:g}"
        )
    return values


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
