"""ONNX as a format that is only read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from paramctl.store.format import Format
from paramctl.store.location import Location
from paramctl.store.onnx import NAME

if TYPE_CHECKING:
    from paramctl.store.checkpoint import Checkpoint

SUFFIX = ".onnx"
TAGS = frozenset(
    {b"\x08", b"\x28", *(bytes([number << 3 | 2]) for number in (2, 3, 4, 6, 7, 8, 14)), b"\xa2", b"\xca", b"\xd2"}
)
"""The first bytes of the fields of a model: (number << 3 | wire type), with the highest bit if another byte follows."""
MAX_FIELDS = 10_000
"""The number of fields before the graph: texts, and an entry for each set of operators."""


class Onnx(Format):
    """A model of ONNX: a message of protocol buffers. Large values can be in other files of its folder."""

    name = NAME
    read_suffixes = (SUFFIX,)

    def matches(self, location: Location) -> bool:
        if location.read(0, 1) not in TAGS:  # so that other files need no parser
            return False
        from paramctl.store.io.protobuf import BYTES, message_at
        from paramctl.store.onnx.fields import GRAPH, GRAPH_FIELDS, MODEL_FIELDS

        try:
            for place, field in enumerate(message_at(_Padded(location), 0, 1 << 60, MAX_FIELDS).fields()):
                if MODEL_FIELDS.get(field.number) != field.kind:
                    return False
                if field.number == GRAPH:
                    first = next(field.message.fields(), None)
                    if first is None:  # the graph may be cut, but its head alone may begin any file
                        return place > 0
                    return first.number in GRAPH_FIELDS and first.kind == BYTES
        except ValueError:
            pass
        return False

    def read(self, location: Location) -> Checkpoint:
        from paramctl.store.onnx.read import read

        return read(location)

    def opens_folder(self, names: Sequence[str]) -> str | None:
        models = [name for name in names if name.endswith(SUFFIX)]
        return f"model{SUFFIX}" if f"model{SUFFIX}" in models else models[0] if len(models) == 1 else None


class _Padded:
    """A file with zeros behind its end, at which the fields of a message end too: the size of a pipe is not known."""

    def __init__(self, location: Location) -> None:
        self.location = location

    def read(self, offset: int, size: int) -> bytes:
        return self.location.read(offset, size).ljust(size, b"\0")
