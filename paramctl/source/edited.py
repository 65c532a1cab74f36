"""A source with assignments applied to it, piece by piece, when values are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from paramctl.core.dtypes import Array, cast, compute_dtype, numpy_dtype
from paramctl.core.indexing import Selection
from paramctl.core.parameter import Parameter
from paramctl.errors import OutputError
from paramctl.init.rules import AssignedScheme
from paramctl.source.base import Derived, Source
from paramctl.source.drawn import Drawn
from paramctl.store.contents import Piece, Recorded, RecordedSum

Number: TypeAlias = bool | int | float | complex
"""A number of Python's own, which takes the dtype of the array that it meets (NEP 50). An array never does."""


class Change(NamedTuple):
    """One assignment to one array.

    path: the path of the array.
    name: the parameter that the assignment names, which may be another name of the array. It has the selection.
    transpose: True if that parameter is the array's transpose.
    operator: ``=``, ``+=``, ``-=``, ``*=`` or ``/=``.
    text: the assignment as written, for errors.
    """

    path: str
    name: str
    selection: Selection
    transpose: bool
    operator: str
    value: Array | Number | AssignedScheme
    text: str


@dataclass(frozen=True, slots=True)
class Tally:
    """The number of values of an array that have changed, and the largest absolute difference.

    max_abs: NaN or infinite if a value that has changed is, before or after.
    """

    count: int = 0
    max_abs: float = 0.0

    def add(self, changed: Changed) -> Tally:
        # Python's max would let a NaN disappear
        return Tally(self.count + changed.count, float(np.maximum(self.max_abs, changed.max_abs)))


@dataclass(frozen=True, slots=True)
class Changed:
    """A piece after all changes: its values, the number that differ, and the largest absolute difference."""

    count: int
    max_abs: float
    values: Array


class Edited(Derived):
    """A source with changes applied in order."""

    def __init__(self, base: Source, changes: Sequence[Change], seed: int, **options: Any) -> None:
        self.by_path: dict[str, list[Change]] = {}
        for change in changes:
            self.by_path.setdefault(change.path, []).append(change)
        provenance = {path: value for path, value in base.origin.provenance.items() if path not in self.by_path}
        origin = replace(base.origin, provenance=provenance)
        super().__init__(base, base.model, origin, "assign", seed=seed, **options)
        self._drawn = self._draw_schemes(changes, seed)
        self.changes = tuple(changes)  # kept alive: their identities are the keys of _drawn

    def _draw_schemes(self, changes: Sequence[Change], seed: int) -> dict[int, Drawn]:
        """Return a source for the values of each assigned scheme, in the dtype in which they are computed."""
        schemes = [change for change in changes if isinstance(change.value, AssignedScheme)]
        if not schemes:
            return {}
        as_drawn = self.model.map_parameters(_in_compute_dtype)
        return {
            id(change): Drawn(as_drawn, {change.name: change.value}, seed)
            for change in schemes
            if isinstance(change.value, AssignedScheme)
        }

    def recorded_sums(self) -> Mapping[str, RecordedSum]:
        sums = self.base.recorded_sums() if isinstance(self.base, Recorded) else {}
        return {path: digest for path, digest in sums.items() if path not in self.by_path}

    def touched(self) -> Iterator[Piece]:
        """Yield the pieces that a change may touch."""
        for path, changes in self.by_path.items():
            owner = self.model.parameters[path]
            spans = [_flat_span(change, owner) for change in changes]
            low, high = min(span.start for span in spans), max(span.stop for span in spans)
            for piece in self.pieces(owner):
                _, start, stop = piece
                if start < high and stop > low:
                    yield piece

    def count_changes(self) -> dict[str, Tally]:
        """Return the changes of each array that some change touches. Reads their values."""
        counted: dict[str, Tally] = {}
        for piece in self.touched():
            counted[piece[0]] = counted.get(piece[0], Tally()).add(self.read_changed(*piece))
        return counted

    def read(self, path: str, start: int, stop: int) -> Array:
        return self.read_changed(path, start, stop).values

    def read_changed(self, path: str, start: int, stop: int) -> Changed:
        """Read a piece, and compare it with the base."""
        before = self.base.read(path, start, stop)
        after = before
        for change in self.by_path.get(path, ()):
            after = self._apply(change, after, start)
        if after is before:
            return Changed(0, 0.0, before)
        # NaN differs from itself, but a NaN that was a NaN has not changed
        different = np.flatnonzero((after != before) & ~((after != after) & (before != before)))
        if not different.size:
            return Changed(0, 0.0, after)
        with np.errstate(all="ignore"):
            wide: Any = np.complex128 if after.dtype.kind == "c" else np.float64
            if after.dtype.kind in "iu" and after.dtype.itemsize == 8:
                wide = object  # Python's integers: float64 would round those beyond 2^53
            max_abs = float(np.max(np.abs(after[different].astype(wide) - before[different].astype(wide))))
        return Changed(different.size, max_abs, after)

    def _apply(self, change: Change, values: Array, start: int) -> Array:
        """Apply a change to values that begin at a flat index of the array."""
        owner = self.model.parameters[change.path]
        ranges = change.selection.ranges[::-1] if change.transpose else change.selection.ranges
        selected, positions = _selected(owner.shape, ranges, start, values.size)
        if not selected.size:
            return values
        operand = self._operand(change, positions[::-1] if change.transpose else positions)
        result = values.copy()
        try:
            result[selected] = _compute(change.operator, result[selected], operand, owner.dtype)
        except OverflowError as error:
            raise OutputError(f"{change.text}: {error}") from error
        return result

    def _operand(self, change: Change, positions: list[Array]) -> Array | Number:
        """Return the assigned value at positions along the axes of the selection."""
        if isinstance(change.value, Number):
            return change.value
        if isinstance(change.value, AssignedScheme):
            return self._drawn_values(change, positions)
        kept = [position for position, dropped in zip(positions, change.selection.dropped, strict=True) if not dropped]
        whole = np.broadcast_to(change.value, change.selection.shape)
        return np.asarray(whole[tuple(kept)] if kept else whole)

    def _drawn_values(self, change: Change, positions: list[Array]) -> Array:
        """Return a scheme's values at positions along the axes of the selection.

        The scheme is drawn for the whole parameter, so a value does not depend on the selection.
        """
        parameter = self.model.parameters[change.name]
        coordinates = [
            np.asarray(axis.start + position * axis.step)
            for position, axis in zip(positions, change.selection.ranges, strict=True)
        ]
        flat = _flat_index(coordinates, parameter.shape)
        low, high = int(flat.min()), int(flat.max()) + 1
        values: Array = self._drawn[id(change)].read(change.name, low, high)[flat - low]
        return values


