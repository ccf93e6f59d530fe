"""Public reports written as scenarios: what they printed beside what is predicted.

    python -m benchmarks.public_reports FOLDER

Nothing was fitted to most of these, though some taught a cause. FOLDER holds scenarios and `measured.json`, or folders of them.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from benchmarks.residuals import MEASURED, reported
from simulator.validation.measurements import Comparison

METRICS = ("output_tok_s", "tpot_ms_mean", "ttft_ms_mean", "e2e_ms_mean")


def main() -> None:
    """Print every figure, then the errors by metric: of vLLM, of the other engines, of all."""
    found = [each for folder in sorted(file.parent for file in Path(sys.argv[1]).rglob(MEASURED)) for each in reported(folder)]
    for each in found:
        print(f"{each.source:32} {each.metric:14} {each.measured:12.4g} {each.predicted:12.4g} {each.error_percent:+8.1f} %")
    print(f"{'engine':14} {'metric':14} {'n':>4} {'median %':>9} {'mean %':>7} {'bias %':>7}")
    for engine in ("vllm", "other engines", "all"):
        for metric in METRICS:
            if errors := [each.error_percent for each in found if each.metric == metric and _is_of(each, engine)]:
                print(line(engine, metric, errors))


def line(engine: str, metric: str, errors: list[float]) -> str:
    """One line of the table.

    >>> line("vllm", "tpot_ms_mean", [-10.0, 2.0, 30.0])
    'vllm           tpot_ms_mean      3      10.0    14.0    +2.0'
    """
    off = [abs(error) for error in errors]
    figures = f"{statistics.median(off):9.1f} {statistics.mean(off):7.1f} {statistics.median(errors):+7.1f}"
    return f"{engine:14} {metric:14} {len(errors):4} {figures}"


def _is_of(each: Comparison, engine: str) -> bool:
    is_vllm = each.labels is not None and each.labels[0].startswith("vllm")
    return engine == "all" or is_vllm == (engine == "vllm")


if __name__ == "__main__":
    main()
