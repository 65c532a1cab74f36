"""Parse YAML text into located values. The only module that reads model documents or uses a YAML library.

Documents are treated as hostile. The composer reads the parser's flat stream of events, so it checks depth,
size, and aliases before any recursive code runs. Tags are rejected. Scalars follow the core schema of
YAML 1.2: ``1e-3`` is a number, ``no`` is text. Two kinds of scalars are rejected: those that YAML 1.1 and 1.2
read differently (``010``), and numbers that are not finite.
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

INTEGERS = range(-MAX_INTEGER, MAX_INTEGER + 1)
"""The integers that a document may have."""
MAX_DIGITS = 30
"""The longest text that is converted to an integer, which takes quadratic time."""
NO_INTEGER = "an integer must fit in 64 bits"

QUOTE_PATTERNS = "Put a pattern that begins with * in quotes."

_Loader: Any = getattr(yaml, "CLoader", yaml.Loader)


def read(path: str) -> bytes:
    """Return the bytes of a file or pipe, or of standard input for ``-``, up to just over MAX_BYTES.

    Raises InputError if the file cannot be read.
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
    except ValueError as error:  # a NUL character in the name
        raise InputError(f"{source!r}: {error}") from error


def source_name(path: str) -> str:
    """Return the name of a path in errors."""
    return "<stdin>" if path == "-" else path


def decode(data: bytes, source: str) -> str:
    """Return a document's text. Raises InputError if it is too long, and DocumentError if it is not UTF-8."""
    if len(data) > MAX_BYTES:
        raise InputError(f"{source}: a model document may have at most {MAX_BYTES:,} bytes")
    try:
        return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        rule = "a model document must be UTF-8 text"
        place = Place(source, line, column)
        raise DocumentError(rule, place, f"the byte 0x{data[error.start]:02x}") from None


def parse(text: str, source: str) -> Located:
    """Return the root of a model document, a mapping. ``source`` names the document in errors."""
    node = _compose(text, source)
    if node is None or not isinstance(node.value, dict):
        place = Place(source, 1, 1) if node is None else node.place
        received = "an empty document" if node is None else preview(node)
        raise DocumentError("a model document must be a mapping with the key 'layers'", place, received)
    return node


def parse_value(text: str, option: str, integers: range = INTEGERS) -> Located:
    """Return the value that an option of the command line has, such as 128 for ``-D width=128``.

    integers: the range that an integer must be in, of 64 bits.
    Errors name the option, ``-D width: ...``: a line and a column within one argument are no help.
    """
    if re.match(r"\s*-\s", text) and "\n" not in text.strip():  # YAML reads "- 1" as a list that contains 1
        raise DocumentError("a minus sign may not have a space after it, and a list has brackets", Place(option), text)
    try:
        value = _compose(text, option, integers)
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


def _loader(text: str, source: str) -> Any:
    """Return a YAML parser of the text. Raises DocumentError for a lone surrogate or a control character."""
    try:
        return _Loader(text)
    except UnicodeEncodeError as error:
        place = _place(text, error.start, source)
        raise DocumentError("text must be valid Unicode", place, f"{text[error.start]!a}") from None
    except yaml.reader.ReaderError as error:
        raise _not_allowed(error, text, source) from None


def _not_allowed(error: Any, text: str, source: str) -> DocumentError:
    """Return the error for a character that YAML does not allow."""
    place = _place(text, error.position, source)
    received = f"the character {chr(error.character)!a}" if isinstance(error.character, int) else None
    return DocumentError("YAML does not allow control characters", place, received)


def _place(text: str, position: int, source: str) -> Place:
    before = text[:position]
    return Place(source, before.count("\n") + 1, len(before) - before.rfind("\n"))


def _explain(error: Any, text: str, source: str) -> DocumentError:
    """Return the error for invalid YAML, with the most likely cause if known."""
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    lines = text.split("\n")
    error_line = lines[line] if line < len(lines) else ""
    # The cause is often on the line before. Lines may be megabytes long, and the hints below search them.
    nearby = [text[max(0, column - 200) : column + 200] for text in lines[max(0, line - 1) : line + 1]]
    place = Place(source, line + 1, column + 1)
    problem = " ".join(filter(None, [error.context, error.problem]))
    if error.context_mark and error.context_mark.line != line:
        problem += f"; it began on line {error.context_mark.line + 1}"
    if "nesting depth" in problem:  # libyaml looks ahead, so its own limit applies before ours
        return DocumentError(f"a model document may nest at most {MAX_DEPTH} deep", place)
    if "\t" in error_line[: column + 1]:
        return DocumentError("YAML must be indented with spaces, not tabs", place, "a tab")
    return DocumentError(f"not valid YAML: {problem}", place, hint=_hint(problem, nearby))


