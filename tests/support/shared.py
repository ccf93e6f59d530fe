"""Where reference measurements may be found: a folder beside the checkout that not every machine has."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"reference measurements not found at {SHARED}")
