"""A pool: the instances among which a router chooses."""

from __future__ import annotations

from simulator.engine.instance.instance import Instance


class InstancePool:
    """Instances that serve the same requests; those of them that are `ready` take new ones."""

    __slots__ = ("block_size", "instances", "ready")

    def __init__(self, instances: list[Instance], block_size: int) -> None:
        self.instances = instances
        self.ready = instances
        self.block_size = block_size
