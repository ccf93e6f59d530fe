"""Every error a user can meet. The command line prints each mistake as one line and exits with code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SimulatorError(Exception):
    """Root of all errors that are somebody's input and not our bug.

    `field`: the name of the argument at fault, or of several that do not go together, so that it can be pointed at. `lines`: the
    mistakes, one each.
    """

    def __init__(self, message: str = "", *, field: str | tuple[str, ...] = ()) -> None:
        self.fields = (field,) if isinstance(field, str) else field
        self.lines: tuple[str, ...] = (message,)
        super().__init__(message)


# What settles a name that the catalog lacks.
_OTHERWISE = {
    "model": " Any other: the path of its config.json.",
    "GPU": " A card of your own: memory_gib=24,architecture=ada and so on.",
}


class UnknownName(SimulatorError):
    """A name is not in the catalog. The message offers the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name = kind, name
        self.nearest = nearest_names(name, known)
        otherwise = _OTHERWISE.get(kind, "")
        offered = did_you_mean(self.nearest) or f"; `sim catalog` lists what is known{'.' if otherwise else ''}"
        super().__init__(f"unknown {kind} '{name}'{offered}{otherwise}")


class NotInCatalog(UnknownName):
    """A repository that is not in the catalog. The message also says how to read it."""

    def __init__(self, message: str) -> None:
        self.kind, self.name, self.nearest = "model", "", []
        SimulatorError.__init__(self, message)


class NoSuchDeployment(UnknownName, KeyError):
    """A result has no deployment of that name."""

    __str__ = Exception.__str__


class NotModelled(SimulatorError):
    """The configuration is understood, and we have no model for it."""


class ScenarioError(SimulatorError):
    """A scenario cannot be read. The message starts with `file:line:column`."""

    def also(self, others: Iterable[ScenarioError]) -> ScenarioError:
        """This error and others of the same file as one, each a line."""
        lines = dict.fromkeys(line for problem in (self, *others) for line in problem.lines)
        found = ScenarioError("\n".join(lines), field=self.fields)
        found.lines = tuple(lines)
        return found


class ConfigError(SimulatorError):
    """A HuggingFace config.json cannot be understood."""


class Unstable(SimulatorError):
    """A steady-state figure was asked of a queue that grows without bound."""


class MeasurementError(SimulatorError):
    """A file of measurements or a trace cannot be read."""


def nearest_names(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The known names nearest to a misspelt one, best first, at most `most`."""
    by_lower = {k.lower(): k for k in known}
    return [by_lower[k] for k in difflib.get_close_matches(name.lower(), by_lower, n=most, cutoff=0.5)]


def did_you_mean(names: list[str]) -> str:
    """The tail of an error message that offers names, empty when there are none."""
    return f"; did you mean {' or '.join(repr(n) for n in names)}?" if names else ""
