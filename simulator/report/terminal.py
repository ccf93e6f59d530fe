"""Text: a run for the terminal and for a pull request, in the order of the page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.report import words
from simulator.report.comparison import Row, comparison
from simulator.report.words import NONE, mark
from simulator.results.model import DeploymentResult, RunResult
from simulator.text import as_markdown, visible

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table
    from rich.text import Text

_LABEL, _COLUMN, _BAR, _ROOMY = 30, 17, 24, 88


def terminal(run: RunResult) -> RenderableType:
    """A run as rich prints it, as wide as the terminal."""
    return _Terminal(run)


def markdown(run: RunResult) -> str:
    """A run as Markdown that a pull request shows well: verdicts, recommendation, comparison, and what it rests on."""
    lines = [f"# {as_markdown(run.name)}", "", *([as_markdown(run.description), ""] if run.description else [])]
    lines += [as_markdown(words.scenario_sentence(run)) + (f" SLO: {as_markdown('; '.join(run.slo))}." if run.slo else ""), ""]
    lines += [f"> Is it meant? {as_markdown(words.sentence(doubt))}\n" for doubt in run.doubts]
    lines += [f"**{as_markdown(run.recommendation.sentence)}**", ""]
    lines += [f"- {as_markdown(line)}" for line in run.recommendation.lines]
    lines += ["", *(_verdict_line(d, run.workload.busiest_per_s) for d in words.ranked(run)), ""]
    lines += ["| | " + " | ".join(as_markdown(d.name) for d in run.deployments) + " |", "|---|" + "---|" * len(run.deployments)]
    lines += [
        f"| {as_markdown(row.label)} | " + " | ".join(as_markdown(text) for text in texts) + " |"
        for row, texts in _known_rows(run, run.deployments)
    ]
    lines += ["", *_trust(run), "", f"Made by inference-sizing-simulator {run.version}, seed {run.seed}:", ""]
    fence = _fence(run.command)
    return "\n".join([*lines, fence, visible(run.command, keep="\n"), fence, ""])


def _beside(deployments: Sequence[DeploymentResult], width: int) -> Iterator[Sequence[DeploymentResult]]:
    """The deployments in as few tables as the width allows, about equally many in each."""
    fit = max(1, (width - _COLUMN) // _COLUMN)
    tables = -(-len(deployments) // fit)
    size = -(-len(deployments) // tables) if tables else 1
    return (deployments[start : start + size] for start in range(0, len(deployments), size))


def _verdict_line(d: DeploymentResult, demand: float | None) -> str:
    remedy = words.remedy_line(d, demand)
    help_ = f" Would help: {as_markdown(remedy)}." if remedy else ""
    said = [words.judged_line(d), words.sureness(d)]
    judged = "".join(f" {as_markdown(words.sentence(line))}" for line in said if line)
    verdict = f"{d.verdict}{as_markdown(words.slo_phrase(d))}"
    return f"- {mark(d).sign} **{as_markdown(d.name)}**: {verdict}. {as_markdown(words.sentence(d.reason))}{judged}{help_}"


def _trust(run: RunResult) -> list[str]:
    bands = dict.fromkeys(words.band(name, error) for d in run.deployments for name, error in d.error_bands.items())
    lines = [f"Error bands: {', '.join(bands)}."] if bands else []
    return lines + ([f"Not modelled: {as_markdown('; '.join(run.not_modelled))}."] if run.not_modelled else [])


def _fence(code: str) -> str:
    """Backticks, more of them than the code has in a row."""
    return "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))


def _known_rows(run: RunResult, deployments: Sequence[DeploymentResult]) -> list[tuple[Row, list[str]]]:
    """The rows of the comparison in which anything is known."""
    written = [(row, [row.say(d) for d in deployments]) for row in comparison(run)]
    return [(row, texts) for row, texts in written if any(text != NONE for text in texts)]


@dataclass(frozen=True, slots=True)
class _Terminal:
    """Prints a run, as wide as the console is, in ASCII where it knows nothing else."""

    run: RunResult

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        return _Printer(self.run, options.max_width, options.ascii_only).everything()


@dataclass(frozen=True, slots=True)
class _Printer:
    run: RunResult
    width: int
    ascii_only: bool

    def text(self, words_: str, style: str = "") -> Text:
        """Words that this console can show."""
        from rich.text import Text

        shown = visible(words_, keep="\n")
        return Text(_ascii(shown) if self.ascii_only else shown, style=style)

    def everything(self) -> Iterator[RenderableType]:
        run = self.run
        yield self.text(run.name, "bold")
        if run.description:
            yield self.text(run.description)
        slo = f" SLO: {'; '.join(run.slo)}." if run.slo else ""
        yield self.text(words.scenario_sentence(run) + slo, "dim")
        for doubt in run.doubts:
            yield self.text(f"Is it meant? {words.sentence(doubt)}", "yellow")
        yield self.text("")
        yield self.text(run.recommendation.sentence, "bold green" if run.recommendation.deployment else "bold red")
        for line in run.recommendation.lines:
            yield self.text(line)
        yield self.text("")
        full, short = words.folded(run)
        for d in full:
            yield from self.verdict(d)
        for d in short:
            yield self.headline(d)
        for some in _beside(run.deployments, self.width):
            yield self.text("")
            yield self.table(some)
        yield from self.memory()
        yield from self.rates()

    def sign(self, d: DeploymentResult) -> str:
        return mark(d).ascii if self.ascii_only else mark(d).sign

    def headline(self, d: DeploymentResult) -> Text:
        """A line of verdict."""
        color = mark(d).color
        line = self.text(f"{self.sign(d)} ", color).append_text(self.text(d.name, "bold")).append(f"  {d.verdict}", color)
        line.append_text(self.text(words.slo_phrase(d)))
        return line.append(f", {words.usd(d.cost.usd_per_hour)}/h" if d.cost else "")

    def verdict(self, d: DeploymentResult) -> Iterator[RenderableType]:
        """A line of verdict, of reason, of what was judged, of how sure that is, and of remedy."""
        from rich.padding import Padding

        yield self.headline(d)
        yield Padding(self.text(words.sentence(d.reason), "dim"), (0, 0, 0, 2))
        for said in (words.judged_line(d), words.sureness(d)):
            if said:
                yield Padding(self.text(words.sentence(said)), (0, 0, 0, 2))
        if remedy := words.remedy_line(d, self.run.workload.busiest_per_s):
            yield Padding(self.text(f"Would help: {remedy}"), (0, 0, 0, 2))

    def table(self, deployments: Sequence[DeploymentResult]) -> Table:
        from rich import box
        from rich.table import Table

        table = Table(box=box.ASCII2 if self.ascii_only else box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("", max_width=_LABEL)
        for d in deployments:
            header = self.text(self.sign(d), mark(d).color).append(" ").append_text(self.text(d.name))
            table.add_column(header, overflow="fold")
        group = ""
        for row, texts in _known_rows(self.run, deployments):
            if group and row.group != group:
                table.add_section()
            group = row.group
            table.add_row(self.text(row.label, "dim"), *map(self.text, texts))
        return table

    def memory(self) -> Iterator[Text]:
        """Weights, what else is needed, KV cache and what is left, in proportion to the largest card."""
        planned = [(d, d.memory) for d in self.run.deployments if d.memory]
        if planned:
            yield self.text("\nMemory of one GPU", "bold")
        card = max((m.total_bytes for _, m in planned), default=0.0)
        for d, m in planned:
            other, kv = m.activation_bytes + m.non_torch_bytes + m.cuda_graph_bytes, max(m.kv_cache_bytes, 0.0)
            free = max(m.total_bytes - m.weights_bytes - other - kv, 0.0)
            signs = "#=.-" if self.ascii_only else "█▓░·"
            bar = self.bar([m.weights_bytes, other, kv, free], card, signs, ("blue", "yellow", "green", "dim"))
            parts = f"{words.gib(m.weights_bytes)} weights, {words.gib(other)} other, {words.gib(kv)} KV"
            yield self.line(d, bar, f"{parts} of {words.gib(m.total_bytes)}")

    def rates(self) -> Iterator[Text]:
        """Bars up to the SLO capacity and on to the queueing point, with the demand as a stroke across."""
        rated = [(d, d.queueing_point) for d in self.run.deployments if d.queueing_point]
        if rated:
            yield self.text("\nRate it sustains", "bold")
        demand = self.run.workload.rate_per_s or 0.0
        most = max([point.value for _, point in rated] + [demand])
        for d, point in rated:
            within = min(d.slo_capacity.value if d.slo_capacity else 0.0, point.value)
            bar = self.bar([within, point.value - within], most, "#-" if self.ascii_only else "█▒", ("green", "yellow"))
            if demand:
                at = min(round(demand / most * _BAR), _BAR - 1)
                bar = bar[:at].append("|", "bold").append_text(bar[at + 1 :])
            slo = f"SLO to {words.rate(d.slo_capacity.value)}, " if d.slo_capacity else ""
            recovers = f", recovers below {words.rate(d.recovers_below_per_s)}" if d.recovers_below_per_s is not None else ""
            yield self.line(d, bar, f"{slo}queues at {words.queueing(d)}{recovers}")

    def line(self, d: DeploymentResult, bar: Text, said: str) -> Text:
        """A name, a bar and what it shows, on one line where there is room for it."""
        longest = max(len(other.name) for other in self.run.deployments)
        roomy = self.width >= _ROOMY + longest
        line = self.text(f"  {d.name:<{longest}}  " if roomy else f"  {d.name}\n    ")
        return line.append_text(bar).append_text(self.text(f"  {said}" if roomy else f"\n    {said}"))

    def bar(self, amounts: Sequence[float], whole: float, signs: str, styles: Sequence[str]) -> Text:
        bar, reached, at = self.text(""), 0.0, 0
        for amount, sign, style in zip(amounts, signs, styles, strict=True):
            reached += amount
            upto = min(round(reached / whole * _BAR), _BAR) if whole > 0 else 0
            bar.append(sign * (upto - at), style=style)
            at = max(at, upto)
        return bar.append(" " * (_BAR - at))


def _ascii(text: str) -> str:
    for sign, plain in (("–", "-"), ("−", "-"), ("≥", ">="), ("≤", "<="), ("±", "+-"), ("…", "...")):
        text = text.replace(sign, plain)
    return text.encode("ascii", "replace").decode()
