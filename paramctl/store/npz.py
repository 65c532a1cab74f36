"""npz: a zip of npy files, as numpy.savez writes it. https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html

Nothing is unpickled. A stored member is read in place; a compressed one as it unfolds.
"""

from __future__ import annotations

import io
import json
import struct
import threading
import tokenize
import zipfile
from collections.abc import Callable, Iterable, Mapping
from math import prod
from pathlib import PurePath
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from paramctl.arrays import Array, numpy_dtype, printable_numbers
from paramctl.errors import InputError, OutputError
from paramctl.model import Model, Tie
from paramctl.parameter import BYTES, Parameter
from paramctl.store.checkpoint import (
    Checkpoint,
    Note,
    described,
    document_of,
    in_order,
    model_of,
    stored,
    tied_to,
    ties_of,
)
from paramctl.store.extents import Extent, Extents, as_bytes
from paramctl.store.files import Bytes

MOST_MEMBERS = 100_000
MOST_HEADER = 10_000
MOST_AXES = 64
MOST_COMMENT = 65_535


Entry = tuple[str, str, tuple[int, ...], Iterable[Array]]

WEIGHTS = "model.weights.h5"


class _Damaged(ValueError):
    """What is wrong with a file."""


def read(file: Bytes) -> Checkpoint:
    """What an npz file holds. Raises InputError if it is damaged, or holds what is no array of numbers."""
    try:
        return _read(file)
    except _Damaged as error:
        raise InputError(f"{file.name}: {error}") from error
    except (
        zipfile.BadZipFile,
        ValueError,
        EOFError,
        RuntimeError,
        NotImplementedError,
        OSError,
        struct.error,
    ) as error:
        raise InputError(f"{file.name}: this npz file is damaged ({' '.join(str(error).split())})") from error


def _read(file: Bytes) -> Checkpoint:
    archive = zipfile.ZipFile(open(file.descriptor(), "rb", closefd=False))  # noqa: SIM115  read as long as it is
    members = archive.infolist()
    if len(members) > MOST_MEMBERS:
        raise _Damaged(f"it has more than {MOST_MEMBERS:,} members")
    parameters: dict[str, Parameter] = {}
    extents: dict[str, Extent] = {}
    folded: dict[str, tuple[zipfile.ZipInfo, int, np.dtype[Any]]] = {}
    for member in members:
        name = member.filename.removesuffix(".npy")
        if name == member.filename:
            raise _Damaged(f"its member {name!r} is no .npy file")
        if name in parameters:
            raise _Damaged(f"it has {name!r} twice")
        with archive.open(member) as stream:
            dtype, shape, start = _npy_header(stream, name)  # type: ignore[arg-type]
        if start + prod(shape) * dtype.itemsize != member.file_size:
            raise _Damaged(f"{name!r} has {member.file_size:,} bytes, and by its header another number")
        parameters[name] = stored(name, shape, dtype.name)
        if member.compress_type == zipfile.ZIP_STORED:
            extents[name] = Extent(data_offset(file, member) + start, dtype)
        else:
            folded[name] = member, start, dtype
    own = _own(archive.comment)
    document = document_of(own)
    told = own.get("parameters")
    told = told if isinstance(told, dict) else {}
    for path, each in parameters.items():
        parameters[path] = stored(path, each.shape, each.dtype, told.get(path))
    ties = [tie for tie in ties_of(own) if _fits(tie, parameters)]
    for tie in ties:
        parameters[tie.tied] = tied_to(tie, parameters[tie.kept])
    notes = {path: Note(each.get("scheme"), each.get("seed")) for path, each in told.items() if isinstance(each, dict)}
    model = model_of(document.name if document else PurePath(file.name).stem, parameters, in_order(ties, own), document)
    return Checkpoint(model, _Reader(Extents(file, extents), archive, folded), file, notes)


def _own(comment: bytes) -> dict[str, Any]:
    """What paramctl wrote beside the values; nothing if it is not what it must be."""
    try:
        own = json.loads(comment)
    except ValueError:
        return {}
    return own if isinstance(own, dict) else {}


def _fits(tie: Tie, parameters: Mapping[str, Parameter]) -> bool:
    if tie.kept not in parameters or tie.tied not in parameters:
        return False
    kept, tied = parameters[tie.kept].shape, parameters[tie.tied].shape
    return tied == (kept[::-1] if tie.transpose else kept)


