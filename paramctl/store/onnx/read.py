"""Read an ONNX model as a checkpoint."""

from __future__ import annotations

from pathlib import PurePath

from paramctl.core.parameter import Parameter
from paramctl.errors import InputError
from paramctl.model import Tie
from paramctl.store.checkpoint import Checkpoint, build_model, stored_parameter
from paramctl.store.contents import JoinedReader, Origin, Reader
from paramctl.store.io.extents import Extent, ExtentReader
from paramctl.store.io.protobuf import MAX_VARINT, VARINT, message_at
from paramctl.store.location import Location, in_memory
from paramctl.store.onnx import NAME
from paramctl.store.onnx.external import ExternalFiles, MissingValues, range_of
from paramctl.store.onnx.graph import ModelReader
from paramctl.store.onnx.numbers import BitReader, PackedReader, VarintReader, Varints
from paramctl.store.onnx.tensors import RAW, TEXT, TYPES, WIRE_TYPES, ElementType, Span, Tensor

MAX_FIELDS = 1_000_000
"""The number of fields in the graphs of a model: about 25 for each node."""


def read(location: Location) -> Checkpoint:
    """Read the arrays of a model. Raises InputError if it is damaged."""
    try:
        model = ModelReader()
        model.read_model(message_at(location, 0, location.size(), MAX_FIELDS))
        return _Arrays(location, model).checkpoint()
    except ValueError as error:
        raise error if isinstance(error, InputError) else InputError(f"{location.name}: damaged ({error})") from error


class _Arrays:
    """The arrays of a model, with a reader for each."""

    def __init__(self, location: Location, model: ModelReader) -> None:
        self.location, self.model = location, model
        self.gathered = in_memory(bytes(model.gathered), location.name) if model.gathered else location
        self.external = ExternalFiles(location)
        self.parameters: dict[str, Parameter] = {}
        self.readers: dict[str, Reader] = {}
        self.skipped = dict(model.skipped)
        self.ties: list[Tie] = []
        self.owners: dict[tuple[object, ...], str] = {}

    def checkpoint(self) -> Checkpoint:
        """Return the checkpoint. Raises ValueError if a tensor is damaged."""
        for name, tensor in self.model.named().items():
            self._add(name, tensor)
        name = PurePath(self.location.name).stem
        model, _ = build_model(name, self.parameters, tuple(self.ties))
        nodes = self.model.nodes
        others = [f"the graph of {nodes:,} node{'s' * (nodes > 1)}"] if nodes else []
        others += ["the training information"] if self.model.has_training else []
        origin = Origin(
            self.location, NAME, skipped=self.skipped, metadata=self.model.metadata, other_content=tuple(others)
        )
        return Checkpoint(model, JoinedReader(self.readers), origin)

    def _add(self, name: str, tensor: Tensor) -> None:
        kind = TYPES.get(tensor.code)
        if kind is None:
            self.skipped[name] = "text" if tensor.code == TEXT else f"type {tensor.code} of ONNX"
            return
        if kind.is_packed and not _is_whole(tensor, kind):
            self.skipped[name] = f"{kind.dtype} that does not fill its bytes"
            return
        self.parameters[name] = stored_parameter(name, tensor.shape, kind.dtype)
        if tensor.external is not None:
            self._add_external(name, tensor, kind)
        elif tensor.span is not None:
            self._add_inline(name, tensor.size, tensor.span, kind)
        elif tensor.size:
            raise ValueError(f"{name} has no values")
        else:
            self._add_raw(name, self.location, 0, kind)

    def _add_external(self, name: str, tensor: Tensor, kind: ElementType) -> None:
        keys = tensor.external or {}
        file = self.external.open(name, keys)
        if isinstance(file, InputError):
            self.readers[name] = MissingValues(str(file))
            return
        offset = range_of(name, keys, kind.bytes(tensor.size), file.size())
        # torch shares one range of the file between tied parameters
        place = (file.name, offset, tensor.shape, tensor.code)
        if tensor.size and (kept := self.owners.setdefault(place, name)) != name:
            self.ties.append(Tie(kept, name))
        self._add_raw(name, file, offset, kind)

    def _add_inline(self, name: str, count: int, span: Span, kind: ElementType) -> None:
        location = self.gathered if span.gathered else self.location
        got, size = span.stop - span.start, kind.bytes(count)
        if span.field not in (RAW, kind.field):
            raise ValueError(f"{name} has its values in a field of another dtype than {kind.dtype}")
        if WIRE_TYPES.get(span.field) != VARINT:
            if got != size:
                raise ValueError(f"{name} must have {size:,} bytes (got {got:,})")
            self._add_raw(name, location, span.start, kind)
            return
        # int4 has two values in each number, as in each byte
        numbers = size if kind.bits < 8 else count
        if not numbers <= got <= MAX_VARINT * numbers:
            raise ValueError(f"{name} must have {numbers:,} values (got {got:,} bytes)")
        dtype = "uint8" if kind.bits < 8 else kind.dtype
        reader = VarintReader(location, {name: Varints(span.start, span.stop, numbers, dtype)})
        self.readers[name] = _decoded(reader, name, kind)

    def _add_raw(self, name: str, location: Location, offset: int, kind: ElementType) -> None:
        dtype = "uint8" if kind.bits < 8 else kind.dtype
        self.readers[name] = _decoded(ExtentReader(location, {name: Extent(offset, dtype)}), name, kind)


def _is_whole(tensor: Tensor, kind: ElementType) -> bool:
    """Return True if packed values can be copied: they fill whole bytes, and are not numbers of a byte each."""
    is_number = tensor.span is not None and tensor.span.field != RAW
    return tensor.size * kind.bits % 8 == 0 and not (is_number and 8 % kind.bits)


def _decoded(reader: Reader, name: str, kind: ElementType) -> Reader:
    """Return the reader of values that have several in a byte; the same reader if they do not."""
    if kind.bits >= 8:
        return reader
    if kind.is_packed:
        return PackedReader(reader, kind.bits)
    return BitReader(reader, {name: -kind.bits if kind.dtype == "int8" else kind.bits})
