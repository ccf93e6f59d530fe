"""How many cases a property test draws."""

import os

TIMES = int(os.environ.get("ENGINE_CASES", "1"))
"""1 in the quick suite, 2 in `make test`, 100 in `make fuzz`."""