def _hint(problem: str, lines: list[str]) -> str:
    """Return the most likely fix for lines that the parser rejects."""
    for line in lines:
        if re.search(r"""(?<!["'])\$\{""", line) and re.search(r"[\[{].*\$\{", line):
            return 'Put ${...} in quotes within { } or [ ]: "${...}".'
    if "alias" in problem:
        return QUOTE_PATTERNS
    if "mapping values" in problem:
        return "Put several options in { }, and text that contains ': ' in quotes."
    if "expected key" in problem or "block" in problem:
        return "Check that this line is indented like the lines above."
    return ""


_MERGE = Located("<<")
"""Represents the merge key of YAML 1.1, ``<<``."""


class _Open:
    """A list or mapping that is still being read. ``pending`` is a key whose value has not been read."""

    __slots__ = ("anchor", "column", "flow", "items", "keys", "line", "merges", "pending", "start")

    def __init__(self, event: Any) -> None:
        self.items: list[Located] | dict[str, Located] = [] if isinstance(event, yaml.SequenceStartEvent) else {}
        self.keys: dict[str, Located] = {}
        self.pending: Located | None = None
        self.merges: list[Located] = []
        self.anchor: str | None = event.anchor
        self.flow: bool = event.flow_style
        mark = event.start_mark
        self.line, self.column, self.start = mark.line + 1, mark.column + 1, mark.index


class _Composer:
    """A builder of nodes from parser events. It enforces the limits at each event."""

    def __init__(self, source: str, integers: range = INTEGERS) -> None:
        self.source, self.integers = source, integers
        self.stack: list[_Open] = []
        self.anchors: dict[str, Located | None] = {}  # None while the anchored collection is being read
        self.nodes = 0
        self.end = 0  # of the last value, in characters
        self.root: Located | None = None

    def fail(self, event: Any, rule: str, received: str | None = None, hint: str = "") -> NoReturn:
        mark = event.start_mark
        raise DocumentError(rule, Place(self.source, mark.line + 1, mark.column + 1), received, hint)

    def count(self, event: Any, nodes: int) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            self.fail(event, f"a model document may have at most {MAX_NODES:,} values, counting repeated aliases")

    def scalar(self, event: Any) -> None:
        if event.tag is not None:
            self.fail(event, "a model document may not have tags", event.tag)
        self.count(event, 1)
        mark = event.start_mark
        text = event.value
        value: Scalar = text
        plain = not event.style
        # Most scalars are names: only those that can be something else are resolved.
        if plain and (text in _WORDS or text[0] in "+-.0123456789"):
            try:
                value = _resolve(text)
                if isinstance(value, int) and value not in self.integers:
                    raise ValueError(NO_INTEGER)
            except ValueError as error:
                self.fail(event, str(error), truncate(text))
        node = Located(value, self.source, mark.line + 1, mark.column + 1)
        node.start, node.end = mark.index, event.end_mark.index
        self.end = node.end
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        self.add(node, event, plain)

    def alias(self, event: Any) -> None:
        if event.anchor not in self.anchors:
            self.fail(event, "no earlier anchor has this name", f"*{event.anchor}", QUOTE_PATTERNS)
        node = self.anchors[event.anchor]
        if node is None:
            self.fail(event, "an alias may not be inside the value it repeats", f"*{event.anchor}")
        self.count(event, node.size)
        if len(self.stack) + node.height > MAX_DEPTH:
            self.too_deep(event)
        self.end = event.end_mark.index
        self.add(node, event, plain=False)

    def open(self, event: Any) -> None:
        if event.tag is not None:
            self.fail(event, "a model document may not have tags", event.tag)
        self.count(event, 1)
        if len(self.stack) >= MAX_DEPTH:
            self.too_deep(event)
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        if self.stack and isinstance(self.stack[-1].items, dict) and self.stack[-1].pending is None:  # ``? [a]``
            self.fail(event, "a key must be text", "a list or a mapping")
        self.stack.append(_Open(event))

    def close(self, event: Any) -> None:
        frame = self.stack.pop()
        items = frame.items
        if isinstance(items, dict) and frame.merges:
            items = self.merged(frame)
        keys = frame.keys if isinstance(items, dict) else None
        node = Located(items, self.source, frame.line, frame.column, keys)
        if frame.flow:
            self.end = event.end_mark.index
        # The end event of a block collection is at the next token, after comments and blank lines.
        node.start, node.end = frame.start, self.end
        if frame.anchor is not None:
            self.anchors[frame.anchor] = node
        self.add(node, event, plain=False)

    def add(self, node: Located, event: Any, plain: bool) -> None:
        """Add a complete node to the innermost open collection, or make it the root."""
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
            self.fail(event, "a key must be text: put it in quotes", preview(node))
        if name in frame.keys:
            first = frame.keys[name]
            rule = f"duplicate key {truncate(name)!r}; the first is on line {first.line}"
            self.fail(event, rule)
        frame.keys[name] = node
        frame.pending = node

    def merged(self, frame: _Open) -> dict[str, Located]:
        """Return a mapping with its merges applied. Its own keys take precedence, then earlier merges."""
        assert isinstance(frame.items, dict)
        items: dict[str, Located] = {}
        for merge in frame.merges:
            for source in merge.value if isinstance(merge.value, list) else [merge]:
                if not isinstance(source.value, dict):
                    raise source.error("<< must be a mapping or a list of mappings")
                for name, value in source.value.items():
                    items.setdefault(name, value)
                    frame.keys.setdefault(name, source.key(name))
        return items | frame.items

    def too_deep(self, event: Any) -> NoReturn:
        self.fail(event, f"a model document may nest at most {MAX_DEPTH} deep")


