"""Offline: what makes an HTML file that needs no network: our assets, data that can stand in a script, and Vega itself."""

from __future__ import annotations

import hashlib
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
    made_by = version("vl-convert-python")
    script = cached_text(
        f"vega-lite-{wanted}-by-vl-convert-{made_by}.js", lambda: _bundle(wanted), _DIGESTS.get((wanted, made_by))
    )
    return script.replace("https://vega.github.io/editor/", "").replace("</script", "<\\/script")


def _bundle(version: str) -> str:
    import vl_convert

    bundle: Callable[..., str] = vl_convert.javascript_bundle
    return bundle(vl_version=version)


# SHA-256 of bundles by the versions of Vega-Lite and vl-convert: others are held against what was written when they were made.
_DIGESTS = {("6.4", "1.9.0.post1"): "3425bd951a44d478d0505c6b5d1e8d57656b6e9a4da7bfe88a718ce61d76e572"}


def cached_text(name: str, make: Callable[[], str], digest: str | None = None) -> str:
    """A text that takes seconds to make and is always the same: made once, then read from the user's cache folder.

    It is read only where it has its SHA-256: `digest`, or else what stands in a file beside it, if both files are this user's and
    nobody else may write them. Where it is not so, or nothing can be written, it is made again.
    """
    above = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    file = Path(above) / "inference-sizing-simulator" / name
    beside = file.with_name(f"{name}.sha256")
    with suppress(OSError, UnicodeDecodeError):
        content = file.read_bytes()
        if _digest(content) == (digest or _own_text(file, beside)):
            return content.decode("utf-8")
    text = make()
    with suppress(OSError):
        for path, written in ((beside, _digest(text.encode())), (file, text)):
            write_file(path, written).chmod(0o600)
    return text


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _own_text(file: Path, beside: Path) -> str:
    """What stands in the file beside another; "" unless both are this user's, and nobody else may write them."""
    found = [path.stat() for path in (file, beside)]
    own = not hasattr(os, "geteuid") or all(s.st_uid == os.geteuid() and not s.st_mode & 0o022 for s in found)
    return beside.read_text("utf-8").strip() if own else ""
