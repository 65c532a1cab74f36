"""Write the option ``trainable`` of one entry of a document, at its position in the text.

An entry in a short form gets its options by name: ``dense: 4`` becomes ``dense: {units: 4, trainable: false}``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from paramctl.declare.located import Located
from paramctl.declare.options import arguments_by_name
from paramctl.model.entry import Entry
from paramctl.model.layers import LAYERS
from paramctl.model.template import Template

_ANCHOR = re.compile(r"&\S+\s*")
_FLOW_MARKS = re.compile(r"[][{},#]|: ")


class Change(NamedTuple):
    """A range of a text, and the text to put there."""

    start: int
    end: int
    text: str


def change_trainable(text: str, entry: Entry, trainable: bool, templates: Mapping[str, Template]) -> Change | None:
    """Return the change of a document that sets ``trainable`` of an entry; None for an unsupported layout.

    text: of the document. templates: its custom blocks, by name.
    """
    setting = f"trainable: {str(trainable).lower()}"
    flag = entry.common.get("trainable")
    if flag is not None:
        return Change(flag.start, flag.end, str(trainable).lower())
    node = entry.node
    if not isinstance(node.value, dict):  # the type alone
        return Change(node.start, node.end, f"{text[node.start : node.end]}: {{{setting}}}")
    (options,) = node.value.values()
    if options.value is None:
        if not options.is_empty:  # null
            return Change(options.start, options.end, f"{{{setting}}}")
        colon = text.find(":", entry.type.end) + 1
        return Change(colon, colon, f" {{{setting}}}")
    if isinstance(options.value, dict):
        return _insert(text, options, setting)
    return _by_name(text, entry, options, setting, templates)


def _insert(text: str, options: Located, setting: str) -> Change | None:
    """Return the change that adds an option to a mapping of options."""
    assert isinstance(options.value, dict)
    anchor = _ANCHOR.match(text, options.start)
    start = anchor.end() if anchor else options.start
    # merged options, and the values of aliases, are at other places
    items = {
        name: value
        for name, value in options.value.items()
        if start <= options.key(name).start and options.key(name).end <= value.start and value.end <= options.end
    }
    if text[start : start + 1] == "{":
        if items:
            end = max(value.end for value in items.values())
            return Change(end, end, f", {setting}")
        return Change(start + 1, start + 1, f"{setting}, " if options.value else setting)
    for name, value in reversed(items.items()):
        key = options.key(name)
        line_start = text.rfind("\n", 0, key.start) + 1
        indent = text[line_start : key.start]
        if not indent.strip() and "\n" not in text[key.start : value.end] and not value.is_empty:
            line_end = text.find("\n", value.end)
            newline = "\r\n" if "\r\n" in text else "\n"
            if line_end < 0:
                return Change(len(text), len(text), f"{newline}{indent}{setting}")
            return Change(line_end + 1, line_end + 1, f"{indent}{setting}{newline}")
    return None


def _by_name(
    text: str, entry: Entry, options: Located, setting: str, templates: Mapping[str, Template]
) -> Change | None:
    """Return the change of options without names, ``conv2d: [8, 3]``, to options by name, in braces."""
    kind = str(entry.type.value)
    layer: Any = LAYERS.get(kind)
    if layer is not None:
        named = arguments_by_name(kind, options, layer.signature)
    elif kind in templates:
        named = {next(iter(templates[kind].options)): options}
    else:
        return None
    values = [f"{name}: {_flow_text(text, value)}" for name, value in named.items()]
    if "\n" in text[options.start : options.end]:  # a list in lines of its own
        return None
    return Change(options.start, options.end, f"{{{', '.join([*values, setting])}}}")


def _flow_text(text: str, value: Located) -> str:
    """Return the text of a value within braces, where a plain text may not have braces or commas."""
    written = text[value.start : value.end]
    is_plain = isinstance(value.value, str) and written == value.value
    return json.dumps(value.value, ensure_ascii=False) if is_plain and _FLOW_MARKS.search(written) else written
