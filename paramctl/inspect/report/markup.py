"""HTML from texts of any origin: everything is escaped here, in elements, in attributes, and in JSON in a script."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from html import escape
from math import isfinite
from typing import Any

from paramctl.core.text import printable


def visible(value: str) -> str:
    """Return a text with its ends of lines, and with every other unprintable character as an escape."""
    return value if value.isprintable() else "\n".join(map(printable, value.split("\n")))


def label(name: str) -> str:
    """Return a name on one line, in quotes if nothing of it would be seen."""
    return printable(name) if name.strip() else f"'{printable(name)}'"


def text(value: str) -> str:
    """Return a text as the content of an element or the value of an attribute in double quotes."""
    return escape(visible(value))


def element(name: str, content: str, **attributes: str | bool) -> str:
    """Return an element. content: HTML. attributes: texts; an underscore in a name is a hyphen, one at its end none."""
    written = (f' {key.rstrip("_").replace("_", "-")}="{text(str(value))}"' for key, value in attributes.items())
    return f"<{name}{''.join(written)}>{content}</{name}>"


def lines(items: Iterable[str]) -> str:
    """Return pieces of HTML, each on a line."""
    return "\n".join(items)


def json_text(value: Any) -> str:
    """Return a value as compact JSON. NaN and infinities, which JSON does not have, become texts."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return json.dumps(_with_texts(value, visible), ensure_ascii=False, separators=(",", ":"))


def script_json(value: Any) -> str:
    """Return JSON that no content can end, and whose texts are visible: ``<``, ``>`` and ``&`` become escapes."""
    safe = json_text(_with_texts(value, visible))
    # "</script>" would end the script, and "<!--" would change how the rest of it is read
    for character in "<>&":
        safe = safe.replace(character, f"\\u{ord(character):04x}")
    return safe


def _with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return a value with its texts changed, and with NaN and infinities as texts."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(str(key)): _with_texts(item, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_texts(item, change) for item in value]
    return str(value) if isinstance(value, float) and not isfinite(value) else value
