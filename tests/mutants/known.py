"""Mutants that were read and cannot be told from the original: file, a part of how it is shown, and why."""

EQUIVALENT: tuple[tuple[str, str, str], ...] = ()
