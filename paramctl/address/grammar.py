"""The address syntax, which every command uses. Parsing needs no model.

block2/block-1/dense/bias         names, joined by ``/``, or by ``.`` in a file whose names contain no slash
block-*/**/kernel                 ``*`` and ``?`` within a name, ``**`` for any number of names
block-[0..11]/mlp                 a set of numbers in a name: [0..11], [0..2,4..31] without 3, [1..47:2] by 2
0/1/1/bias   -1/kernel            a layer, or a parameter of one, by its index; a name takes precedence
layers[0].layers[1].weights[1]    the same as in Python
'a[0]'/b                          a name in quotes, or several with their separators, without wildcards
re:.*bias                         a regular expression for the whole path
dense/kernel[0, :5]               a slice of the values, as in NumPy, after any form but the last
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import NamedTuple

from paramctl.address.expressions import compile_expression
from paramctl.address.numbers import number_set_end
from paramctl.address.patterns import MAX_ADDRESS, NamePattern
from paramctl.core.indexing import Index, parse_slice
from paramctl.errors import AddressError

# Patterns are kept as text and compiled when the first address is parsed: most commands have none.
_INDEX = r"-?\d{1,9}"
_PYTHON = rf"(?:layers|weights)\[{_INDEX}\](?:\.(?:layers|weights)\[{_INDEX}\]|\.[^\W\d]\w*)*"
_PYTHON_PART = r"(layers|weights)\[(-?\d+)\]|(\w+)"


class WeightIndex(NamedTuple):
    """``weights[1]``: an index into all parameters of a layer or model, as in Keras."""

    position: int


class LayerIndex(NamedTuple):
    """``layers[1]``: an index into the layers of a layer or model, as in Keras."""

    position: int


Segment = NamePattern | WeightIndex | LayerIndex


class Address(NamedTuple):
    """A parsed address.

    text: the address as written.
    segments: the parts between the separators; empty for a regular expression.
    expression: the regular expression, or None.
    indices: the slice of the values, or None for all.
    """

    text: str
    segments: tuple[Segment, ...]
    expression: re.Pattern[str] | None
    indices: tuple[Index, ...] | None

    @property
    def is_pattern(self) -> bool:
        """True if the address can match any number of parameters."""
        return self.expression is not None or any(
            isinstance(segment, NamePattern) and segment.has_wildcards for segment in self.segments
        )

    @property
    def names(self) -> list[NamePattern] | None:
        """The segments, if all of them are names."""
        names = [segment for segment in self.segments if isinstance(segment, NamePattern)]
        return names if names and len(names) == len(self.segments) else None


def index_of(segment: Segment) -> int | None:
    """Return the index that a segment can be, or None: ``layers[1]``, ``weights[1]``, and the unquoted name ``1``."""
    if not isinstance(segment, NamePattern):
        return segment.position
    return int(segment.text) if not segment.quoted and re.fullmatch(_INDEX, segment.text) else None


def parse_address(text: str, separator: str = "/", names: Container[str] = ()) -> Address:
    """Return the address in a text.

    separator: the character that joins names besides ``/``.
    names: the paths of the model. A path such as ``layers.weights`` is a name, not Python syntax.
    Raises AddressError, with the character, if the address is malformed.
    """
    if len(text) > MAX_ADDRESS:
        raise AddressError(f"an address may have at most {MAX_ADDRESS:,} characters", f"{len(text):,}")
    text = text.strip()
    if text.startswith("re:"):  # all that follows is the expression, which may contain / and [
        return Address(text, (), compile_expression(text), None)
    python = re.match(_PYTHON, text)
    if python and text.partition("[")[0] not in names:
        rest = text[python.end() :]
        if not rest or rest.startswith("["):
            parts = tuple(_python_segment(*part.groups()) for part in re.finditer(_PYTHON_PART, python.group()))
            return Address(text, parts, None, parse_slice(rest, python.end(), text) if rest else None)
    segments, end = _parse_segments(text, "./" if separator == "." else "/")
    return Address(text, segments, None, parse_slice(text[end:], end, text) if end < len(text) else None)


def _python_segment(collection: str | None, index: str | None, name: str | None) -> Segment:
    if name is not None:
        return NamePattern(name, quoted=True)
    return WeightIndex(int(index or 0)) if collection == "weights" else LayerIndex(int(index or 0))


def _parse_segments(text: str, separators: str) -> tuple[tuple[Segment, ...], int]:
    """Return the segments before a slice or the end of the text, and the position where they end."""
    segments: list[Segment] = []
    position = 0
    while True:
        if text[position : position + 1] in ("'", '"') and text[position:]:
            end = text.find(text[position], position + 1)
            if end < 0:
                raise AddressError(f"a quote must be closed (character {position + 1})", repr(text))
            quoted = text[position + 1 : end]  # quotes may hold one name, or several with their separators
            segments += [NamePattern(name, quoted=True) for name in re.split(f"[{separators}]", quoted)]
            position = end + 1
            if position < len(text) and text[position] not in f"{separators}[":
                rule = f"'/' or '[' must follow a quoted name (character {position + 1})"
                raise AddressError(rule, repr(text))
        else:
            start = position
            position = _name_end(text, start, separators)
            if start == position:
                raise AddressError(f"a name in an address may not be empty (character {start + 1})", repr(text))
            segments.append(NamePattern(text[start:position]))
        if position == len(text) or text[position] == "[":
            return tuple(segments), position
        position += 1


def _name_end(text: str, position: int, separators: str) -> int:
    """Return the position after a name without quotes. A bracket ends it, unless it is of a set of numbers."""
    while position < len(text) and text[position] not in separators:
        if text[position] == "[":
            end = number_set_end(text, position)
            if end is None:
                break
            position = end
        else:
            position += 1
    return position
