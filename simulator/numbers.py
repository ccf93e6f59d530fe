"""Numbers from outside: one gate that knows their type, their range, and that they must be finite."""

from __future__ import annotations

import math
from typing import Any

from simulator.errors import MeasurementError, SimulatorError

# Nothing that is counted or measured here is larger: bytes, FLOP/s, tokens, nanoseconds since 1970 (1.8e18).
LARGEST, MOST = 1e19, 10**15
# Tokens of one prompt or answer, and requests of one workload: more than anybody has, as much as memory holds.
LONGEST, MOST_REQUESTS = 10_000_000, 20_000_000
# Engines behind one router.
MOST_ENGINES = 10_000


def finite_number(
    value: Any,
    name: str,
    kind: type[SimulatorError] = MeasurementError,
    *,
    least: float = -LARGEST,
    most: float = LARGEST,
    above: float | None = None,
) -> float:
    """A value that must be a number from `least` to `most`, or above `above`; text is read as one.

    Raises an error of the `kind` that begins with `name`: where the value stands, with the file and line if there are any.
    """
    found = _read(value)
    if found is None:
        raise kind(f"{name}: {_shown(value)} is not a number")
    if not math.isfinite(found):
        raise kind(f"{name}: {_shown(value)} is not a finite number")
    if above is not None and found <= above:
        raise kind(f"{name}: {_shown(value)} cannot be; it must be above {above:g}")
    if found < least or found > most:
        raise kind(f"{name}: {_shown(value)} cannot be; it must be from {least:g} to {most:g}")
    return found


def integer(value: Any, name: str, kind: type[SimulatorError] = MeasurementError, *, least: int = 0, most: int = MOST) -> int:
    """A value that must be a whole number from `least` to `most`; text is read as one. Raises as `finite_number`."""
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return value
    found = _read(value)
    if found is None or not math.isfinite(found) or found != int(found):
        raise kind(f"{name}: {_shown(value)} is not a whole number of at least {least}")
    if not least <= found <= most:
        raise kind(f"{name}: {_shown(value)} cannot be; it must be a whole number from {least:,} to {most:,}")
    return int(found)


def _read(value: Any) -> float | None:
    """The value as a number; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None
    except OverflowError:
        return math.inf


def _shown(value: Any) -> str:
    """The value in few characters; whole numbers of thousands of digits cannot be written."""
    if isinstance(value, int) and abs(value) > MOST:
        return f"{_read(value):g}"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
