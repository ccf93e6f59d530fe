"""A replica with LoRA adapters: so many different ones run, others are passed over, and each must be brought to the GPU."""

from __future__ import annotations

from oracle.server import Item, Server, Step


class Running(list):
    """Running requests; tells of an adapter that none of them has any more."""

    def __init__(self, server: AdapterServer) -> None:
        super().__init__()
        self.server = server

    def __delitem__(self, at: int) -> None:
        self._gone(self.pop(at))

    def remove(self, item: Item) -> None:
        super().remove(item)
        self._gone(item)

    def _gone(self, item: Item) -> None:
        adapter = self.server.adapter(item)
        if adapter and adapter not in self.server.adapters():
            self.server.ran.append(adapter)


class AdapterServer(Server):
    """`of` is the adapter of each request; `ran` are those that ran, the last time that each did the last."""

    of: list[int]

    def __init__(self, *args) -> None:
        super().__init__(*args)
        self.running = Running(self)
        self.ran: list[int] = []
        self.in_slots: list[int] = []
        self.in_host: list[int] = []
        self.waits_for = 0.0

    def adapter(self, item: Item) -> int:
        return self.of[item.index]

    def adapters(self) -> set[int]:
        return {self.adapter(item) for item in self.running} - {0}

    def _admit_head(self, budget, given, cap, held_back, now) -> int:
        adapters, slots = self.adapters(), self.limits.adapter_slots
        full = len(adapters) == slots.max_loras
        allowed = [i for i, item in enumerate(self.waiting) if not full or self.adapter(item) in adapters | {0}]
        if not allowed:
            return 0
        at = allowed[0]
        item = self.waiting.pop(at)
        self.waiting.insert(0, item)
        tokens = super()._admit_head(budget, given, cap, held_back, now)
        if not tokens:
            self.waiting.pop(0)
            self.waiting.insert(at, item)
        elif adapter := self.adapter(item):
            self.waits_for += self.time.adapters.load * self._bring(adapter, self.in_host, slots.max_cpu_loras)
            self.waits_for += self.time.adapters.swap * self._bring(adapter, self.in_slots, slots.max_loras)
        return tokens

    def _bring(self, adapter: int, place: list[int], room: int) -> bool:
        """Have an adapter in a place, instead of the one that ran longest ago; whether it was not there."""
        if adapter in place:
            return False
        if len(place) == room:
            idle = [other for other in place if other not in self.adapters()]
            place.remove(min(idle, key=lambda other: max(i for i, one in enumerate(self.ran) if one == other)))
        place.append(adapter)
        return True

    def _step(self, given: dict[Item, int]) -> Step:
        computing = {self.adapter(item) for item in self.running if not item.complete} - {0}
        step = super()._step(given)
        if computing:
            step.seconds += float(self.time.adapters.tokens[step.tokens]) + self.time.adapters.each * len(computing)
        step.seconds += self.waits_for
        self.waits_for = 0.0
        return step
