"""Offline: what makes an HTML file that needs no network: our assets, data that can stand in a script, and Vega itself."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from simulator.files import write_file
from simulator.text import visible


def as_json(value: Any) -> Any:
    """JSON that can stand inside a script element."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def markup(text: str) -> Any:
    """Text that the template must not escape."""
    from markupsafe import Markup

    return Markup(text)  # our own files, or escaped above


def asset(name: str) -> str:
    """The text of a file in `assets/`."""
    return resources.files("simulator.report.pages").joinpath("assets", name).read_text("utf-8")


@cache
def template(name: str) -> Any:
    """A template in `assets/`; what it names and is not given is an error."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    env = Environment(
        loader=FunctionLoader(asset),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return env.get_template(name)


def _shown(value: Any) -> Any:
    """What a template writes: text with its control characters spelled out, but not our own markup."""
    return visible(value, keep="\n\t") if type(value) is str else value


@cache
def vega() -> str:
    """Vega, Vega-Lite and vega-embed as one script, of the version that Altair writes for, without the address of an editor."""
    from importlib.metadata import version

    import altair as alt

    wanted = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    script = cached_text(f"vega-lite-{wanted}-by-vl-convert-{version('vl-convert-python')}.js", lambda: _bundle(wanted))
    return script.replace("https://vega.github.io/editor/", "").replace("</script", "<\\/script")


def _bundle(version: str) -> str:
    import vl_convert

    bundle: Callable[..., str] = vl_convert.javascript_bundle
    return bundle(vl_version=version)


def cached_text(name: str, make: Callable[[], str]) -> str:
    """A text that takes seconds to make and is always the same: made once, then read from the user's cache folder.

    Where nothing can be written it is made every time.
    """
    above = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    file = Path(above) / "inference-sizing-simulator" / name
    with suppress(OSError, UnicodeDecodeError):
        return file.read_text("utf-8")
    text = make()
    with suppress(OSError):
        write_file(file, text)
    return text
