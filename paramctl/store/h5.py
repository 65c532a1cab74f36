"""HDF5: paramctl's own files, and any other that holds arrays. Parsed and laid out by a child process.

A native file is one that h5ls and HDFView show as a person would hope: groups are blocks, datasets are
parameters, contiguous and without filters; a tie is a hard link; attributes say axes, kind, trainable, scheme and
seed. The group __paramctl__ holds the model document, the ties that are transposed, and the versions of this
layout and of the recipe by which values were drawn. bfloat16 is as Keras has it: opaque, with an attribute dtype.
https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from paramctl.arrays import Array, numpy_dtype
from paramctl.errors import InputError, OutputError
from paramctl.model import Model, Tie
from paramctl.parameter import BYTES, Parameter
from paramctl.store.atomic import Temporary
from paramctl.store.checkpoint import (
    Checkpoint,
    Note,
    described,
    document_of,
    in_order,
    model_of,
    stored,
    tied_to,
    transposed_of,
)
from paramctl.store.extents import Extent, Extents
from paramctl.store.files import Bytes, OnDisk
from paramctl.store.h5_process import Child, Died, child

SIGNATURE = b"\x89HDF\r\n\x1a\n"
HEADER = 2_048
"""How many bytes of a file an array takes at most beside its values, and a group."""


def read(file: Bytes) -> Checkpoint:
    """What an HDF5 file holds. Raises InputError if it is damaged, or holds what is never read."""
    process = child()
    try:
        path, named = _path(file)
        answer = process.ask("list", path=path, named=named)
    except Died as died:
        raise InputError(f"{file.name}: {died}") from died
    if "error" in answer:
        raise InputError(f"{file.name}: {answer['error']}")
    parameters: dict[str, Parameter] = {}
    extents: dict[str, Extent] = {}
    elsewhere: dict[str, np.dtype[Any]] = {}
    notes: dict[str, Note] = {}
    for each in answer["arrays"]:
        path, says = each["path"], each["says"]
        if each["dtype"] not in BYTES:
            raise InputError(f"{file.name}: {path} has the dtype {each['dtype']}, which is not supported")
        parameters[path] = stored(path, tuple(each["shape"]), each["dtype"], says)
        dtype = numpy_dtype(each["dtype"]).newbyteorder(each["order"])
        if each["offset"] is None:
            elsewhere[path] = dtype
        else:
            extents[path] = Extent(each["offset"], dtype)
        notes[path] = Note(says.get("scheme"), says.get("seed"))
    ties = tuple(Tie(kept, tied) for kept, tied in answer["ties"])
    own = _own(answer["own"])
    document, transposed = document_of(own), transposed_of(own, parameters)
    for tie in transposed:
        parameters[tie.tied] = tied_to(tie, parameters[tie.kept])
    name = PurePath(file.name).stem if document is None else document.name
    model = model_of(name, parameters, in_order((*ties, *transposed), own), document)
    reader = _Reader(Extents(file, extents), process, elsewhere)
    return Checkpoint(model, reader, file, notes, tuple(answer["skipped"]), extents)


def _path(file: Bytes) -> tuple[str, bool]:
    """A path by which another process opens the same file, and whether HDF5 can open it by name."""
    path = f"/proc/{os.getpid()}/fd/{file.descriptor()}" if _PROC else file.name
    return path, isinstance(file, OnDisk)


_PROC = os.path.isdir("/proc/self/fd")


def _own(own: dict[str, Any] | None) -> dict[str, Any]:
    """What paramctl wrote beside the values; nothing if it is not what it must be."""
    try:
        return {key: json.loads(text) if key in ("model", "ties") else text for key, text in (own or {}).items()}
    except (ValueError, TypeError):
        return {}


class _Reader:
    """Reads contiguous values itself, and has the child read the others."""

    def __init__(self, extents: Extents, child: Child, elsewhere: Mapping[str, np.dtype[Any]]) -> None:
        self.extents, self.child, self.elsewhere = extents, child, elsewhere

    def read(self, path: str, start: int, stop: int) -> Array:
        dtype = self.elsewhere.get(path)
        if dtype is None:
            return self.extents.read(path, start, stop)
        if start == stop:
            return np.empty(0, dtype.newbyteorder("="))
        name = self.extents.file.name
        try:
            data = self.child.values(path, start, stop)
        except Died as died:
            raise InputError(f"{name}: {path} {died}") from died
        if isinstance(data, str):
            raise InputError(f"{name}: {path}: {data}")
        if len(data) != (stop - start) * dtype.itemsize:
            raise InputError(f"{name}: it ends within {path}")
        return np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))


def create(
    temporary: Temporary, model: Model, notes: Mapping[str, Note], recipe: int, like: Bytes | None = None
) -> dict[str, Extent]:
    """Lay out a file for a model's arrays; where the values of each are to be written, but for empty ones.

    like: an HDF5 file whose attributes, and what in it is no parameter, go along.
    """
    owners = list(model.owners())
    own = described(model, notes, recipe)
    attributes = own.pop("parameters")
    texts = {key: own.pop(key) for key in ("document", "model", "ties") if key in own}
    texts = {key: text if isinstance(text, str) else json.dumps(text) for key, text in texts.items()}
    groups = _groups(model)
    needed = sum(each.bytes + HEADER + 4096 for each in owners) + HEADER * (len(groups) + 8)
    temporary.reserve(needed + sum(map(len, texts.values())) * 4)
    temporary.empty()
    try:
        answer = child().ask(
            "create",
            path=temporary.path,
            groups=groups,
            arrays=[[each.path, each.shape, each.dtype, attributes[each.path]] for each in owners],
            links=[[tie.kept, tie.tied] for tie in model.ties if not tie.transpose],
            own=own,
            texts=texts,
            like=_path(like) if like is not None and like.read(0, 8) == SIGNATURE else None,
        )
    except Died as died:
        raise OutputError(f"{temporary.target}: laying it out {died}; is the disk full?") from died
    if "error" in answer:
        raise OutputError(f"{temporary.target}: {answer['error']}")
    temporary.reserve(temporary.size())
    return {
        each.path: Extent(offset, numpy_dtype(each.dtype).newbyteorder("<"))
        for each, offset in zip(owners, answer["offsets"], strict=True)
        if offset is not None and each.size
    }


def unmark(temporary: Temporary, paths: Sequence[str]) -> None:
    """Take from arrays of a native file what is said of how they came by their values."""
    try:
        answer = child().ask("unmark", path=temporary.path, arrays=paths)
    except Died as died:
        raise OutputError(f"{temporary.target}: changing it {died}; is the disk full?") from died
    if "error" in answer:
        raise OutputError(f"{temporary.target}: {answer['error']}")


def _groups(model: Model) -> list[tuple[str, dict[str, Any]]]:
    """Every group that some array needs, with its type if it is a layer's, each after the one it is in."""
    types = {block.path: block.type for block in model.walk() if block.type not in ("group", "array")}
    needed: dict[str, dict[str, Any]] = {}
    for path in model.parameters:
        folders = path.split("/")[:-1]
        for count in range(1, len(folders) + 1):
            folder = "/".join(folders[:count])
            needed.setdefault(folder, {"type": types[folder]} if folder in types else {})
    return list(needed.items())
