"""How many drafted tokens are accepted: what was measured of a model and a method."""

from __future__ import annotations

from dataclasses import dataclass

from simulator.catalog import stanzas


@dataclass(frozen=True, slots=True)
class MeasuredAcceptance:
    """Mean tokens that a verification step gives, its own one counted, where 1, 2, 3 ... were drafted."""

    name: str
    method: str
    lengths: tuple[float, ...]
    source: str
    checked: str


def family_of(method: str | None, drafts_with_model: bool) -> str:
    """A method under the name of its family: every model's own multi-token prediction is `mtp`."""
    if method is None:
        return "draft_model" if drafts_with_model else ""
    return "mtp" if method.endswith("mtp") else method


def measured_acceptance(model: str, method: str) -> MeasuredAcceptance | None:
    """What was measured of a model of the catalog and a method's family; None where nothing was.

    >>> measured_acceptance("deepseek-v4-pro", "mtp").lengths[2]
    2.49
    """
    for name in stanzas.stanzas("acceptance"):
        entry = stanzas.load_entry("acceptance", name)
        if model in entry["models"] and method == entry["method"]:
            lengths = tuple(float(length) for length in entry["lengths"])
            return MeasuredAcceptance(name, method, lengths, entry["source"], str(entry["checked"]))
    return None
