"""Cards whose kernels were not measured: how far public reports are from predictions, and what each class's derating rests on.

    python -m benchmarks.cards

Every row of `catalog/data/reports.csv` is one figure of a public report, with its address and date. A class of cards shares one
derating (`kernels.yaml`); the table says what the other cards of the class would give a card that is left out, and how far off it
then is.
"""

from __future__ import annotations

import csv
import statistics
from collections import defaultdict
from importlib import resources
from math import exp, log
from pathlib import Path

from simulator.catalog.gpus import gpu
from simulator.catalog.kernels import kernels
from simulator.validation.compare import validate
from simulator.validation.measurements import Comparison

REPORTS = Path(str(resources.files("simulator.catalog").joinpath("data", "reports.csv")))
# Metrics that fall where a step takes longer.
_RATES = {"output_tok_s"}


def slowness(comparison: Comparison) -> float:
    """How much longer the measured step takes than the predicted one: above 1 where we are too fast."""
    ratio = float(comparison.predicted) / float(comparison.measured)
    return ratio if comparison.metric in _RATES else 1 / ratio


def by_card(path: Path = REPORTS) -> dict[str, list[float]]:
    """Measured over predicted seconds of every report, by card: the mean of a report's figures counts once a row."""
    rows = list(csv.DictReader(path.open(encoding="utf-8")))
    found: dict[tuple[str, int], list[float]] = defaultdict(list)
    for each in validate(path).comparisons:
        found[rows[each.row - 1]["gpu"], each.row].append(slowness(each))
    cards: dict[str, list[float]] = defaultdict(list)
    for (card, _), ratios in found.items():
        cards[card].append(exp(statistics.mean(map(log, ratios))))
    return dict(cards)


def middle(cards: dict[str, list[float]]) -> float:
    """The median card's median report, so that a card with many reports counts as one."""
    return statistics.median(statistics.median(ratios) for ratios in cards.values())


def main() -> None:
    """Print every card's median error, and its error with the derating that the others of its class ask for."""
    cards = by_card()
    classes: dict[str, dict[str, list[float]]] = defaultdict(dict)
    for card, ratios in cards.items():
        classes[kernels(gpu(card)).derating_class or "none"][card] = ratios
    print(f"{'class':16} {'card':26} {'reports':>7} {'derating':>8} {'error now':>9} {'left out':>9}")
    for name, members in sorted(classes.items()):
        for card, ratios in sorted(members.items()):
            ours, derating = statistics.median(ratios), kernels(gpu(card)).derating
            others = {other: found for other, found in members.items() if other != card}
            left = f"{100 * (ours / middle(others) - 1):+8.1f}%" if others else "   alone"
            print(f"{name:16} {card:26} {len(ratios):7} {derating:8.2f} {100 * (ours - 1):+8.1f}% {left:>9}")
    every = [ratio for ratios in cards.values() for ratio in ratios]
    print(
        f"{len(every)} reports: median {100 * statistics.median(abs(r - 1) for r in every):.1f} %, "
        f"too fast by {100 * (statistics.median(every) - 1):+.1f} %"
    )


if __name__ == "__main__":
    main()
