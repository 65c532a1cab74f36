"""The inputs of a model: arrays with a row for each example, read a batch at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np

from paramctl.compute.graph import Graph
from paramctl.core.dtypes import Array, to_native
from paramctl.core.indexing import Selection
from paramctl.errors import AddressError, suggest
from paramctl.model import Input, Model, shape_text
from paramctl.source.base import Source
from paramctl.store.contents import gather


class Rows(Protocol):
    """Rows of values: an array, or one in a file."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: slice) -> Array: ...


class StoredRows:
    """The rows of an array in a checkpoint, read on demand."""

    def __init__(self, source: Source, path: str) -> None:
        self.source, self.path = source, path
        self.shape = source.model.parameters[path].shape

    def __getitem__(self, rows: slice) -> Array:
        first, *others = self.shape
        ranges = (range(first)[rows], *map(range, others))
        pieces = list(gather(self.source, self.path, Selection(ranges, (False,) * len(ranges))))
        flat = np.concatenate(pieces) if pieces else np.empty(0)
        return to_native(flat).reshape([len(positions) for positions in ranges])


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs of a model by name, all with the same number of rows.

    integers: the names of inputs of whole numbers. dtype: that of the others in the computation.
    """

    arrays: Mapping[str, Rows]
    rows: int
    integers: frozenset[str]
    dtype: np.dtype[Any]

    def batch(self, start: int, stop: int) -> dict[str, Array]:
        """Return the rows from one to another of each input. Raises AddressError for values of another dtype."""
        batch = {}
        for name, array in self.arrays.items():
            values = np.asarray(array[start:stop])
            batch[name] = _whole(name, values) if name in self.integers else self._floating(name, values)
        return batch

    def _floating(self, name: str, values: Array) -> Array:
        if values.dtype.kind not in "biuf":
            raise AddressError(f"the input {name} must have real numbers", values.dtype.name)
        return values.astype(self.dtype, copy=False)


def _whole(name: str, values: Array) -> Array:
    """Return values as integers. Raises AddressError if one is not whole."""
    if values.dtype.kind in "biu":
        return values.astype(np.int64, copy=False)
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            integers = values.astype(np.int64)
        if np.array_equal(integers, values):
            return integers
    raise AddressError(f"the input {name} must have whole numbers", f"{values.dtype.name} values")


def check_inputs(model: Model, graph: Graph, arrays: Mapping[str, Rows], dtype: np.dtype[Any]) -> Inputs:
    """Return arrays as the inputs of a model; one array without a matching name is the only input.

    Raises AddressError for another name or shape, or different numbers of rows.
    """
    declared = {each.name: each for each in model.inputs}
    # the only input needs no name: an npy file has none, and an npz of one array any
    if len(declared) == len(arrays) == 1:
        arrays = dict(zip(declared, arrays.values(), strict=True))
    for name in arrays:
        if name not in declared:
            hint = suggest(name, declared) or f"The inputs are {', '.join(declared)}."
            raise AddressError(f"{model.name} has no input with this name", repr(name), hint)
    for name, each in declared.items():
        if name not in arrays:
            raise AddressError(f"the input {name} is missing", ", ".join(arrays) or "no arrays")
        _check_shape(each, arrays[name].shape)
    rows = {name: arrays[name].shape[0] for name in declared}
    if len(set(rows.values())) > 1:
        counts = ", ".join(f"{name} {count:,}" for name, count in rows.items())
        raise AddressError("the inputs must have equal numbers of rows", counts)
    return Inputs(arrays, next(iter(rows.values())), _integers(model, _categories(graph)), dtype)


def _check_shape(declared: Input, shape: tuple[int, ...]) -> None:
    expected = declared.shape
    if expected is None:
        return
    fits = len(shape) == len(expected) and all(want in (None, size) for want, size in zip(expected, shape, strict=True))
    if fits and (expected[0] is not None or shape):
        return
    missing = len(shape) == len(expected) - 1 and all(
        want in (None, size) for want, size in zip(expected[1:], shape, strict=True)
    )
    hint = f"For one example, write the shape {(1, *shape)}." if missing else ""
    rule = f"the input {declared.name} must have the shape {shape_text(expected)}, a row for each example"
    raise AddressError(rule, f"{shape}", hint)


def random_inputs(model: Model, graph: Graph, rows: int, seed: int) -> dict[str, Array]:
    """Return random inputs: standard normal values, or for whole numbers, valid ones with equal probabilities.

    Raises AddressError for an input with an axis of unknown size.
    """
    generator = np.random.Generator(np.random.SFC64(seed))
    limits = _categories(graph)
    whole = _integers(model, limits)
    inputs: dict[str, Array] = {}
    for declared in model.inputs:
        sizes = None if declared.shape is None else declared.shape[1:]
        if sizes is None or None in sizes:
            rule = (
                f"a random input requires known sizes, and {declared.name} has the shape {shape_text(declared.shape)}"
            )
            raise AddressError(rule, "an unknown size", "Give its shape, or the values of the input.")
        shape = (rows, *(size for size in sizes if size is not None))
        if declared.name in whole:
            inputs[declared.name] = generator.integers(0, limits.get(declared.name, 2), shape)
        else:
            inputs[declared.name] = generator.standard_normal(prod(shape), np.float32).reshape(shape)
    return inputs


def _integers(model: Model, limits: Mapping[str, int]) -> frozenset[str]:
    """Return the inputs of whole numbers: those declared so, and those that a layer looks up."""
    return frozenset(each.name for each in model.inputs if each.name in limits or np.dtype(each.dtype).kind in "iu")


def _categories(graph: Graph) -> dict[str, int]:
    """Return the number of valid integers of each input that a layer looks up, by name."""
    limits: dict[str, int] = {}
    for step in graph.steps:
        limit = step.layer.categories()
        for number in step.inputs:
            name = graph.inputs.get(graph.source(number))
            if limit is not None and name is not None:
                limits[name] = min(limit, limits.get(name, limit))
    return limits
