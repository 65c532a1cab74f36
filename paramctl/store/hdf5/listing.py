"""What an HDF5 file holds, as the child process tells it: its arrays as parameters, and where each has its values."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from paramctl.core.dtypes import Array, numpy_dtype
from paramctl.core.parameter import DTYPE_BYTES, Parameter
from paramctl.errors import InputError
from paramctl.model import Tie
from paramctl.store.checkpoint import Provenance, Reader, stored_parameter
from paramctl.store.hdf5.client import Worker, WorkerExited, new_worker
from paramctl.store.io.extents import Extent, ExtentReader
from paramctl.store.location import LocalFile, Location


@dataclass(frozen=True, slots=True)
class Listing:
    """What is in an HDF5 file, or in one that lies within another from ``begin`` on.

    arrays: path, shape, dtype, order, offset and attributes of each. ties: (a path, another for the same array).
    skipped: what holds no numbers. own: the texts of paramctl's own group. told: what Keras says of each group.
    """

    file: Location
    process: Worker
    begin: int
    arrays: Sequence[Mapping[str, Any]]
    ties: Sequence[Sequence[str]]
    skipped: Sequence[str]
    own: dict[str, Any] | None
    told: Mapping[str, Mapping[str, Any]]


def listing(file: Location, begin: int = 0, size: int | None = None) -> Listing:
    """What the child tells of a file. Raises InputError if it is damaged, or holds what is never read."""
    process = new_worker()
    try:
        path, named = path_of(file)
        answer = process.ask("list", path=path, named=named, begin=begin, size=size)
    except WorkerExited as died:
        raise InputError(f"{file.name}: {died}") from died
    if "error" in answer:
        raise InputError(f"{file.name}: {answer['error']}")
    parts = (answer[key] for key in ("arrays", "ties", "skipped", "own", "keras"))
    return Listing(file, process, begin, *parts)


def path_of(file: Location) -> tuple[str, bool]:
    """A path by which another process opens the same file, and whether HDF5 can open it by name."""
    path = f"/proc/{os.getpid()}/fd/{file.descriptor()}" if _PROC else file.name
    return path, isinstance(file, LocalFile)


_PROC = os.path.isdir("/proc/self/fd")


def stem(file: Location) -> str:
    """What a model is called that has no other name."""
    return PurePath(file.name).stem.removesuffix(".weights")


def linked(pairs: Sequence[Sequence[str]], names: Mapping[str, str], kept: Collection[str] = ()) -> list[Tie]:
    """The ties that hard links are, by what arrays are called; each is kept under one in ``kept``, or the first."""
    groups: dict[str, list[str]] = {}
    for first, other in pairs:
        groups.setdefault(first, [first]).append(other)
    made = []
    for paths in groups.values():
        group = [names[path] for path in paths if path in names]
        keep = next((name for name in group if name in kept), group[0] if group else "")
        made += [Tie(keep, name) for name in group if name != keep]
    return made


class StoredArrays:
    """The arrays of a file, gathered: parameters by their names, and where the values of each lie."""

    def __init__(self, within: Listing) -> None:
        self.file, self.process, self.begin = within.file, within.process, within.begin
        self.parameters: dict[str, Parameter] = {}
        self.extents: dict[str, Extent] = {}
        self.elsewhere: dict[str, tuple[str, np.dtype[Any]]] = {}
        self.notes: dict[str, Provenance] = {}
        self.stored: dict[str, str] = {}

    def take(self, each: Mapping[str, Any], path: str, says: Mapping[str, Any]) -> None:
        """One array, under a name."""
        if each["dtype"] not in DTYPE_BYTES:
            raise InputError(f"{self.file.name}: {path} has the dtype {each['dtype']}, which is not supported")
        self.parameters[path] = stored_parameter(path, tuple(each["shape"]), each["dtype"], says)
        dtype = numpy_dtype(each["dtype"]).newbyteorder(each["order"])
        if each["offset"] is None:
            self.elsewhere[path] = each["path"], dtype
        else:
            self.extents[path] = Extent(self.begin + each["offset"], dtype)
        self.notes[path] = Provenance(says.get("scheme"), says.get("seed"))
        if path != each["path"]:
            self.stored[path] = each["path"]

    @property
    def reader(self) -> Reader:
        return _Reader(ExtentReader(self.file, self.extents), self.process, self.elsewhere)


class _Reader:
    """Reads contiguous values itself, and has the child read the others."""

    def __init__(
        self, extents: ExtentReader, child: Worker, elsewhere: Mapping[str, tuple[str, np.dtype[Any]]]
    ) -> None:
        self.extents, self.child, self.elsewhere = extents, child, elsewhere

    def read(self, path: str, start: int, stop: int) -> Array:
        if path not in self.elsewhere:
            return self.extents.read(path, start, stop)
        within, dtype = self.elsewhere[path]
        if start == stop:
            return np.empty(0, dtype.newbyteorder("="))
        name = self.extents.file.name
        try:
            data = self.child.read(within, start, stop)
        except WorkerExited as died:
            raise InputError(f"{name}: {path} {died}") from died
        if isinstance(data, str):
            raise InputError(f"{name}: {path}: {data}")
        if len(data) != (stop - start) * dtype.itemsize:
            raise InputError(f"{name}: it ends within {path}")
        return np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))
