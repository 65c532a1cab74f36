"""YAML text to nodes: the only user of YAML, and the only reader of model documents.

A document is hostile until shown otherwise. It is read from the parser's stream of events, which
is flat, so that depth, size and aliases are checked before anything recursive sees them; tags
are refused, and scalars follow YAML 1.2's core schema (``1e-3`` is a number, ``no`` is text),
except that what the versions of YAML read differently (``010``) and what is not finite is refused.
https://yaml.org/spec/1.2.2/#103-core-schema
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from typing import Any, NoReturn

import yaml

from paramctl.declare.located import MAX_DEPTH, MAX_INTEGER, MAX_NODES, Located, Scalar, preview, truncate
from paramctl.errors import DocumentError, InputError, Place

MAX_BYTES = 8_000_000

PATTERNS_IN_QUOTES = "A pattern that begins with * is written in quotes."

_Loader: Any = getattr(yaml, "CLoader", yaml.Loader)


def read(path: str) -> bytes:
    """What is in a file (it may be a pipe), or on standard input if the path is ``-``: at most a document's size.

    Raises InputError if it cannot be read.
    """
    source = source_name(path)
    if path == "-" and sys.stdin is None:
        raise InputError("<stdin>: closed")
    try:
        if path == "-":
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        with open(path, "rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{source}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the name
        raise InputError(f"{source!r}: {error}") from error


def source_name(path: str) -> str:
    """What errors call the source at a path."""
    return "<stdin>" if path == "-" else path


def decode(data: bytes, source: str) -> str:
    """A document's text. Raises InputError if it is too long, DocumentError if it is not UTF-8."""
    if len(data) > MAX_BYTES:
        raise InputError(f"{source}: a model document may have at most {MAX_BYTES:,} bytes")
    return _decode(data, source)


def parse(text: str, source: str) -> Located:
    """The document in a text; ``source`` names it in errors."""
    node = _compose(text, source)
    if node is None or not isinstance(node.value, dict):
        place = Place(source, 1, 1) if node is None else node.place
        received = "an empty document" if node is None else preview(node)
        raise DocumentError("a model document must be a mapping with the key 'layers'", place, received)
    return node


def parse_value(text: str, option: str) -> Located:
    """Return the value that an option of the command line has, such as 128 for ``-D width=128``.

    Errors name the option, ``-D width: ...``: a line and a column within one argument are no help.
    """
    try:
        value = _compose(text, option)
    except DocumentError as error:
        raise DocumentError(error.rule, Place(option), error.received, error.hint) from None
    return _without_position(value) if value is not None else Located(None, option)


def _without_position(value: Located) -> Located:
    """Return the value after removing the line and column of everything in it."""
    value.line = value.column = 0
    if isinstance(value.value, list):
        children = value.value
    elif isinstance(value.value, dict):
        children = [*value.value.values(), *(value.keys or {}).values()]
    else:
        children = []
    for child in children:
        _without_position(child)
    return value


def _decode(data: bytes, source: str) -> str:
    try:
        return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        rule = "a model document must be text in UTF-8"
        place = Place(source, line, column)
        raise DocumentError(rule, place, f"the byte 0x{data[error.start]:02x}") from None


def _loader(text: str, source: str) -> Any:
    """A parser of the text. What is no character, such as a lone surrogate, is refused."""
    try:
        return _Loader(text)
    except UnicodeEncodeError as error:
        place = _place(text, error.start, source)
        raise DocumentError("a text must be valid Unicode", place, f"{text[error.start]!a}") from None
    except yaml.reader.ReaderError as error:
        raise _not_allowed(error, text, source) from None


def _not_allowed(error: Any, text: str, source: str) -> DocumentError:
    """The reader's complaint: a character that YAML does not allow."""
    place = _place(text, error.position, source)
    received = f"the character {chr(error.character)!a}" if isinstance(error.character, int) else None
    return DocumentError("YAML allows no control characters", place, received)


def _place(text: str, position: int, source: str) -> Place:
    before = text[:position]
    return Place(source, before.count("\n") + 1, len(before) - before.rfind("\n"))


