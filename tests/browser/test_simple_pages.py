"""The pages of `sim size` and `sim sweep` in a browser: drawn, offline, readable at both widths."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.planning_fixtures import small

from simulator.planning.machines.pool import Processes
from simulator.planning.size import Ask, answered, size
from simulator.planning.sweep import sweep
from simulator.report.pages.size import size_page
from simulator.report.pages.sweep import sweep_page
from simulator.scenario import load

from .conftest import SCREENSHOTS
from .test_page import TEXTS, WIDTHS, overlaps


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The two pages of the small scenario as files."""
    folder = tmp_path_factory.mktemp("simple")
    scenario = load(small(folder))
    sizing = answered(size(scenario, ask=Ask(growth=2.0), machine=Processes(1)), Processes(1))
    rate = "workload.arrivals.rate"
    swept = sweep(small(folder), [f"{rate}=10/s,40/s"], machine=Processes(1))
    pages = {"size": size_page(sizing), "sweep": sweep_page("small", swept, [rate])}
    files = {}
    for name, page in pages.items():
        files[name] = folder / f"{name}.html"
        files[name].write_text(page, "utf-8")
    return files


@pytest.fixture(params=WIDTHS)
def shown(request: Any, browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": request.param, "height": 900}, offline=True)
    page = context.new_page()
    page.complaints = []
    page.on("console", lambda m: page.complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    yield page, request.param
    context.close()


@pytest.mark.parametrize("name", ["size", "sweep"])
def test_the_page_draws_offline_with_the_answer_first_and_nothing_cut_or_covered(shown, written, name) -> None:
    page, width = shown
    page.goto(written[name].as_uri())
    page.wait_for_function("[...document.querySelectorAll('.drawing')].every(d => d.querySelector('svg path'))", timeout=60_000)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}-{width}.png", full_page=True)
    assert page.complaints == []
    assert page.locator(".drawing svg").count() >= 1
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    first = page.locator("main section h2").first.inner_text()
    assert first == "The answer"
    texts = page.evaluate(TEXTS)
    assert [t["text"] for t in texts if t["x"] < -1 or t["x"] + t["w"] > width + 1] == []
    assert overlaps(texts) == []
