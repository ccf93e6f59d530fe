"""The page of `sim memory` in a browser: drawn offline, with nothing cut at either width."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simulator.catalog.gpus import gpu
from simulator.catalog.models import model
from simulator.memory.training.plan import Training, plan_training
from simulator.report.pages.memory import training_page


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_of_a_training_run_is_drawn_offline_at_both_widths(browser: Any, tmp_path: Path, width: int) -> None:
    plans = [plan_training(model("llama-3.1-8b"), gpu(name), Training(tokens=10**9)) for name in ("rtx-4090", "a100-80gb-sxm")]
    file = tmp_path / "memory.html"
    file.write_text(training_page(plans), "utf-8")
    page = browser.new_page(viewport={"width": width, "height": 900})
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: complaints.append(request.url) if not request.url.startswith("file:") else None)
    page.goto(file.as_uri())
    page.wait_for_selector("[data-figure] svg")
    assert complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("[data-figure] svg text", has_text="rtx-4090").count() == 1
    page.close()
