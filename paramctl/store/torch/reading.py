"""Checkpoints of torch and other pickles, read: a zip, the older form of torch.save, or a plain pickle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any, NamedTuple

from paramctl.core.parameter import Parameter
from paramctl.errors import InputError
from paramctl.model import Tie
from paramctl.store.checkpoint import Checkpoint, build_model, stored_parameter, tied_parameter
from paramctl.store.contents import OptimizerState, Origin
from paramctl.store.io.zips import zip_errors
from paramctl.store.location import Location
from paramctl.store.pickles.machine import unpickle_from
from paramctl.store.pickles.state import BadPickle, Unsupported
from paramctl.store.torch import NAME
from paramctl.store.torch.archive import Archive
from paramctl.store.torch.content import Item, items_of, root_kind
from paramctl.store.torch.legacy import MAGIC, Legacy
from paramctl.store.torch.modules import Sources
from paramctl.store.torch.nested import LOAD, Nested
from paramctl.store.torch.placing import place_of, reader_of
from paramctl.store.torch.quantized import encoding_of
from paramctl.store.torch.tensors import Tensor, Unreadable

BARE = "tensor"
"""The name of the only tensor of a file, which has none."""


class Pickled(NamedTuple):
    """The object of a file.

    file: that of its long strings. code_of: see modules.members_of. skipped: content besides the object, with its kind.
    """

    root: Any
    file: Location
    code_of: Sources
    skipped: Mapping[str, str]


class Arrays(NamedTuple):
    """The content of a file, by name: parameters, arrays of an optimizer, plain values, and the kind of the rest."""

    parameters: dict[str, Tensor]
    state: dict[str, Tensor]
    metadata: dict[str, Any]
    skipped: dict[str, str]


def read(location: Location) -> Checkpoint:
    """Read the pickle of a file. Raises InputError if it is damaged, or if it has no arrays."""
    arrays, file = read_arrays(location)
    return as_checkpoint(arrays, file, PurePath(location.name).stem, Origin(location, NAME))


def read_arrays(location: Location) -> tuple[Arrays, Location]:
    """Return the content of a file, and the file that has the values which are in the pickle. Raises InputError."""
    with zip_errors(location):
        try:
            pickled = open_pickle(location)
            arrays = arrays_of(items_of(pickled.root, pickled.code_of), pickled.file)
            if not arrays.parameters and not arrays.state:
                others = ", ".join(f"{name} ({kind})" for name, kind in list(arrays.skipped.items())[:3])
                raise Unsupported(f"a pickle without arrays that can be read: {others or root_kind(pickled.root)}")
        except Unsupported as error:
            raise InputError(f"{location.name}: {error}") from error
        except BadPickle as error:
            raise InputError(f"{location.name}: damaged pickle ({error})") from error
    arrays.skipped.update(pickled.skipped)
    return arrays, pickled.file


def open_pickle(location: Location) -> Pickled:
    """Return the object of a file of any form. Raises BadPickle and ZIP_ERRORS."""
    if location.read(0, 2) == b"PK":
        archive = Archive(location)
        root, file = archive.root()
        constants = f"{archive.prefix}constants/0" in archive.members
        skipped = {"constants": "tensors in the code of TorchScript"} if constants else {}
        return Pickled(root, file, archive.code_of, skipped)
    if location.read(0, 1) != b"\x80":  # of protocols 2 and later
        raise Unsupported("neither an archive of torch.save nor a pickle of protocol 2 or later")
    stop = location.size()
    root, offset = unpickle_from(location, 0, stop, calls={LOAD: Nested(location).load})
    # the older form begins with a pickle of this number, and a plain pickle is the object itself
    if root == MAGIC:
        root, offset = Legacy(location, offset, stop).root()
    # torch.load and pickle.load too read the first object alone
    skipped = {"rest": f"{stop - offset:,} bytes behind the object"} if offset < stop else {}
    return Pickled(root, location, lambda name: "", skipped)


def arrays_of(items: Sequence[Item], file: Location) -> Arrays:
    """Name the content of a file. Raises Unsupported if two arrays have the same name.

    If a single entry has all parameters, and there may be others without any around it, its key is not part of the
    names, and so on within it: {"epoch": 3, "model": {"w": ...}} has the parameter w. Numbers in arrays without axes
    around that entry are plain values.
    """
    parameters = [item for item in items if isinstance(item.value, Tensor) and not item.is_state]
    prefix = common_keys([item.keys for item in parameters if item.value.shape] or [item.keys for item in parameters])
    arrays = Arrays({}, {}, {}, {})
    scalars: dict[str, Tensor] = {}
    for keys, value, is_state in items:
        name = ".".join(keys)
        if isinstance(value, Unreadable):
            arrays.skipped[name or "object"] = value.kind
        elif not isinstance(value, Tensor):
            arrays.metadata[name] = value
        elif is_state:
            _add(arrays.state, name, value)
        elif keys[: len(prefix)] == prefix:
            _add(arrays.parameters, ".".join(keys[len(prefix) :]) or BARE, value)
        else:
            scalars[name] = value
    arrays.metadata.update(_numbers(scalars, file))
    return arrays


def common_keys(keys: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the keys of the containers around all parameters."""
    prefix: tuple[str, ...] = ()
    while keys and all(len(path) > len(prefix) + 1 for path in keys):
        heads = {path[len(prefix)] for path in keys}
        if len(heads) > 1:
            break
        prefix = (*prefix, *heads)
    return prefix


