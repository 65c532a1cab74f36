"""The inputs of a model: arrays with a row for each example, read a batch at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Protocol

import numpy as np

from paramctl.compute.conversion import as_floating, as_whole
from paramctl.compute.generators import Purpose, generator
from paramctl.compute.graph import Graph
from paramctl.core.dtypes import Array, to_native
from paramctl.core.indexing import Selection
from paramctl.errors import AddressError, suggest
from paramctl.model import Input, Model, shape_text
from paramctl.source.base import Source
from paramctl.store.contents import gather

TARGETS = "y"
"""The name of the targets in a file of examples."""

SHOWN_NAMES = 5


class Rows(Protocol):
    """Rows of values: an array, or one in a file."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: slice) -> Array: ...


class StoredRows:
    """The rows of an array in a checkpoint, read on demand. file: the checkpoint's, or an empty string."""

    def __init__(self, source: Source, path: str, file: str = "") -> None:
        self.source, self.path, self.file = source, path, file
        self.shape = source.model.parameters[path].shape

    def __getitem__(self, rows: slice) -> Array:
        first, *others = self.shape
        ranges = (range(first)[rows], *map(range, others))
        pieces = list(gather(self.source, self.path, Selection(ranges, (False,) * len(ranges))))
        flat = np.concatenate(pieces) if pieces else np.empty(0)
        return to_native(flat).reshape([len(positions) for positions in ranges])


class Arrays(dict[str, Rows]):
    """Arrays by name. file: of all of them, or an empty string. skipped: its content that is not numbers, in words."""

    def __init__(self, arrays: Mapping[str, Rows], file: str = "", skipped: Sequence[str] = ()) -> None:
        super().__init__(arrays)
        self.file, self.skipped = file, skipped

    @classmethod
    def of(cls, arrays: Mapping[str, Rows]) -> Arrays:
        return arrays if isinstance(arrays, Arrays) else cls(arrays)

    def without(self, name: str) -> Arrays:
        """Return the others."""
        return Arrays({other: rows for other, rows in self.items() if other != name}, self.file, self.skipped)

    def error(self, rule: str, received: str, hint: str = "") -> AddressError:
        """Return an error with the file and its skipped content."""
        place = f"{self.file}: " if self.file else ""
        skipped = f"Skipped: {', '.join(self.skipped)}." if self.skipped else ""
        return AddressError(f"{place}{rule}", received, " ".join(filter(None, (hint, skipped))))


def place_of(rows: Rows, words: str) -> str:
    """Return an array in words, after its file if it has one."""
    file = rows.file if isinstance(rows, StoredRows) else ""
    return f"{file}: {words}" if file else words


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs of a model by name, all with the same number of rows.

    integers: the names of inputs of whole numbers. dtype: that of the others in the computation.
    finite: NaN and infinity are errors.
    """

    arrays: Mapping[str, Rows]
    rows: int
    integers: frozenset[str]
    dtype: np.dtype[Any]
    finite: bool = False

    def first(self, rows: int | None) -> Inputs:
        """Return the first rows; all of them for None."""
        return self if rows is None else replace(self, rows=min(rows, self.rows))

    def batch(self, start: int, stop: int) -> dict[str, Array]:
        """Return the rows from one to another of each input. Raises AddressError for values of another dtype."""
        batch = {}
        for name, array in self.arrays.items():
            values, place = np.asarray(array[start:stop]), place_of(array, f"the input {name!r}")
            if name in self.integers:
                batch[name] = as_whole(values, place, start)
            else:
                batch[name] = as_floating(values, self.dtype, place, start, self.finite)
        return batch


def check_inputs(
    model: Model, graph: Graph, arrays: Mapping[str, Rows], dtype: np.dtype[Any], purpose: str = ""
) -> Inputs:
    """Return arrays as the inputs of a model; one array without a matching name is the only input.

    Targets beside the inputs are ignored. purpose: what requires rows, all of them finite; anything goes if it is
    empty. Raises AddressError for another name or shape, different numbers of rows, or none.
    """
    known = Arrays.of(arrays)
    declared = {each.name: each for each in model.inputs}
    # an only array y is the input, unless the file has another that could not be read
    if TARGETS not in declared and (len(known) > 1 or known.skipped):
        known = known.without(TARGETS)
    # the only input needs no name: an npy file has none, and an npz of one array any
    if len(declared) == len(known) == 1:
        known = Arrays(dict(zip(declared, known.values(), strict=True)), known.file, known.skipped)
    if unknown := [name for name in known if name not in declared]:
        hint = suggest(unknown[0], declared) or f"The inputs are {', '.join(declared)}."
        names = ", ".join(map(repr, unknown[:SHOWN_NAMES])) + ", ..." * (len(unknown) > SHOWN_NAMES)
        raise known.error(f"{model.name} has no input with this name", names, hint)
    for name, each in declared.items():
        if name not in known:
            raise known.error(f"the input {name!r} is missing", ", ".join(known) or "no arrays")
        _check_shape(each, known[name])
    rows = {name: known[name].shape[0] for name in declared}
    if len(set(rows.values())) > 1:
        counts = ", ".join(f"{name} {count:,}" for name, count in rows.items())
        raise known.error("the inputs must have equal numbers of rows", counts)
    count = next(iter(rows.values()))
    if purpose and not count:
        raise known.error(f"{purpose} requires examples", "0 rows")
    return Inputs(known, count, _integers(model, _categories(graph)), dtype, bool(purpose))


def _check_shape(declared: Input, rows: Rows) -> None:
    """Raise AddressError unless an array has the shape of an input."""
    expected, shape = declared.shape, rows.shape
    place = place_of(rows, f"the input {declared.name!r}")
    if not shape:
        raise AddressError(f"{place} must have a row for each example", f"{shape}")
    if expected is None:
        return
    fits = len(shape) == len(expected) and all(want in (None, size) for want, size in zip(expected, shape, strict=True))
    if fits:
        return
    missing = len(shape) == len(expected) - 1 and all(
        want in (None, size) for want, size in zip(expected[1:], shape, strict=True)
    )
    hint = f"For one example, write the shape {(1, *shape)}." if missing else ""
    rule = f"{place} must have the shape {shape_text(expected)}, a row for each example"
    raise AddressError(rule, f"{shape}", hint)


def random_inputs(model: Model, graph: Graph, rows: int, seed: int) -> dict[str, Array]:
    """Return random inputs: standard normal values, or for whole numbers, valid ones with equal probabilities.

    Raises AddressError for an input with an axis of unknown size.
    """
    random = generator(seed, Purpose.INPUTS)
    limits = _categories(graph)
    whole = _integers(model, limits)
    inputs: dict[str, Array] = {}
    for declared in model.inputs:
        sizes = None if declared.shape is None else declared.shape[1:]
        if sizes is None or None in sizes:
            rule = f"random values of the input {declared.name!r} require known sizes"
            hint = "Give the sizes with --input-shape (input_shapes in Python), or the values."
            raise AddressError(rule, shape_text(declared.shape), hint)
        shape = (rows, *(size for size in sizes if size is not None))
        if declared.name in whole:
            inputs[declared.name] = random.integers(0, limits.get(declared.name, 2), shape)
        else:
            inputs[declared.name] = random.standard_normal(prod(shape), np.float32).reshape(shape)
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
