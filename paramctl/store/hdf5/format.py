"""HDF5: paramctl's own files, and any other that holds arrays. Parsed and laid out by a child process.

A native file is one that h5ls and HDFView show as a person would hope: groups are blocks, datasets are
parameters, contiguous and without filters; a tie is a hard link; attributes say axes, kind, trainable, scheme and
seed. The group __paramctl__ holds the model document, the ties that are transposed, and the versions of this
layout and of the recipe by which values were drawn. bfloat16 is as Keras has it: opaque, with an attribute dtype.
https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from paramctl.core.dtypes import numpy_dtype
from paramctl.core.parameter import Parameter
from paramctl.errors import OutputError
from paramctl.model import Model
from paramctl.store.checkpoint import (
    Checkpoint,
    Provenance,
    document_of,
    file_metadata,
    keras_of,
    model_of,
    sort_ties,
    tied_to,
    ties_of,
    transposed_of,
)
from paramctl.store.hdf5.client import WorkerExited, new_worker
from paramctl.store.hdf5.listing import StoredArrays, linked, listing, path_of, stem
from paramctl.store.io.atomic import Temporary
from paramctl.store.io.extents import Extent
from paramctl.store.io.json_limits import MOST_TOKENS, parse_json
from paramctl.store.keras import names
from paramctl.store.keras import read as keras
from paramctl.store.location import Location

SIGNATURE = b"\x89HDF\r\n\x1a\n"
LONGEST = 4_096
OWN = "__paramctl__"
TEXTS = ("document", "model", "ties", "keras")
"""What lies in that group as text."""
HEADER = 2_048
"""How many bytes of a file an array takes at most beside its values, and a group."""


def read(file: Location, begin: int = 0, size: int | None = None, config: str | None = None) -> Checkpoint:
    """What an HDF5 file holds, or one that lies within another file; config: the text of Keras' own, if it is known.

    Raises InputError if it is damaged, or holds what is never read.
    """
    found = listing(file, begin, size)
    if found.own is None and names.is_keras3(found.arrays, found.told):
        return keras.read_keras3(file, found, (config, _json(config)) if config is not None else None)
    if found.own is None and names.is_keras2(found.told):
        return keras.read_keras2(file, found, _json(config or found.told.get("", {}).get("model_config")))
    arrays = StoredArrays(found)
    for each in found.arrays:
        arrays.take(each, each["path"], each["says"])
    own = _own(found.own)
    document, transposed = document_of(own), transposed_of(own, arrays.parameters)
    for tie in transposed:
        arrays.parameters[tie.tied] = tied_to(tie, arrays.parameters[tie.kept])
    links = linked(found.ties, {path: path for path in arrays.parameters}, {tie.kept for tie in ties_of(own)})
    ties, layout = sort_ties((*links, *transposed), own), keras_of(own, arrays.parameters)
    name = document.name if document else stem(file)
    model = replace(model_of(name, arrays.parameters, ties, document, layout), stored=arrays.stored)
    return Checkpoint(model, arrays.reader, file, arrays.notes, tuple(found.skipped), arrays.extents)


def read_together(index: Location, shards: Mapping[str, Location], weight_map: Mapping[str, Any]) -> Checkpoint:
    """What the shards of Keras 3 weights hold together, by the names of the files; see keras.read.of_index."""
    return keras.read_index(index, {name: listing(shard) for name, shard in shards.items()}, weight_map)


def _json(text: Any) -> Any:
    try:
        return parse_json(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _own(own: dict[str, Any] | None) -> dict[str, Any]:
    """What paramctl wrote beside the values; nothing if it is not what it must be."""
    try:
        coded = [key for key in TEXTS if key != "document"]
        most = MOST_TOKENS // len(coded)
        return {key: parse_json(text, most) if key in coded else text for key, text in (own or {}).items()}
    except (ValueError, TypeError):
        return {}


def create(
    temporary: Temporary, model: Model, notes: Mapping[str, Provenance], recipe: int, like: Checkpoint | None = None
) -> dict[str, Extent]:
    """Lay out a file for a model's arrays; where the values of each are to be written, but for empty ones.

    like: what it comes from; the attributes of an HDF5 file, and what in it is no parameter, go along.
    """
    of_others = like.file if like is not None and not model.stored else None
    owners = list(model.owners())
    own = file_metadata(model, notes, recipe)
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
    like: Location | None = None,
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
        answer = new_worker().ask(
            "create",
            path=temporary.address,
            groups=groups,
            arrays=[[path, each.shape, each.dtype, says] for each, path, says in arrays],
            links=links,
            own=more if own is not None else None,
            texts=texts,
            like=path_of(like) if like is not None and like.read(0, 8) == SIGNATURE else None,
        )
    except WorkerExited as died:
        along = f" with what goes along from {like.name}" if like is not None else ""
        raise OutputError(f"{temporary.target}: laying it out{along} {died}; is the disk full?") from died
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
            raise OutputError(f"{target}: {rule} (got {path[:100]!r})")
        if path in groups or path.split("/")[0] == OWN:
            raise OutputError(f"{target}: {path!r} cannot be an array, for other names begin with it")


def clear_provenance(temporary: Temporary, paths: Sequence[str]) -> None:
    """Take from arrays of a native file what is said of how they came by their values."""
    try:
        answer = new_worker().ask("unmark", path=temporary.address, arrays=paths)
    except WorkerExited as died:
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
