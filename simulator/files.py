"""Files from outside: one opener, one reader of JSON with bounds, one writer that leaves whole files."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from simulator.errors import MeasurementError, SimulatorError, did_you_mean, nearest_names

# A scenario or config.json has kilobytes; the largest JSON of a benchmark that we have seen has 200 MB.
TEXT_BYTES, DATA_BYTES = 16 * 2**20, 2**30
DEEPEST, MOST_VALUES = 100, 20_000_000
_LONGEST_INT = 18
_DRAFT, OLD = ".draft", ".old"
_BOMS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}

Kind = type[SimulatorError]
T = TypeVar("T")


def read_content(path: Path, kind: Kind = MeasurementError, *, most: int = DATA_BYTES, hint: str = "") -> bytes:
    """The bytes of a file, without a byte order mark of UTF-8.

    Raises an error of the `kind` for a file that is not there (its message ends in `hint`), cannot be read, or has more than
    `most` bytes.
    """
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except FileNotFoundError:
        raise kind(f"{path}: no such file{_offered(path)}{hint}") from None
    except IsADirectoryError:
        raise kind(f"{path}: is a directory; name a file in it") from None
    except (OSError, ValueError) as problem:  # ValueError: a name that no file can have
        why = getattr(problem, "strerror", None) or str(problem)
        raise kind(f"{path}: cannot be read: {why.lower()}") from None
    if len(content) > most:
        raise kind(f"{path}: larger than {most:,} bytes; a file of this kind is smaller")
    return content.removeprefix(b"\xef\xbb\xbf")


def read_text(path: Path, kind: Kind = MeasurementError, *, most: int = TEXT_BYTES, hint: str = "") -> str:
    """The text of a UTF-8 file. Raises as `read_content`, and with the place of what is no UTF-8."""
    return decoded(read_content(path, kind, most=most, hint=hint), path, kind)


def decoded(content: bytes, path: Path, kind: Kind = MeasurementError) -> str:
    """The bytes of a file as text. Raises an error of the `kind` with the place of what is no UTF-8."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as problem:
        lines = content[: problem.start].decode("utf-8").split("\n")
        found = f" (it looks like {_BOMS[content[:2]]})" if content[:2] in _BOMS else ""
        place = f"{path}:{len(lines)}:{len(lines[-1]) + 1}"
        raise kind(f"{place}: cannot be read as UTF-8 text; save the file as UTF-8{found}") from None


def read_json(path: Path, kind: Kind = MeasurementError, *, most: int = TEXT_BYTES, hint: str = "") -> Any:
    """What is in a JSON file. Raises as `read_text` and `parse_json`."""
    return parse_json(read_text(path, kind, most=most, hint=hint), str(path), kind)


def read_json_object(path: Path, kind: Kind = MeasurementError, *, most: int = TEXT_BYTES, hint: str = "") -> dict[str, Any]:
    """The object in a JSON file. Raises as `read_json`, and where it is something else."""
    data = read_json(path, kind, most=most, hint=hint)
    if not isinstance(data, dict):
        raise kind(f"{path}: must be a JSON object, not {_named(data)}")
    return data


def parse_json(text: str | bytes, where: str, kind: Kind = MeasurementError) -> Any:
    """JSON text as data, nested at most DEEPEST deep. Whole numbers of more than 18 digits become floats.

    Raises an error of the `kind` that begins with `where`, a file, with line and column where they are known.
    """
    try:
        data = json.loads(text, parse_int=_whole)
    except json.JSONDecodeError as problem:
        raise kind(f"{where}:{problem.lineno}:{problem.colno}: not JSON: {problem.msg[:1].lower()}{problem.msg[1:]}") from None
    except UnicodeDecodeError:
        raise kind(f"{where}: cannot be read as UTF-8 text; save the file as UTF-8") from None
    except RecursionError:
        raise kind(f"{where}: not JSON that can be read: it is nested too deeply") from None
    check_tree(data, where, kind)
    return data


def read_csv_rows(
    path: Path, kind: Kind = MeasurementError, *, hint: str = ""
) -> tuple[tuple[str, ...], tuple[dict[str, str], ...]]:
    """The columns of a CSV file with a header, and its rows by column; every value is stripped text, "" where absent.

    Raises as `read_text`, and for what is no CSV.
    """
    text = read_text(path, kind, most=DATA_BYTES, hint=hint)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""))
        columns = tuple(name.strip() for name in reader.fieldnames or ())
        return columns, tuple(_stripped(row) for row in reader)
    except csv.Error as problem:
        raise kind(f"{path}: cannot be read as CSV: {problem}") from None


