"""Pages opened in Chromium without a network."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support.report_fixtures import HARD_CASES

from simulator.report.pages.run import run_page

SCREENSHOTS = Path(__file__).resolve().parents[2] / "reports" / "screenshots"


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The machine's Chromium; the tests are skipped, and a warning says so, where there is none."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        reason = "NO CHROMIUM: the report was not checked in a browser; install Debian's chromium package"
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The path of a case's page, drawn once."""
    folder = tmp_path_factory.mktemp("pages")

    @cache
    def path(case: str) -> Path:
        file = folder / f"{case}.html"
        file.write_text(run_page(HARD_CASES[case]()), "utf-8")
        return file

    return path


class Opened:
    """A page that is open, with what it complained about and what it asked of a network."""

    def __init__(self, page: Any) -> None:
        self.page, self.complaints, self.requests = page, [], []
        page.on("console", lambda message: self.complaints.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url) if not request.url.startswith("file:") else None)

    def load(self, path: Path) -> None:
        """Open the file and wait until every chart is drawn."""
        self.page.goto(path.as_uri())
        self.page.wait_for_function("document.documentElement.dataset.drawn !== undefined", timeout=60_000)

    def show(self, width: int, scheme: str) -> None:
        """As it stands after it was opened, at another width or in another light; its charts are drawn anew."""
        self.page.emulate_media(media="screen", color_scheme=scheme)
        self.page.set_viewport_size({"width": width, "height": 900})
        self.page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
        for undo in ("document.querySelector('#rate-reset')?.click()", CHOOSE_ALL):
            self.page.evaluate(undo)
        self.page.wait_for_timeout(300)


CHOOSE_ALL = """{
  const focus = document.querySelector("#focus");
  if (focus) { focus.selectedIndex = 0; focus.dispatchEvent(new Event("change")); }
}"""


@pytest.fixture(scope="session")
def open_page(browser: Any, pages: Any) -> Any:
    """Open a case's page offline, at a width and in a light."""

    def open_(case: str, width: int = 1280, scheme: str = "light") -> Opened:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        shown = Opened(context.new_page())
        shown.load(pages(case))
        return shown

    return open_


@pytest.fixture(scope="session")
def opened(open_page: Any) -> Any:
    """A case's page at a width, light unless said: opened once, as it takes seconds, and set back for each test."""
    kept = cache(open_page)

    def shown(case: str, width: int = 1280, scheme: str = "light") -> Opened:
        page: Opened = kept(case)
        page.show(width, scheme)
        return page

    return shown
