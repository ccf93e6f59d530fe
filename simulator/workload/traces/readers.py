"""Readers: a file's columns as a frame of what is needed, with the line that each row stands on.

CSV (plain or .gz) and JSON lines are read by polars; JSON lines that polars refuses are read again one by one, so that the
broken ones can be named. A value that cannot be read is null here; what that means is decided in `cleaning`.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl

from simulator.errors import MeasurementError
from simulator.files import DATA_BYTES, DEEPEST, parse_json, read_content, without_panic
from simulator.numbers import MOST_REQUESTS
from simulator.workload.traces.agentic import flattened
from simulator.workload.traces.columns import Layout
from simulator.workload.traces.tokenizer import Count

Choose = Callable[[list[str]], Layout]
_HEAD_BYTES = 1_000_000
_PIECE_BYTES = 32_000_000
LINE = "line"
HASHES = "hashes"
_KINDS = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet", "")
_SEPARATORS = (",", ";", "\t", "|")
_TEXTS = ("value", "content", "text")
_TOKEN_COUNTS = ("tokens", "num_tokens", "token_count", "n_tokens", "length")


@dataclass(frozen=True, slots=True)
class TraceTable:
    """What a file holds: columns `arrival`, `prompt`, `output`, `hashes`, `label` where it has them, and `line`, from 1."""

    frame: pl.DataFrame
    layout: Layout
    broken: dict[int, str]


def read_trace_table(path: Path, choose: Choose, count: Count | None = None) -> TraceTable:
    """The columns that `choose` picks among those of a CSV, JSON lines, JSON or Parquet file, by its extension. `count` gives
    the tokens of a text, where a JSON list has conversations.

    Raises MeasurementError for a file that is missing, empty, cut short, or of none of these kinds.
    """
    kind = _kind(path)
    if kind == ".parquet":
        return _parquet(path, choose)
    content = _content(path)
    start = content[:64].lstrip()[:1]
    if kind == ".json" and start in (b"[", b"{"):
        return _json(path, content, choose, count)
    if kind in (".jsonl", ".ndjson", ".json") or start == b"{":
        return _json_lines(path, content, choose)
    return _csv(path, content, choose)


def _kind(path: Path) -> str:
    """The extension that tells how to read a file; that of a packed file is the one before `.gz`."""
    packed = path.suffix.lower() == ".gz"
    kind = Path(path.stem).suffix.lower() if packed else path.suffix.lower()
    if kind in _KINDS or packed:
        return kind if kind in _KINDS else ""
    raise MeasurementError(f"{path}: '{kind}' files are not read; a trace is .csv, .csv.gz, .jsonl, .json or .parquet")


def _content(path: Path) -> bytes:
    """The bytes of a file, unpacked."""
    content = read_content(path)
    if path.suffix.lower() == ".gz":
        content = _unpacked(path, content).removeprefix(b"\xef\xbb\xbf")
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise MeasurementError(f"{path}: UTF-16 text as it seems; save the file as UTF-8")
    if (lines := content.count(b"\n")) > MOST_REQUESTS:
        raise MeasurementError(f"{path}: {lines:,} lines; at most {MOST_REQUESTS:,} are read, so cut it into smaller files")
    if not content.strip():
        raise MeasurementError(f"{path}: the file is empty; a trace has a line a request")
    return content


def _unpacked(path: Path, content: bytes) -> bytes:
    """The bytes of a gzip file, at most DATA_BYTES of them."""
    try:
        with gzip.open(io.BytesIO(content)) as packed:
            found = packed.read(DATA_BYTES + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
        raise MeasurementError(f"{path}: the compressed file is damaged or cut short ({problem}); fetch it again") from None
    if len(found) > DATA_BYTES:
        raise MeasurementError(f"{path}: unpacked it is larger than {DATA_BYTES:,} bytes; cut it into smaller files")
    return found


def _csv(path: Path, content: bytes, choose: Choose) -> TraceTable:
    """A CSV with a header, every cell as text; a line that ends early has nulls."""
    head = content.partition(b"\n")[0].decode(errors="replace").strip()
    if not head:
        raise MeasurementError(f"{path}:1: the first line is blank; it must name the columns")
    separator = max(_SEPARATORS, key=head.count)
    if len(head) > _HEAD_BYTES:
        raise MeasurementError(f"{path}:1: a first line of {len(head):,} characters; it must name the columns")
    try:
        layout = choose(pl.read_csv(head.encode(), separator=separator, infer_schema=False).columns)
    except pl.exceptions.PolarsError as problem:
        raise MeasurementError(f"{path}:1: cannot be read as the names of columns: {str(problem).splitlines()[0]}") from None

    def read(quote: str | None) -> pl.DataFrame:
        return (
            pl.scan_csv(
                content,
                separator=separator,
                infer_schema=False,
                truncate_ragged_lines=True,
                quote_char=quote,
                encoding="utf8-lossy",
            )
            .select(pl.col(name).alias(column) for column, name in _roles(layout).items())
            .collect()
        )

    try:
        frame = read('"')
    except pl.exceptions.PolarsError:
        try:
            frame = read(None)
        except pl.exceptions.PolarsError as problem:
            raise MeasurementError(f"{path}: cannot be read as CSV: {str(problem).splitlines()[0]}") from None
    return TraceTable(frame.with_row_index(LINE, offset=2), layout, {})


def _parquet(path: Path, choose: Choose) -> TraceTable:
    try:
        layout = choose(flat_names(without_panic(lambda: pl.read_parquet_schema(path))))
        frame = without_panic(lambda: pl.scan_parquet(path).select(_renamed(layout)).collect())
    except FileNotFoundError:
        raise MeasurementError(f"{path}: no such file") from None
    except (pl.exceptions.PolarsError, OSError) as problem:
        raise MeasurementError(f"{path}: not a readable Parquet file: {str(problem).splitlines()[0]}") from None
    return TraceTable(frame.with_row_index(LINE, offset=1), layout, {})


def _json_lines(path: Path, content: bytes, choose: Choose) -> TraceTable:
    """JSON lines: all at once where every line is sound, line by line where one is not."""
    tail = content[-_HEAD_BYTES:]
    lines = content.count(b"\n", 0, len(content) - len(tail) + len(tail.rstrip())) + 1
    head = content[:_HEAD_BYTES]
    head = head[: head.rfind(b"\n") + 1] or content
    if any(line.count(b"[") + line.count(b"{") > DEEPEST for line in head.split(b"\n")):
        return _line_by_line(path, content, choose)  # polars takes gigabytes for what is nested deeply
    try:
        schema = pl.read_ndjson(head).schema
        layout = choose(flat_names(schema))
        wanted = {name.split(".")[0] for name in layout.columns()}
        frame = _in_pieces(content, {name: kind for name, kind in schema.items() if name in wanted})
        if frame.height == lines:
            return TraceTable(frame.select(_renamed(layout)).with_row_index(LINE, offset=1), layout, {})
    except pl.exceptions.PolarsError:
        pass
    return _line_by_line(path, content, choose)


def _in_pieces(content: bytes, schema: dict[str, pl.DataType]) -> pl.DataFrame:
    """JSON lines read by several threads, some megabytes each."""
    cuts = [0]
    while cuts[-1] < len(content):
        end = content.find(b"\n", min(cuts[-1] + _PIECE_BYTES, len(content)))
        cuts.append(len(content) if end < 0 else end + 1)
    with ThreadPoolExecutor() as threads:
        pieces = threads.map(lambda cut: pl.read_ndjson(content[cut[0] : cut[1]], schema=schema), pairwise(cuts))
        return pl.concat(pieces)


def _line_by_line(path: Path, content: bytes, choose: Choose) -> TraceTable:
    rows: list[tuple[int, dict[str, Any]]] = []
    broken: dict[int, str] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line, "")
        except MeasurementError as problem:
            broken[number] = "not JSON" if "not JSON:" in str(problem) else str(problem).lstrip(": ")
            continue
        if isinstance(row, dict):
            rows += flattened([(number, row)])
        else:
            broken[number] = "not a JSON object"
    if not rows:
        raise MeasurementError(f"{path}: no line is a JSON object; line 1 is {content[:60].decode(errors='replace')!r}")
    return _from_rows(rows, broken, choose)


def _json(path: Path, content: bytes, choose: Choose, count: Count | None) -> TraceTable:
    """A JSON list of requests, or an object that holds one, or one of equally long lists: what benchmarks save."""
    try:
        data = parse_json(content, str(path))
    except MeasurementError as problem:
        if "not JSON:" not in str(problem):
            raise
        return _line_by_line(path, content, choose)
    if isinstance(data, dict):
        lists = {name: value for name, value in data.items() if isinstance(value, list) and value}
        tables = [value for value in lists.values() if all(isinstance(item, dict) for item in value)]
        data = tables[0] if tables else _transposed(lists)
    rows = flattened([(number, row) for number, row in enumerate(data, start=1) if isinstance(row, dict)])
    if not rows:
        raise MeasurementError(
            f"{path}: no list of requests in it; a JSON trace is a list of objects, or an object of equally long lists"
        )
    if "conversations" in rows[0][1]:
        rows = [(number, _first_exchange(path, row, count)) for number, row in rows]
    return _from_rows(rows, {}, choose)


def _transposed(lists: dict[str, list[Any]]) -> list[dict[str, Any]]:
    longest = max((len(value) for value in lists.values()), default=0)
    whole = {name: value for name, value in lists.items() if len(value) == longest}
    return [dict(zip(whole, row, strict=True)) for row in zip(*whole.values(), strict=True)]


def _first_exchange(path: Path, row: dict[str, Any], count: Count | None) -> dict[str, Any]:
    """ShareGPT: the first question and the first answer of a conversation, as vLLM's benchmark takes them, by their token
    counts."""
    counts: list[Any] = []
    turns = row.get("conversations")
    for turn in turns[:2] if isinstance(turns, list) else []:
        known = [turn[name] for name in _TOKEN_COUNTS if name in turn] if isinstance(turn, dict) else []
        text = next((turn[name] for name in _TEXTS if isinstance(turn.get(name), str)), None) if isinstance(turn, dict) else None
        if not known and count is not None and text is not None:
            known = [count(text)]
        if not known:
            raise MeasurementError(
                f"{path}: a turn of a conversation has text and no count of tokens: name the model's tokenizer.json "
                f"(--tokenizer; tokenizer: in a scenario's trace), or give every turn one of {', '.join(_TOKEN_COUNTS)}"
            )
        counts.append(known[0])
    prompt, output = [*counts, None, None][:2]
    return {"prompt_tokens": prompt, "output_tokens": output}


def _from_rows(rows: list[tuple[int, dict[str, Any]]], broken: dict[int, str], choose: Choose) -> TraceTable:
    layout = choose(_flat_keys(rows[0][1]))
    data: dict[str, Any] = {LINE: [number for number, _ in rows]}
    for column, name in _roles(layout).items():
        values = [_at(row, name) for _, row in rows]
        if column == HASHES:
            kind = _kind_of_ids(values)
            data[column] = pl.Series([_ids(v, kind) for v in values], dtype=pl.List(kind), strict=False)
        else:
            data[column] = _series([None if isinstance(v, list | dict | bool) else v for v in values])
    return TraceTable(pl.DataFrame(data), layout, broken)


def _series(values: list[Any]) -> pl.Series:
    """Numbers and texts as one column, text where there are both."""
    if any(isinstance(value, str) for value in values):
        return pl.Series([None if value is None else str(value) for value in values], dtype=pl.String)
    return pl.Series(values, strict=False)


def _ids(value: Any, kind: type[pl.DataType]) -> list[Any] | None:
    """The hash ids of a row; what is none of their kind is null."""
    fits = str if kind is pl.String else int
    return [one if isinstance(one, fits) else None for one in value] if isinstance(value, list) else None


def _kind_of_ids(values: list[Any]) -> type[pl.DataType]:
    """Whether hash ids are text or numbers, by the first one."""
    first = next((ids[0] for ids in values if isinstance(ids, list) and ids), 0)
    return pl.String if isinstance(first, str) else pl.Int64


def _roles(layout: Layout) -> dict[str, str]:
    """Our names of the columns, and the file's."""
    named = {
        "arrival": layout.arrival,
        "prompt": layout.prompt,
        "output": layout.output,
        HASHES: layout.hashes,
        "label": layout.label,
        "images": layout.images,
    }
    return {column: name for column, name in named.items() if name is not None}


def _renamed(layout: Layout) -> list[pl.Expr]:
    """The file's columns under our names; dots lead into nested ones."""
    chosen = []
    for column, name in _roles(layout).items():
        first, *rest = name.split(".")
        expression = pl.col(first)
        for part in rest:
            expression = expression.struct.field(part)
        chosen.append(expression.alias(column))
    return chosen


def flat_names(schema: Mapping[str, Any], above: str = "") -> list[str]:
    """Names of the columns of a schema, with dots for those nested in others."""
    names: list[str] = []
    for name, kind in schema.items():
        inner = {field.name: field.dtype for field in kind.fields} if isinstance(kind, pl.Struct) else {}
        names += flat_names(inner, f"{above}{name}.") if inner else [f"{above}{name}"]
    return names


def _flat_keys(row: Mapping[str, Any], above: str = "") -> list[str]:
    names: list[str] = []
    for name, value in row.items():
        names += _flat_keys(value, f"{above}{name}.") if isinstance(value, dict) and value else [f"{above}{name}"]
    return names


def _at(row: Any, name: str) -> Any:
    """A value of a row, by a name with dots for nesting."""
    for part in name.split("."):
        row = row.get(part) if isinstance(row, dict) else None
    return row
