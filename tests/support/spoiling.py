"""Sound trees, rows and bytes made wrong: values, names, shapes and encodings that nobody should have written."""

from __future__ import annotations

import copy
import json
import math
import random
import re
from collections.abc import Iterator
from typing import Any

DEEP: Any = []
for _ in range(200):
    DEEP = [DEEP]
VALUES: list[Any] = [
    None, True, False, "", " ", "x", "a" * 3000, "\ud800", "\x1b[31m", "=1+1", "[/x]",
    "é✓", "٣", "1_000", "1e400", "nan", "-inf", "0x10",
    "4/fortnight", "-4/s", "1e300/s", "1e-300/s", "9" * 400 + "/s", "2024-99-99",
    "../../x", "/etc/passwd", "/dev/zero", "a\nb", "a\0b", "*",
    0, -1, 1, 2, 7, 0.5, -0.0, 2.5, 1e-9, 1e-30, 5e-324, 1e9, 1e12, 1e30, 1e308, -1e308, math.nan, math.inf, -math.inf,
    10**6, 10**9, 10**10, 10**12, 2**31, 2**63, -(2**63) - 1, 10**30, 10**400,
    [], {}, [[]], [None], [1, 2], ["a"], [-1], {"a": 1},
    {"kind": "x"}, {"": {}}, {"kind": ["poisson"]}, DEEP,
]  # fmt: skip
CELLS = [value for value in VALUES if not isinstance(value, list | dict)] + [
    "1,5",
    "1.5.5",
    "12 mean",
    '"',
    "a;b",
    "\t",
    "1e9999999999",
]


def changed(rng: random.Random, tree: Any, times: int | None = None) -> Any:
    """A copy of a tree with a few values, keys or shapes changed."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 1, 2, 3)) if times is None else times):
        places = list(_places(tree))
        if not places:
            return rng.choice(VALUES)
        holder, key = rng.choice(places)
        what = rng.random()
        if what < 0.65:
            holder[key] = wrong(rng, holder[key])
        elif what < 0.75:
            del holder[key]
        elif what < 0.85 and isinstance(holder, dict):
            holder[rng.choice(("x", "", str(key) + "s", 1, "kind", "é", "a" * 300))] = (
                holder.pop(key) if rng.random() < 0.5 else 1
            )
        elif isinstance(holder, list):
            holder.insert(0, copy.deepcopy(rng.choice([*holder, rng.choice(VALUES)])))
        else:
            holder[key] = rng.choice(([holder[key]], {"value": holder[key]}))
    return tree


def wrong(rng: random.Random, value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool) and rng.random() < 0.4:
        return value * rng.choice((-1, 0, 1000, 10**6, 10**9, 1e-9, 1e20, 1e300, 1.5))
    return copy.deepcopy(rng.choice(VALUES))


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(tree, dict):
        for key in tree:
            yield tree, key
            yield from _places(tree[key])
    elif isinstance(tree, list):
        for index in range(len(tree)):
            yield tree, index
            yield from _places(tree[index])


def spoilt(rng: random.Random, content: bytes) -> bytes:
    """Bytes as they are, or in another encoding, cut, with some changed."""
    what = rng.random()
    if what < 0.8 or not content:
        return content
    at = rng.randrange(len(content))
    other = rng.choice(("utf-16", "utf-8-sig", "latin-1", "utf-32"))
    return rng.choice(
        (
            content[:at],
            content[:at] + bytes((rng.randrange(256),)) + content[at + 1 :],
            content[:at] + b"\x00" + content[at:],
            content[:at] + b"\xff\xfe" + content[at:],
            content[:at] + content[at : at + 40] * 50 + content[at:],
            b"",
            b"\n" * 5,
            content.replace(b"\n", b"\r\n"),
            content.replace(b"\n", b"\r"),
            content.decode("utf-8", "replace").encode(other, "replace"),
            content + content,
            b"[" * 900 + b"]" * 900,
            content.replace(b",", b";"),
        )
    )


def as_yaml(tree: Any) -> bytes:
    """A tree as YAML, in the notation of JSON; half characters and whole numbers of any length stay what they are."""
    return re.sub(r"\bNaN\b", ".nan", re.sub(r"(-?)\bInfinity\b", r"\1.inf", as_json(tree))).encode()


def as_json(tree: Any) -> str:
    return json.dumps(tree, skipkeys=True)


def as_csv(rng: random.Random, rows: list[dict[str, Any]]) -> bytes:
    """Rows as CSV with a few cells, names, or whole rows changed."""
    rows = [dict(row) for row in rows]
    for _ in range(rng.choice((1, 1, 2, 3))):
        row, what = rng.choice([row for row in rows if row]), rng.random()
        name = rng.choice(list(row))
        if what < 0.7:
            value = wrong(rng, row[name])
            row[name] = value if not isinstance(value, list | dict) else rng.choice(CELLS)
        elif what < 0.8:
            other = rng.choice(("x", "", f"{name}_s", "é", name.upper(), "a" * 300))
            rows = [{other if key == name else key: value for key, value in one.items()} for one in rows]
        elif what < 0.9:
            rows = [{key: value for key, value in one.items() if key != name or len(one) == 1} for one in rows]
        else:
            rows.insert(rng.randrange(len(rows)), rng.choice(({}, dict.fromkeys(row, ""), {**row, "more": ",,,"})))
    names = list(dict.fromkeys(key for row in rows for key in row))
    quote = rng.random() < 0.9

    def cell(value: Any) -> str:
        text = str(value)[:5000] if not isinstance(value, int) or abs(value) < 10**100 else "9" * 400
        return '"' + text.replace('"', '""') + '"' if quote and set(text) & set(',"\n') else text

    lines = [",".join(map(cell, names)), *(",".join(cell(row.get(name, "")) for name in names) for row in rows)]
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")
