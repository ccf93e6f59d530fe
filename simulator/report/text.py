"""Text: a run for the terminal and for a pull request, in the order of the page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.report import words
from simulator.report.words import MARKS, NONE, Row, comparison
from simulator.results.outcome import DeploymentResult, Memory, RunResult

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table
    from rich.text import Text

_LABEL, _COLUMN, _BAR, _ROOMY = 30, 17, 24, 100


@dataclass(frozen=True, slots=True)
class _Terminal:
    """A run as rich prints it: verdicts, recommendation, comparison, memory and rates as small bars.

    It takes the width of the terminal: where not all deployments fit beside each other, tables stand under each other. Without
    Unicode the signs and bars are ASCII.
    """

    run: RunResult

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        from rich.text import Text

        run, ascii_only, width = self.run, options.ascii_only, options.max_width
        yield Text(run.name, style="bold")
        if run.description:
            yield Text(run.description)
        yield Text(words.scenario_sentence(run) + (f" SLO: {'; '.join(run.slo)}." if run.slo else ""), style="dim")
        yield Text("")
        for d in run.deployments:
            yield from _verdict(d, run.workload.rate_per_s, ascii_only=ascii_only)
        yield Text("")
        yield Text(run.recommendation.sentence, style="bold green" if run.recommendation.deployment else "bold red")
        for some in _beside(run.deployments, width):
            yield Text("")
            yield _table(run, some, ascii_only=ascii_only)
        yield from _bars(run, width, ascii_only=ascii_only)


def terminal(run: RunResult) -> RenderableType:
    """A run as rich prints it, as wide as the terminal."""
    return _Terminal(run)


def markdown(run: RunResult) -> str:
    """A run as Markdown that a pull request shows well: verdicts, recommendation, comparison, and what it rests on."""
    lines = [f"# {_plain(run.name)}", "", *([_plain(run.description), ""] if run.description else [])]
    lines += [_plain(words.scenario_sentence(run)) + (f" SLO: {_plain('; '.join(run.slo))}." if run.slo else ""), ""]
    lines += [_verdict_line(d, run.workload.rate_per_s) for d in run.deployments]
    lines += ["", f"**{_plain(run.recommendation.sentence)}**", ""]
    lines += ["| | " + " | ".join(_plain(d.name) for d in run.deployments) + " |", "|---|" + "---|" * len(run.deployments)]
    lines += [
        f"| {row.label} | " + " | ".join(_plain(text) for text in texts) + " |"
        for row, texts in _known_rows(run, run.deployments)
    ]
    lines += ["", *_trust(run), "", f"Made by inference-sizing-simulator {run.version}, seed {run.seed}:", "", "```"]
    return "\n".join([*lines, run.command, "```", ""])


def _beside(deployments: Sequence[DeploymentResult], width: int) -> Iterator[Sequence[DeploymentResult]]:
    """The deployments in as few tables as the width allows, about equally many in each."""
    fit = max(1, (width - _COLUMN) // _COLUMN)
    tables = -(-len(deployments) // fit)
    size = -(-len(deployments) // tables) if tables else 1
    return (deployments[start : start + size] for start in range(0, len(deployments), size))


def _verdict_line(d: DeploymentResult, demand: float | None) -> str:
    remedy = words.remedy_line(d, demand)
    help_ = f" Would help: {_plain(remedy)}." if remedy else ""
    slo = f", SLO {words.slo_word(d)}" if d.runs and d.slo_met is not None else ""
    return f"- {MARKS[d.verdict].sign} **{_plain(d.name)}**: {d.verdict}{slo}. {_plain(words.sentence(d.reason))}{help_}"


def _trust(run: RunResult) -> list[str]:
    bands = dict.fromkeys(f"{name} ±{band.percent:g}%" for d in run.deployments for name, band in d.error_bands.items())
    lines = [f"Error bands: {', '.join(bands)}."] if bands else []
    return lines + ([f"Not modelled: {_plain('; '.join(run.not_modelled))}."] if run.not_modelled else [])


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_{}\[\]<>|#~])", r"\\\1", " ".join(text.split()))


def _known_rows(run: RunResult, deployments: Sequence[DeploymentResult]) -> list[tuple[Row, list[str]]]:
    """The rows of the comparison in which anything is known."""
    written = [(row, [row.value(d) for d in deployments]) for row in comparison(run)]
    return [(row, texts) for row, texts in written if any(text != NONE for text in texts)]


def _verdict(d: DeploymentResult, demand: float | None, *, ascii_only: bool) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    mark = MARKS[d.verdict]
    line = Text(f"{mark.ascii if ascii_only else mark.sign} ", style=mark.color)
    line.append(d.name, style="bold")
    line.append(f"  {d.verdict}", style=mark.color)
    if d.runs and d.slo_met is not None:
        line.append(f", SLO {words.slo_word(d)}")
    if d.cost:
        line.append(f", {words.usd(d.cost.usd_per_hour)}/h")
    yield line
    yield Padding(Text(words.sentence(d.reason), style="dim"), (0, 0, 0, 2))
    if remedy := words.remedy_line(d, demand):
        yield Padding(Text(f"Would help: {remedy}"), (0, 0, 0, 2))


def _table(run: RunResult, deployments: Sequence[DeploymentResult], *, ascii_only: bool) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.ASCII2 if ascii_only else box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", min_width=16, max_width=_LABEL)
    for d in deployments:
        mark = MARKS[d.verdict]
        header = Text.assemble((mark.ascii if ascii_only else mark.sign, mark.color), " ", d.name)
        table.add_column(header, min_width=min(_COLUMN, 12), overflow="fold")
    group = ""
    for row, texts in _known_rows(run, deployments):
        if group and row.group != group:
            table.add_section()
        group = row.group
        table.add_row(Text(row.label, style="dim"), *(Text(_ascii(text) if ascii_only else text) for text in texts))
    return table


def _bars(run: RunResult, width: int, *, ascii_only: bool) -> Iterator[Text]:
    from rich.text import Text

    name_width = min(max((len(d.name) for d in run.deployments), default=0), width - 4)
    end = "  " if width >= _ROOMY + max(name_width - 16, 0) else "\n    "
    planned = [(d, d.memory) for d in run.deployments if d.memory]
    if planned:
        yield Text("\nMemory of one GPU", style="bold")
        card = max(memory.total_bytes for _, memory in planned)
        for d, memory in planned:
            yield _line(f"{d.name:<{name_width}}", end, _memory_bar(memory, card, ascii_only=ascii_only), _memory_words(memory))
    rated = [d for d in run.deployments if d.queueing_point]
    if rated:
        yield Text("\nRate it sustains", style="bold")
        most = max([d.queueing_point.value for d in rated if d.queueing_point] + [run.workload.rate_per_s or 0.0])
        for d in rated:
            yield _line(
                f"{d.name:<{name_width}}", end, _rate_bar(d, most, run.workload.rate_per_s, ascii_only=ascii_only), _rate_words(d)
            )


def _line(name: str, end: str, bar: Text, said: str) -> Text:
    from rich.text import Text

    return Text.assemble(f"  {name}{end}", bar, f"{end}{said}")


def _memory_bar(memory: Memory, card: float, *, ascii_only: bool) -> Text:
    """Weights, what else is needed, KV cache and what is left, in proportion to the largest card."""
    other = memory.activation_bytes + memory.non_torch_bytes + memory.cuda_graph_bytes
    kv = max(memory.kv_cache_bytes, 0.0)
    free = max(memory.total_bytes - memory.weights_bytes - other - kv, 0.0)
    signs = "#=.-" if ascii_only else "█▓░·"
    return _stacked([memory.weights_bytes, other, kv, free], card, signs, ("blue", "yellow", "green", "dim"))


def _stacked(amounts: Sequence[float], whole: float, signs: str, styles: Sequence[str]) -> Text:
    from rich.text import Text

    bar, reached, at = Text(), 0.0, 0
    for amount, sign, style in zip(amounts, signs, styles, strict=True):
        reached += amount
        upto = min(round(reached / whole * _BAR), _BAR) if whole > 0 else 0
        bar.append(sign * (upto - at), style=style)
        at = max(at, upto)
    return bar.append(" " * (_BAR - at))


def _rate_bar(d: DeploymentResult, most: float, demand: float | None, *, ascii_only: bool) -> Text:
    """Up to the SLO capacity, on to the queueing point, with the demand as a bar across."""
    from rich.text import Text

    queueing = d.queueing_point.value if d.queueing_point else 0.0
    within = min(d.slo_capacity.value if d.slo_capacity else 0.0, queueing)
    bar = _stacked([within, queueing - within], most, "#-" if ascii_only else "█▒", ("green", "yellow"))
    if not demand or most <= 0:
        return bar
    at = min(round(demand / most * _BAR), _BAR - 1)
    return Text.assemble(bar[:at], ("|", "bold"), bar[at + 1 :])


def _memory_words(memory: Memory) -> str:
    other = memory.activation_bytes + memory.non_torch_bytes + memory.cuda_graph_bytes
    parts = f"{words.gib(memory.weights_bytes)} weights, {words.gib(other)} other"
    return f"{parts}, {words.gib(max(memory.kv_cache_bytes, 0.0))} KV of {words.gib(memory.total_bytes)}"


def _rate_words(d: DeploymentResult) -> str:
    slo = f"SLO to {words.rate(d.slo_capacity.value)}, " if d.slo_capacity else ""
    return f"{slo}queues at {words.estimate(d.queueing_point)}"


def _ascii(text: str) -> str:
    return text.replace("–", "-").replace("≥", ">=").replace("≤", "<=").replace("±", "+-")
