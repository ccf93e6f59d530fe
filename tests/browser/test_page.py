"""The report in a browser: drawn, offline, readable at both widths, in print and without a mouse."""

from __future__ import annotations

import time
from functools import cache

import numpy as np
import pytest
from altair.utils import schemapi
from support.report_fixtures import HARD_CASES

from simulator.report.charts.all import CHARTS

from .conftest import SCREENSHOTS

WIDTHS = (1280, 390)

TEXTS = """() => {
  const texts = [];
  const add = (rect, text, inside) => {
    const box = { x: rect.x, y: rect.y + scrollY, w: rect.width, h: rect.height };
    if (rect.width > 1 && rect.height > 1) texts.push({ ...box, text, inside });
  };
  for (const element of document.querySelectorAll(".panel svg text")) {
    const style = getComputedStyle(element);
    const shown = style.display !== "none" && Number(style.opacity) > 0.2 && element.closest("[opacity='0']") === null;
    if (shown && element.textContent.trim()) add(element.getBoundingClientRect(), element.textContent, "chart");
  }
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement;
    const elsewhere = parent.closest("script, style, svg, select, .scroll, .skip, noscript, .controls, [hidden]");
    if (!node.textContent.trim() || elsewhere || (parent.closest("details:not([open])") && !parent.closest("summary"))) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const rect of range.getClientRects()) add(rect, node.textContent.trim().slice(0, 40), "page");
  }
  return texts;
}"""


def overlaps(texts: list[dict[str, float]], slack: float = 2.5) -> list[tuple[object, object]]:
    """Pairs of texts that cover each other by more than `slack` pixels both ways."""
    left, top, wide, high = (np.array([text[side] for text in texts]) for side in "xywh")
    across = np.minimum.outer(left + wide, left + wide) - np.maximum.outer(left, left)
    down = np.minimum.outer(top + high, top + high) - np.maximum.outer(top, top)
    first, second = np.nonzero(np.triu((across > slack) & (down > slack), 1))
    return [(texts[i]["text"], texts[j]["text"]) for i, j in zip(first, second, strict=True)]


@cache
def expected(case: str) -> tuple[int, int]:
    """How many figures and panels the charts of a case make."""
    with schemapi.debug_mode(False):
        panels = [len(chart(HARD_CASES[case]()).panels) for chart in CHARTS]
    return sum(count > 0 for count in panels), sum(panels)


@pytest.mark.parametrize("case", HARD_CASES)
def test_a_page_draws_every_chart_offline_and_nothing_is_cut_or_covered(opened, case):
    for width in WIDTHS:
        _whole(opened(case, width), case, width)


def test_a_page_that_is_opened_on_a_telephone_is_whole_too(open_page):
    _whole(open_page("overloaded", 390), "overloaded", 390)


