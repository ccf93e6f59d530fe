"""How a trace looks: figures, a line of its rate, the fitted block, and how far that is from the trace."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from simulator.cli.console import console
from simulator.cli.plain_console import plain
from simulator.text import number, plural
from simulator.workload.fit.statistics import LengthStatistics, Portrait, RateStatistics
from simulator.workload.fit.workload import Fit
from simulator.workload.fit.yaml import workload_yaml

_BARS = " ▁▂▃▄▅▆▇█"


def trace_data(file: Path, figures: Portrait, fitted: Fit | str) -> dict[str, Any]:
    """Everything as plain data; the fitted workload as YAML text, or the reason why there is none."""
    data: dict[str, Any] = {"file": str(file), **dataclasses.asdict(figures)}
    if isinstance(fitted, str):
        return {**data, "fit": None, "no_fit": fitted}
    distances = [dataclasses.asdict(distance) for distance in fitted.distances]
    return {**data, "fit": {"yaml": workload_yaml(fitted.workload), "distances": distances, "lost": list(fitted.lost)}}


def print_portrait(file: Path, figures: Portrait, fitted: Fit | str) -> None:
    """The figures as tables on stdout, then the block to paste."""
    out = console()
    read_as = f": {plural(figures.requests, 'request')}, read as {figures.format}"
    out.print(plain(file.name, "bold").append_text(plain(read_as)))
    for note in _notes(figures):
        out.print(f"  {note}", style="yellow")
    if figures.rate is not None:
        _print_rate(out, figures.duration_s, figures.rate)
    out.print(_lengths_table(figures))
    out.print(f"rank correlation of prompt and output {figures.spearman:.2f} (Pearson's {figures.pearson:.2f})")
    if figures.labels:
        out.print("labels: " + ", ".join(f"{name} {share:.1%}" for name, share in figures.labels[:10]))
    if figures.reuse is not None:
        out.print(_reuse_table(figures))
    if isinstance(fitted, str):
        out.print(f"no fitted workload: {fitted}")
        return
    out.print("\nA workload that stands for it:\n")
    print(workload_yaml(fitted.workload))
    out.print(_fit_table(fitted))
    for loss in fitted.lost or ("nothing that was looked at",):
        out.print(f"lost: {loss}")


def _notes(figures: Portrait) -> list[str]:
    notes = []
    if figures.broken:
        notes.append(f"{figures.broken:,} of {figures.lines:,} lines left out: {'; '.join(figures.examples)}")
    if figures.failures:
        notes.append(f"{figures.failures:,} failed requests (no answer) left out")
    if figures.unsorted:
        notes.append(f"{figures.unsorted:,} requests earlier than the line above them; sorted")
    if figures.images:
        notes.append(
            f"{figures.with_images:,} requests bring {figures.images:,} images: their tokens are in the prompts, and the "
            "time of the encoder that makes them is not simulated"
        )
    return notes


def _print_rate(out: Console, duration_s: float, rate: RateStatistics) -> None:
    top = max(rate.per_s)
    out.print(
        f"{_seconds(duration_s)}, {number(rate.mean_per_s)} requests/s, at most {number(top)}/s over {_seconds(rate.bin_s)}"
    )
    out.print("".join(_BARS[round(value / top * (len(_BARS) - 1))] for value in rate.per_s))
    windows = ", ".join(f"{number(value)} over {_seconds(window)}" for window, value in rate.dispersion)
    out.print(f"gaps: cv {rate.gap_cv:.2f} (Poisson 1){f'; counts: variance over mean {windows} (Poisson 1)' if windows else ''}")


def _lengths_table(figures: Portrait) -> Table:
    table = Table("tokens", "mean", "std", "min", "p50", "p90", "p99", "max", "total")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, lengths in (("prompt", figures.prompt), ("output", figures.output)):
        table.add_row(name, *(f"{value:,.0f}" for value in _row(lengths)), f"{lengths.total / 1e6:,.1f} M")
    return table


def _row(lengths: LengthStatistics) -> tuple[float, ...]:
    at = dict(lengths.quantiles)
    return lengths.mean, lengths.std, lengths.least, at[0.5], at[0.9], at[0.99], lengths.greatest


def _reuse_table(figures: Portrait) -> Table:
    reuse = figures.reuse
    assert reuse is not None
    some = f" (first {plural(reuse.requests, 'request')})" if reuse.requests < figures.requests else ""
    table = Table("prefix cache, tokens", "prompt tokens found", title=f"prefix reuse in blocks of {reuse.block_tokens}{some}")
    for tokens, share in reuse.by_cache_tokens:
        table.add_row(f"{tokens:,}", f"{share:.1%}")
    table.add_row(f"without end ({reuse.distinct_tokens:,} distinct)", f"{reuse.endless:.1%}")
    return table


def _fit_table(fitted: Fit) -> Table:
    table = Table("how well it fits", "trace", "fitted", "KS")
    for distance in fitted.distances:
        ks = "" if distance.ks is None else f"{distance.ks:.3f}"
        table.add_row(distance.name, f"{distance.trace:,.4g}", f"{distance.fitted:,.4g}", ks)
    return table


def _seconds(value: float) -> str:
    """A duration in the unit that reads best."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if value >= 1.5 * size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} s"