def _explain(error: Any, text: str, source: str) -> DocumentError:
    """A parser's complaint, with the cause that people meet most when there is one."""
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    lines = text.split("\n")
    here = lines[line] if line < len(lines) else ""
    around = [near[max(0, column - 200) : column + 200] for near in lines[max(0, line - 1) : line + 1]]
    place = Place(source, line + 1, column + 1)
    problem = " ".join(filter(None, [error.context, error.problem]))
    if error.context_mark and error.context_mark.line != line:
        problem += f"; it began on line {error.context_mark.line + 1}"
    if "nesting depth" in problem:  # the parser's own limit, which it meets by looking ahead
        return DocumentError(f"a model document may nest at most {MAX_DEPTH} deep", place)
    if "\t" in here[: column + 1]:
        return DocumentError("YAML is indented with spaces, never with tabs", place, "a tab")
    return DocumentError(f"not valid YAML: {problem}", place, hint=_hint(problem, around))


def _hint(problem: str, lines: list[str]) -> str:
    """What people most often meant by lines that the parser refuses."""
    for line in lines:
        if re.search(r"""(?<!["'])\$\{""", line) and re.search(r"[\[{].*\$\{", line):
            return 'Within { } or [ ], write "${...}" in quotes.'
    if "alias" in problem:
        return PATTERNS_IN_QUOTES
    if "mapping values" in problem:
        return "Several options go in { }, and a text that holds ': ' in quotes."
    if "expected key" in problem or "block" in problem:
        return "Is this line indented like those above it?"
    return ""


_MERGE = Located("<<")
"""Stands as the key under which a mapping merges others."""


class _Open:
    """A list or a mapping whose end has not come yet."""

    __slots__ = ("anchor", "column", "items", "keys", "line", "merges", "pending")

    def __init__(self, event: Any) -> None:
        self.items: list[Located] | dict[str, Located] = [] if isinstance(event, yaml.SequenceStartEvent) else {}
        self.keys: dict[str, Located] = {}
        self.pending: Located | None = None
        self.merges: list[Located] = []
        self.anchor: str | None = event.anchor
        self.line, self.column = event.start_mark.line + 1, event.start_mark.column + 1


