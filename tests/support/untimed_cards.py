"""Cards of the catalog whose memory is planned and whose time is refused."""

from simulator.catalog.gpus import Gpu, gpus

# Nothing is known of how fast these run an engine.
UNTIMED = ("pascal", "cdna2", "rdna3", "rdna4", "xe2")


def timed_cards() -> list[Gpu]:
    """Cards with kernel efficiencies."""
    return [card for card in gpus() if card.architecture not in UNTIMED]


def untimed_cards() -> list[Gpu]:
    """Cards without."""
    return [card for card in gpus() if card.architecture in UNTIMED]
