"""Orbax checkpoints, read: parameters, the optimizer's state, and plain values such as the step.

The optimizer's are those below ``opt_state``, as a TrainState of Flax has them, or at the root below a key such as
``optimizer``, with its step. Numbers that Python or
NumPy had as scalars are metadata, and so is the number of a step without an optimizer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from paramctl.core.parameter import DTYPE_BYTES
from paramctl.errors import InputError
from paramctl.store.checkpoint import Checkpoint, build_model, stored_parameter
from paramctl.store.contents import JoinedReader, Omitted, OptimizerState, Origin
from paramctl.store.io.json_limits import parse_json
from paramctl.store.location import LocalFile, Location
from paramctl.store.optimizer_keys import WRAPPER, is_optimizer_key
from paramctl.store.orbax import MAIN_ITEMS, MANIFEST_START, NAME, NUMBERED, OTHERS, STEP
from paramctl.store.orbax.aggregate import Inline, is_aggregate, parse_aggregate
from paramctl.store.orbax.arrays import ArrayReader, Arrays, StoredArray
from paramctl.store.orbax.tree import SCALAR, STRING, Leaf, Tree, parse_tree

STATE = "opt_state"
STEP_KEY = "step"
STRINGS = "_strings.json"
MAX_JSON = 16 << 20
MAX_DEPTH = 8
"""Levels of nested objects whose values are metadata."""


def read(location: Location) -> Checkpoint:
    """Read the names, shapes and dtypes of a checkpoint. Raises InputError if it is damaged."""
    if not isinstance(location, LocalFile) or not os.path.isfile(location.name):
        raise InputError(f"{location.name}: an Orbax checkpoint must be a folder on a disk")
    folder = os.path.dirname(location.name) or "."
    tree, arrays, inline = _contents(location, folder)
    leaves = [leaf for leaf in tree.leaves if leaf.kind != STRING]
    stored = arrays.inspect([leaf.stored_name for leaf in leaves])
    metadata, skipped = _texts(location, tree)
    metadata |= dict(_flat("", tree.metadata, 0))
    of_optimizer = _optimizer_names(tree.leaves)
    parameters = dict(inline.parameters)
    state = dict(inline.state)
    names: dict[str, str] = {}
    for leaf in leaves:
        array = stored[leaf.stored_name]
        if array.dtype not in DTYPE_BYTES:
            skipped[leaf.path] = array.dtype
        elif _is_plain(leaf, array) and (leaf.kind == SCALAR or leaf.stored_name not in of_optimizer):
            metadata[leaf.path] = arrays.read(leaf.stored_name, ()).item()
        else:
            group = state if leaf.stored_name in of_optimizer else parameters
            group[leaf.path] = stored_parameter(leaf.path, array.shape, array.dtype)
            names[leaf.path] = leaf.stored_name
    array_reader = ArrayReader(arrays, names, {path: stored[name] for path, name in names.items()})
    reader = JoinedReader({**inline.readers, **dict.fromkeys(names, array_reader)})
    model, _ = build_model(_model_name(folder), parameters, ())
    items, others = _other_items(location, folder)
    origin = Origin(
        location,
        NAME,
        optimizer=OptimizerState(state, reader) if state else None,
        skipped=skipped | inline.skipped,
        metadata=metadata | inline.metadata | items,
        other_content=others,
    )
    return Checkpoint(model, reader, origin)


def _contents(location: LocalFile, folder: str) -> tuple[Tree, Arrays, Inline]:
    """Return the tree of a folder, its arrays, and those in the file of the tree.

    Without a file of names, those of the database are the tree. Raises InputError.
    """
    place = location.name
    try:
        if is_aggregate(location):
            tree, inline = parse_aggregate(location)
            return tree, Arrays(place, folder, zarr3=False, is_complete=False), inline
        if location.read(0, len(MANIFEST_START)) != MANIFEST_START:
            tree = parse_tree(location)
            return tree, Arrays(place, folder, tree.zarr3, tree.is_complete), Inline()
    except ValueError as error:
        raise error if isinstance(error, InputError) else InputError(f"{place}: {error}") from error
    arrays = Arrays(place, folder, zarr3=False, is_complete=False)
    arrays.zarr3 = arrays.uses_zarr3()
    # dots may separate keys, or be part of them, so names stay unchanged
    leaves = tuple(Leaf((name,), "array", name) for name in arrays.names())
    return Tree(leaves, arrays.zarr3, False, {}), arrays, Inline()


def _optimizer_names(leaves: Sequence[Leaf]) -> set[str]:
    """Return the stored names of values below opt_state, or a similar key at the root, and of the step beside it.

    Without anything beside it, opt_state is the content of the checkpoint.
    """
    # by stored names, because a database without a tree has no others
    parts = {leaf.stored_name: tuple(leaf.stored_name.split(".")) for leaf in leaves}
    children: dict[tuple[str, ...], set[str]] = {}
    for keys in parts.values():
        for place, key in enumerate(keys):
            children.setdefault(keys[:place], set()).add(key)
    states: dict[tuple[str, ...], set[str]] = {}
    for start, members in children.items():
        found = {key for key in members if key == STATE or (not start and _is_optimizer(key, children))}
        if found and len(members) > len(found):
            states[start] = found | {STEP_KEY}
    return {
        name
        for name, path in parts.items()
        if any(key in states.get(path[:place], ()) for place, key in enumerate(path))
    }


def _is_optimizer(key: str, children: Mapping[tuple[str, ...], set[str]]) -> bool:
    return is_optimizer_key(key) and (key,) in children and not children[(key,)] >= WRAPPER


def _is_plain(leaf: Leaf, array: StoredArray) -> bool:
    """Return whether a value is a number for the metadata: a scalar, or the number of the step."""
    is_step = leaf.keys == (STEP_KEY,) and array.dtype.startswith(("int", "uint"))
    return array.shape == () and not array.dtype.startswith("complex") and (is_step or leaf.kind == SCALAR)


def _texts(location: LocalFile, tree: Tree) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the texts of the tree, and the kinds of those that are missing."""
    leaves = [leaf for leaf in tree.leaves if leaf.kind == STRING]
    values = _json_beside(location, STRINGS) if leaves else {}
    texts = {leaf.path: values.get(leaf.stored_name) for leaf in leaves}
    present = {path: text for path, text in texts.items() if isinstance(text, str)}
    return present, {path: "a text" for path in texts if path not in present}


