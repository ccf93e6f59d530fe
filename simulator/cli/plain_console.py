"""A console that takes no text for markup, and sends nothing from outside to the terminal to obey."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from simulator.text import visible


class PlainConsole(Console):
    """Shows strings as they are, in tables, titles and lines alike. Styles come as arguments and as Text."""

    def render_str(self, text: str, **options: Any) -> Text:
        """The string as Text without markup and emoji codes, control characters spelled out."""
        plain = {**options, "markup": False, "emoji": False}
        return super().render_str(visible(text, keep="\n"), **plain)


def plain(text: str, style: str = "") -> Text:
    """A string as styled Text, control characters spelled out."""
    return Text(visible(text, keep="\n"), style=style)
