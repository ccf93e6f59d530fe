"""Rates and durations as people write them: `4/s`, `240/min`, `10min`, `1h30m`; a bare number is per second, or seconds."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from simulator.units import DAY, HOUR, MINUTE, MS

_SECONDS = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), MS),
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "minute", "minutes"), MINUTE),
    **dict.fromkeys(("h", "hr", "hour", "hours"), HOUR),
    **dict.fromkeys(("d", "day", "days"), DAY),
}
_MOST_PER_S, _LONGEST_S = 1e15, 1e12
_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?"
_ASKED = r"(?:requests?|reqs?|queries|query|q|r)?"
_RATE = re.compile(rf"\s*({_NUMBER})\s*{_ASKED}\s*(?:/|per|p(?=[smh]\s*$))\s*([a-z]+)\s*", re.IGNORECASE)
_PART = re.compile(rf"({_NUMBER})\s*([a-z]+)\s*", re.IGNORECASE)


def per_second(value: Any) -> Any:
    """A rate such as `240/min` as a number per second; anything that is not text is left for the field to judge.

    >>> per_second("240/min"), per_second("12/h") * 3600, per_second("1.2 rps"), per_second("3 requests per second")
    (4.0, 12.0, 1.2, 3.0)
    """
    if not isinstance(value, str):
        return value
    found = _RATE.fullmatch(value)
    if found and found[2].lower() in _SECONDS:
        return float(found[1]) / _SECONDS[found[2].lower()]
    raise ValueError(f"'{value}' is not a rate; write a number per second, or one such as 4/s, 1.2 rps, 240/min, 500/h")


def parse_seconds(value: Any) -> Any:
    """A duration such as `1h30m` in seconds; anything that is not text is left for the field to judge.

    >>> parse_seconds("1h30m"), parse_seconds("250ms"), parse_seconds(90)
    (5400.0, 0.25, 90)
    """
    if not isinstance(value, str):
        return value
    parts = _PART.findall(value)
    complete = "".join(_PART.split(value)[::3]).strip() == ""
    if parts and complete and all(unit.lower() in _SECONDS for _, unit in parts):
        return sum(float(number) * _SECONDS[unit.lower()] for number, unit in parts)
    raise ValueError(f"'{value}' is not a duration; write seconds as a number, or one such as 90s, 10min, 1h30m")


def _of_people(rate: float) -> float:
    """The rate, if it is one that somebody could have meant. Raises ValueError where it is not."""
    if rate and not 1 / _MOST_PER_S <= rate <= _MOST_PER_S:
        raise ValueError(f"{rate:g} requests a second; is that the unit?")
    return rate


def _within_lives(seconds: float) -> float:
    """The duration, if it is less than 30,000 years. Raises ValueError where it is not."""
    if seconds > _LONGEST_S:
        raise ValueError(f"{seconds:g} seconds; is that the unit?")
    return seconds


def _number_or(example: str) -> WithJsonSchema:
    """The schema of a number, or of text such as the examples."""
    return WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "title": example}]})


_RATES, _DURATIONS = "text such as 4/s, 1.2 rps or 240/min", "text such as 800ms, 90s or 1h30m"
_above = Field(gt=0, allow_inf_nan=False, strict=True)
_from = Field(ge=0, allow_inf_nan=False, strict=True)
Rate = Annotated[float, BeforeValidator(per_second), _above, AfterValidator(_of_people), _number_or(_RATES)]
IdleRate = Annotated[float, BeforeValidator(per_second), _from, AfterValidator(_of_people), _number_or(_RATES)]
Duration = Annotated[float, BeforeValidator(parse_seconds), _above, AfterValidator(_within_lives), _number_or(_DURATIONS)]
Pause = Annotated[float, BeforeValidator(parse_seconds), _from, AfterValidator(_within_lives), _number_or(_DURATIONS)]