class _Composer:
    """Builds nodes from events, holding to the limits as it goes."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.stack: list[_Open] = []
        self.anchors: dict[str, Located | None] = {}  # None while its value is open
        self.nodes = 0
        self.root: Located | None = None

    def fail(self, event: Any, rule: str, received: str | None = None, hint: str = "") -> NoReturn:
        mark = event.start_mark
        raise DocumentError(rule, Place(self.source, mark.line + 1, mark.column + 1), received, hint)

    def count(self, event: Any, nodes: int) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            self.fail(event, f"a model document may have at most {MAX_NODES:,} values, aliases repeated")

    def scalar(self, event: Any) -> None:
        if event.tag is not None:
            self.fail(event, "a model document has no tags", event.tag)
        self.count(event, 1)
        mark = event.start_mark
        text = event.value
        value: Scalar = text
        plain = not event.style
        if plain and (text in _WORDS or text[0] in "+-.0123456789"):
            try:
                value = _resolve(text)
            except ValueError as error:
                self.fail(event, str(error), truncate(text))
        node = Located(value, self.source, mark.line + 1, mark.column + 1)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        self.add(node, event, plain)

    def alias(self, event: Any) -> None:
        if event.anchor not in self.anchors:
            self.fail(event, "no anchor of this name comes before", f"*{event.anchor}", PATTERNS_IN_QUOTES)
        node = self.anchors[event.anchor]
        if node is None:
            self.fail(event, "an alias may not stand inside what it repeats", f"*{event.anchor}")
        self.count(event, node.size)
        if len(self.stack) + node.height > MAX_DEPTH:
            self.too_deep(event)
        self.add(node, event, plain=False)

    def open(self, event: Any) -> None:
        if event.tag is not None:
            self.fail(event, "a model document has no tags", event.tag)
        self.count(event, 1)
        if len(self.stack) >= MAX_DEPTH:
            self.too_deep(event)
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        if self.stack and isinstance(self.stack[-1].items, dict) and self.stack[-1].pending is None:
            self.fail(event, "a key must be text", "a list or a mapping")
        self.stack.append(_Open(event))

    def close(self, event: Any) -> None:
        frame = self.stack.pop()
        items = frame.items
        if isinstance(items, dict) and frame.merges:
            items = self.merged(frame)
        keys = frame.keys if isinstance(items, dict) else None
        node = Located(items, self.source, frame.line, frame.column, keys)
        if frame.anchor is not None:
            self.anchors[frame.anchor] = node
        self.add(node, event, plain=False)

    def add(self, node: Located, event: Any, plain: bool) -> None:
        """Put a finished node where it belongs: in a list, as a key, as a value, or as the root."""
        if not self.stack:
            self.root = node
            return
        frame = self.stack[-1]
        if isinstance(frame.items, list):
            frame.items.append(node)
        elif frame.pending is None:
            self.key(frame, node, event, plain)
        else:
            key, frame.pending = frame.pending, None
            if key is _MERGE:
                frame.merges.append(node)
            else:
                frame.items[str(key.value)] = node

    def key(self, frame: _Open, node: Located, event: Any, plain: bool) -> None:
        name = node.value
        if plain and name == "<<":
            frame.pending = _MERGE
            return
        if not isinstance(name, str):
            self.fail(event, "a key must be text; write it in quotes", preview(node))
        if name in frame.keys:
            first = frame.keys[name]
            rule = f"the key {truncate(name)!r} stands twice in one mapping; first on line {first.line}"
            self.fail(event, rule)
        frame.keys[name] = node
        frame.pending = node

    def merged(self, frame: _Open) -> dict[str, Located]:
        """A mapping with what ``<<`` brings in; its own keys win, then earlier ones."""
        assert isinstance(frame.items, dict)
        items: dict[str, Located] = {}
        for merge in frame.merges:
            for source in merge.value if isinstance(merge.value, list) else [merge]:
                if not isinstance(source.value, dict):
                    raise source.error("<< merges a mapping or a list of mappings")
                for name, value in source.value.items():
                    items.setdefault(name, value)
                    frame.keys.setdefault(name, source.key(name))
        return items | frame.items

    def too_deep(self, event: Any) -> NoReturn:
        self.fail(event, f"a model document may nest at most {MAX_DEPTH} deep")


def _check_number(text: str, source: str) -> None:
    """Refuse a text with too many values before any of them is kept."""
    next_event = _loader(text, source).get_event
    values = 0
    with suppress(yaml.YAMLError):  # which composing will explain
        while (event := next_event()) is not None:
            values += isinstance(event, yaml.NodeEvent)
            if values > MAX_NODES:
                _Composer(source).count(event, values)


def _compose(text: str, source: str) -> Located | None:
    if len(text) > MAX_NODES:  # a value takes a character at least
        _check_number(text, source)
    composer = _Composer(source)
    next_event = _loader(text, source).get_event
    documents = 0
    try:
        while (event := next_event()) is not None:
            kind = type(event)
            if kind is yaml.ScalarEvent:
                composer.scalar(event)
            elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
                composer.open(event)
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                composer.close(event)
            elif kind is yaml.AliasEvent:
                composer.alias(event)
            elif kind is yaml.DocumentStartEvent:
                documents += 1
                if documents > 1:
                    composer.fail(event, "a file holds one model document; a second begins here")
    except yaml.MarkedYAMLError as error:
        raise _explain(error, text, source) from None
    except yaml.reader.ReaderError as error:
        raise _not_allowed(error, text, source) from None
    return composer.root


_WHOLE = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: dict[str, Scalar] = dict.fromkeys(["", "~", "null", "Null", "NULL"])
_WORDS |= dict.fromkeys(["true", "True", "TRUE"], True) | dict.fromkeys(["false", "False", "FALSE"], False)


def _resolve(text: str) -> Scalar:
    """What a plain scalar means by YAML 1.2's core schema; ValueError where it has no one meaning."""
    if text in _WORDS:
        return _WORDS[text]
    if _WHOLE.fullmatch(text):
        digits = text.lstrip("+-")
        if len(digits) > 1 and digits[0] == "0":
            raise ValueError("a number with a leading zero is octal to some; write 0o10 or 8, or quote it")
        return _whole(text, 10)
    if _BASED.fullmatch(text):
        return _whole(text, 0)
    if _FLOAT.fullmatch(text):
        value = float(text)
        if value in (float("inf"), float("-inf")):
            raise ValueError("a number must be finite")
        return value
    if _NOT_FINITE.fullmatch(text):
        raise ValueError("a number must be finite")
    return text


def _whole(text: str, base: int) -> int:
    value = int(text, base) if len(text) <= 30 else MAX_INTEGER + 1
    if abs(value) > MAX_INTEGER:
        raise ValueError("a whole number must fit in 64 bits")
    return value
