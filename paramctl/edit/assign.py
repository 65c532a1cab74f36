"""Assignments: ``dense/kernel[0, 0] = 42``, ``bias += 1``, ``embed[0] = zeros``, checked, and applied by blocks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from paramctl.address.resolve import NO_FILTERS, Filters, resolve
from paramctl.core.dtypes import Array, cast, compute_dtype, numpy_dtype
from paramctl.core.indexing import Selection, select
from paramctl.core.parameter import Parameter
from paramctl.errors import AddressError, OutputError
from paramctl.init.registry import SchemeMismatch, Target
from paramctl.init.rules import AssignedScheme, Scheme
from paramctl.source.base import Source
from paramctl.store.checkpoint import Provenance

OPERATORS = ("*=", "+=", "-=", "/=", "=")


class Assignment(NamedTuple):
    """One assignment as it is written: an address, an operator, and a value or a scheme."""

    text: str
    address: str
    operator: str
    value: Array | Scheme


def split(text: str) -> tuple[str, str, str]:
    """The address, the operator and the value of an assignment; the operator is the longest at the first ``=``.

    Raises AddressError if there is none.
    """
    quote, depth = "", 0
    for place, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"" and (place == 0 or text[place - 1] in "/. "):
            quote = character
        elif character in "[]":
            depth += 1 if character == "[" else -1
        elif character == "=" and depth <= 0:
            operator = text[place - 1 : place + 1] if place and text[place - 1 : place + 1] in OPERATORS else "="
            address, value = text[: place + 1 - len(operator)].strip(), text[place + 1 :].strip()
            if address and value:
                return address, operator, value
            break
    raise AddressError("an assignment is written ADDRESS=VALUE, or with +=, -=, *= or /=", repr(text))


class Change(NamedTuple):
    """One assignment to one array.

    path: the array's; name: the parameter's that the assignment names, of which picks are; transpose: that is the
    array's transpose.
    """

    path: str
    name: str
    picks: Selection
    transpose: bool
    operator: str
    value: Array | AssignedScheme
    text: str


@dataclass(frozen=True, slots=True)
class Changed:
    """What a block has become: how many values differ, the greatest difference, and the values."""

    count: int
    greatest: float
    values: Array


def changes(source: Source, assignments: Sequence[Assignment], keep: Filters = NO_FILTERS) -> list[Change]:
    """Each assignment to each parameter that it means, in order.

    Raises AddressError where an address means nothing, or a value does not fit by NumPy's rules of broadcasting.
    """
    made = []
    for assignment in assignments:
        found = resolve(source.model, assignment.address)
        paths = [path for path in found.paths if keep(source.model.parameters[path])]
        if not paths:
            hint = keep.unknown_hint([source.model.parameters[path] for path in found.paths])
            raise AddressError("no selected parameter passes the filters", repr(assignment.address), hint)
        done: set[str] = set()
        for path in paths:
            owner, tie = source.model.owner(path), source.model.tied.get(path)
            if owner.path in done and len(paths) > 1:
                continue  # one array under two names changes once
            done.add(owner.path)
            parameter = source.model.parameters[path]
            picks = select(found.indices, parameter.shape, path)
            value = _value(assignment, parameter, owner, picks)
            transpose = tie is not None and tie.transpose
            made.append(Change(owner.path, path, picks, transpose, assignment.operator, value, assignment.text))
    return made


def _value(assignment: Assignment, parameter: Parameter, owner: Parameter, picks: Selection) -> Array | AssignedScheme:
    value = assignment.value
    if isinstance(value, np.ndarray):
        try:
            fits = np.broadcast_shapes(value.shape, picks.shape) == picks.shape
        except ValueError:
            fits = False
        if not fits:
            rule = f"{assignment.text}: the value must fit the shape {picks.shape} of what it is assigned to"
            raise AddressError(rule, f"the shape {value.shape}")
        if not value.ndim and value.dtype.kind in "iuf" and numpy_dtype(owner.dtype).kind in "fV":
            try:  # a number is one of the array's own dtype, as in NumPy
                value = cast(value.reshape(1), owner.dtype).astype(np.float64).reshape(())
            except OverflowError as error:
                raise AddressError(f"{assignment.text}: {error}", str(value)) from None
        if assignment.operator == "/=" and numpy_dtype(owner.dtype).kind in "biu":
            raise AddressError(f"{assignment.text}: division is not for whole numbers", owner.dtype)
        return value
    try:
        return AssignedScheme(value.text, value.distribution(Target.of(parameter)), assignment.text)
    except SchemeMismatch as unfit:
        raise AddressError(f"{value.text} for {parameter.path}: {unfit}", str(parameter.shape)) from None


class EditedSource(Source):
    """A source with changes applied, block by block, as values are asked for.

    tally: for each array how many values have become others, and the greatest difference.
    """

    def __init__(self, source: Source, changes: Sequence[Change], seed: int = 0) -> None:
        super().__init__(source.model, source.chosen, source.seed, source.checkpoint)
        self.base = source
        self.by_path: dict[str, list[Change]] = {}
        for change in changes:
            self.by_path.setdefault(change.path, []).append(change)
        as_floats = (
            self.model.map_parameters(_once_float)
            if any(isinstance(each.value, AssignedScheme) for each in changes)
            else None
        )
        self.drawn = {
            id(change): Source(as_floats, {change.name: change.value}, seed)
            for change in changes
            if isinstance(change.value, AssignedScheme) and as_floats is not None
        }
        self.changes = changes  # so that what the identities are of stays
        self.tally: dict[str, tuple[int, float]] = {}
        self.lock = threading.Lock()

    @property
    def notes(self) -> dict[str, Provenance]:
        return {path: note for path, note in super().notes.items() if path not in self.by_path}

    def read(self, path: str, start: int, stop: int) -> Array:
        changed = self.changed(path, start, stop)
        if changed.count:
            with self.lock:
                count, greatest = self.tally.get(path, (0, 0.0))
                self.tally[path] = count + changed.count, max(greatest, changed.greatest)
        return changed.values

    def changed(self, path: str, start: int, stop: int) -> Changed:
        """The values from one place to another, with what has become of them."""
        before = self.base.read(path, start, stop)
        after = before
        for change in self.by_path.get(path, ()):
            after = self.apply(change, after, start)
        if after is before:
            return Changed(0, 0.0, before)
        different = np.flatnonzero((after != before) & ~((after != after) & (before != before)))
        if not different.size:
            return Changed(0, 0.0, after)
        with np.errstate(all="ignore"):
            kind = np.complex128 if after.dtype.kind == "c" else np.float64
            greatest = float(np.max(np.abs(after[different].astype(kind) - before[different].astype(kind))))
        return Changed(different.size, greatest, after)

    def apply(self, change: Change, values: Array, start: int) -> Array:
        """One change to the values that begin at a place of the stored array."""
        owner = self.model.parameters[change.path]
        ranges = change.picks.ranges[::-1] if change.transpose else change.picks.ranges
        here, places = _inside(owner.shape, ranges, start, values.size)
        if not here.size:
            return values
        if change.transpose:
            places = places[::-1]
        operand = self.operand(change, places)
        made = values.copy()
        try:
            made[here] = _result(change.operator, made[here], operand, owner.dtype)
        except OverflowError as error:
            raise OutputError(f"{change.text}: {error}") from error
        return made

    def operand(self, change: Change, places: list[Array]) -> Array:
        """The value's part for these places, which are counted along the axes of what is assigned to."""
        if isinstance(change.value, AssignedScheme):
            return self._of_scheme(change, places)
        kept = [place for place, drop in zip(places, change.picks.dropped, strict=True) if not drop]
        whole = np.broadcast_to(change.value, change.picks.shape)
        return np.asarray(whole[tuple(kept)] if kept else whole)

    def _of_scheme(self, change: Change, places: list[Array]) -> Array:
        """The values that the scheme draws for the whole parameter, at these places."""
        parameter = self.model.parameters[change.name]
        drawn = self.drawn[id(change)]
        coordinates = [
            np.asarray(of.start + place * of.step) for place, of in zip(places, change.picks.ranges, strict=True)
        ]
        flat = np.ravel_multi_index(coordinates, parameter.shape) if coordinates else np.zeros(1, np.intp)
        low, high = int(flat.min()), int(flat.max()) + 1
        return drawn.read(change.name, low, high)[flat - low]


