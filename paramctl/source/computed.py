"""A source whose arrays were computed from others, such as the outputs of a model."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np

from paramctl.core.dtypes import Array, cast
from paramctl.core.parameter import Axis, Parameter
from paramctl.errors import InputError, OutputError
from paramctl.model import Model
from paramctl.source.base import Derived, Description, Source
from paramctl.store.checkpoint import build_model, tied_parameter
from paramctl.store.contents import Origin, Piece, Provenance, blocks

MAX_IN_MEMORY = 256 << 20
"""Bytes of a new array that are kept in memory. A larger one is in a temporary file."""


class Computed:
    """Arrays by name, as a computation gave them. They exist in this process only.

    like: a model, whose parameters and ties those of the arrays have that have the name of one of its own.
    optimizer: the names of arrays that are an optimizer's state.
    """

    def __init__(
        self, name: str, arrays: Mapping[str, Array], like: Model | None = None, optimizer: Collection[str] = ()
    ) -> None:
        self.arrays = arrays
        known = {} if like is None else like.parameters
        ties = () if like is None else tuple(tie for tie in like.ties if tie.kept in arrays)
        parameters = {path: _parameter(path, array, known.get(path)) for path, array in arrays.items()}
        parameters |= {path: replace(parameters[path], kind="optimizer") for path in optimizer}
        parameters |= {tie.tied: tied_parameter(tie, parameters[tie.kept]) for tie in ties}
        order = {path: number for number, path in enumerate([*known, *arrays])}
        ordered = {path: parameters[path] for path in sorted(parameters, key=order.__getitem__)}
        self.model, _ = build_model(name, ordered, ties)
        self.origin = Origin()

    def read(self, path: str, start: int, stop: int) -> Array:
        return self.arrays[path].reshape(-1)[start:stop]

    def pieces(self, parameter: Parameter) -> Iterator[Piece]:
        return blocks(parameter)

    def describe(self) -> Description:
        raise InputError(f"{self.model.name}: computed arrays cannot be opened again in another process")


class Replaced(Derived):
    """A source in which computed arrays replace some arrays of the base. They are cast to the base's dtypes.

    provenance: of these arrays, if a file should record it.
    """

    def __init__(
        self, base: Source, arrays: Mapping[str, Array], provenance: Mapping[str, Provenance] = MappingProxyType({})
    ) -> None:
        kept = {path: known for path, known in base.origin.provenance.items() if path not in arrays}
        provenance = {**kept, **provenance}
        # the arrays of the file's optimizer belong to the old values: without its layout, they are reported as left out
        optimizer = base.origin.optimizer and replace(base.origin.optimizer, layout=None)
        origin = replace(base.origin, provenance=provenance, extents={}, rewrite=None, optimizer=optimizer)
        super().__init__(base, base.model, origin, "train")
        self.arrays = arrays

    def pieces(self, parameter: Parameter) -> Iterator[Piece]:
        return blocks(parameter) if parameter.path in self.arrays else self.base.pieces(parameter)

    def read(self, path: str, start: int, stop: int) -> Array:
        if path not in self.arrays:
            return self.base.read(path, start, stop)
        try:
            return cast(self.arrays[path].reshape(-1)[start:stop], self.model.parameters[path].dtype)
        except OverflowError as error:
            raise OutputError(f"{path}: {error}") from error

    def describe(self) -> Description:
        raise InputError(f"{self.model.name}: computed arrays cannot be opened again in another process")


def _parameter(path: str, array: Array, known: Parameter | None) -> Parameter:
    if known is not None:
        return replace(known, dtype=array.dtype.name)
    axes = tuple(Axis(size, "unknown") for size in array.shape)
    return Parameter(path, axes, "unknown", None, None, array.dtype.name)


def new_array(shape: tuple[int, ...], dtype: np.dtype[Any], in_memory: int = MAX_IN_MEMORY) -> Array:
    """Return an array without values: in memory, or in a temporary file that disappears with it.

    in_memory: the largest size in memory, in bytes.
    Raises OSError if the disk has no space for it.
    """
    size = prod(shape) * dtype.itemsize
    if size <= in_memory:
        return np.empty(shape, dtype)
    import tempfile  # slow to import, and needed by few commands

    with tempfile.TemporaryFile() as file:
        if hasattr(os, "posix_fallocate"):  # without the space, a write to the memory would end the process
            os.posix_fallocate(file.fileno(), 0, size)
        file.truncate(size)
        return np.memmap(file, dtype, "r+", shape=shape)
