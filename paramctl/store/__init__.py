"""Where values are kept: the formats of files, told apart by their first bytes, and chosen by suffix to write.

To add a format, write one file and one row of FORMATS. Its module has ``read(file) -> Checkpoint`` and, if it
can be written, ``create(temporary, model, notes, recipe, like) -> extents`` and ``unmark(temporary, paths)``,
or ``write_model(file, model, notes, recipe, values)`` where it is written in one go.
"""

from __future__ import annotations

import os
import re
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from paramctl.errors import InputError, OutputError
from paramctl.store.location import Location

if TYPE_CHECKING:
    from paramctl.store.checkpoint import Checkpoint

LONGEST_USER_BLOCK = 1 << 20


class Format(NamedTuple):
    """A format: its name, the module that knows it, and the suffixes of what is written in it."""

    name: str
    module: str
    suffixes: tuple[str, ...]

    def load(self) -> Any:
        return import_module(self.module)


HDF5 = Format("HDF5", "paramctl.store.hdf5.format", (".h5", ".hdf5"))
SAFETENSORS = Format("safetensors", "paramctl.store.safetensors.format", (".safetensors",))
KERAS = Format("Keras", "paramctl.store.keras.archive", (".keras",))
KERAS_WEIGHTS = Format("Keras weights", "paramctl.store.keras.weights_file", (".weights.h5",))
KERAS_SHARDS = Format("sharded Keras weights", "paramctl.store.safetensors.sharded", (".weights.json",))
NPZ = Format("npz", "paramctl.store.npz.format", (".npz",))

SHARDED = Format("sharded", "paramctl.store.safetensors.sharded", ())

FORMATS = (HDF5, SAFETENSORS, SHARDED, KERAS, KERAS_WEIGHTS, KERAS_SHARDS, NPZ)


def detect(file: Location) -> Format | None:
    """The format of a file by its first bytes; None for what may be a model document."""
    start = file.read(0, 9)
    if start[:8] == b"\x89HDF\r\n\x1a\n":
        return HDF5
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return KERAS if import_module("paramctl.store.io.zips").is_keras(file) else NPZ
    if len(start) > 8 and int.from_bytes(start[:8], "little") <= 100_000_000 and start[8:] in (b"{", b" "):
        return SAFETENSORS
    if start[:1] == b"{" and b'"weight_map"' in file.read(0, 1 << 20):
        return SHARDED
    return None


FOREIGN = {
    (
        b"\x80\2",
        b"\x80\4",
        b"\x80\5",
    ): "a pickle, which can run code and is never read: save what it holds as safetensors",
    (b"\x93numpy",): "one array without a name: numpy.savez gives it one",
    (b"version https://git-lfs",): "a pointer of git-lfs in the file's place: git lfs pull fetches it",
    (b"<!doctype html", b"<html"): "an HTML page, such as tells of an error, and no file of weights",
    (b"gguf",): "GGUF, which is not read",
    (b"\x1f\x8b",): "compressed by gzip: gunzip it first",
}
"""What is neither a checkpoint nor a document, by how it begins in small letters, in words."""


def check_not_foreign(file: Location) -> None:
    """Raise InputError, which says what it is, for a file of another kind."""
    start = file.read(0, 32).lstrip().lower()
    for begins, words in FOREIGN.items():
        if start.startswith(begins):
            raise InputError(f"{file.name}: it is {words}")


SHARD = r"(-[0-9]+)?-[0-9]{5}-of-(?!00001)[0-9]{5}\.safetensors$"  # a text: few commands are given a folder


def within(path: str) -> str:
    """The file to open for a path: of a folder, its index, or its only safetensors file.

    Raises InputError for a folder that has neither, or that has files of a set without their index.
    """
    if not os.path.isdir(path):
        return path
    there = sorted(os.listdir(path))
    whole = {name: re.sub(SHARD, ".safetensors", name) for name in there}
    names = [name for name in there if whole[name] == name or whole[name] not in whole]  # one file replaces a set
    for suffix in (".safetensors.index.json", ".safetensors", ".weights.json"):
        found = [name for name in names if name.endswith(suffix)]
        if len(found) == 1 and whole[found[0]] == found[0]:
            return os.path.join(path, found[0])
    shards = [name for name in names if whole[name] != name]
    if shards and not any(name.endswith(".safetensors.index.json") for name in names):
        raise InputError(f"{path}: the index (*.safetensors.index.json) of {shards[0]} is missing")
    raise InputError(f"{path}: it is a folder, and has no single index (*.safetensors.index.json) or safetensors file")


def read(file: Location, format_: Format) -> Checkpoint:
    """What a file of this format holds. Raises InputError if it is damaged."""
    if format_ in (HDF5, KERAS):
        from paramctl.store.hdf5.client import warm_up

        warm_up()  # while NumPy is imported
    from paramctl.store.checkpoint import TooManyParts  # here, for it imports NumPy

    try:
        if format_ is HDF5:
            from paramctl.store.keras.dialect import KerasDialect

            checkpoint: Checkpoint = format_.load().read(file, dialects=(KerasDialect(),))
        else:
            checkpoint = format_.load().read(file)
    except TooManyParts as error:
        raise InputError(f"{file.name}: {error}") from error
    return checkpoint


def check_sums(file: Location) -> None:
    """Hold a zip's members against the sums that were written with them. Raises InputError if it is damaged."""
    if file.read(0, 2) != b"PK":
        return
    zips = import_module("paramctl.store.io.zips")
    try:
        zips.check_sums(file)
    except zips.ZIP_ERRORS as error:
        raise InputError(f"{file.name}: this zip file is damaged ({' '.join(str(error).split())})") from error


def format_of(path: str) -> Format:
    """The format in which a file of this name is written: that of its longest suffix.

    Raises OutputError if there is none.
    """
    suffixes = {suffix: each for each in FORMATS for suffix in each.suffixes}
    for suffix in sorted(suffixes, key=len, reverse=True):
        if path.lower().endswith(suffix):
            return suffixes[suffix]
    raise OutputError(f"{path}: the suffix says the format, and must be one of {', '.join(suffixes)}")
