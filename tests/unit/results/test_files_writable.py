"""A place that cannot be written to is known before the work, not after."""

from pathlib import Path

import pytest

from simulator.errors import SimulatorError
from simulator.results.files import check_writable


def test_a_folder_that_can_be_made_is_fine(tmp_path: Path) -> None:
    check_writable(tmp_path / "not" / "there" / "yet")


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SimulatorError, match=r"file is not a directory; choose another place with --out"):
        check_writable(tmp_path / "file" / "run")
