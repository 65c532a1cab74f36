"""An entry of a list of layers: ``type``, ``type: main option`` or ``type: {options}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from paramctl.declare.located import Located, parse_call

COMMON_OPTIONS = ("name", "from", "repeat", "when", "trainable", "dtype")
"""Options that every entry takes in addition to those of its type."""


class Entry(NamedTuple):
    """An entry of a list of layers, split into its parts.

    node: the whole entry.
    type: the name of its type.
    at: the node that holds the options, for errors about them.
    arguments: the options of its type.
    common: the options that every entry takes, by name.
    """

    node: Located
    type: Located
    at: Located
    arguments: Located | None
    common: Mapping[str, Located]


def read_entry(node: Located) -> Entry:
    """Return the parts of an entry, with its options unread. Raises DocumentError if it is not a call."""
    call = parse_call(node)
    if call is None:
        rule = "a layer must be written as 'type', 'type: main option' or 'type: {options}'"
        hint = ""
        if isinstance(node.value, dict) and len(node.value) > 1:
            hint = "Indent its options below its type."
        raise node.error(rule, hint=hint)
    type_node, arguments = call
    common: dict[str, Located] = {}
    at = arguments or type_node
    if arguments is not None and isinstance(arguments.value, dict):
        common = {name: arguments.value[name] for name in COMMON_OPTIONS if name in arguments.value}
        if common:
            # The node keeps its position and keys, so that errors about the rest point at the same characters.
            rest = {name: item for name, item in arguments.value.items() if name not in common}
            arguments = Located(rest, arguments.source, arguments.line, arguments.column, arguments.keys)
    return Entry(node, type_node, at, arguments, common)


def literal_names(entries: Located) -> dict[str, Located]:
    """Return the names written in the entries of a list, before variables are resolved."""
    names: dict[str, Located] = {}
    for node in entries.value if isinstance(entries.value, list) else []:
        call = parse_call(node)
        options = call[1].value if call and call[1] else None
        if isinstance(options, dict) and isinstance(name := options.get("name"), Located):
            names[str(name.value)] = name
    return names
