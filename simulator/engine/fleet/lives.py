"""Lives of servers: each starts, serves, drains or dies; requests go to those that are ready.

A server that dies loses its KV blocks and the step in work. A request that had no token yet is sent
again, one that had is lost: its client saw an answer break off. While nobody is ready requests wait
in front of the router.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any, Protocol

from simulator.engine.clock import CHANGE, Alarm, Clock
from simulator.engine.fleet.autoscaler import Autoscaler, ReplicaLoad, Wanted
from simulator.engine.instance.durations import Ticks
from simulator.engine.record import FleetEvent, What
from simulator.engine.request import Request
from simulator.spec import Natural, NonNegative, spec


@spec
class Fault:
    """At `at_s` these replicas go: at once, or after `notice_s` in which they finish what they have.

    The router sends requests to a dead one for `detected_after_s` more; they are sent again then. A
    replacement starts `restart_after_s` after the end, or the notice; None: never. One that is
    starting goes too, and where there is none nothing happens.
    """

    at_s: NonNegative
    replicas: tuple[Natural, ...]
    notice_s: NonNegative = 0.0
    detected_after_s: NonNegative = 0.0
    restart_after_s: NonNegative | None = 0.0
    why: str = "fault"


@spec
class LifeRules:
    """How the servers of a pool live.

    `replicas` are ready when the clock starts. A start takes `cold_start_s`. A request whose server
    dies is sent again up to `retries` times while it has no token. One that is drained by the
    autoscaler has `drain_s` to finish what it has.
    """

    replicas: Natural
    cold_start_s: NonNegative = 0.0
    faults: tuple[Fault, ...] = ()
    autoscaler: Autoscaler | None = None
    retries: Natural = 1
    drain_s: NonNegative = 30.0


class House(Protocol):
    """What builds servers and knows the way of requests: the fleet."""

    def build(self, replica: int) -> Any:
        """A new server in the place of that number."""

    def offer(self, request: Request, endpoint: Any) -> None:
        """Give a request to a server, or turn it away."""

    def close(self, endpoint: Any) -> list[Request]:
        """End a server at once; gives the requests that it had."""

    def bury(self, endpoint: Any) -> None:
        """Let a server that died look as one without requests."""

    def has_token(self, request: Request) -> bool:
        """Whether a request whose server died had its first token by then."""

    def lose(self, request: Request, reason: str) -> None:
        """A request is lost with its server."""


class Lives:
    """The servers of one pool. `ready` is the router's list of them; `events` what became of each."""

    def __init__(self, rules: LifeRules, house: House, clock: Clock, ticks: Ticks, scale: float, ready: list[Any]) -> None:
        self.rules, self.house, self.clock, self.ticks, self.scale = rules, house, clock, ticks, scale
        self.ready = ready
        self.events: list[FleetEvent] = []
        self.choose: Callable[[Request], Any]
        self.held: deque[Request] = deque()
        self.replica_of: dict[Any, int] = {each: number for number, each in enumerate(ready)}
        self.starting: dict[int, Alarm] = {}
        self.draining: dict[Any, Alarm] = {}
        self.unnoticed: dict[Any, list[Request]] = {}
        self.tries: dict[int, int] = {}
        self.current: dict[int, Request] = {}
        self.due = self.restarts = 0
        for replica in range(len(ready)):
            self._note(replica, "ready")
        for fault in rules.faults:
            self._at(ticks(fault.at_s), partial(self._befall, fault))
        self.wanted: Wanted | None = None
        if rules.autoscaler is not None:
            self.wanted = rules.autoscaler.start(len(ready))
            self._at(ticks(rules.autoscaler.interval_s), self._look)

    # Requests

    def place(self, request: Request) -> None:
        """Send a request to a server that is ready, or let it wait for one."""
        self.current[request.index] = request
        if not self.ready:
            self.held.append(request)
            return
        endpoint = self.choose(request)
        if endpoint in self.unnoticed:
            self.unnoticed[endpoint].append(request)
        else:
            self.house.offer(request, endpoint)

    def gives_up(self, request: Request) -> bool:
        """Let a request go that no server has; False if one has it."""
        for waiting in (self.held, *self.unnoticed.values()):
            if request in waiting:
                waiting.remove(request)
                return True
        return False

    def see_who_drained(self) -> None:
        """Requests have left: a server that drains is gone with its last."""
        for endpoint in [each for each in self.draining if not each.outstanding]:
            self.clock.cancel(self.draining.pop(endpoint))
            self.due -= 1
            self._end(endpoint, "gone", "drained")
            self._at(self.clock.now, partial(self.house.close, endpoint))

    def _again(self, requests: list[Request], replica: int) -> None:
        """Send requests again whose server died, or lose them."""
        house, most = self.house, self.rules.retries
        for request in sorted(requests, key=attrgetter("index")):
            tries = self.tries.get(request.index, 0)
            if house.has_token(request):
                house.lose(request, f"replica {replica} died after its first token")
            elif tries == most:
                house.lose(request, f"replica {replica} died; sent again {most} times")
            else:
                self.tries[request.index] = tries + 1
                again = Request(request.index, request.prompt, request.output, self.clock.now, request.priority, request.path)
                self._send(again)

    def _send(self, request: Request) -> None:
        """Place a request now, in its turn among all that come at this instant."""
        request.arrived = self.clock.now
        self.clock.set(Alarm(self.clock, request.index, lambda _: self.place(request)), self.clock.now)

    # Servers

    def _start(self, why: str) -> None:
        replica = self._free_place()
        self._note(replica, "starts", why)
        self.starting[replica] = self._at(self.clock.now + self.ticks(self.rules.cold_start_s), partial(self._get_ready, replica))

    def _get_ready(self, replica: int) -> None:
        del self.starting[replica]
        endpoint = self.house.build(replica)
        self.replica_of[endpoint] = replica
        self.ready.append(endpoint)
        self._note(replica, "ready")
        held, self.held = self.held, deque()
        for request in held:
            self._send(request)

    def _befall(self, fault: Fault) -> None:
        for replica in fault.replicas:
            endpoint = next((each for each, number in self.replica_of.items() if number == replica), None)
            if replica in self.starting:
                self._cancel_start(replica, fault.why)
                self._replace(fault)
            elif endpoint is None or endpoint in self.unnoticed:
                continue
            elif fault.notice_s:
                self._drain(endpoint, fault.notice_s, fault.why)
                self._replace(fault)
            else:
                self._die(endpoint, fault)

    def _die(self, endpoint: Any, fault: Fault) -> None:
        """A server is dead: what it had is sent again once that is noticed."""
        if endpoint in self.draining:
            self.clock.cancel(self.draining.pop(endpoint))
            self.due -= 1
        replica = self.replica_of[endpoint]
        requests = self.house.close(endpoint)
        self._note(replica, "dies", fault.why)
        self._replace(fault)
        if fault.detected_after_s and endpoint in self.ready:
            self.unnoticed[endpoint] = requests
            self._at(self.clock.now + self.ticks(fault.detected_after_s), partial(self._notice, endpoint))
        else:
            self._forget(endpoint)
            self._again(requests, replica)

    def _notice(self, endpoint: Any) -> None:
        replica = self.replica_of[endpoint]
        self._forget(endpoint)
        self._again(self.unnoticed.pop(endpoint), replica)

    def _replace(self, fault: Fault) -> None:
        """Start another server for the one that goes, if one is to come."""
        if fault.restart_after_s is not None:
            self.restarts += 1
            self._at(self.clock.now + self.ticks(fault.restart_after_s), self._restart)

    def _restart(self) -> None:
        self.restarts -= 1
        self._start("restart")

    def _drain(self, endpoint: Any, seconds: float, why: str) -> None:
        """Let a server finish what it has, for so many seconds at most."""
        if endpoint in self.draining:
            return
        self.ready.remove(endpoint)
        self._note(self.replica_of[endpoint], "drains", why)
        self.draining[endpoint] = self._at(self.clock.now + self.ticks(seconds), partial(self._run_out, endpoint))
        self.see_who_drained()

    def _run_out(self, endpoint: Any) -> None:
        """The time of a draining server is over."""
        del self.draining[endpoint]
        replica, requests = self.replica_of[endpoint], self.house.close(endpoint)
        self.house.bury(endpoint)
        self._end(endpoint, "dies" if requests else "gone", "its time to drain is over")
        self._again(requests, replica)

    def _end(self, endpoint: Any, what: What, why: str) -> None:
        self._note(self.replica_of.pop(endpoint), what, why)

    def _forget(self, endpoint: Any) -> None:
        del self.replica_of[endpoint]
        self.house.bury(endpoint)
        if endpoint in self.ready:
            self.ready.remove(endpoint)

    def _cancel_start(self, replica: int, why: str) -> None:
        self.clock.cancel(self.starting.pop(replica))
        self.due -= 1
        self._note(replica, "gone", why)

    # The autoscaler

    def _look(self) -> None:
        """Read the load, and start or drain servers until there are as many as are wanted."""
        assert self.wanted is not None
        assert self.rules.autoscaler is not None
        loads = [self._load(each) for each in self.ready if each not in self.unnoticed]
        now = self.clock.now * self.scale
        present = len(loads) + len(self.starting) + self.restarts
        wanted = self.wanted(now, loads, present, len(self.held))
        for _ in range(wanted - present):
            self._start("autoscaler")
        for _ in range(present - wanted):
            self._take_away()
        if self._goes_on():
            self._at(self.clock.now + self.ticks(self.rules.autoscaler.interval_s), self._look)

    def _free_place(self) -> int:
        taken = {*self.replica_of.values(), *self.starting}
        return next(number for number in range(len(taken) + 1) if number not in taken)

    def _take_away(self) -> None:
        """Take the server away that came last: one that starts before one that is ready."""
        if self.starting:
            self._cancel_start(next(reversed(self.starting)), "autoscaler")
            return
        newest = next((each for each in reversed(self.ready) if each not in self.unnoticed), None)
        if newest is not None:
            self._drain(newest, self.rules.drain_s, "autoscaler")

    def _load(self, endpoint: Any) -> ReplicaLoad:
        waiting = endpoint.waiting
        return ReplicaLoad(waiting, endpoint.outstanding - waiting, endpoint.kv_use())

    # Time

    def _at(self, when: float, act: Callable[[], object]) -> Alarm:
        self.due += 1
        alarm = Alarm(self.clock, CHANGE, partial(self._act, act))
        self.clock.set(alarm, when)
        return alarm

    def _act(self, act: Callable[[], object], _: Alarm) -> None:
        self.due -= 1
        self.clock.reach(self.clock.now, CHANGE)
        act()

    def _goes_on(self) -> bool:
        """Whether anything else is still to happen, or to be done."""
        others = sum(number == getattr(alarm, "number", number) for *_, number, alarm in self.clock.queue) - self.due
        return bool(others or self.held or any(map(bool, self.unnoticed.values())))

    def _note(self, replica: int, what: What, why: str = "") -> None:
        self.events.append(FleetEvent(self.clock.now * self.scale, replica, what, why))