def _once_float(parameter: Parameter) -> Parameter:
    """The parameter in the dtype in which its values are drawn."""
    return Parameter(
        parameter.path, parameter.axes, parameter.kind, parameter.trainable, None, str(compute_dtype(parameter.dtype))
    )


def _inside(shape: Sequence[int], ranges: Sequence[range], start: int, size: int) -> tuple[Array, list[Array]]:
    """Which of the values from ``start`` on are picked, and their places along each axis of what is picked."""
    flat = np.arange(start, start + size)
    chosen: Any = np.ones(size, bool)
    places = []
    for coordinate, of in zip(np.unravel_index(flat, shape) if shape else (), ranges, strict=True):
        place, rest = np.divmod(coordinate - of.start, of.step)
        chosen &= (rest == 0) & (place >= 0) & (place < len(of))
        places.append(place)
    here = np.flatnonzero(chosen)
    return here, [place[here] for place in places]


def _result(operator: str, values: Array, operand: Array, dtype: str) -> Array:
    """What the operator makes of the values, rounded to their dtype once."""
    if operator == "=":
        return _exactly(operand, dtype)
    whole = values.dtype.kind in "biu"
    if whole and (operand.dtype.kind == "c" or not np.isfinite(operand.astype(np.float64)).all()):
        raise OverflowError(f"{dtype} cannot hold the value")
    wide: Any = object if whole else np.complex128 if values.dtype.kind == "c" else np.float64
    compute: dict[str, Callable[[Any, Any], Any]] = {
        "+=": np.add,
        "-=": np.subtract,
        "*=": np.multiply,
        "/=": np.true_divide,
    }
    with np.errstate(all="ignore"):
        made = compute[operator](values.astype(wide), _exact(operand) if whole else operand)
    if not whole and not np.isfinite(made[np.isfinite(values.astype(wide)) & np.isfinite(operand)]).all():
        raise OverflowError("it gives what is not finite, of numbers that are")
    return _exactly(made, dtype)


