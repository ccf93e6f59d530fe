"""How fast the simulator is: `python -m benchmarks`, or `make bench`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # the oracle lives there
