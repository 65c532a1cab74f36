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
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

import numpy as np

from paramctl.arrays import Array, numpy_dtype
from paramctl.errors import InputError, OutputError
from paramctl.model import KerasLayout, Model, Tie
from paramctl.parameter import BYTES, Parameter
from paramctl.store.atomic import Temporary
from paramctl.store.checkpoint import (
    Apart,
    Checkpoint,
    Joined,
    Note,
    Reader,
    described,
    document_of,
    in_order,
    keras_of,
    model_of,
    stored,
    tied_to,
    ties_of,
    transposed_of,
)
from paramctl.store.extents import Extent, Extents
from paramctl.store.files import Bytes, OnDisk
from paramctl.store.h5_process import Child, Died, child
from paramctl.store.keras import names as keras
from paramctl.store.keras.sketch import sketch

SIGNATURE = b"\x89HDF\r\n\x1a\n"
LONGEST = 4_096
OWN = "__paramctl__"
TEXTS = ("document", "model", "ties", "keras")
"""What lies in that group as text."""
HEADER = 2_048
"""How many bytes of a file an array takes at most beside its values, and a group."""


def read(file: Bytes, begin: int = 0, size: int | None = None, config: str | None = None) -> Checkpoint:
    """What an HDF5 file holds, or one that lies within another file; config: the text of Keras' own, if it is known.

    Raises InputError if it is damaged, or holds what is never read.
    """
    process, answer = _listed(file, begin, size)
    listed, told = answer["arrays"], answer["keras"]
    found = _Found(file, process, begin)
    if answer["own"] is None and keras.is_keras3(listed, told):
        return found.keras(answer, keras.names3(listed, told), config, keras.told_names(told))
    if answer["own"] is None and keras.is_keras2(told):
        return found.keras(answer, keras.names2(listed, told), config or told.get("", {}).get("model_config"))
    for each in listed:
        found.take(each, each["path"], each["says"])
    own = _own(answer["own"])
    document, transposed = document_of(own), transposed_of(own, found.parameters)
    for tie in transposed:
        found.parameters[tie.tied] = tied_to(tie, found.parameters[tie.kept])
    ties = in_order((*_linked(answer["ties"], own), *transposed), own)
    layout = keras_of(own, found.parameters)
    model = model_of(document.name if document else _stem(file), found.parameters, ties, document, layout)
    return found.checkpoint(model, answer["skipped"])


def read_together(index: Bytes, shards: Sequence[Bytes]) -> Checkpoint:
    """What the shards of Keras 3 weights hold together: a layer's own name may lie in another than its values."""
    answers = [_listed(shard, 0, None) for shard in shards]
    told: dict[str, dict[str, Any]] = {}
    for _, answer in answers:
        for path, said in answer["keras"].items():
            told.setdefault(path, {}).update(said)
    everything = [each for _, answer in answers for each in answer["arrays"]]
    names = keras.names3(everything, told)
    parts = []
    for shard, (process, answer) in zip(shards, answers, strict=True):
        part = _Found(shard, process, 0)
        for each in answer["arrays"]:
            if each["path"] in names:
                part.take(each, names[each["path"]].path, names[each["path"]].says)
        parts.append(part)
    parameters = {path: parameter for part in parts for path, parameter in part.parameters.items()}
    readers = {path: part.reader for part in parts for path in part.parameters}
    stored_paths = {path: of for part in parts for path, of in part.stored.items()}
    ordered = {named.path: parameters[named.path] for named in names.values()}
    pairs = [(names[one].path, names[other].path) for _, answer in answers for one, other in answer["ties"]]
    layout = KerasLayout({named.path: path for path, named in names.items()}, keras.told_names(told))
    model = replace(model_of(_stem(index), ordered, tuple(_linked(pairs, {}))), stored=stored_paths, keras=layout)
    files = [(shard, process, 0, answer) for shard, (process, answer) in zip(shards, answers, strict=True)]
    return Checkpoint(model, Joined(readers), index, apart=_apart(files, names))


def _listed(file: Bytes, begin: int, size: int | None) -> tuple[Child, dict[str, Any]]:
    """What the child tells of a file."""
    process = child()
    try:
        path, named = _path(file)
        answer = process.ask("list", path=path, named=named, begin=begin, size=size)
    except Died as died:
        raise InputError(f"{file.name}: {died}") from died
    if "error" in answer:
        raise InputError(f"{file.name}: {answer['error']}")
    return process, answer


