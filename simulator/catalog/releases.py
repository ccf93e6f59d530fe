"""Releases by their numbers, and when those of vLLM came out, so that a build without a number gets that of its day.

Source: upload dates of the wheels on PyPI, read 2026-11-30.
"""

from __future__ import annotations

from datetime import date

_RELEASED = {
    "0.6.0": date(2024, 9, 4),
    "0.8.5": date(2025, 4, 28),
    "0.9.0": date(2025, 5, 28),
    "0.9.1": date(2025, 6, 10),
    "0.9.2": date(2025, 7, 8),
    "0.10.0": date(2025, 7, 25),
    "0.10.1": date(2025, 8, 19),
    "0.10.2": date(2025, 9, 13),
    "0.11.0": date(2025, 10, 4),
    "0.11.1": date(2025, 11, 19),
    "0.11.2": date(2025, 11, 20),
    "0.12.0": date(2025, 12, 3),
    "0.13.0": date(2025, 12, 19),
    "0.14.0": date(2026, 1, 20),
    "0.15.0": date(2026, 1, 29),
    "0.15.1": date(2026, 2, 5),
    "0.16.0": date(2026, 2, 26),
    "0.17.0": date(2026, 3, 7),
    "0.18.0": date(2026, 3, 20),
    "0.19.0": date(2026, 4, 3),
    "0.20.0": date(2026, 4, 27),
    "0.21.0": date(2026, 5, 15),
    "0.22.0": date(2026, 5, 29),
    "0.23.0": date(2026, 6, 13),
    "0.24.0": date(2026, 6, 30),
    "0.25.0": date(2026, 7, 11),
    "0.26.0": date(2026, 7, 25),
    "0.27.0": date(2026, 8, 10),
    "0.28.0": date(2026, 8, 26),
    "0.29.0": date(2026, 9, 9),
    "0.30.0": date(2026, 9, 22),
    "0.31.0": date(2026, 10, 5),
    "0.32.0": date(2026, 10, 18),
    "0.33.0": date(2026, 11, 2),
}


def vllm_on(day: date) -> str:
    """The newest vLLM release that was out on a day, the oldest we date before that.

    >>> vllm_on(date(2026, 4, 20))
    '0.19.0'
    """
    out = [version for version, released in _RELEASED.items() if released <= day]
    return out[-1] if out else next(iter(_RELEASED))


def numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version, at least three of them.

    >>> numbers("0.19"), numbers("0.10.1.1")
    ((0, 19, 0), (0, 10, 1, 1))
    """
    parts = [int(part) for part in version.split(".")]
    return tuple(parts + [0] * (3 - len(parts)))


def at_least(version: str, other: str) -> bool:
    """Whether a version is another or a later one.

    >>> at_least("0.10.1.1", "0.10.1"), at_least("0.9.2", "0.10")
    (True, False)
    """
    return numbers(version) >= numbers(other)
