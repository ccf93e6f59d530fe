"""Peaks of training runs: how files are read, and how far our plans are from what people measured."""

from pathlib import Path

import numpy as np
import pytest
from support.shared import SHARED, needs_shared

from simulator.errors import MeasurementError
from simulator.memory.training.plan import BAND
from simulator.validation.compare import validate
from simulator.validation.measurements import Findings
from simulator.validation.readers.training import framework_of

HEAD = (
    "framework,sim_model,method,precision,optimizer,micro_batch,seq_len,gradient_checkpointing,measured_kind,"
    "measured_peak_gib,expressible,options_only_in_python,notes"
)
LIT = "lit-gpt Oct 2023,llama-2-7b,lora,bf16,adamw,1,1304,none,allocated,19.84,yes,,"


def measured(tmp_path: Path, *rows: str) -> Findings:
    file = tmp_path / "training.csv"
    file.write_text("\n".join([HEAD, *rows]) + "\n")
    return validate(file)


def test_a_row_is_compared_with_what_was_counted(tmp_path: Path) -> None:
    """PyTorch's own count has neither context nor fragmentation, which the driver sees."""
    kinds = ("allocated", "reserved (99th percentile)", "not stated")
    found = measured(tmp_path, *(LIT.replace("allocated", kind) for kind in kinds)).comparisons
    allocated, reserved, everything = (float(c.predicted) for c in found)
    assert reserved - allocated == pytest.approx(1.06)
    assert everything - reserved == pytest.approx(0.5)


def test_a_row_expressible_in_part_is_not_fully_stated(tmp_path: Path) -> None:
    found = measured(tmp_path, LIT, LIT.replace(",yes,", ",partly,"))
    assert [c.stated for c in found.comparisons] == [True, False]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (LIT.replace("lit-gpt", "mlx"), "column framework: what 'mlx Oct 2023' keeps is not modelled"),
        (LIT.replace(",lora,", ",galore,"), "not a run we know: method"),
        (LIT.replace("19.84", ""), "has no measured_peak_gib"),
        (LIT.replace("1304", "long"), "column seq_len: 'long' is not a whole number of at least 0"),
        (LIT.replace("llama-2-7b", "lama-2-7b"), "did you mean"),
    ],
)
def test_a_row_that_cannot_be_read_is_skipped_with_the_reason(tmp_path: Path, row: str, reason: str) -> None:
    found = measured(tmp_path, LIT, row)
    assert [skip.row for skip in found.skipped] == [2]
    assert reason in found.skipped[0].reason


def test_frameworks_are_known_by_the_names_people_give_them() -> None:
    assert framework_of("LLaMA-Factory") == "transformers-4.44"
    assert framework_of("Megatron-Bridge 2025-12") == "transformer-engine"
    with pytest.raises(MeasurementError, match="not modelled"):
        framework_of("JAX")


@needs_shared
def test_published_peaks_are_met() -> None:
    """Rows whose settings are all known: 6 % in the mean, 80 % within 10 %; the plan's band is what nine of ten keep to."""
    found = validate(SHARED / "validation" / "training_memory.csv")
    assert not found.skipped
    errors = np.array([abs(c.error_percent) for c in found.comparisons if c.stated])
    assert len(errors) >= 25
    assert errors.mean() <= 6
    assert (errors <= 10).mean() >= 0.8
    assert round(float((errors <= 100 * BAND).mean()), 1) == 0.9
