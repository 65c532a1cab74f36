"""What differs between two sources: a row for each parameter that is not the same in both.

Values go by pieces. Where both have the same bytes nothing is computed, unless the array turns out to differ
somewhere else: its norms are over all of its values, and then such pieces are read once more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from math import inf, isfinite, sqrt
from typing import Any, Literal, NamedTuple

import numpy as np

from paramctl.core.dtypes import Array
from paramctl.core.parameter import DTYPE_BYTES
from paramctl.init.engines.native import BLOCK_SIZE
from paramctl.model import Model
from paramctl.parallel import in_parallel
from paramctl.source.base import Source

CHUNK = 1 << 15
"""How many values are measured at once, so that what is computed of them stays in the processor's cache."""

ROW = 1 << 12
"""How many products BLAS sums at once: it puts threads on many more, and each number of them rounds otherwise."""

SPARE = 1 << 24
"""Bytes taken and given back, untouched, at the start: glibc then keeps what smaller pieces leave, for the next ones.
Else it gives that back to the system too, which has to make every page anew: that costs more than to compare them."""

Status = Literal["only in A", "only in B", "shape", "dtype", "ties", "values"]
Job = tuple[str, int, int]


class Tolerance(NamedTuple):
    """|a - b| <= absolute + relative |b| is the same; and whether a NaN is the same as another."""

    relative: float = 0.0
    absolute: float = 0.0
    equal_nan: bool = False

    @property
    def any(self) -> bool:
        """Whether numbers that are not the same may count as such."""
        return bool(self.relative or self.absolute)


@dataclass(frozen=True, slots=True)
class DiffRow:
    """One parameter that differs.

    different: how many values do. greatest, relative: the greatest |a - b|, and |a - b| / |b|, of those values, or of
    all if none does; None where none is finite. at: the place of the greatest, or of the first that differs. norm: of
    the difference. cosine: of the angle between the two. Both are of all values, and None if these are not finite.
    """

    path: str
    status: Status
    a: str | None
    b: str | None
    different: int | None = None
    greatest: float | None = None
    relative: float | None = None
    at: tuple[int, ...] | None = None
    norm: float | None = None
    cosine: float | None = None


class Sums(NamedTuple):
    """What norm and cosine follow from: the squares of a - b, the products of a and b, the squares of each."""

    squares: float
    dot: float
    of_a: float
    of_b: float


class PieceDiff(NamedTuple):
    """What a piece of two arrays adds to their comparison. sums: None where both have the same bytes.

    greatest, relative: as in a DiffRow, whole numbers' greatest an int; negative where none is finite.
    """

    path: str
    start: int
    size: int
    different: int = 0
    greatest: float = -1.0
    place: int = 0
    relative: float = -1.0
    sums: Sums | None = None


class Comparison:
    """Two sources side by side, B's names perhaps other ones; ``rows`` after ``pieces`` are done."""

    def __init__(
        self,
        a: Source,
        b: Source,
        name_in_b: Callable[[str], str],
        tolerance: Tolerance,
        structure: bool,
        any_dtype: bool = False,
    ) -> None:
        self.a, self.b, self.tolerance, self.any_dtype = a, b, tolerance, any_dtype
        self.in_b = {name_in_b(path): path for path in b.model.parameters}
        common = [path for path in a.model.parameters if path in self.in_b]
        self.shared_in_a = _shared(a.model, {path: path for path in common})
        self.shared_in_b = _shared(b.model, {path: self.in_b[path] for path in common})
        self.compared = [] if structure else [path for path in common if self.comparable(path)]
        self.found: dict[str, PieceDiff] = {}
        self.same: defaultdict[str, list[Job]] = defaultdict(list)

    def comparable(self, path: str) -> bool:
        """Whether values are compared: of one shape, and not of an array that is compared under another name."""
        one, other = self.a.model.parameters[path], self.b.model.parameters[self.in_b[path]]
        in_a, in_b = self.shared_in_a[path], self.shared_in_b[path]
        return one.shape == other.shape and (in_a.first == path or in_a != in_b)

    @property
    def bytes(self) -> int:
        return sum(self.a.model.parameters[path].bytes for path in self.compared)

    def width(self, path: str) -> int:
        """How many bytes a value of a parameter has."""
        return DTYPE_BYTES[self.a.model.owner(path).dtype]

    def pieces(self, threads: int | None = None) -> Iterator[PieceDiff]:
        """Compare values, piece by piece; must be exhausted before ``rows``. Threads change no result."""
        jobs: Iterable[Job] = (
            (path, start, min(start + BLOCK_SIZE, size))
            for path in self.compared
            for size in [self.a.model.parameters[path].size]
            for start in range(0, size, BLOCK_SIZE)
        )
        np.empty(SPARE, np.uint8)
        for piece in in_parallel(self._piece, jobs, threads):
            if piece.sums is None:
                self.same[piece.path].append((piece.path, piece.start, piece.start + piece.size))
            else:
                self._add(piece)
            yield piece
        differ = [path for path in self.same if path in self.found and self.found[path].different]
        for piece in in_parallel(self._same_piece, (job for path in differ for job in self.same[path]), threads):
            self._add(piece)

    def _piece(self, job: Job) -> PieceDiff:
        path, start, stop = job
        return compare(
            path,
            start,
            self.a.read_alias(path, start, stop),
            self.b.read_alias(self.in_b[path], start, stop),
            self.tolerance,
        )

    def _same_piece(self, job: Job) -> PieceDiff:
        """The sums of a piece that has the same bytes in both."""
        path, start, stop = job
        values = self.a.read_alias(path, start, stop)
        return measure(path, start, values, values, self.tolerance)

    def _add(self, piece: PieceDiff) -> None:
        before = self.found.get(piece.path)
        self.found[piece.path] = piece if before is None else _joined(before, piece)

    def rows(self) -> list[DiffRow]:
        """What differs, in A's order, then what only B has."""
        made = [row for row in map(self._row, self.a.model.parameters) if row is not None]
        for path, own in self.in_b.items():
            if path not in self.a.model.parameters:
                made.append(DiffRow(path, "only in B", None, _said(self.b, own)))
        return made

    def _row(self, path: str) -> DiffRow | None:
        if path not in self.in_b:
            return DiffRow(path, "only in A", _said(self.a, path), None)
        own = self.in_b[path]
        in_a, in_b = self.shared_in_a[path], self.shared_in_b[path]
        said = _said(self.a, path, path, in_a), _said(self.b, own, path, in_b)
        shape = self.a.model.parameters[path].shape
        piece = self.found.get(path)
        if shape != self.b.model.parameters[own].shape:
            return DiffRow(path, "shape", *said)
        if not self.any_dtype and self.a.model.owner(path).dtype != self.b.model.owner(own).dtype:
            return _measured(DiffRow(path, "dtype", *said), piece, shape)
        if piece is not None and piece.different:
            return _measured(DiffRow(path, "values", *said), piece, shape)
        return DiffRow(path, "ties", *said) if in_a != in_b else None


