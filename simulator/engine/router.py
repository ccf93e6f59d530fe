"""Which replica a request goes to: one class a policy."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from simulator.spec import Natural, spec


@spec
class RoundRobin:
    """Each replica in turn."""

    kind: Literal["round-robin"] = "round-robin"


@spec
class LeastOutstanding:
    """The replica with the fewest requests waiting or running; the first of equals."""

    kind: Literal["least-outstanding"] = "least-outstanding"


@spec
class LeastKvUse:
    """The replica with the smallest fraction of its KV blocks in use; the first of equals."""

    kind: Literal["least-kv-use"] = "least-kv-use"


@spec
class PowerOfTwoChoices:
    """The less loaded of two replicas drawn at random, by requests outstanding; the first drawn of equals."""

    kind: Literal["power-of-two-choices"] = "power-of-two-choices"


@spec
class PrefixAffinity:
    """The replica that last saw the longest part of the prompt, unless its load is too high: over `slack` more
    requests outstanding than the least loaded replica, which then gets it.
    """

    kind: Literal["prefix-affinity"] = "prefix-affinity"
    slack: Natural = 16


Router = Annotated[
    RoundRobin | LeastOutstanding | LeastKvUse | PowerOfTwoChoices | PrefixAffinity,
    Field(discriminator="kind"),
    BeforeValidator(lambda written: {"kind": written} if isinstance(written, str) else written),
]