def _exact(values: Array) -> Array:
    """Numbers of unlimited size, or fractions, for sums and products with whole numbers."""
    numbers = values.reshape(-1).tolist()
    made = np.empty(len(numbers), object)
    made[:] = [Fraction(each) if isinstance(each, float) else each for each in numbers]
    return made.reshape(values.shape)


def _exactly(values: Array, dtype: str) -> Array:
    """The values in a dtype. Raises OverflowError for what it cannot hold, or would make another number of."""
    wanted = numpy_dtype(dtype)
    if wanted.kind in "biu":
        try:
            with np.errstate(all="ignore"):
                made = values.astype(wanted)
        except (OverflowError, ValueError):
            made = None
        if made is None or not np.array_equal(made.astype(object), values.astype(object)):
            raise OverflowError(f"{dtype} cannot hold the value")
        return made
    if values.dtype.kind == "c" and wanted.kind != "c":
        raise OverflowError(f"{dtype} cannot hold a complex value")
    return cast(values, dtype)


def touched(edited: EditedSource) -> Iterator[tuple[str, int, int]]:
    """The pieces of arrays that some change may touch: (path, start, stop)."""
    for path, made in edited.by_path.items():
        owner = edited.model.parameters[path]
        rows = [_rows(change, owner) for change in made]
        low, high = min(r.start for r in rows), max(r.stop for r in rows)
        for path_, start, stop in edited.pieces(owner):
            if start < high and stop > low:
                yield path_, max(start, 0), stop


def _rows(change: Change, owner: Parameter) -> range:
    """The flat places from the first to the last that a change picks."""
    ranges = change.picks.ranges[::-1] if change.transpose else change.picks.ranges
    if not change.picks.size:
        return range(0)
    low = high = 0
    for of, size in zip(ranges, owner.shape, strict=True):
        low, high = low * size + min(of[0], of[-1]), high * size + max(of[0], of[-1])
    return range(low, high + 1)
