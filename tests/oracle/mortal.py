"""A naive fleet whose servers start, drain and die: one object a life, everything looked up anew at each event."""

from __future__ import annotations

import math

from oracle import NEVER_SCHEDULED, REFUSED, TIMED_OUT, Oracle
from oracle.server import Item, Server

LOST = 5


class MortalOracle(Oracle):
    """Servers without ranks or front end, chosen in turn or by their outstanding requests.

    `events` become (when, replica, what) in `happened`.
    """

    def __init__(self, requests, kind, router, source, life, seed, rules, arguments) -> None:
        super().__init__(requests, [kind] * life.replicas or [kind], router, source, seed, rules, arguments)
        self.life, self.kind = life, kind
        self.lives = list(self.servers[: life.replicas])
        self.endpoints = list(self.lives)
        self.place_of = {server: i for i, server in enumerate(self.lives)}
        self.places = list(range(life.replicas))
        self.starting: dict[int, object] = {}
        self.draining: dict[Server, object] = {}
        self.dead: list[Server] = []
        self.aside: dict[Server, list[Item]] = {}
        self.queue: list[Item] = []
        self.where: dict[int, tuple[Item, Server | None]] = {}
        self.tries: dict[int, int] = {}
        self.happened = [(0.0, i, "ready") for i in range(life.replicas)]
        for fault in life.faults:
            self.at(fault.at_s, (4, 0), lambda fault=fault: self.befall(fault))

    def run(self) -> MortalOracle:
        super().run()
        for item in self.queue:
            self.log["status"][item.index] = NEVER_SCHEDULED
        self.log["replica"] = [self.places[i] if i >= 0 else -1 for i in self.log["replica"]]
        for row in self.steps:
            row["replica"] = self.places[row["replica"]]
        return self

    def note(self, replica: int, what: str) -> None:
        self.happened.append((self.now, replica, what))

    # Requests

    def arrive(self, i: int) -> None:
        self.log["arrival"][i] = self.now
        if self.source.timeout_s is not None:
            self.at(self.now + self.source.timeout_s, (3, 0), lambda: self.give_up(i))
        self.place(self.fresh(i))

    def fresh(self, i: int) -> Item:
        r = self.requests
        priority = 0 if r.priority is None else int(r.priority[i])
        item = Item(i, int(r.prompt_tokens[i]), int(r.output_tokens[i]), self.now, priority, [])
        item.labels = self.labels(i)
        return item

    def place(self, item: Item) -> None:
        self.where[item.index] = item, None
        if not self.endpoints:
            self.queue.append(item)
            return
        server = self.route(item)
        if server in self.aside:
            self.aside[server].append(item)
            return
        self.name_own(item, server)
        if self.never_fits(item, server):
            self.departed(item.index, REFUSED)
            return
        self.where[item.index] = item, server
        self.log["replica"][item.index] = server.number
        server.outstanding += 1
        server.present.append(item)
        self.enter(item, server)

    def give_up(self, i: int) -> None:
        if not math.isnan(self.log["left"][i]):
            return
        item, server = self.where[i]
        for waiting in (self.queue, *self.aside.values()):
            if item in waiting:
                waiting.remove(item)
                server = None
        if server is not None:
            self.time_out(item, server)
        else:
            self.departed(i, TIMED_OUT)

    def departed(self, i: int, status: int) -> None:
        super().departed(i, status)
        for server in list(self.draining):
            self.check_drained(server)

    def again(self, items: list[Item]) -> None:
        for item in sorted(items, key=lambda each: each.index):
            tries = self.tries.get(item.index, 0)
            if item.received or tries == self.life.retries:
                if not item.received:
                    self.forget(item.index)
                self.departed(item.index, LOST)
                continue
            self.tries[item.index] = tries + 1
            self.forget(item.index)
            self.send(self.fresh(item.index))

    def forget(self, i: int) -> None:
        if not math.isnan(self.log["first_token"][i]):
            raise AssertionError("a request without a token has a time of one")

    # Servers

    def boundary(self, server: Server) -> None:
        if server not in self.dead:
            super().boundary(server)

    def befall(self, fault) -> None:
        for replica in fault.replicas:
            if replica in self.starting:
                self.starting.pop(replica)
                self.note(replica, "gone")
                self.replace(fault)
                continue
            server = next((s for s, number in self.place_of.items() if number == replica), None)
            if server is None or server in self.dead:
                continue
            if fault.notice_s:
                self.drain(server, fault.notice_s)
                self.replace(fault)
            else:
                self.kill(server, fault)

    def end(self, server: Server) -> list[Item]:
        """The server is no more: of its last step nothing comes."""
        self.dead.append(server)
        self.draining.pop(server, None)
        server.waiting = []
        self.steps = [row for row in self.steps if row["replica"] != server.number or row["start"] + row["seconds"] <= self.now]
        return [item for item in server.present if math.isnan(self.log["left"][item.index])]

    def kill(self, server: Server, fault) -> None:
        items = self.end(server)
        self.note(self.place_of[server], "dies")
        self.replace(fault)
        if fault.detected_after_s and server in self.endpoints:
            self.aside[server] = items
            self.at(self.now + fault.detected_after_s, (4, 0), lambda: self.notice(server))
            return
        self.leave(server)
        self.again(items)

    def notice(self, server: Server) -> None:
        self.leave(server)
        self.again(self.aside.pop(server))

    def leave(self, server: Server) -> None:
        del self.place_of[server]
        if server in self.endpoints:
            self.endpoints.remove(server)

    def replace(self, fault) -> None:
        if fault.restart_after_s is not None:
            self.at(self.now + fault.restart_after_s, (4, 0), self.start)

    def start(self) -> None:
        taken = {*self.place_of.values(), *self.starting}
        replica = min(i for i in range(len(taken) + 1) if i not in taken)
        self.note(replica, "starts")
        token = self.starting[replica] = object()
        self.at(self.now + self.life.cold_start_s, (4, 0), lambda: self.ready(replica, token))

    def ready(self, replica: int, token: object) -> None:
        if self.starting.get(replica) is not token:
            return
        del self.starting[replica]
        server = Server(len(self.places), *self.kind, self.log, self.rules, self.arguments)
        self.servers.append(server)
        self.places.append(replica)
        self.groups.append(type(self.groups[0])(server.number, [server]))
        self.place_of[server] = replica
        self.endpoints.append(server)
        self.note(replica, "ready")
        held, self.queue = self.queue, []
        for item in held:
            self.send(item)

    def send(self, item: Item) -> None:
        item.arrived = self.now
        self.at(self.now, (0, item.index), lambda: self.place(item))

    def drain(self, server: Server, seconds: float) -> None:
        if server in self.draining:
            return
        self.endpoints.remove(server)
        self.note(self.place_of[server], "drains")
        token = self.draining[server] = object()
        self.at(self.now + seconds, (4, 0), lambda: self.run_out(server, token))
        self.check_drained(server)

    def check_drained(self, server: Server) -> None:
        if server in self.draining and not any(math.isnan(self.log["left"][item.index]) for item in server.present):
            del self.draining[server]
            self.note(self.place_of.pop(server), "gone")
            self.at(self.now, (4, 0), lambda: self.end(server))

    def run_out(self, server: Server, token: object) -> None:
        if self.draining.get(server) is token:
            items = self.end(server)
            self.note(self.place_of.pop(server), "dies" if items else "gone")
            self.again(items)
