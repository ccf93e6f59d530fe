"""How many cases a property test draws."""

import os

TIMES = int(os.environ.get("ENGINE_CASES", "1"))
"""1 in the tests, 200 in `make fuzz`."""
