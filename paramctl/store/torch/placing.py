"""Readers of tensors: by extents where the values follow each other in the file, otherwise in slabs."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from functools import partial
from math import prod
from typing import IO, Any, NamedTuple, cast

from paramctl.core.dtypes import numpy_dtype
from paramctl.store.contents import JoinedReader, Reader
from paramctl.store.io.extents import Extent, ExtentReader
from paramctl.store.io.fortran_order import ArrayBytes
from paramctl.store.io.inflate import AT_ONCE, InflatedStream
from paramctl.store.io.slab_reader import SLAB, SlabReader
from paramctl.store.io.strided import FileBytes, StridedArray, is_contiguous
from paramctl.store.location import Location
from paramctl.store.torch.quantized import QuantizedReader, integers_of
from paramctl.store.torch.storages import Storage
from paramctl.store.torch.tensors import Tensor


class _MemoryBytes(NamedTuple):
    """The bytes of an array that the pickle itself has."""

    data: bytes

    def fill(self, offset: int, buffer: memoryview) -> None:
        buffer[:] = self.data[offset : offset + len(buffer)]

    def close(self) -> None:
        """Do nothing: the bytes stay in memory."""


class _DecodedText:
    """A stream of the bytes that a pickle of protocol 2 has as text, each as a character."""

    def __init__(self, file: Location, begin: int, size: int) -> None:
        self.file, self.offset, self.stop = file, begin, begin + size
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.waiting = b""

    def read(self, size: int) -> bytes:
        while len(self.waiting) < size and self.offset < self.stop:
            text = self.file.read(self.offset, min(AT_ONCE, self.stop - self.offset))
            self.offset = self.offset + len(text) if text else self.stop
            self.waiting += self.decoder.decode(text).encode("latin-1")
        data, self.waiting = self.waiting[:size], self.waiting[size:]
        return data

    def close(self) -> None:
        self.waiting = b""


def reader_of(tensors: Mapping[str, Tensor], file: Location) -> Reader:
    """Return a reader of tensors, by path. file: that of the pickle."""
    quantized = {path: tensor for path, tensor in tensors.items() if tensor.quantization is not None}
    stored = _stored_reader({**tensors, **{path: integers_of(tensor) for path, tensor in quantized.items()}}, file)
    if not quantized:
        return stored
    facts = {path: tensor.quantization for path, tensor in quantized.items() if tensor.quantization is not None}
    scales, zero_points = (
        _stored_reader({path: vector for path, vector in vectors.items() if isinstance(vector, Tensor)}, file)
        for vectors in (
            {path: quantization.scale for path, quantization in facts.items()},
            {path: quantization.zero_point for path, quantization in facts.items()},
        )
    )
    reader = QuantizedReader(quantized, stored, scales, zero_points)
    return JoinedReader({**dict.fromkeys(tensors, stored), **dict.fromkeys(quantized, reader)})


def _stored_reader(tensors: Mapping[str, Tensor], file: Location) -> JoinedReader:
    """Return a reader of the values as they are stored."""
    extents: dict[int, tuple[Location, dict[str, Extent]]] = {}
    slabs: dict[str, StridedArray] = {}
    readers: dict[str, Reader] = {}
    for path, tensor in tensors.items():
        storage = tensor.storage
        dtype = numpy_dtype(tensor.dtype)
        dtype = dtype.newbyteorder(">") if tensor.is_big_endian else dtype
        source = storage.file or file
        in_file = storage.inflate is None and storage.data is None and not storage.encoded
        contiguous = is_contiguous(tensor.shape, tensor.strides)
        if not prod(tensor.shape) or (in_file and contiguous):
            _, places = extents.setdefault(id(source), (source, {}))
            begin = storage.begin + tensor.offset * dtype.itemsize
            places[path] = Extent(begin, tensor.dtype, ">" if tensor.is_big_endian else "<")
            continue
        # without its axes, a contiguous array is divided into slabs of any size
        shape, strides = ((prod(tensor.shape),), (1,)) if contiguous else (tensor.shape, tensor.strides)
        slabs[path] = StridedArray(shape, dtype, strides, tensor.offset, _bytes_of(storage, source, path))
    for source, places in extents.values():
        readers |= dict.fromkeys(places, ExtentReader(source, places))
    readers |= dict.fromkeys(slabs, SlabReader(slabs))
    return JoinedReader(readers)


def _bytes_of(storage: Storage, file: Location, path: str) -> ArrayBytes:
    if storage.data is not None:
        return _MemoryBytes(storage.data)
    name = f"{file.name}: {path}"
    if storage.encoded:
        text = partial(_DecodedText, file, storage.begin, storage.encoded)
        return InflatedStream(lambda: cast(IO[bytes], text()), 0, storage.size, storage.size <= SLAB, name)
    if storage.inflate is not None:
        return InflatedStream(storage.inflate, 0, storage.size, storage.size <= SLAB, name)
    return FileBytes(file, storage.begin, path)


def place_of(tensor: Tensor) -> tuple[Any, ...] | None:
    """Return a key that two tensors share if they are the same values in the same order; None for an empty one."""
    if not prod(tensor.shape):
        return None
    storage, itemsize = tensor.storage, numpy_dtype(tensor.dtype).itemsize
    in_file = storage.inflate is None and storage.data is None
    start = storage.begin if in_file else (id(storage.data) if storage.data is not None else storage.key)
    # the stride of an axis of size 1 has no meaning
    strides = tuple(0 if size == 1 else stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    offset = tensor.offset * itemsize
    place: tuple[Any, ...] = (
        (start + offset, id(storage.file)) if in_file and isinstance(start, int) else (start, offset)
    )
    shape: tuple[Any, ...] = tensor.shape
    if (quantization := tensor.quantization) is not None:
        scale, zero_point = (
            place_of(value) if isinstance(value, Tensor) else value
            for value in (quantization.scale, quantization.zero_point)
        )
        place = (*place, quantization.name, scale, zero_point)
        # the axis of the scales: reversed, no shape is equal, so no transpose of the integers is taken for a tie
        shape = (shape, quantization.axis) if isinstance(quantization.scale, Tensor) else shape
    return (*place, tensor.dtype, tensor.is_big_endian, shape, strides)
