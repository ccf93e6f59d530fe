"""Plain pages: a title, drawings, tables and lists as one HTML file without a network, for what is not a run."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from simulator.report.charts import theme as theme
from simulator.report.pages.offline import as_json, asset, markup, template, vega


@dataclass(frozen=True, slots=True)
class Drawing:
    """A Vega-Lite specification with what it shows, in words; `more` stand beside it where there is room."""

    title: str
    caption: str
    spec: dict[str, Any]
    more: tuple[dict[str, Any], ...] = ()

    @property
    def specs(self) -> tuple[dict[str, Any], ...]:
        """Every specification, in order."""
        return (self.spec, *self.more)


@dataclass(frozen=True, slots=True)
class PageTable:
    """A table; the first cell of a row is its name. `note`: what is to be known about it, below."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """What the page says before all else; `good` where it is one that helps."""

    heading: str
    sentence: str
    lines: Sequence[str] = ()
    good: bool = True


def plain_page(
    title: str,
    sentence: str,
    drawings: Sequence[Drawing],
    tables: Sequence[PageTable],
    lines: tuple[str, Sequence[str]] = ("", ()),
    code: tuple[str, str] = ("", ""),
    *,
    answer: PageAnswer | None = None,
    first: Sequence[PageTable] = (),
) -> str:
    """The page: the answer, the `first` tables, drawings, the other tables.

    `lines` and `code` are a heading with a list, and with a text to copy.
    """
    from simulator import __version__

    page: str = template("plain.html").render(
        version=__version__,
        title=title,
        sentence=sentence,
        answer=answer,
        first=first,
        figures=_numbered(drawings),
        tables=tables,
        lines_title=lines[0],
        lines=lines[1],
        code_title=code[0],
        code=code[1],
        style=markup(asset("page.css")),
        vega=markup(vega()),
        specs=as_json([spec for drawing in drawings for spec in drawing.specs]),
        config=as_json(theme.config()),
    )
    return page


def _numbered(drawings: Sequence[Drawing]) -> list[dict[str, Any]]:
    """The drawings with the places of their specifications among all of them."""
    places = itertools.count()
    return [{"title": d.title, "caption": d.caption, "places": [next(places) for _ in d.specs]} for d in drawings]
