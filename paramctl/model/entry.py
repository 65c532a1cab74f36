"""An entry of a list of layers: ``type``, ``type: main option`` or ``type: {options}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from paramctl.declare.located import Located, parse_call

COMMON_OPTIONS = ("name", "from", "repeat", "when", "trainable")
"""What every entry takes beside the options of its type."""


class Entry(NamedTuple):
    """One entry, cut into its type, what every entry takes, and the options of its type.

    at: the node that holds the options, to which errors about them point.
    """

    node: Located
    type: Located
    at: Located
    arguments: Located | None
    common: Mapping[str, Located]


def read_entry(node: Located) -> Entry:
    """An entry of a list, its parts not yet read."""
    called = parse_call(node)
    if called is None:
        rule = "a layer must be written as 'type', 'type: main option' or 'type: {options}'"
        hint = ""
        if isinstance(node.value, dict) and len(node.value) > 1:
            hint = "Are its options indented below its type?"
        raise node.error(rule, hint=hint)
    type_node, arguments = called
    common: dict[str, Located] = {}
    at = arguments or type_node
    if arguments is not None and isinstance(arguments.value, dict):
        common = {name: arguments.value[name] for name in COMMON_OPTIONS if name in arguments.value}
        if common:
            rest = {name: item for name, item in arguments.value.items() if name not in common}
            arguments = Located(rest, arguments.source, arguments.line, arguments.column, arguments.keys)
    return Entry(node, type_node, at, arguments, common)


def literal_names(entries: Located) -> dict[str, Located]:
    """The names that a list's entries are given as they stand, without looking further."""
    names: dict[str, Located] = {}
    for node in entries.value if isinstance(entries.value, list) else []:
        called = parse_call(node)
        options = called[1].value if called and called[1] else None
        if isinstance(options, dict) and isinstance(name := options.get("name"), Located):
            names[str(name.value)] = name
    return names
