"""Read a file of Flax as a checkpoint.

The names of arrays are their keys, joined by slashes: ``params/Dense_0/kernel``. The state of an optimizer is what
``opt_state`` of a TrainState has, with its step, ``state`` of the older ``flax.optim.Optimizer``, or a map at the root
with a name such as ``optimizer``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np

from paramctl.core.dtypes import Array, numpy_dtype
from paramctl.core.parameter import Parameter
from paramctl.errors import InputError
from paramctl.store.checkpoint import Checkpoint, build_model, stored_parameter
from paramctl.store.contents import OptimizerState, Origin
from paramctl.store.flax import NAME
from paramctl.store.flax.msgpack import Cursor
from paramctl.store.flax.tree import Skipped, StoredArray, Tree, leaves, read_tree
from paramctl.store.io.extents import Extent, ExtentReader
from paramctl.store.location import Location
from paramctl.store.optimizer_keys import WRAPPER, is_optimizer_key

STATE = "opt_state"


class ChunkReader:
    """A reader of arrays whose values are in one or more chunks of a file. Safe to share between threads."""

    def __init__(self, location: Location, arrays: Mapping[str, StoredArray]) -> None:
        self.arrays = arrays
        self.reader = ExtentReader(location, dict(self._extents()))

    def read(self, path: str, start: int, stop: int) -> Array:
        """Return values from one index to another, of as many chunks as have them."""
        array, first, pieces = self.arrays[path], 0, []
        for number, (_, size) in enumerate(array.chunks):
            begin, end = max(start - first, 0), min(stop - first, size)
            if begin < end:
                pieces.append(self.reader.read(f"{path} {number}", begin, end))
            first += size
        values = pieces[0] if len(pieces) == 1 else np.concatenate([np.empty(0, numpy_dtype(array.dtype)), *pieces])
        shift = 8 - array.bits if array.bits else 0
        return values << shift >> shift if shift else values  # the sign of a narrow integer fills its byte

    def _extents(self) -> Iterator[tuple[str, Extent]]:
        for path, array in self.arrays.items():
            for number, (offset, _) in enumerate(array.chunks):
                yield f"{path} {number}", Extent(offset, array.dtype)


def read(location: Location) -> Checkpoint:
    """Read the tree of a file, without its values. Raises InputError if it is damaged."""
    try:
        cursor = Cursor(location)
        tree = read_tree(cursor)
        if not isinstance(tree, dict):
            raise ValueError("a file must be a map of names to arrays")
        if cursor.position != cursor.end:
            raise ValueError(f"{cursor.end - cursor.position:,} bytes follow the map")
        return _checkpoint(location, tree)
    except ValueError as error:
        raise error if isinstance(error, InputError) else InputError(f"{location.name}: damaged ({error})") from error


def _checkpoint(location: Location, tree: Mapping[str, Tree]) -> Checkpoint:
    arrays: dict[str, StoredArray] = {}
    skipped: dict[str, str] = {}
    metadata: dict[str, Any] = {}
    for path, leaf in leaves(tree):
        # the key "a/b", and "b" in the map "a", give one name to two items
        if not path or path in arrays or path in skipped or path in metadata:
            raise ValueError(f"two items are named {path!r}" if path else "an item has no name")
        if isinstance(leaf, StoredArray):
            arrays[path] = leaf
        elif isinstance(leaf, Skipped):
            skipped[path] = leaf.kind
        elif leaf is not None:  # an item without a value, such as a missing bias
            metadata[path] = leaf
    reader = ChunkReader(location, arrays)
    states = tuple(_optimizer_states(tree))
    parameters = {path: stored_parameter(path, array.shape, array.dtype) for path, array in arrays.items()}
    state = {path: parameter for path, parameter in parameters.items() if f"{path}/".startswith(states)}
    model, _ = build_model(PurePath(location.name).stem, _without(parameters, state), ())
    optimizer = OptimizerState(state, reader) if state else None
    return Checkpoint(model, reader, Origin(location, NAME, optimizer=optimizer, skipped=skipped, metadata=metadata))


def _without(parameters: Mapping[str, Parameter], state: Mapping[str, Parameter]) -> dict[str, Parameter]:
    return {path: parameter for path, parameter in parameters.items() if path not in state}


def _optimizer_states(tree: Mapping[str, Tree], prefix: str = "") -> Iterator[str]:
    """Yield the beginning of the paths of an optimizer's arrays, each with a slash at its end."""
    states = [key for key, value in tree.items() if key == STATE or (not prefix and _is_optimizer(key, value))]
    # a file that has nothing else is the state of an optimizer by itself, and its arrays are the content
    if states and len(tree) > len(states):
        yield from (f"{prefix}{key}/" for key in (*states, "step"))
    elif set(tree) == WRAPPER:
        yield f"{prefix}state/"
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _optimizer_states(value, f"{prefix}{key}/")


def _is_optimizer(key: str, value: Tree) -> bool:
    return is_optimizer_key(key) and isinstance(value, dict) and not value.keys() >= WRAPPER