def _stripped(row: Mapping[str | None, str | list[str] | None]) -> dict[str, str]:
    return {name.strip(): value.strip() for name, value in row.items() if name is not None and isinstance(value, str)}


def check_tree(data: Any, where: str, kind: Kind = MeasurementError) -> None:
    """Raise an error of the `kind` for data that is nested deeper than DEEPEST or has text that is no Unicode."""
    level, seen = [data], 0
    for _ in range(DEEPEST + 1):
        below: list[Any] = []
        for node in level:
            if isinstance(node, Mapping):
                below += node.keys()
                below += node.values()
            elif isinstance(node, list | tuple):
                below += node
            elif isinstance(node, str) and not node.isascii() and not _is_unicode(node):
                raise kind(f"{where}: the text {ascii(node)[:40]} has half a character; write it whole")
        seen += len(below)
        if seen > MOST_VALUES:
            raise kind(f"{where}: more than {MOST_VALUES:,} values; a file of this kind has fewer")
        level = below
        if not level:
            return
    raise kind(f"{where}: not data that can be read: it is nested too deeply, more than {DEEPEST} levels")


def write_file(path: Path, content: str | bytes) -> Path:
    """Write a file whole or not at all: beside it first, and then in its place. A link to a file stays one.

    Folders above are made. What is no file, such as /dev/stdout, is written to as it is. Raises OSError.
    """
    data = content.encode() if isinstance(content, str) else content
    if path.exists() and not path.is_file() and not path.is_dir():
        with path.open("wb") as stream:
            stream.write(data)
        return path
    target = path.resolve()
    make_folder(target.parent)
    clear_drafts(target)
    draft = draft_of(target)
    try:
        with draft.open("wb") as file:
            file.write(data)
        if target.exists():
            draft.chmod(target.stat().st_mode & 0o7777)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return path


def without_panic(read: Callable[[], T]) -> T:
    """What a reader of polars gives. Raises OSError where it panics over a damaged file.

    A panic is no Exception, and says its own on stderr; that goes nowhere.
    """
    from polars.exceptions import PanicException

    with _silent_stderr():
        try:
            return read()
        except PanicException as problem:
            raise OSError(f"damaged: {str(problem).splitlines()[0]:.200}") from None


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """What libraries write to the process's stderr themselves goes nowhere."""
    try:
        kept = os.dup(2)
    except OSError:  # there is none
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it. Raises OSError; NotADirectoryError where one of them is a file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, "not a directory", str(folder)) from None


def draft_of(target: Path) -> Path:
    """The hidden path beside a file or folder that this process writes first."""
    return target.with_name(f".{target.name[:200]}.{os.getpid()}{_DRAFT}")


def clear_drafts(target: Path) -> None:
    """Remove drafts beside a file or folder that were left by processes of this machine that are no more.

    What such a process had put aside to replace it comes back where nothing stands in its place.
    """
    import shutil

    with suppress(OSError):
        for left in _left_beside(target):
            if left.suffix == OLD and not target.exists():
                left.rename(target)
            else:
                shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)


def _left_beside(target: Path) -> list[Path]:
    """Drafts of a file or folder, and what was put aside for one, by processes that are no more."""
    before = f".{target.name[:200]}."
    found = [path for path in target.parent.iterdir() if path.name.startswith(before) and path.suffix in (_DRAFT, OLD)]
    owners = [path.name[len(before) : -len(path.suffix)] for path in found]
    return [path for path, owner in zip(found, owners, strict=True) if owner.isdecimal() and not _is_alive(int(owner))]


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _offered(path: Path) -> str:
    """The files beside a path that have a name like it, as the tail of an error message."""
    try:
        siblings = [p.name for p in path.parent.iterdir() if p.suffix == path.suffix] if path.parent.is_dir() else []
    except (OSError, ValueError):
        return ""
    return did_you_mean(nearest_names(path.name, siblings))


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INT else float(digits)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _named(data: Any) -> str:
    return {list: "a list", str: "text", type(None): "null"}.get(type(data), f"the value {data!r:.40}")