def _check_number(text: str, source: str) -> None:
    """Raise DocumentError for a text with too many values, before any value is stored."""
    next_event = _loader(text, source).get_event
    values = 0
    with suppress(yaml.YAMLError):  # composing reports it with an explanation
        while (event := next_event()) is not None:
            values += isinstance(event, yaml.NodeEvent)
            if values > MAX_NODES:
                _Composer(source).count(event, values)


def _compose(text: str, source: str, integers: range = INTEGERS) -> Located | None:
    # an indicator begins at most three values, as { in {a}: the mapping, its key, and the missing value
    if 3 * sum(map(text.count, ",:-?[{\n")) > MAX_NODES:
        _check_number(text, source)
    composer = _Composer(source, integers)
    next_event = _loader(text, source).get_event
    documents = 0
    try:
        while (event := next_event()) is not None:
            event_type = type(event)
            if event_type is yaml.ScalarEvent:
                composer.scalar(event)
            elif event_type is yaml.MappingStartEvent or event_type is yaml.SequenceStartEvent:
                composer.open(event)
            elif event_type is yaml.MappingEndEvent or event_type is yaml.SequenceEndEvent:
                composer.close(event)
            elif event_type is yaml.AliasEvent:
                composer.alias(event)
            elif event_type is yaml.DocumentStartEvent:
                documents += 1
                if documents > 1:
                    composer.fail(event, "a file may contain one model document; a second begins here")
    except yaml.MarkedYAMLError as error:
        raise _explain(error, text, source) from None
    except yaml.reader.ReaderError as error:
        raise _not_allowed(error, text, source) from None
    return composer.root


_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_OCTAL_OR_HEX = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: dict[str, Scalar] = dict.fromkeys(["", "~", "null", "Null", "NULL"])
_WORDS |= dict.fromkeys(["true", "True", "TRUE"], True) | dict.fromkeys(["false", "False", "FALSE"], False)


def _resolve(text: str) -> Scalar:
    """Return the value of a plain scalar by the core schema. Raises ValueError if it is ambiguous or not finite."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        digits = text.lstrip("+-")
        if len(digits) > 1 and digits[0] == "0":
            raise ValueError(
                "a number with a leading zero is ambiguous: write 0o10 for octal, 8 for decimal, or quote it"
            )
        return _integer(text, 10)
    if _OCTAL_OR_HEX.fullmatch(text):
        return _integer(text, 0)
    if _FLOAT.fullmatch(text):
        value = float(text)
        if value in (float("inf"), float("-inf")):
            raise ValueError("a number must be finite")
        return value
    if _NOT_FINITE.fullmatch(text):
        raise ValueError("a number must be finite")
    return text


def _integer(text: str, base: int) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(NO_INTEGER)
    return int(text, base)
