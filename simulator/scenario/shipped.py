"""Shipped: the scenarios that come with the package, in the wheel or beside the source."""

from __future__ import annotations

from pathlib import Path

from simulator.errors import UnknownName

SCHEMA = "scenario.schema.json"


def shipped_folder() -> Path:
    """The folder of the shipped scenarios, with the schema and the files that they refer to."""
    package = Path(__file__).resolve().parents[1]
    return next(folder for folder in (package / "shipped", package.parent / "scenarios") if folder.is_dir())


def shipped_scenarios() -> dict[str, Path]:
    """The shipped scenarios by name, sorted."""
    return {path.stem: path for path in sorted(shipped_folder().glob("*.yaml"))}


def shipped_scenario(name: str) -> Path:
    """The file of a shipped scenario. Raises UnknownName with the nearest ones."""
    known = shipped_scenarios()
    if name.removesuffix(".yaml") not in known:
        raise UnknownName("shipped scenario", name, known)
    return known[name.removesuffix(".yaml")]