def is_keras(file: Bytes) -> bool:
    """Whether a zip is Keras' archive and no npz."""
    try:
        names = zipfile.ZipFile(open(file.descriptor(), "rb", closefd=False)).namelist()  # noqa: SIM115
    except (zipfile.BadZipFile, ValueError, OSError, RuntimeError, struct.error):
        return False
    return "config.json" in names and WEIGHTS in names


def _npy_header(stream: BinaryIO, name: str) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """dtype, shape, and where the values begin."""
    head = io.BytesIO(stream.read(MOST_HEADER + 128))
    version = npy.read_magic(head)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in readers:
        raise _Damaged(f"{name!r} is npy of the version {version}, which is not supported")
    try:
        shape, fortran, dtype = readers[version](head, max_header_size=MOST_HEADER)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, tokenize.TokenError) as error:
        raise _Damaged(f"the header of {name!r} is damaged") from error
    if dtype.hasobject or dtype.fields is not None or dtype.name not in BYTES:
        raise _Damaged(f"{name!r} has the dtype {dtype.str}, which is no number that is supported")
    if len(shape) > MOST_AXES or any(type(size) is not int or size < 0 for size in shape):
        raise _Damaged(f"{name!r} has the shape {shape}")
    if fortran and sum(size > 1 for size in shape) > 1:
        raise _Damaged(f"{name!r} lies in Fortran's order; save it in C order (numpy.ascontiguousarray)")
    return dtype, shape, head.tell()


def data_offset(file: Bytes, member: zipfile.ZipInfo) -> int:
    """Where a stored member's bytes begin: after its local header, which may be longer than the central one."""
    local = file.read(member.header_offset, 30)
    name, extra = struct.unpack("<HH", local[26:30])
    return member.header_offset + 30 + int(name) + int(extra)


def write(file: Any, entries: Iterable[Entry], comment: bytes = b"") -> None:
    """Write arrays as they come: name, dtype, shape, flat pieces in C order. bfloat16, not known to npy, is float32."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, dtype, shape, pieces in entries:
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                member.write(npy_header(dtype, shape))
                for piece in pieces:
                    member.write(as_bytes(printable_numbers(piece)))
        archive.comment = comment


def npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """What an npy file begins with."""
    kind = numpy_dtype(dtype)
    head = io.BytesIO()
    described = {
        "descr": (np.dtype(np.float32) if kind.kind == "V" else kind.newbyteorder("<")).str,
        "fortran_order": False,
        "shape": shape,
    }
    npy.write_array_header_1_0(head, described)
    return head.getvalue()


def write_model(
    file: Any, model: Model, notes: Mapping[str, Note], recipe: int, values: Callable[[str], Iterable[Array]]
) -> None:
    """A model's parameters under every name, for npz knows no ties: these and the document are the zip's comment."""
    for parameter in model.parameters.values():
        if parameter.dtype == "bfloat16" or parameter.dtype.startswith("float8"):
            raise OutputError(f"npz has no {parameter.dtype}: convert {parameter.path} by --dtype float32")
    own = described(model, notes, recipe)
    comment = json.dumps(own).encode()
    if len(comment) > MOST_COMMENT:
        comment = json.dumps({"ties": own["ties"]}).encode()
    entries = ((each.path, each.dtype, each.shape, values(each.path)) for each in model.parameters.values())
    write(file, entries, comment if len(comment) <= MOST_COMMENT else b"")


class _Reader:
    """Reads stored members in place, and compressed ones from their beginning, on from where it was."""

    def __init__(
        self,
        extents: Extents,
        archive: zipfile.ZipFile,
        folded: dict[str, tuple[zipfile.ZipInfo, int, np.dtype[Any]]],
    ) -> None:
        self.extents, self.archive, self.folded = extents, archive, folded
        self.open: tuple[str, Any] | None = None
        self.lock = threading.Lock()

    def read(self, path: str, start: int, stop: int) -> Array:
        if path not in self.folded:
            return self.extents.read(path, start, stop)
        member, header, dtype = self.folded[path]
        with self.lock:
            data = self._unfolded(path, member, header + start * dtype.itemsize, (stop - start) * dtype.itemsize)
        return np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))

    def _unfolded(self, path: str, member: zipfile.ZipInfo, offset: int, size: int) -> bytes:
        try:
            if self.open is None or self.open[0] != path:
                self.open = path, self.archive.open(member)
            stream = self.open[1]
            stream.seek(offset)
            data: bytes = stream.read(size)
        except (zipfile.BadZipFile, EOFError, OSError, ValueError, RuntimeError) as error:
            raise InputError(f"{self.extents.file.name}: {path}: {error}") from error
        if len(data) < size:
            raise InputError(f"{self.extents.file.name}: it ends within {path}")
        return data