class SharedArray(NamedTuple):
    """The first name of an array, of those that both sides have, and whether another is of its transpose."""

    first: str
    turned: bool


def _shared(model: Model, names: Mapping[str, str]) -> dict[str, SharedArray]:
    """Of which array each name is; with the names go those that the model itself has for them.

    Which name of an array a file keeps makes no difference, nor does what else it ties to it.
    """
    first: dict[str, tuple[str, bool]] = {}
    made = {}
    for path, own in names.items():
        tie = model.tied.get(own)
        turned = tie is not None and tie.transpose and len(model.parameters[own].axes) > 1
        leader, as_leader = first.setdefault(tie.kept if tie else own, (path, turned))
        made[path] = SharedArray(leader, turned != as_leader)
    return made


def compare(path: str, start: int, a: Array, b: Array, tolerance: Tolerance) -> PieceDiff:
    """Two pieces of one place, flat, of any dtypes; measured unless both have the same bytes."""
    if _same_bytes(a, b):
        return PieceDiff(path, start, a.size)
    return measure(path, start, a, b, tolerance)


def measure(path: str, start: int, a: Array, b: Array, tolerance: Tolerance) -> PieceDiff:
    """The same, with sums in any case."""
    wide = _wide(a.dtype, b.dtype)
    with np.errstate(all="ignore"):
        chunks = [
            _chunk(path, start + k, a[k : k + CHUNK], b[k : k + CHUNK], wide, tolerance)
            for k in range(0, a.size, CHUNK)
        ]
    return reduce(_joined, chunks)


def _same_bytes(a: Array, b: Array) -> bool:
    if a.dtype != b.dtype:
        return False
    width = (a.nbytes | 8) & -(a.nbytes | 8)  # of the widest words that divide them
    return bool((_words(a, width) == _words(b, width)).all())


def _words(values: Array, width: int) -> Array:
    return np.ascontiguousarray(values).view(f"u{width}")


def _wide(a: np.dtype[Any], b: np.dtype[Any]) -> Any:
    """The dtype to compute in; the longest there is for 64 bits of a whole number beside what is none."""
    both_whole = a.kind in "biu" and b.kind in "biu"
    long = not both_whole and any(each.kind in "iu" and each.itemsize == 8 for each in (a, b))
    if "c" in (a.kind, b.kind):
        return np.clongdouble if long else np.complex128
    return np.longdouble if long else np.float64


def _chunk(path: str, start: int, a: Array, b: Array, wide: Any, tolerance: Tolerance) -> PieceDiff:
    x = a.astype(wide)
    of_a = _dot(x, x)
    if _same_bytes(a, b):
        return PieceDiff(path, start, a.size, sums=Sums(0.0, of_a, of_a, of_a))
    y = b.astype(wide)
    distance = _distance(a, b, x, y)
    far = distance if distance.dtype.kind == "f" else distance.astype(np.float64)
    beyond = distance != 0
    squares = _dot(far, far)
    if not isfinite(squares):
        beyond &= ~_alike(a, b, x, y, tolerance)
        far[~beyond] = 0.0
        squares = _dot(far, far)
    if tolerance.any:
        beyond &= ~_near(distance, y, tolerance)
    different = int(np.count_nonzero(beyond))
    ratio = far / np.abs(y)
    top, steepest = _peak(distance, far, beyond, different), _peak(ratio, ratio, beyond, different)
    return PieceDiff(
        path,
        start,
        a.size,
        different,
        -1.0 if top is None else (float if distance is far else int)(distance[top]),
        start + (int(beyond.argmax()) if top is None else top),
        -1.0 if steepest is None else float(ratio[steepest]),
        Sums(squares, _dot(x, y), of_a, _dot(y, y)),
    )