def _whole(shown, case, width):
    page = shown.page
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{case}-{width}.png", full_page=True)
    figures, panels = expected(case)
    assert shown.complaints == []
    assert shown.requests == []
    assert page.locator("figure").count() == figures
    assert page.locator(".panel svg").count() == panels
    assert page.evaluate("[...document.querySelectorAll('.panel svg')].every(svg => svg.querySelectorAll('path').length > 2)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    texts = page.evaluate(TEXTS)
    assert [t["text"] for t in texts if t["x"] < -1 or t["x"] + t["w"] > width + 1] == []
    assert overlaps(texts) == []


def test_markup_in_a_name_is_shown_and_not_run(opened):
    shown = opened("awkward-names")
    assert shown.page.locator("h1").inner_text() == "<script>alert(1)</script> & 'co'"
    assert shown.page.locator("h3", has_text="<script>alert(1)</script>").count() == 1


def numbers(page) -> list[str]:
    return page.eval_on_selector_all("#what-if .panel svg text", "texts => texts.map(text => text.textContent)")


def test_the_slider_moves_the_numbers_with_the_keyboard_and_back(opened):
    page = opened("chatbot").page
    before = numbers(page)
    page.focus("#rate")
    page.keyboard.press("End")
    page.wait_for_function("before => document.querySelector('#what-if').textContent !== before", arg=page.inner_text("#what-if"))
    page.wait_for_timeout(300)
    after = numbers(page)
    assert after != before
    assert "the queue grows" in after
    assert "requests/s" in page.get_attribute("#rate", "aria-valuetext")
    page.click("#rate-reset")
    page.wait_for_timeout(300)
    assert numbers(page) == before


def test_the_slider_moves_every_chart_that_depends_on_the_rate(opened):
    page = opened("chatbot").page
    drawings = "[...document.querySelectorAll('figure')].map(f => [f.id, f.querySelector('.panels').innerHTML])"
    before = dict(page.evaluate(drawings))
    page.focus("#rate")
    page.keyboard.press("PageUp")
    page.wait_for_timeout(500)
    after = dict(page.evaluate(drawings))
    still = {name for name in before if before[name] == after[name]}
    assert still <= {"steps"}


def test_choosing_a_deployment_fades_the_others(opened):
    page = opened("chatbot").page
    faint = 'document.querySelectorAll(\'#throughput svg path[opacity="0.1"], #throughput svg g[opacity="0.1"]\').length'
    assert page.evaluate(faint) == 0
    page.select_option("#focus", "1")
    page.wait_for_timeout(300)
    assert page.evaluate(faint) > 0


def test_everything_that_acts_can_be_reached_with_the_keyboard(opened):
    page = opened("chatbot").page
    wanted = page.evaluate("document.querySelectorAll('input, select, button, summary, [tabindex=\"0\"]').length")
    reached = set()
    for _ in range(wanted + 12):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
    assert len(reached) >= wanted
    assert page.evaluate("document.querySelectorAll('h1').length") == 1


@pytest.mark.parametrize(
    ("case", "scheme"),
    [("chatbot", "light"), ("chatbot", "dark"), ("nothing-fits", "light"), ("overloaded", "dark"), ("awkward-names", "light")],
)
def test_axe_finds_no_serious_violation(opened, case, scheme):
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(opened(case, scheme=scheme).page).response["violations"]
    serious = [(v["id"], v["nodes"][0]["html"][:120]) for v in found if v["impact"] in ("serious", "critical")]
    assert serious == []


def test_dark_mode_turns_the_page_and_the_charts(opened):
    page = opened("chatbot", scheme="dark").page
    page.screenshot(path=SCREENSHOTS / "chatbot-dark.png", full_page=True)
    ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    ink = page.evaluate("getComputedStyle(document.querySelector('.panel svg text')).fill")
    assert sum(map(int, ground[4:-1].split(","))) < 150
    assert sum(map(int, ink[4:-1].split(","))) > 500


def test_print_fits_the_paper_and_leaves_the_controls_out(open_page):
    page = open_page("chatbot").page
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 700, "height": 1000})
    page.wait_for_timeout(300)
    assert not page.locator(".controls").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 700
    wide = "[...document.querySelectorAll('.panel svg')].filter(s => s.getBoundingClientRect().right > innerWidth + 1).length"
    assert page.evaluate(wide) == 0
    assert len(page.pdf(path=SCREENSHOTS / "chatbot.pdf", format="A4")) > 20_000


def test_the_first_printed_page_is_the_answer_and_no_figure_keeps_its_height_on_screen(open_page):
    page = open_page("chatbot").page
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 700, "height": 1000})
    answer = page.locator("#answer")
    assert answer.evaluate("e => getComputedStyle(e).breakAfter") == "page"
    assert answer.bounding_box()["y"] + answer.bounding_box()["height"] < 1000
    assert page.locator(".caveats").is_visible()
    assert not page.locator("#answer .more").first.is_visible()
    taller = (
        "[...document.querySelectorAll('.panel')].filter(p => p.clientHeight > p.querySelector('svg').clientHeight + 24).length"
    )
    assert page.evaluate(taller) == 0
    assert "slider" not in page.inner_text("main").lower()


def loaded_within(seconds, browser, path) -> bool:
    page = browser.new_page()
    start = time.perf_counter()
    page.goto(path.as_uri(), wait_until="load")
    taken = time.perf_counter() - start
    page.close()
    return taken < seconds


def test_six_deployments_weigh_less_than_3_mb_and_load_in_2_seconds(browser, pages):
    path = pages("chatbot")
    assert path.stat().st_size < 3_000_000
    assert any(loaded_within(2, browser, path) for _ in range(3))
