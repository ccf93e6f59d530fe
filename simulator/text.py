"""Amounts in words: numbers that people read, counts with their nouns, and names as they were written."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Sequence

_READABLE = 1e15
_MARKS = re.compile(r"[\\`*_{}\[\]<>|#~&]")
_LISTED = re.compile(r"^(\d*)([-+=.)](?=[-=\s]|$))")  # what starts a list or is a rule


def number(value: float, digits: int = 3) -> str:
    """A number to `digits` significant digits or its whole part, thousands grouped.

    >>> number(12345.678), number(0.01234), number(4.0), number(1234.5, 6)
    ('12,346', '0.0123', '4', '1,234.5')
    """
    rounded = abs(float(f"{value:.{digits}g}"))
    return f"{value:,.0f}" if 10 ** (digits - 1) <= rounded < _READABLE else f"{value:,.{digits}g}"


def share(part: float) -> str:
    """A share as a percentage; what is not all of it never reads 100 %, and what is something never 0 %.

    >>> share(0.1234), share(0.9999), share(1.0), share(0.00001)
    ('12.3%', '99.9%', '100%', '0.001%')
    """
    return "99.9%" if 0.999 < part < 1 else f"{part * 100:.3g}%"


def banded(value: float, low: float | None, high: float | None, unit: str = "") -> str:
    """A number with the ends of its band, both to the digits that the band supports; without an
    upper end, from where on.

    >>> banded(2.214, 1.31, 3.12, " s"), banded(2.2, 1.3, None), banded(0.3712, None, None)
    ('2.2 s (1.3 to 3.1)', '2.2 (from 1.3 on)', '0.371')
    """
    if low is None:
        return f"{number(value)}{unit}"
    if high is None:
        return f"{number(value, 2)}{unit} (from {number(low, 2)} on)"
    digits = 2 if high - low > 0.05 * value else 3
    return f"{number(value, digits)}{unit} ({number(low, digits)} to {number(high, digits)})"


def sure(chance: float) -> str:
    """A chance as a confidence; nothing is more than 99 % sure, or less than 1 %.

    >>> sure(0.954), sure(0.9999), sure(0.0)
    ('95% sure', '99% sure', '1% sure')
    """
    return f"{min(max(chance, 0.01), 0.99):.0%} sure"


def plural(count: int, word: str) -> str:
    """A count with its word.

    >>> plural(1, "GPU"), plural(4, "GPU"), plural(1200, "request")
    ('1 GPU', '4 GPUs', '1,200 requests')
    """
    return f"{count:,} {word}" + ("" if count == 1 else "s")


def visible(text: str, keep: str = "") -> str:
    r"""Text from outside in one line: what cannot be printed is spelled out, but for what `keep` has.

    >>> print(visible("H100 [fp8]"), visible("a\x1b[31mb\n"))
    H100 [fp8] a\x1b[31mb\n
    """
    return "".join(c if _is_shown(c) or c in keep else _spelled(c) for c in text)


def shortened(text: str, most: int) -> str:
    """A text of at most about `most` characters: its beginning, and its end, where the way out stands.

    >>> shortened("one two three four five", 15)
    'one two ... five'
    """
    if len(text) <= most:
        return text
    end = most // 3
    return f"{text[: most - end - 3].rstrip()} ... {text[-end:].lstrip()}"


def _is_shown(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _spelled(character: str) -> str:
    return character.encode("unicode_escape").decode()


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """A plain HTML table for notebooks, every text escaped.

    >>> html_table(("a",), [("<b>",)])
    '<table><thead><tr><th>a</th></tr></thead><tbody><tr><td>&lt;b&gt;</td></tr></tbody></table>'
    """

    def row(tag: str, cells: Iterable[str]) -> str:
        return f"<tr>{''.join(f'<{tag}>{html.escape(visible(cell))}</{tag}>' for cell in cells)}</tr>"

    body = "".join(row("td", cells) for cells in rows)
    above = f"<caption>{html.escape(visible(caption))}</caption>" if caption else ""
    return f"<table>{above}<thead>{row('th', head)}</thead><tbody>{body}</tbody></table>"


def as_markdown(text: str) -> str:
    r"""Text from outside in one line that Markdown shows as it was written.

    >>> print(as_markdown("a|b [c](d) `e`"))
    a\|b \[c\](d) \`e\`
    """
    return _LISTED.sub(r"\1\\\2", _MARKS.sub(r"\\\g<0>", visible(" ".join(text.split()))))
