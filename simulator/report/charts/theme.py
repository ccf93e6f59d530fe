"""Theme: colors, dashes and chart settings. Colors differ to color-blind eyes and stand out on the light and the dark page."""

from __future__ import annotations

from typing import Any

PALETTE = ("#2e86c8", "#d55e00", "#0a9a6e", "#b5518f", "#a07800", "#888888")
DASHES: tuple[list[int], ...] = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
PARTS = ("#2e86c8", "#a07800", "#888888", "#b5518f", "#0a9a6e", "#d55e00", "#5b6ee1", "#6d7f1f")
LIMIT = "#d0342c"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"


def color(index: int) -> str:
    """The color of the index-th deployment; after six they come again with another dash."""
    return PALETTE[index % len(PALETTE)]


def dash(index: int) -> list[int]:
    """The dash of the index-th deployment, as lengths of stroke and gap in pixels."""
    return DASHES[index // len(PALETTE) % len(DASHES)]


def shape(index: int) -> str:
    """The point of the index-th deployment."""
    return SHAPES[index % len(SHAPES)]


def config(ink: str = "currentColor", background: str | None = None) -> dict[str, Any]:
    """Vega-Lite settings. On the page the ink is the text's own color, so that dark mode and print need no second drawing.

    Marks carry no labels for screen readers: the page describes each drawing as a whole.
    """
    axis = {
        **{f"{part}Color": ink for part in ("label", "title", "domain", "tick", "grid")},
        "gridOpacity": 0.13,
        "domainOpacity": 0.4,
        "tickOpacity": 0.4,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelFlush": False,
        "labelOverlap": True,
        "labelSeparation": 8,
    }
    legend = {
        "labelColor": ink,
        "titleColor": ink,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "orient": "bottom",
        "title": None,
        "labelLimit": 260,
    }
    return {
        "aria": False,
        "background": background,
        "font": FONT,
        "view": {"stroke": None},
        "axis": axis,
        "legend": legend,
        "header": {"labelColor": ink, "labelFont": FONT, "labelFontSize": 12},
        "title": {"color": ink, "anchor": "start", "fontSize": 13, "fontWeight": 600, "offset": 8},
        "text": {"color": ink, "fontSize": 12},
        "rule": {"color": ink},
        "tick": {"color": ink},
    }
