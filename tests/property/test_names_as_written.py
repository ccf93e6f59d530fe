"""Names from outside come out of every kind of output as they were written, control characters spelled out."""

import ast
import io
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.table import Table

import simulator
from simulator.cli.plain_console import PlainConsole, plain
from simulator.planning.ci_checks import Check, github_summary, junit
from simulator.report.pages.offline import template
from simulator.text import as_markdown, visible

AWKWARD = ("[fp8]", "[/x]", "[bold]", ":smile:", "\\[", "|", "`", "*", "_", "<b>", "&lt;", "\x1b[31m")
pieces = st.one_of(st.sampled_from(AWKWARD), st.text("ab -.#1é\x00\x07\x9b\u202e\ud800", max_size=3))
names = st.lists(pieces, min_size=1, max_size=5).map("".join).filter(str.strip)
MARKDOWN = MarkdownIt("commonmark").enable("table")


def printed(*things: object) -> str:
    console = PlainConsole(file=io.StringIO(), width=400, force_terminal=False)
    for thing in things:
        console.print(thing)
    return console.file.getvalue()


@given(names)
def test_tables_titles_headers_cells_and_lines_show_a_name_as_it_is(name: str) -> None:
    table = Table(title=name)
    table.add_column(name)
    table.add_row(name)
    shown = printed(table, name, plain(name))
    assert shown.count(visible(name)) >= 5
    assert all(c.isprintable() or c == "\n" for c in shown)


@given(names)
def test_what_is_visible_has_nothing_that_steers_a_terminal_and_loses_nothing(name: str) -> None:
    shown = visible(name)
    assert shown.isprintable()
    assert len(shown) >= len(name)
    assert visible(shown) == shown


@given(names)
def test_markdown_shows_a_name_as_it_is(name: str) -> None:
    written = as_markdown(name)
    shown = visible(" ".join(name.split()))
    for text in (written, f"| |\n|-|\n| {written} |\n", f"- **{written}**: stable"):
        inline = [t for t in MARKDOWN.parse(text) if t.type == "inline" and t.content]
        assert [t.type for t in inline[0].children or ()].count("link_open") == 0
        assert shown in "".join(child.content for child in inline[0].children or ())


class Texts(HTMLParser):
    """The text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_data(self, data: str) -> None:
        self.seen.append(data)


@given(names)
def test_pages_and_junit_show_a_name_as_it_is(name: str) -> None:
    page = template("plain.html").render(
        version="",
        title=name,
        sentence="",
        answer=None,
        first=[],
        figures=[],
        tables=[],
        lines=[],
        code="",
        style="",
        vega="",
        specs="",
        config="",
    )
    texts = Texts()
    texts.feed(page)
    assert visible(name, keep="\n\t") in texts.seen
    check = Check(name, False, name)
    case = ElementTree.fromstring(junit(name, [check])).find("testsuite/testcase")
    assert case is not None
    assert case.get("name") == visible(name)
    assert "\n| ❌ |" in github_summary(name, [check])


def test_every_console_is_the_one_that_prints_names_as_they_are() -> None:
    """Nothing in the command line or the report makes a console of rich's own, or has it read markup."""
    package = Path(simulator.__file__).parent
    for path in [*package.glob("cli/*.py"), *package.glob("report/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                assert called not in ("Console", "from_markup"), f"{path}:{node.lineno}"
                assert called != "TextColumn" or any(k.arg == "markup" for k in node.keywords), path
