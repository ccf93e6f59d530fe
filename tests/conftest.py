"""Options of the test run.

The suites draw the same random cases every time, so that a commit is judged alike wherever it is tested; `make fuzz` draws new.
"""

import pytest
from hypothesis import settings

from simulator.catalog import hub

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("fuzz", derandomize=False, deadline=None, print_blob=True)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite-golden", action="store_true", help="Write the golden summaries anew instead of comparing.")


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown models are not looked up on the network, whether or not the extra is installed that would."""
    monkeypatch.setattr(hub, "is_installed", lambda: False)


@pytest.fixture(autouse=True)
def no_width_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are as wide as they are where nobody watches, wherever the tests run."""
    monkeypatch.delenv("COLUMNS", raising=False)
