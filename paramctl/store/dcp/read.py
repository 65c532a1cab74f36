"""Read a distributed checkpoint.

Names are those that the same tensors have in a file of torch.save: the keys, joined by dots, without the keys of the
containers around all parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from os.path import abspath, dirname
from pathlib import PurePath
from typing import Any

from paramctl.core.parameter import Parameter
from paramctl.errors import InputError
from paramctl.store.checkpoint import Checkpoint, build_model, stored_parameter
from paramctl.store.contents import OptimizerState, Origin
from paramctl.store.dcp import NAME
from paramctl.store.dcp.index import Entry, Place, ShardedTensor, read_index
from paramctl.store.dcp.parts import Files, PartReader, check_parts, is_readable
from paramctl.store.io.zips import ZIP_ERRORS
from paramctl.store.location import Location
from paramctl.store.pickles.state import BadPickle
from paramctl.store.torch.content import STATE, items_of
from paramctl.store.torch.reading import common_keys, open_pickle
from paramctl.store.torch.tensors import Tensor, Unreadable

MAX_OBJECTS = 1_000
"""Objects besides tensors to read: each is a file of torch.save of its own."""
MAX_OBJECT = 1 << 20
"""Bytes of an object that may be a plain value."""
BARE = "tensor"


def read(location: Location) -> Checkpoint:
    """Read an index, and the plain values beside the tensors. Raises InputError if they are damaged."""
    try:
        entries = read_index(location)
        for entry in entries:
            if isinstance(entry.value, ShardedTensor):
                check_parts(entry.name, entry.value)
        return _Content(location, entries).checkpoint()
    except BadPickle as error:
        raise InputError(f"{location.name}: {error}") from error


class _Content:
    """The content of a checkpoint, by name."""

    def __init__(self, location: Location, entries: Sequence[Entry]) -> None:
        self.location, self.entries = location, entries
        self.files = Files(location)
        self.states = _state_prefixes(entries)
        self.parameters: dict[str, ShardedTensor] = {}
        self.state: dict[str, ShardedTensor] = {}
        self.metadata: dict[str, Any] = {}
        self.skipped: dict[str, str] = {}
        self.objects = 0

    def checkpoint(self) -> Checkpoint:
        """Return the checkpoint. Raises BadPickle and InputError."""
        keys = [entry.keys for entry in self.entries if self._is_parameter(entry)]
        shaped = [
            entry.keys
            for entry in self.entries
            if self._is_parameter(entry) and isinstance(entry.value, ShardedTensor) and entry.value.shape
        ]
        prefix = common_keys(shaped or keys)
        for entry in self.entries:
            if isinstance(entry.value, Place):
                self._read_object(entry, entry.value)
            else:
                self._add(entry, entry.value, prefix)
        model, _ = build_model(_name(self.location), _parameters(self.parameters), ())
        optimizer = OptimizerState(_parameters(self.state), PartReader(self.files, self.state)) if self.state else None
        places = [part.place for tensor in self.parameters.values() for part in tensor.parts]
        origin = Origin(
            self.location,
            NAME,
            optimizer=optimizer,
            skipped=self.skipped,
            metadata=self.metadata,
            archives=tuple(map(self.files.window, places)),
        )
        return Checkpoint(model, PartReader(self.files, self.parameters), origin)

    def _is_state(self, entry: Entry) -> bool:
        # a key that leads to a dict, unlike the last, which may be the name of a parameter: "scheduler.betas"
        return any(STATE.search(key) for key in entry.keys[:-1]) or any(
            entry.keys[: len(prefix)] == prefix for prefix in self.states
        )

    def _is_parameter(self, entry: Entry) -> bool:
        return isinstance(entry.value, ShardedTensor) and is_readable(entry.value) and not self._is_state(entry)

    def _add(self, entry: Entry, tensor: ShardedTensor, prefix: tuple[str, ...]) -> None:
        for part in tensor.parts:
            self.files.window(part.place)
        name = ".".join(entry.keys)
        if not is_readable(tensor):
            self.skipped[name] = f"a tensor of {tensor.dtype[:60]}"
        elif self._is_state(entry):
            _put(self.state, name, tensor)
        elif entry.keys[: len(prefix)] == prefix:
            _put(self.parameters, ".".join(entry.keys[len(prefix) :]) or BARE, tensor)
        else:  # a count of steps beside the parameters
            value = PartReader(self.files, {name: tensor}).read(name, 0, 1)[0].item()
            self.metadata[name] = str(value) if isinstance(value, complex) else value

    def _read_object(self, entry: Entry, place: Place) -> None:
        """Read a plain value, such as an epoch or a learning rate."""
        name = ".".join(entry.keys)
        self.objects += 1
        if self.objects > MAX_OBJECTS or place.size > MAX_OBJECT:
            self.skipped[name] = "an object, not read"
            return
        window = self.files.window(place)
        try:
            pickled = open_pickle(window)
            for keys, value, _ in items_of(pickled.root, pickled.code_of):
                inner = ".".join((name, *keys))
                if isinstance(value, Unreadable):
                    self.skipped[inner] = value.kind
                elif isinstance(value, Tensor):
                    self.skipped[inner] = "a tensor in another object"
                else:
                    self.metadata[inner] = value
        except InputError:
            raise
        except ZIP_ERRORS as error:
            raise InputError(f"{window.name}: {name}: {' '.join(str(error).split())}") from error


def _state_prefixes(entries: Sequence[Entry]) -> set[tuple[str, ...]]:
    """Return the keys of optimizers: of each dict that has both ``state`` and ``param_groups``."""
    members: dict[tuple[str, ...], set[str]] = {}
    for entry in entries:
        for number, key in enumerate(entry.keys):
            if re.fullmatch("state|param_groups", key):
                members.setdefault(entry.keys[:number], set()).add(key)
    return {prefix for prefix, keys in members.items() if len(keys) > 1}


def _put(tensors: dict[str, ShardedTensor], name: str, tensor: ShardedTensor) -> None:
    if name in tensors:
        raise BadPickle(f"two arrays have the name {name!r}")
    tensors[name] = tensor


def _parameters(tensors: Mapping[str, ShardedTensor]) -> dict[str, Parameter]:
    return {name: stored_parameter(name, tensor.shape, tensor.dtype) for name, tensor in tensors.items()}


def _name(location: Location) -> str:
    """Return the name of the folder."""
    return PurePath(dirname(abspath(location.name))).name or NAME