def _in_compute_dtype(parameter: Parameter) -> Parameter:
    return replace(parameter, initializer=None, dtype=str(compute_dtype(parameter.dtype)))


def _selected(shape: Sequence[int], ranges: Sequence[range], start: int, size: int) -> tuple[Array, list[Array]]:
    """Return which of ``size`` values from a flat index on are selected, and their positions along each range.

    For the shape (2, 3), ranges (0:2, 1:3), start 0 and size 6: [1, 2, 4, 5], and positions [0, 0, 1, 1], [0, 1, 0, 1].
    """
    flat = np.arange(start, start + size)
    is_selected: Any = np.ones(size, bool)
    positions = []
    for coordinate, axis in zip(_coordinates(flat, shape), ranges, strict=True):
        position, rest = np.divmod(coordinate - axis.start, axis.step)
        is_selected &= (rest == 0) & (position >= 0) & (position < len(axis))
        positions.append(position)
    selected = np.flatnonzero(is_selected)
    return selected, [position[selected] for position in positions]


def _coordinates(flat: Array, shape: Sequence[int]) -> Iterator[Array]:
    """Yield the coordinates of flat indices along each axis. NumPy's own function takes at most 32 axes."""
    long = tuple(size for size in shape if size != 1)
    coordinates = iter(np.unravel_index(flat, long) if long else ())
    for size in shape:
        yield next(coordinates) if size != 1 else np.zeros_like(flat)


def _flat_index(coordinates: Sequence[Array], shape: Sequence[int]) -> Array:
    """Return the flat indices of coordinates; the inverse of _coordinates."""
    long = [(coordinate, size) for coordinate, size in zip(coordinates, shape, strict=True) if size != 1]
    if not long:
        return np.zeros(max([coordinate.size for coordinate in coordinates], default=1), np.intp)
    return np.ravel_multi_index(tuple(coordinate for coordinate, _ in long), tuple(size for _, size in long))


def _flat_span(change: Change, owner: Parameter) -> range:
    """Return the flat indices from the first to the last value that a change selects."""
    ranges = change.selection.ranges[::-1] if change.transpose else change.selection.ranges
    if not change.selection.size:
        return range(0)
    low = high = 0
    for axis, size in zip(ranges, owner.shape, strict=True):
        low, high = low * size + min(axis[0], axis[-1]), high * size + max(axis[0], axis[-1])
    return range(low, high + 1)


OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+=": np.add,
    "-=": np.subtract,
    "*=": np.multiply,
    "/=": np.true_divide,
}


def _compute(operator: str, values: Array, operand: Array | Number, dtype: str) -> Array:
    """Apply an operator as NumPy does, or exactly to integers, and cast to the dtype. Raises OverflowError."""
    operands = np.asarray(operand)
    if operator == "=":
        return _to_dtype(operands, dtype)
    if values.dtype.kind in "biu":
        if operands.dtype.kind == "c" or not np.isfinite(operands.astype(np.float64)).all():
            raise OverflowError(f"{dtype} cannot hold the value")
        # integers are computed as Python's, which cannot overflow: the check against the dtype comes last
        return _to_dtype(OPERATIONS[operator](values.astype(object), _exact(operands)), dtype)
    with np.errstate(all="ignore"):
        # in NumPy's dtype: a float16 array times a float32 array is float32, times a number of Python's it is float16
        result = OPERATIONS[operator](values, operand)
    if not np.isfinite(result[np.isfinite(values) & np.isfinite(operands)]).all():
        raise OverflowError("the result of finite numbers must be finite")
    return _to_dtype(result, dtype)


def _exact(values: Array) -> Array:
    """Return values as Python's integers and fractions, for arithmetic with integer arrays."""
    from fractions import Fraction  # only integer arrays need it

    numbers = values.reshape(-1).tolist()
    exact = np.empty(len(numbers), object)
    exact[:] = [Fraction(number) if isinstance(number, float) else number for number in numbers]
    return exact.reshape(values.shape)


def _to_dtype(values: Array, dtype: str) -> Array:
    """Return values in a dtype, floats rounded. Raises OverflowError for a value that the dtype cannot hold."""
    wanted = numpy_dtype(dtype)
    if values.dtype.kind == "c" and wanted.kind != "c":
        raise OverflowError(f"{dtype} cannot hold a complex value")
    if wanted.kind in "biu":
        try:
            with np.errstate(all="ignore"):
                converted = values.astype(wanted)
        except (OverflowError, ValueError):
            converted = None
        if converted is None or not np.array_equal(converted.astype(object), values.astype(object)):
            raise OverflowError(f"{dtype} cannot hold the value")
        return converted
    return cast(values, dtype)