def _linked(pairs: Sequence[Sequence[str]], own: Mapping[str, Any]) -> list[Tie]:
    """The ties that hard links are, each kept under the name that the file says, else under the first."""
    groups: dict[str, list[str]] = {}
    for first, other in pairs:
        groups.setdefault(first, [first]).append(other)
    kept = {tie.kept for tie in ties_of(own)}
    made = []
    for names in groups.values():
        keep = next((name for name in names if name in kept), names[0])
        made += [Tie(keep, name) for name in names if name != keep]
    return made


class _Found:
    """The arrays of a file, gathered: parameters by their names, and where the values of each lie."""

    def __init__(self, file: Bytes, process: Child, begin: int) -> None:
        self.file, self.process, self.begin = file, process, begin
        self.parameters: dict[str, Parameter] = {}
        self.extents: dict[str, Extent] = {}
        self.elsewhere: dict[str, tuple[str, np.dtype[Any]]] = {}
        self.notes: dict[str, Note] = {}
        self.stored: dict[str, str] = {}

    def take(self, each: Mapping[str, Any], path: str, says: Mapping[str, Any]) -> None:
        """One array, under a name."""
        if each["dtype"] not in BYTES:
            raise InputError(f"{self.file.name}: {path} has the dtype {each['dtype']}, which is not supported")
        self.parameters[path] = stored(path, tuple(each["shape"]), each["dtype"], says)
        dtype = numpy_dtype(each["dtype"]).newbyteorder(each["order"])
        if each["offset"] is None:
            self.elsewhere[path] = each["path"], dtype
        else:
            self.extents[path] = Extent(self.begin + each["offset"], dtype)
        self.notes[path] = Note(says.get("scheme"), says.get("seed"))
        if path != each["path"]:
            self.stored[path] = each["path"]

    def keras(
        self,
        answer: Mapping[str, Any],
        names: Mapping[str, keras.Named],
        config: str | None,
        told: Mapping[str, str] | None = None,
    ) -> Checkpoint:
        """A Keras file: its layers' arrays by Keras' names, and its optimizer's and metrics' apart.

        told: what the objects of a Keras 3 file call themselves.
        """
        listed = answer["arrays"]
        there = {each["path"]: each for each in listed}
        known = _json(config)
        document = keras.document_of(known) if known is not None else None
        shapes = {named.path: tuple(there[path]["shape"]) for path, named in names.items()}
        renamed = keras.by_document(document, shapes, _stem(self.file)) if document is not None else {}
        if known is not None and not renamed:
            renamed = keras.by_class(known, shapes)
            document = None
        shown = {path: renamed.get(named.path, named.path) for path, named in names.items()}
        for path, named in names.items():
            name = shown[path].rpartition("/")[2]
            numbered = named.path.rpartition("/")[2].isdecimal() and not name.isdecimal()
            self.take(there[path], shown[path], keras.says(name, (), -1) if numbered else named.says)
        pairs = [(shown[one], shown[other]) for one, other in answer["ties"] if one in shown and other in shown]
        ties = tuple(_linked(pairs, {}))
        model = sketch(known, self.parameters, _stem(self.file)) if known is not None and document is None else None
        model = replace(model, ties=ties) if model else model_of(_stem(self.file), self.parameters, ties, document)
        if told is not None:
            variables = {path: stored_path for stored_path, path in shown.items()}
            model = replace(model, keras=KerasLayout(variables, told, config))
        apart = _apart([(self.file, self.process, self.begin, answer)], names)
        return replace(self.checkpoint(model, answer["skipped"]), apart=apart)

    @property
    def reader(self) -> Reader:
        return _Reader(Extents(self.file, self.extents), self.process, self.elsewhere)

    def checkpoint(self, model: Model, skipped: Sequence[str]) -> Checkpoint:
        model = replace(model, stored=self.stored)
        return Checkpoint(model, self.reader, self.file, self.notes, tuple(skipped), self.extents)


def _apart(files: Sequence[tuple[Bytes, Child, int, Mapping[str, Any]]], names: Container[str]) -> Apart | None:
    """The arrays of Keras files that have no names as parameters. files: each with its child, begin and answer."""
    arrays: dict[str, Parameter] = {}
    readers: dict[str, Reader] = {}
    told: dict[str, str] = {}
    for file, process, begin, answer in files:
        found = _Found(file, process, begin)
        for each in answer["arrays"]:
            if each["path"] not in names:
                found.take(each, each["path"], {})
        arrays |= found.parameters
        readers |= dict.fromkeys(found.parameters, found.reader)
        told |= keras.told_names(answer["keras"], apart=True)
    return Apart(arrays, Joined(readers), told) if arrays else None


def _stem(file: Bytes) -> str:
    return PurePath(file.name).stem.removesuffix(".weights")


