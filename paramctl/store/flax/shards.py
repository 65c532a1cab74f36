"""A set of Flax files and its index, ``flax_model.msgpack.index.json``, which names the file of each array."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from paramctl.core.parameter import Parameter
from paramctl.store.checkpoint import Checkpoint, build_model
from paramctl.store.contents import JoinedReader, Origin, Reader
from paramctl.store.flax import INDEX, SHARDS_NAME
from paramctl.store.flax.read import read as read_file
from paramctl.store.io.shard_index import check_complete, check_listed, open_shard, read_index
from paramctl.store.location import Location


def read(location: Location) -> Checkpoint:
    """Read the trees of all files of an index. Raises InputError unless they have exactly the listed arrays."""
    index = read_index(location)
    parameters: dict[str, Parameter] = {}
    readers: dict[str, Reader] = {}
    skipped: dict[str, str] = {}
    metadata: dict[str, Any] = {}
    for name in index.files:
        part = read_file(open_shard(location, name))
        # the index lists the parameters, whatever they are called
        state = part.origin.optimizer.arrays if part.origin.optimizer else {}
        arrays = {**part.model.parameters, **state}
        check_listed(arrays, name, index, location)
        parameters |= arrays
        readers |= dict.fromkeys(arrays, part.reader)
        skipped |= part.origin.skipped
        metadata |= part.origin.metadata
    check_complete(parameters, index, location)
    metadata |= {key: value for key, value in index.metadata.items() if isinstance(value, (str, int, float))}
    stem = PurePath(location.name).name.removesuffix(INDEX)
    model, _ = build_model(stem, {path: parameters[path] for path in index.weight_map}, ())
    return Checkpoint(model, JoinedReader(readers), Origin(location, SHARDS_NAME, skipped=skipped, metadata=metadata))
