"""When requests are sent: by the clock, or when earlier ones finish."""

from __future__ import annotations

from simulator.spec import Count, NonNegative, Positive, spec


@spec
class OpenLoop:
    """Requests come at their own `arrival_s`, whatever happens to the others. One not finished after `timeout_s` is given up."""

    timeout_s: Positive | None = None


@spec
class ClosedLoop:
    """`concurrency` users send the requests in order, each the next one `think_s` after its last finished.

    Where `Requests.think_s` is given it is the think time before that request. Benchmark tools at a fixed concurrency think 0 s.
    """

    concurrency: Count
    think_s: NonNegative = 0.0
    timeout_s: Positive | None = None


Source = OpenLoop | ClosedLoop
