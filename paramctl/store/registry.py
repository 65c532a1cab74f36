"""The registry of formats. To add one, write its package and put its object in FORMATS."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from paramctl.errors import InputError, OutputError
from paramctl.store.dcp.format import Distributed
from paramctl.store.flax.format import FlaxMsgpack, FlaxShards
from paramctl.store.format import Format
from paramctl.store.gguf.format import Gguf
from paramctl.store.hdf5.format import Hdf5
from paramctl.store.keras.format import KerasArchive, KerasShards, KerasWeights
from paramctl.store.location import Location
from paramctl.store.npz.format import Npz
from paramctl.store.npz.single import Npy
from paramctl.store.onnx.format import Onnx
from paramctl.store.orbax.format import Orbax
from paramctl.store.safetensors.format import Safetensors, SafetensorsShards
from paramctl.store.tensorflow.format import TensorFlow
from paramctl.store.torch.format import Torch, TorchShards
from paramctl.store.urls import check_local

if TYPE_CHECKING:
    from paramctl.store.checkpoint import Checkpoint
    from paramctl.store.io.new_index import NewIndex

FORMATS: tuple[Format, ...] = (
    Distributed(),
    Torch(),
    TorchShards(),
    FlaxShards(),
    KerasArchive(),
    KerasWeights(),
    KerasShards(),
    Safetensors(),
    SafetensorsShards(),
    Npz(),
    Npy(),
    Gguf(),
    Onnx(),
    Orbax(),
    FlaxMsgpack(),
    TensorFlow(),
    Hdf5(dialects=["paramctl.store.keras.dialect"]),  # last: a user block may begin as a file of any other format
)
"""Every format. The first that matches a file reads it, so a special format precedes the general one."""
COMMON_SUFFIXES = (".bin", ".ckpt", ".index")
"""Suffixes that files of any kind have."""


def detect(location: Location) -> Format | None:
    """Return the format of a file by its content, or None if it may be a model document."""
    return next((format_ for format_ in FORMATS if format_.matches(location)), None)


def read(location: Location, format_: Format) -> Checkpoint:
    """Read the header of a file. Raises InputError if it is damaged."""
    from paramctl.store.checkpoint import TooManyParts  # imports NumPy, which a model document does not need

    try:
        checkpoint = _with_other_names(format_.read(location))
    except TooManyParts as error:
        raise InputError(f"{location.name}: {error}") from error
    sys.audit("paramctl.open", location.name, format_.name, checkpoint.model)
    return checkpoint


def _with_other_names(checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint whose model knows the names of everything else in its file, for hints."""
    # one place for all formats: none of them needs to think of hints
    state, skipped = checkpoint.origin.optimizer, checkpoint.origin.skipped
    optimizer = state.arrays.keys() if state else ()
    return replace(checkpoint, model=replace(checkpoint.model, optimizer=optimizer, skipped=skipped))


def by_suffix(path: str) -> Format | None:
    """Return the format that a file has by its name, or None."""
    suffixes = {suffix: format_ for format_ in FORMATS for suffix in (*format_.suffixes, *format_.read_suffixes)}
    return _by_longest_suffix(path, suffixes)


def named_formats(path: str) -> tuple[str, list[Format]]:
    """Return the longest suffix of a format in the name of a file, and the formats that a file of this name may have.

    The suffix is empty without one, and for those of files of any kind. One format's files may be another's too: a file
    m.weights.h5, m.h5 or m.hdf5 may be any HDF5 file, or one of Keras.
    """
    name = path.lower()
    formats = {suffix: format_ for format_ in FORMATS for suffix in _all_suffixes(format_)}
    named = [suffix for suffix in formats if name.endswith(suffix) and suffix not in COMMON_SUFFIXES]
    if not named or name.endswith("/"):
        return "", []
    suffix = max(named, key=len)
    general = tuple(other for each in named for other in _all_suffixes(formats[each]))
    return suffix, [
        formats[suffix],
        *(each for each in FORMATS if any(other.endswith(general) for other in _all_suffixes(each))),
    ]


def rebuild_index(path: str) -> tuple[Format, NewIndex]:
    """Return a new index of the files in a folder, and the format of its set.

    path: the folder, or its index. Raises InputError if the files are not those of one set.
    """
    for format_ in FORMATS:
        if new := format_.rebuild_index(path):
            return format_, new
    raise InputError(f"{path}: must have the files of a set, *.safetensors or *_00000.weights.h5")


def _all_suffixes(format_: Format) -> tuple[str, ...]:
    return (*format_.suffixes, *format_.read_suffixes)


def for_writing(path: str) -> Format:
    """Return the format in which a file of this name is written: the one with the longest matching suffix.

    Raises OutputError if no format matches, and for a URL.
    """
    check_local(path)
    suffixes = {suffix: format_ for format_ in FORMATS if format_.writable for suffix in format_.suffixes}
    if format_ := _by_longest_suffix(path, suffixes):
        return format_
    names = ", ".join(suffix for suffix in suffixes if suffix != "/")
    known = by_suffix(path)
    words = f"a format that is written, and {known.name} is only read" if known else "a format"
    raise OutputError(f"{path}: the suffix must name {words}: {names}, or / for a folder of safetensors")


def _by_longest_suffix(path: str, suffixes: Mapping[str, Format]) -> Format | None:
    matching = [suffix for suffix in suffixes if path.lower().endswith(suffix)]
    return suffixes[max(matching, key=len)] if matching else None


def written_name(path: str) -> str:
    """Return the file to open after a write to a path: the path, or the index of a set."""
    try:
        return for_writing(path).written_name(path)
    except OutputError:  # a set that is written in place may have any name
        return path


def by_name(name: str) -> Format:
    return next(format_ for format_ in FORMATS if format_.name == name)
