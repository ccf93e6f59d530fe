"""Which replica a request goes to: one class a policy."""

from __future__ import annotations

from simulator.spec import Natural, spec


@spec
class RoundRobin:
    """Each replica in turn."""


@spec
class LeastOutstanding:
    """The replica with the fewest requests waiting or running; the first of equals."""


@spec
class LeastKvUse:
    """The replica with the smallest fraction of its KV blocks in use; the first of equals."""


@spec
class PowerOfTwoChoices:
    """The less loaded of two replicas drawn at random, by requests outstanding; the first drawn of equals."""


@spec
class PrefixAffinity:
    """The replica that last saw the longest part of the prompt, unless its load is too high: over `slack` more
    requests outstanding than the least loaded replica, which then gets it.
    """

    slack: Natural = 16


Router = RoundRobin | LeastOutstanding | LeastKvUse | PowerOfTwoChoices | PrefixAffinity
