"""What differs between two sources: a row for each parameter that is not the same in both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any, Literal, NamedTuple

import numpy as np

from paramctl.arrays import Array
from paramctl.init.streams import BLOCK
from paramctl.source import Source
from paramctl.store.extents import in_parallel

Status = Literal["only in A", "only in B", "shape", "dtype", "ties", "values"]


class Tolerance(NamedTuple):
    """|a - b| <= absolute + relative |b| is the same; and whether a NaN is the same as another."""

    relative: float = 0.0
    absolute: float = 0.0
    equal_nan: bool = False


@dataclass(frozen=True, slots=True)
class DiffRow:
    """One parameter that differs.

    greatest, relative: the greatest |a - b|, and |a - b| / |b|; None where none is finite. at: the place of the
    greatest. norm: of the difference. cosine: of the angle between the two. different: how many values are.
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


class Piece(NamedTuple):
    """What a piece of two arrays adds to their comparison."""

    path: str
    size: int
    different: int
    greatest: float
    place: int
    relative: float
    squares: float
    dot: float
    of_a: float
    of_b: float


class Comparison:
    """Two sources side by side, B's names perhaps other ones; ``rows`` after ``pieces`` are done."""

    def __init__(
        self, a: Source, b: Source, name_in_b: Callable[[str], str], tolerance: Tolerance, structure: bool
    ) -> None:
        self.a, self.b, self.tolerance = a, b, tolerance
        self.in_b = {name_in_b(path): path for path in b.model.parameters}
        self.found: dict[str, Piece] = {}
        self.compared = [] if structure else [path for path in self.common() if self.comparable(path)]

    def common(self) -> list[str]:
        return [path for path in self.a.model.parameters if path in self.in_b]

    def comparable(self, path: str) -> bool:
        """Whether values are compared: of one shape, and not of an array that is compared under another name."""
        one, other = self.a.model.parameters[path], self.b.model.parameters[self.in_b[path]]
        return one.shape == other.shape and not self.counted(path)

    def counted(self, path: str) -> bool:
        """Whether both sides tie the name to one that is compared."""
        tie, other = self.a.model.tied.get(path), self.b.model.tied.get(self.in_b[path])
        if tie is None or other is None or tie.transpose != other.transpose:
            return False
        return self.in_b.get(tie.kept) == other.kept

    @property
    def bytes(self) -> int:
        return sum(self.a.model.parameters[path].bytes for path in self.compared)

    def pieces(self, threads: int | None = None) -> Iterator[Piece]:
        """Compare values, piece by piece; must be exhausted before ``rows``."""
        jobs: Iterable[tuple[str, int, int]] = (
            (path, start, min(start + BLOCK, size))
            for path in self.compared
            for size in [self.a.model.parameters[path].size]
            for start in range(0, size, BLOCK)
        )
        for piece in in_parallel(self._piece, jobs, threads):
            before = self.found.get(piece.path)
            self.found[piece.path] = piece if before is None else _joined(before, piece)
            yield piece

    def _piece(self, job: tuple[str, int, int]) -> Piece:
        path, start, stop = job
        return compare(
            path, start, self.a.under(path, start, stop), self.b.under(self.in_b[path], start, stop), self.tolerance
        )

    def rows(self) -> list[DiffRow]:
        """What differs, in A's order, then what only B has."""
        made = []
        for path in self.a.model.parameters:
            row = self._row(path)
            if row is not None:
                made.append(row)
        for path, own in self.in_b.items():
            if path not in self.a.model.parameters:
                made.append(DiffRow(path, "only in B", None, _said(self.b, own)))
        return made

    def _row(self, path: str) -> DiffRow | None:
        if path not in self.in_b:
            return DiffRow(path, "only in A", _said(self.a, path), None)
        own = self.in_b[path]
        said = _said(self.a, path), _said(self.b, own)
        one, other = self.a.model.parameters[path], self.b.model.parameters[own]
        if one.shape != other.shape:
            return DiffRow(path, "shape", *said)
        piece = self.found.get(path)
        if one.dtype != other.dtype:
            return _measured(DiffRow(path, "dtype", *said), piece, one.shape)
        if piece is not None and piece.different:
            return _measured(DiffRow(path, "values", *said), piece, one.shape)
        if (path in self.a.model.tied) != (own in self.b.model.tied):
            return DiffRow(path, "ties", *said)
        return None


