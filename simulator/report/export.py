"""Export: a run again as a page, as Markdown, as PDF, or its charts as images."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from simulator.errors import SimulatorError
from simulator.files import write_file
from simulator.report.charts import theme as theme
from simulator.results.model import RunResult

_WIDTH, _INK, _PAPER, _SCALE = 760, "#1b1f24", "#ffffff", 2
_PDF_SECONDS = 180


def export(run: RunResult, format_: str, out: Path, *, force: bool = False) -> list[Path]:
    """Write a run in one of FORMATS to `out`, a file (for png a folder of one image a chart), and say what was written.

    Raises SimulatorError when `out` exists and `force` is not given, when it cannot be written, and for pdf without Chromium.
    """
    if format_ not in FORMATS:
        raise SimulatorError(f"unknown format '{format_}'; known: {', '.join(FORMATS)}")
    if out.exists() and not force:
        raise SimulatorError(f"{out} exists; add --force to replace it, or name another place with --out")
    try:
        return FORMATS[format_](run, out)
    except OSError as problem:
        raise SimulatorError(f"cannot write {out}: {problem.strerror or problem}") from None


def chromium() -> str | None:
    """The Chromium of this machine."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))), None)


def _html(run: RunResult, out: Path) -> list[Path]:
    from simulator.report.pages.run import run_page

    return [write_file(out, run_page(run).encode())]


def _markdown(run: RunResult, out: Path) -> list[Path]:
    from simulator.report.terminal import markdown

    return [write_file(out, markdown(run).encode())]


def _pdf(run: RunResult, out: Path) -> list[Path]:
    """The page as Chromium prints it."""
    from simulator.report.pages.run import run_page

    browser = chromium()
    if browser is None:
        raise SimulatorError("a PDF needs Chromium, which was not found; install it, or print the html from a browser")
    with tempfile.TemporaryDirectory() as folder:
        page, printed = Path(folder) / "page.html", Path(folder) / "page.pdf"
        page.write_text(run_page(run), "utf-8")
        options = [
            "--headless",
            "--disable-gpu",
            "--no-pdf-header-footer",
            "--virtual-time-budget=30000",
            f"--print-to-pdf={printed}",
        ]
        options += ["--no-sandbox"] if os.geteuid() == 0 else []
        try:
            subprocess.run([browser, *options, page.as_uri()], check=True, capture_output=True, timeout=_PDF_SECONDS)
        except (subprocess.SubprocessError, OSError) as problem:
            raise SimulatorError(f"{browser} could not print the page: {str(problem).splitlines()[0]}") from None
        return [write_file(out, printed.read_bytes())]


def _png(run: RunResult, out: Path) -> list[Path]:
    """Each chart as an image, on white, with the names of the deployments in a legend."""
    import vl_convert
    from altair.utils import schemapi

    from simulator.report.charts.all import CHARTS
    from simulator.report.charts.panels import specification

    out.mkdir(parents=True, exist_ok=True)
    written = []
    with schemapi.debug_mode(False):
        figures = [chart(run) for chart in CHARTS]
        for figure in figures:
            panels = [specification(run, panel, figure.caption) for panel in figure.panels]
            if panels:
                image = vl_convert.vegalite_to_png(_sheet(run, figure.title, panels), scale=_SCALE)
                written.append(write_file(out / f"{figure.key}.png", image))
    return written


def _sheet(run: RunResult, title: str, panels: list[dict[str, Any]]) -> dict[str, Any]:
    """Panels under each other as one specification."""
    parameters = panels[0]["params"]
    drawn = [{**{key: value for key, value in panel.items() if key != "params"}, "width": _WIDTH} for panel in panels]
    _add_legend(drawn[0], [d.name for d in run.deployments])
    return {"vconcat": drawn, "params": parameters, "title": title, "config": theme.config(_INK, _PAPER)}


def _add_legend(node: Any, names: list[str]) -> bool:
    """Give the first encoding of deployments by color a legend; whether one was found."""
    if isinstance(node, list):
        return any(_add_legend(item, names) for item in node)
    if not isinstance(node, dict):
        return False
    color = node.get("encoding", {}).get("color", {}) if isinstance(node.get("encoding"), dict) else {}
    if color.get("field") == "d":
        import json

        labels = f"{json.dumps(names, ensure_ascii=False)}[datum.value]"
        color["legend"] = {"labelExpr": labels, "columns": 3, "symbolType": "stroke", "symbolOpacity": 1, "orient": "top"}
        return True
    return any(_add_legend(item, names) for item in node.get("layer", []))


FORMATS: dict[str, Callable[[RunResult, Path], list[Path]]] = {"html": _html, "md": _markdown, "pdf": _pdf, "png": _png}
