"""A checkpoint of TensorFlow: its index, its shards, and the variables as parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from paramctl.core.parameter import Parameter
from paramctl.errors import InputError
from paramctl.model import Tie
from paramctl.store.checkpoint import Checkpoint, build_model, stored_parameter, tied_parameter
from paramctl.store.contents import OptimizerState, Origin, Reader
from paramctl.store.location import Location, MissingFile
from paramctl.store.tensorflow import FIRST_VERSION, INDEX, NAME, START_BYTES, STATE_START
from paramctl.store.tensorflow.bundle import DTYPES, KINDS, TEXT, Bundle, parse_bundle
from paramctl.store.tensorflow.graph import GRAPH_KEY, Graph, parse_graph
from paramctl.store.tensorflow.graph import MAX_BYTES as MAX_GRAPH
from paramctl.store.tensorflow.names import Names, names_in
from paramctl.store.tensorflow.tensors import open_shards, open_tensors

MAX_INDEX = 1 << 28
MAX_STATE = 1 << 20
LATEST = re.compile(rb'^model_checkpoint_path:\s*"((?:[^"\\\n]|\\.)*)"', re.MULTILINE)
PREFIX = "variables"
"""The prefix of a SavedModel's checkpoint, in a folder of the same name."""


def read(location: Location) -> Checkpoint:
    """Read the index of a checkpoint, or the file that names the latest. Raises InputError if it is damaged."""
    if location.read(0, len(STATE_START)) == STATE_START:
        name = latest(location) + INDEX
        try:
            location = location.sibling(name)
        except MissingFile as error:
            rule = f"names the TensorFlow checkpoint {name[:200]!r}, which does not exist"
            raise InputError(f"{location.name}: {rule}") from error
    # slim's models of 2016 are of this kind: one file without a suffix
    if FIRST_VERSION.match(location.read(0, START_BYTES)):
        rule = f"a {NAME} checkpoint of the Saver's first version is not supported"
        raise InputError(f"{location.name}: {rule}. Save it again with a Saver of TensorFlow 1.0 or later")
    try:
        return _read_index(location)
    except ValueError as error:
        raise InputError(f"{location.name}: damaged {NAME} checkpoint ({error})") from error


def latest(location: Location) -> str:
    """Return the prefix of the latest checkpoint in a folder, from the file ``checkpoint`` there. Raises InputError.

    TensorFlow 1 writes absolute paths, which are wrong once the folder has moved. So the last part alone counts.
    """
    match = LATEST.match(location.read(0, MAX_STATE))
    text = match[1].decode(errors="replace") if match else ""
    name = text.rpartition("/")[2]
    is_absolute = text.startswith("/") or "://" in text  # such as gs://bucket/run/model.ckpt-7
    if not name or set(text) & set("\\\0") or ("/" in text and not is_absolute):
        raise InputError(
            f"{location.name}: must name a checkpoint in its own folder (got {text!r}). Name its .index file"
        )
    return name


def _read_index(location: Location) -> Checkpoint:
    size = location.size()
    if size > MAX_INDEX:
        raise ValueError(f"an index must have at most {MAX_INDEX:,} bytes (got {size:,})")
    path = PurePath(location.name)
    if path.suffix != INDEX and path.name != INDEX:
        raise ValueError(f"its name must end in {INDEX}, because the names of its data files begin with the rest")
    prefix = path.name.removesuffix(INDEX)
    bundle = parse_bundle(location.read(0, size))
    names = names_in(bundle, _read_graph(bundle, location, prefix))
    reader = open_tensors(bundle, {**names.parameters, **names.state, **names.numbers}, location, prefix)
    others = {key: entry for key, entry in bundle.entries.items() if entry.dtype not in DTYPES and key != GRAPH_KEY}
    # no extents: a value changed in a copy would not match its checksum
    origin = Origin(
        location,
        NAME,
        optimizer=_optimizer_state(bundle, names, reader),
        skipped={key: KINDS.get(entry.dtype, f"dtype {entry.dtype}") for key, entry in others.items()},
        metadata={name: int(reader.read(key, 0, 1)[0]) for key, name in names.numbers.items()},
    )
    return _checkpoint(_model_name(path), bundle, names, reader, origin)


def _read_graph(bundle: Bundle, location: Location, prefix: str) -> Graph | None:
    """Return the graph of objects; None for a checkpoint of TensorFlow 1, which has none."""
    entry = bundle.entries.get(GRAPH_KEY)
    if entry is None:
        return None
    if entry.dtype != TEXT or entry.shape or entry.size > MAX_GRAPH:
        raise ValueError(f"{GRAPH_KEY} must be a text of at most {MAX_GRAPH:,} bytes")
    shard = open_shards(bundle, {GRAPH_KEY: entry}, location, prefix)[entry.shard]
    return parse_graph(shard.read(entry.offset, entry.size), entry.checksum)


def _model_name(path: PurePath) -> str:
    """Return the prefix of a checkpoint, or the name of the folder of a SavedModel."""
    is_saved_model = path.stem == path.parent.name == PREFIX and path.parent.parent.name
    return path.parent.parent.name if is_saved_model else path.name.removesuffix(INDEX) or path.parent.name or NAME


class _RenamedReader:
    """A reader of arrays by their names. keys: the key of each."""

    def __init__(self, reader: Reader, keys: Mapping[str, str]) -> None:
        self.reader, self.keys = reader, keys

    def read(self, path: str, start: int, stop: int) -> Any:
        return self.reader.read(self.keys[path], start, stop)


def _optimizer_state(bundle: Bundle, names: Names, reader: Reader) -> OptimizerState | None:
    if not names.state:
        return None
    arrays = {name: _parameter(bundle, key, name) for key, name in names.state.items()}
    return OptimizerState(arrays, _RenamedReader(reader, {name: key for key, name in names.state.items()}))


def _checkpoint(name: str, bundle: Bundle, names: Names, reader: Reader, origin: Origin) -> Checkpoint:
    parameters = {}
    for key, path in names.parameters.items():
        trainable = {"trainable": names.trainable[key]} if key in names.trainable else None
        parameters[path] = _parameter(bundle, key, path, trainable)
    ties = tuple(Tie(kept, tied) for tied, kept in names.ties.items())
    for tie in ties:
        parameters[tie.tied] = tied_parameter(tie, parameters[tie.kept])
    model, _ = build_model(name, parameters, ties)
    renamed = _RenamedReader(reader, {path: key for key, path in names.parameters.items()})
    return Checkpoint(model, renamed, origin)


def _parameter(bundle: Bundle, key: str, name: str, attributes: object = None) -> Parameter:
    entry = bundle.entries[key]
    return stored_parameter(name, entry.shape, DTYPES[entry.dtype], attributes)
