"""The values of tensors that are in parts: each range is joined from the parts that have some of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import prod

from paramctl.core.dtypes import Array
from paramctl.core.parameter import DTYPE_BYTES
from paramctl.errors import InputError
from paramctl.store.contents import Reader
from paramctl.store.dcp.index import Part, Place, ShardedTensor
from paramctl.store.dcp.window import Window
from paramctl.store.io.boxes import Box, BoxPart, check_filled, read_boxes
from paramctl.store.io.index_files import is_file_name
from paramctl.store.io.zips import ZIP_ERRORS
from paramctl.store.location import Location
from paramctl.store.pickles.objects import Record
from paramctl.store.pickles.state import BadPickle
from paramctl.store.torch.placing import reader_of
from paramctl.store.torch.reading import open_pickle
from paramctl.store.torch.tensors import Tensor, tensor_of

MAX_PARTS = 5_000
"""Parts of one tensor: each process saves one at most."""
VALUES = "values"


class Files:
    """The files of a folder, each opened once."""

    def __init__(self, index: Location) -> None:
        self.index = index
        self.files: dict[str, Location] = {}

    def window(self, place: Place) -> Window:
        """Return the range of a part. Raises InputError if its file is missing, elsewhere, or too short."""
        name = place.file
        if name not in self.files:
            if not is_file_name(name):
                rule = "a file that the index names must be in its folder"
                raise InputError(f"{self.index.name}: {rule} (got {name[:200]!r})")
            self.files[name] = self.index.sibling(name)
        file = self.files[name]
        if place.offset + place.size > file.size():
            rule = f"truncated: {file.size():,} of at least {place.offset + place.size:,} bytes"
            raise InputError(f"{file.name}: {rule}")
        return Window(file, place.offset, place.size)


def check_parts(name: str, tensor: ShardedTensor) -> None:
    """Raise BadPickle unless each value of a tensor is in exactly one part."""
    if len(tensor.parts) > MAX_PARTS:
        raise BadPickle(f"{name} has {len(tensor.parts):,} parts, more than {MAX_PARTS:,}")
    for part in tensor.parts:
        if len(part.offsets) != len(tensor.shape) or len(part.sizes) != len(tensor.shape):
            raise BadPickle(f"a part of {name} has another number of axes")
        ends = map(sum, zip(part.offsets, part.sizes, strict=True))
        if any(end > size for end, size in zip(ends, tensor.shape, strict=True)):
            raise BadPickle(f"a part of {name} at {part.offsets} ends outside the shape {tensor.shape}")
    saved = sum(prod(part.sizes) for part in tensor.parts)
    if saved != prod(tensor.shape):
        raise BadPickle(f"the parts of {name} have {saved:,} of {prod(tensor.shape):,} values")
    try:
        check_filled(name, tensor.shape, list(map(_box, tensor.parts)))
    except ValueError as error:
        raise BadPickle(str(error)) from error


def _box(part: Part) -> Box:
    return [range(start, start + size) for start, size in zip(part.offsets, part.sizes, strict=True)]


class PartReader:
    """A reader of tensors in parts. A part is opened when the first of its values is read. Safe for threads."""

    def __init__(self, files: Files, tensors: Mapping[str, ShardedTensor]) -> None:
        self.files, self.tensors = files, tensors
        self.readers: dict[Place, Reader] = {}

    def read(self, path: str, start: int, stop: int) -> Array:
        """Return values from one index to another. Raises InputError for a damaged part."""
        tensor = self.tensors[path]
        filled = [part for part in tensor.parts if prod(part.sizes)]
        if start < stop and len(filled) == 1:
            return self._read_part(path, filled[0], start, stop)
        parts = [BoxPart(_box(part), partial(self._read_part, path, part)) for part in filled]
        return read_boxes(tensor.shape, tensor.dtype, parts, start, stop)

    def _read_part(self, path: str, part: Part, start: int, stop: int) -> Array:
        return self._reader(path, self.tensors[path].dtype, part).read(VALUES, start, stop)

    def _reader(self, path: str, dtype: str, part: Part) -> Reader:
        reader = self.readers.get(part.place)
        if reader is None:
            reader = self.readers[part.place] = _open_part(self.files.window(part.place), path, dtype, part)
        return reader


def _open_part(window: Window, path: str, dtype: str, part: Part) -> Reader:
    """Return a reader of the tensor that a part is. Raises InputError if it is not the tensor of the index."""
    try:
        pickled = open_pickle(window)
        tensor = tensor_of(pickled.root) if isinstance(pickled.root, Record) else None
        if not isinstance(tensor, Tensor) or (tensor.value_dtype, tensor.shape) != (dtype, part.sizes):
            got = f"{tensor.value_dtype} {tensor.shape}" if isinstance(tensor, Tensor) else "another object"
            raise BadPickle(f"must be {dtype} {part.sizes} (got {got})")
    except InputError:
        raise
    except ZIP_ERRORS as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{window.name}: the part of {path} at {part.offsets}: {reason}") from error
    return reader_of({VALUES: tensor}, pickled.file)


def is_readable(tensor: ShardedTensor) -> bool:
    return tensor.dtype in DTYPE_BYTES
