"""Offline: what makes an HTML file that needs no network: our assets, data that can stand in a script, and Vega itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any


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
    return resources.files("simulator.report").joinpath("assets", name).read_text("utf-8")


@cache
def template(name: str) -> Any:
    """A template in `assets/`; what it names and is not given is an error."""
    from jinja2 import Environment, StrictUndefined

    env = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return env.from_string(asset(name))


@cache
def vega() -> str:
    """Vega, Vega-Lite and vega-embed as one script, of the version that Altair writes for, without the address of an editor."""
    import altair as alt
    import vl_convert

    bundle: Callable[..., str] = vl_convert.javascript_bundle
    script = bundle(vl_version=".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2]))
    return script.replace("https://vega.github.io/editor/", "").replace("</script", "<\\/script")