def compare(path: str, start: int, a: Array, b: Array, tolerance: Tolerance) -> Piece:
    """Two pieces of one place, of any dtypes."""
    same_bits = a.dtype == b.dtype and bool((a.view(np.uint8) == b.view(np.uint8)).all())
    wide: Any = np.complex128 if "c" in (a.dtype.kind, b.dtype.kind) else np.float64
    x, y = a.astype(wide), b.astype(wide)
    of_a, of_b = _squares(x), _squares(y)
    if same_bits:
        return Piece(path, a.size, 0, 0.0, start, 0.0, 0.0, of_a, of_a, of_b)
    with np.errstate(all="ignore"):
        distance = np.abs(x - y)
        equal = (a == b) if a.dtype == b.dtype else (x == y)
        both_nan = np.isnan(x) & np.isnan(y)
        equal |= both_nan if tolerance.equal_nan else both_nan & _bits_equal(a, b)
        distance[equal] = 0.0
        near = equal | (np.isfinite(distance) & (distance <= tolerance.absolute + tolerance.relative * np.abs(y)))
        known = np.where(np.isfinite(distance), distance, -1.0)
        relative = np.where(known > 0, known / np.abs(y), 0.0)
        place = int(known.argmax())
        dot = float(np.vdot(x, y).real)
    bounded = relative[np.isfinite(relative)]
    return Piece(
        path,
        a.size,
        int(a.size - np.count_nonzero(near)),
        float(known[place]) if known[place] >= 0 else float("nan"),
        start + (place if known[place] > 0 else int((~near).argmax())),
        float(bounded.max(initial=0.0)),
        _squares(distance),
        dot,
        of_a,
        of_b,
    )


def _bits_equal(a: Array, b: Array) -> Array:
    if a.dtype != b.dtype:
        return np.zeros(a.shape, bool)
    made: Array = (a.view(np.uint8) == b.view(np.uint8)).reshape(a.size, -1).all(axis=1)
    return made


def _squares(values: Array) -> float:
    with np.errstate(all="ignore"):
        return float(np.vdot(values, values).real)


def _joined(one: Piece, other: Piece) -> Piece:
    greater = other if not one.different or other.greatest > one.greatest else one
    return Piece(
        one.path,
        one.size + other.size,
        one.different + other.different,
        greater.greatest,
        greater.place,
        max(one.relative, other.relative),
        one.squares + other.squares,
        one.dot + other.dot,
        one.of_a + other.of_a,
        one.of_b + other.of_b,
    )


def _measured(row: DiffRow, piece: Piece | None, shape: tuple[int, ...]) -> DiffRow:
    if piece is None:
        return row
    length = sqrt(piece.of_a) * sqrt(piece.of_b) if isfinite(piece.of_a) and isfinite(piece.of_b) else 0.0
    at = tuple(int(place) for place in np.unravel_index(piece.place, shape)) if piece.different and shape else None
    return DiffRow(
        row.path,
        row.status,
        row.a,
        row.b,
        piece.different,
        piece.greatest if isfinite(piece.greatest) else None,
        piece.relative if isfinite(piece.relative) else None,
        at,
        sqrt(piece.squares) if isfinite(piece.squares) else None,
        piece.dot / length if length and isfinite(piece.dot) else None,
    )


def _said(source: Source, path: str) -> str:
    parameter = source.model.parameters[path]
    tie = source.model.tied.get(path)
    return f"{parameter.shape} {source.model.owner(path).dtype}" + (f" = {tie.kept}" if tie else "")
