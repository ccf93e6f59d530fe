"""Plain pages: a title, drawings, tables and lists as one HTML file without a network, for what is not a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from simulator.report.charts import theme as theme
from simulator.report.pages.offline import as_json, asset, markup, template, vega


@dataclass(frozen=True, slots=True)
class Drawing:
    """A Vega-Lite specification with what it shows, in words."""

    title: str
    caption: str
    spec: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PageTable:
    """A table; the first cell of a row is its name."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def plain_page(
    title: str,
    sentence: str,
    drawings: Sequence[Drawing],
    tables: Sequence[PageTable],
    lines: tuple[str, Sequence[str]] = ("", ()),
    code: tuple[str, str] = ("", ""),
) -> str:
    """The page. `lines` and `code` are a heading with a list, and with a text to copy."""
    from simulator import __version__

    page: str = template("plain.html").render(
        version=__version__,
        title=title,
        sentence=sentence,
        figures=drawings,
        tables=tables,
        lines_title=lines[0],
        lines=lines[1],
        code_title=code[0],
        code=code[1],
        style=markup(asset("page.css")),
        vega=markup(vega()),
        specs=as_json([drawing.spec for drawing in drawings]),
        config=as_json(theme.config()),
    )
    return page
