"""Fields: a config.json read by name, with errors that say which field is missing and what would settle it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simulator.errors import ConfigError, did_you_mean, nearest_names
from simulator.numbers import finite_number, integer

_MOST = 10**9  # of anything that a model has: the largest vocabularies have 300,000 words


class Fields:
    """A JSON object whose values are asked for by every name they go under, the first one present counts.

    `where` opens every error. `defaults` are what the model's own configuration class fills in for absent fields.
    """

    def __init__(self, values: Mapping[str, Any], where: str, defaults: Mapping[str, Any] | None = None) -> None:
        self.values, self.where, self.defaults = values, where, defaults or {}

    def get(self, *names: str) -> Any:
        """The value under the first of the names that is present and not null, else the class's default, else None."""
        for source in (self.values, self.defaults):
            for name in names:
                if source.get(name) is not None:
                    return source[name]
        return None

    def has(self, *names: str) -> bool:
        """Whether any of the names has a value."""
        return self.get(*names) is not None

    def count(self, *names: str, default: int | None = None) -> int:
        """A whole number, or a list of it for every layer.

        Raises ConfigError where it is absent without a default, negative, not a number, or not the same in every layer.
        """
        value = self.get(*names)
        if isinstance(value, list) and value:
            if any(one != value[0] for one in value):
                listed = next((name for name in names if self.values.get(name) is value), names[0])
                raise ConfigError(f"{self.where}: {listed} differs from layer to layer; we have no model of that")
            value = value[0]
        if value is None:
            if default is None:
                raise self.missing(*names)
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ConfigError(f"{self.where}: {names[0]} is {value!r:.60}; it must be a whole number, 0 or more")
        if value > _MOST:
            raise ConfigError(f"{self.where}: {names[0]} is {value:,}; no model has more than {_MOST:,}")
        return value

    def number(self, *names: str, default: float | None = None) -> float:
        """A number above 0; absent or 0 counts as the default where there is one. Raises ConfigError for anything else."""
        value = self.get(*names)
        if not value and not isinstance(value, str | list | dict) and default is not None:
            return default
        return finite_number(value, f"{self.where}: {names[0]}", ConfigError, least=1e-9, most=1e9)

    def word(self, *names: str, default: str = "") -> str:
        """Text; absent or null counts as the default."""
        value = self.get(*names)
        if value is None:
            return default
        if not isinstance(value, str):
            raise ConfigError(f"{self.where}: {names[0]} is {value!r:.60}; it must be text")
        return value

    def positive(self, *names: str, default: int | None = None) -> int:
        """A whole number above 0."""
        value = self.count(*names, default=default)
        if value == 0:
            raise ConfigError(f"{self.where}: {names[0]} is 0; it must be 1 or more")
        return value

    def flag(self, *names: str, default: bool = False) -> bool:
        """A truth value; absent or null counts as the default."""
        value = self.get(*names)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise ConfigError(f"{self.where}: {names[0]} is {value!r:.60}; it must be true or false")
        return value

    def items(self, name: str) -> list[Any]:
        """A list of numbers and words, empty where absent."""
        value = self._listed(name)
        if odd := next((one for one in value if isinstance(one, list | dict)), None):
            raise ConfigError(f"{self.where}: {name} has {odd!r:.60} in it; it must list numbers or words")
        return value

    def numbers(self, name: str, *, most: int) -> list[int]:
        """A list of whole numbers from 0 to `most`, empty where absent."""
        return [integer(one, f"{self.where}: {name}", ConfigError, most=most) for one in self.items(name)]

    def objects(self, name: str) -> list[Fields]:
        """A list of objects, empty where absent."""
        value = self._listed(name)
        if any(not isinstance(one, Mapping) for one in value):
            raise ConfigError(f"{self.where}: {name} must list objects")
        return [Fields(one, f"{self.where}: {name}[{at}]") for at, one in enumerate(value)]

    def _listed(self, name: str) -> list[Any]:
        value = self.get(name)
        if value is None:
            return []
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{self.where}: {name} is {value!r:.60}; it must be a list")
        return list(value)

    def inner(self, *names: str) -> Fields | None:
        """The object under a name, None where absent."""
        value = self.get(*names)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise ConfigError(f"{self.where}: {names[0]} is {value!r:.60}; it must be an object")
        return Fields(value, f"{self.where}: {names[0]}")

    def missing(self, *names: str) -> ConfigError:
        """The error for an absent field, with the nearest of those that are there."""
        near = nearest_names(names[0], [key for key in self.values if isinstance(key, str)])
        return ConfigError(f"{self.where}: {' or '.join(names)} is missing; add it{did_you_mean(near)}")

    def refused(self, name: str, why: str) -> ConfigError:
        """The error for a field whose value is understood and cannot be expressed."""
        return ConfigError(f"{self.where}: {name} = {self.get(name)!r:.60} {why}")