def _add(arrays: dict[str, Tensor], name: str, tensor: Tensor) -> None:
    if name in arrays:
        raise Unsupported(f"two arrays have the name {name!r}, because keys are joined by dots")
    arrays[name] = tensor


def _numbers(tensors: Mapping[str, Tensor], file: Location) -> dict[str, Any]:
    """Return the values of tensors without axes."""
    reader = reader_of(tensors, file)
    values = {name: reader.read(name, 0, 1)[0].item() for name in tensors}
    return {name: str(value) if isinstance(value, complex) else value for name, value in values.items()}


def as_checkpoint(arrays: Arrays, file: Location, name: str, origin: Origin) -> Checkpoint:
    """Build the checkpoint of these arrays. Tensors that share their values are tied. file: see Pickled."""
    tensors = arrays.parameters
    parameters = {path: parameter_of(path, tensor) for path, tensor in tensors.items()}
    ties = ties_of(tensors.items())
    for tie in ties:
        parameters[tie.tied] = tied_parameter(tie, parameters[tie.kept])
    tied = {tie.tied for tie in ties}
    state = {path: parameter_of(path, tensor) for path, tensor in arrays.state.items()}
    optimizer = OptimizerState(state, reader_of(arrays.state, file)) if state else None
    origin = replace(origin, optimizer=optimizer, skipped=arrays.skipped, metadata=arrays.metadata)
    model, _ = build_model(name, parameters, ties)
    reader = reader_of({path: tensor for path, tensor in tensors.items() if path not in tied}, file)
    return Checkpoint(model, reader, origin)


def parameter_of(path: str, tensor: Tensor) -> Parameter:
    """Return a tensor as a parameter. Only a module, and a torch.nn.Parameter, record trainability."""
    encoding = encoding_of(tensor.quantization) if tensor.quantization else None
    if tensor.trainable is None:
        return stored_parameter(path, tensor.shape, tensor.value_dtype, encoding=encoding)
    facts = {"trainable": tensor.trainable} | ({"kind": "state"} if tensor.state else {})
    return stored_parameter(path, tensor.shape, tensor.value_dtype, facts, encoding)


def ties_of(tensors: Iterable[tuple[str, Tensor]]) -> tuple[Tie, ...]:
    """Return the ties of tensors that are the same view of a storage, or its transpose."""
    kept: dict[Any, str] = {}
    ties: list[Tie] = []
    for path, tensor in tensors:
        place = place_of(tensor)
        if place is None:
            continue
        # the transpose of a view has the reversed shape and strides at the same place
        turned = (*place[:-2], place[-2][::-1], place[-1][::-1])
        if place in kept:
            ties.append(Tie(kept[place], path))
        elif turned in kept:
            ties.append(Tie(kept[turned], path, transpose=True))
        else:
            kept[place] = path
    return tuple(ties)