def _json_beside(location: LocalFile, name: str) -> dict[str, Any]:
    """Return the object in a file of JSON in the same folder, empty if it is missing or damaged."""
    try:
        file = location.sibling(name)
        data = file.read(0, MAX_JSON + 1)
        value = parse_json(data.decode()) if len(data) <= MAX_JSON else {}
    except (InputError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _flat(prefix: str, values: Mapping[str, Any], depth: int) -> Iterator[tuple[str, Any]]:
    """Yield the plain values of nested objects by dotted key; an Omitted for anything else."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and depth < MAX_DEPTH:
            yield from _flat(f"{name}.", value, depth + 1)
        elif isinstance(value, (str, int, float)) or (
            isinstance(value, list) and all(isinstance(item, (str, int, float)) for item in value)
        ):
            yield name, value
        elif value is not None:
            yield name, Omitted("nested values")


def _other_items(location: LocalFile, folder: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the plain values of the other items of the same step, and the names of the items that have arrays."""
    parent, item = os.path.split(os.path.abspath(folder))
    if not os.path.isfile(os.path.join(parent, STEP)):
        return {}, ()
    values: dict[str, Any] = {}
    others = []
    for name in sorted(os.listdir(parent)):
        if name == item or not os.path.isdir(os.path.join(parent, name)):
            continue
        # an item of plain values is a file of JSON, called metadata, or metrics in the item metrics
        plain = _json_beside(location, f"../{name}/{'metrics' if name == 'metrics' else 'metadata'}")
        values |= dict(_flat(f"{name}.", plain, 0))
        if not plain:
            others.append(f"the item {name!r}")
    return values, tuple(others)


def _model_name(folder: str) -> str:
    """Return the name of a checkpoint: of its folder, or of the one that has its step."""
    parts = [part for part in PurePath(os.path.abspath(folder)).parts if part != os.sep]
    # run/500/default is a step of the run
    while len(parts) > 1 and (parts[-1] in MAIN_ITEMS or NUMBERED.fullmatch(parts[-1]) or parts[-1] in OTHERS):
        parts.pop()
    return parts[-1] if parts else NAME