def _json(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _path(file: Bytes) -> tuple[str, bool]:
    """A path by which another process opens the same file, and whether HDF5 can open it by name."""
    path = f"/proc/{os.getpid()}/fd/{file.descriptor()}" if _PROC else file.name
    return path, isinstance(file, OnDisk)


_PROC = os.path.isdir("/proc/self/fd")


def _own(own: dict[str, Any] | None) -> dict[str, Any]:
    """What paramctl wrote beside the values; nothing if it is not what it must be."""
    try:
        coded = [key for key in TEXTS if key != "document"]
        return {key: json.loads(text) if key in coded else text for key, text in (own or {}).items()}
    except (ValueError, TypeError):
        return {}


class _Reader:
    """Reads contiguous values itself, and has the child read the others."""

    def __init__(self, extents: Extents, child: Child, elsewhere: Mapping[str, tuple[str, np.dtype[Any]]]) -> None:
        self.extents, self.child, self.elsewhere = extents, child, elsewhere

    def read(self, path: str, start: int, stop: int) -> Array:
        if path not in self.elsewhere:
            return self.extents.read(path, start, stop)
        within, dtype = self.elsewhere[path]
        if start == stop:
            return np.empty(0, dtype.newbyteorder("="))
        name = self.extents.file.name
        try:
            data = self.child.values(within, start, stop)
        except Died as died:
            raise InputError(f"{name}: {path} {died}") from died
        if isinstance(data, str):
            raise InputError(f"{name}: {path}: {data}")
        if len(data) != (stop - start) * dtype.itemsize:
            raise InputError(f"{name}: it ends within {path}")
        return np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))


def create(
    temporary: Temporary, model: Model, notes: Mapping[str, Note], recipe: int, like: Checkpoint | None = None
) -> dict[str, Extent]:
    """Lay out a file for a model's arrays; where the values of each are to be written, but for empty ones.

    like: what it comes from; the attributes of an HDF5 file, and what in it is no parameter, go along.
    """
    of_others = like.file if like is not None and not model.stored else None
    owners = list(model.owners())
    own = described(model, notes, recipe)
    attributes = own.pop("parameters")
    texts = {key: own.pop(key) for key in TEXTS if key in own}
    return lay_out(
        temporary,
        [(each, each.path, attributes[each.path]) for each in owners],
        _groups(model),
        [(tie.kept, tie.tied) for tie in model.ties if not tie.transpose],
        (own, {key: text if isinstance(text, str) else json.dumps(text) for key, text in texts.items()}),
        of_others,
    )


def lay_out(
    temporary: Temporary,
    arrays: Sequence[tuple[Parameter, str, Mapping[str, Any]]],
    groups: Sequence[tuple[str, Mapping[str, Any]]],
    links: Sequence[tuple[str, str]],
    own: tuple[Mapping[str, Any], Mapping[str, str]] | None = None,
    like: Bytes | None = None,
) -> dict[str, Extent]:
    """Lay out any HDF5 file; where the values of each array are to be written, by its parameter's path.

    arrays: each with its path in the file and its attributes. groups: each after the one it is in. links: (a path,
    another for the same array). own: what lies in paramctl's own group. like: a file, see create.
    """
    _check_names([*(path for _, path, _ in arrays), *(other for _, other in links)], temporary.target)
    more, texts = own or ({}, {})
    needed = sum(each.bytes + HEADER + 4096 for each, _, _ in arrays) + HEADER * (len(groups) + 8)
    temporary.reserve(needed + sum(map(len, texts.values())) * 4)
    temporary.empty()
    try:
        answer = child().ask(
            "create",
            path=temporary.address,
            groups=groups,
            arrays=[[path, each.shape, each.dtype, says] for each, path, says in arrays],
            links=links,
            own=more if own is not None else None,
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
        for (each, _, _), offset in zip(arrays, answer["offsets"], strict=True)
        if offset is not None and each.size
    }


def _check_names(paths: Sequence[str], target: str) -> None:
    """Refuse what HDF5 cannot hold, or would make another name of."""
    groups = {path[: match.start()] for path in paths for match in re.finditer("/", path)}
    for path in paths:
        if "\0" in path or len(path) > LONGEST or not {"", ".", ".."}.isdisjoint(path.split("/")):
            rule = (
                f"names in HDF5 are joined by '/', have at most {LONGEST:,} characters, and none is empty, '.' or '..'"
            )
            raise OutputError(f"{target}: {rule}. Received: {path[:100]!r}")
        if path in groups or path.split("/")[0] == OWN:
            raise OutputError(f"{target}: {path!r} cannot be an array, for other names begin with it")


def unmark(temporary: Temporary, paths: Sequence[str]) -> None:
    """Take from arrays of a native file what is said of how they came by their values."""
    try:
        answer = child().ask("unmark", path=temporary.address, arrays=paths)
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