def _distance(a: Array, b: Array, x: Array, y: Array) -> Array:
    """|a - b|: of whole numbers exact, as uint64 or Python's own; of others in the dtype of x and y, which they are."""
    made: Array
    if a.dtype.kind not in "biu" or b.dtype.kind not in "biu":
        made = np.abs(x - y)
        return made
    common: Any = np.result_type(a.dtype, b.dtype)
    if common.kind == "f":  # uint64 beside a signed one: NumPy has nothing that holds both
        made = np.abs(a.astype(object) - b.astype(object))
        return made
    common = np.uint64 if common == np.uint64 else np.int64
    p, q = a.astype(common), b.astype(common)
    made = np.maximum(p, q).view(np.uint64) - np.minimum(p, q).view(np.uint64)
    return made


def _alike(a: Array, b: Array, x: Array, y: Array, tolerance: Tolerance) -> Array:
    """Where values that may be infinite or no number are the same: a NaN as one of the same bits, or as any."""
    made: Array = np.isnan(x) & np.isnan(y)
    if not tolerance.equal_nan:
        made &= _same_bits(a, b)
    made |= x == y
    return made


def _same_bits(a: Array, b: Array) -> Array:
    if a.dtype != b.dtype:
        return np.zeros(a.size, bool)
    made: Array = (_words(a, 1) == _words(b, 1)).reshape(a.size, -1).all(axis=1)
    return made


def _near(distance: Array, y: Array, tolerance: Tolerance) -> Array:
    """Where a distance is within the tolerance, which never reaches infinity."""
    limit: Array = tolerance.absolute + tolerance.relative * np.abs(y)
    if distance.dtype != np.uint64:
        return (distance <= limit) & (distance < inf)
    most = 2.0**64  # whole numbers are compared as such: NumPy would round them to compare them with a float
    return (limit >= most) | (distance <= np.where(limit < most, limit, 0).astype(np.uint64))


def _peak(values: Array, far: Array, beyond: Array, different: int) -> int | None:
    """Where the greatest is, of what is finite and differs, or of all if nothing does; far: the same as floats."""
    place = int(values.argmax())
    if isfinite(far[place]) and (beyond[place] or not different):
        return place
    places = np.flatnonzero(np.isfinite(far) & beyond if different else np.isfinite(far))
    return int(places[values[places].argmax()]) if places.size else None


def _dot(x: Array, y: Array) -> float:
    whole = x.size // ROW * ROW
    total = np.vecdot(x[:whole].reshape(-1, ROW), y[:whole].reshape(-1, ROW)).sum()
    if whole < x.size:
        total += np.vecdot(x[whole:], y[whole:])
    return float(total.real)


def _joined(one: PieceDiff, other: PieceDiff) -> PieceDiff:
    """Both as one; where values of either differ, the greatest is theirs."""
    assert one.sums is not None
    assert other.sums is not None
    told = [piece for piece in (one, other) if piece.different] or [one, other]
    greatest = max(told, key=lambda piece: piece.greatest)
    return PieceDiff(
        one.path,
        one.start,
        one.size + other.size,
        one.different + other.different,
        greatest.greatest,
        greatest.place,
        max(piece.relative for piece in told),
        Sums(*map(float.__add__, one.sums, other.sums)),
    )


def _measured(row: DiffRow, piece: PieceDiff | None, shape: tuple[int, ...]) -> DiffRow:
    if piece is None or piece.sums is None:
        return row
    squares, dot, of_a, of_b = piece.sums
    length = sqrt(of_a) * sqrt(of_b) if isfinite(of_a) and isfinite(of_b) else 0.0
    at = tuple(int(place) for place in np.unravel_index(piece.place, shape)) if piece.different and shape else None
    return replace(
        row,
        different=piece.different,
        greatest=piece.greatest if 0 <= piece.greatest < inf else None,
        relative=piece.relative if 0 <= piece.relative < inf else None,
        at=at,
        norm=sqrt(squares) if isfinite(squares) else None,
        cosine=max(-1.0, min(1.0, dot / length)) if length and isfinite(dot) else None,
    )


def _said(source: Source, own: str, path: str = "", shared: SharedArray | None = None) -> str:
    """Shape, dtype, and what it is tied to: the first name that both sides have, or what its own side keeps."""
    text = f"{source.model.parameters[own].shape} {source.model.owner(own).dtype}"
    if shared is not None and shared.first != path:
        return f"{text} = {shared.first}" + (", transposed" if shared.turned else "")
    tie = source.model.tied.get(own)
    return f"{text} = {tie.kept}" if tie else text
