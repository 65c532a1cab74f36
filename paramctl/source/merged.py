"""A source whose arrays have changes added: low-rank products, whole arrays, or arrays that replace them.

Values are computed in float64, a few rows at a time, and rounded once, to the dtype that is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paramctl.core.dtypes import Array
from paramctl.core.indexing import select_all
from paramctl.core.parameter import Parameter
from paramctl.source.base import BlockCache, Derived, Description, Source
from paramctl.source.combined import widened
from paramctl.source.derived import Cast
from paramctl.store.contents import Origin, Piece, blocks, gather, read_alias

CACHED_FACTORS = 4
"""Products whose factors are kept in memory: threads work on pieces of few arrays at once."""


@dataclass(frozen=True, slots=True)
class LowRank:
    """The product of two factors, times a scale.

    source: has the factors. left, right: their paths, of the matrices (rows, rank) and (rank, columns). The axes of
    the array after the first are the columns. transposed: the product is transposed first, and then its rows are the
    first axis of the array.
    """

    source: Source
    left: str
    right: str
    transposed: bool
    scale: float


@dataclass(frozen=True, slots=True)
class Whole:
    """An array of the same shape. scale: a factor, for one that is added; None if it replaces the array."""

    source: Source
    path: str
    scale: float | None = None


Change = LowRank | Whole


class Merged(Derived):
    """A source with changes of its arrays. changes: by path, in order. typed: the base in the dtypes of the result."""

    def __init__(self, typed: Cast, origin: Origin, changes: Mapping[str, Sequence[Change]], **options: Any) -> None:
        super().__init__(typed.base, typed.model, origin, "merge", **options)
        self.typed, self.changes = typed, changes
        self._factors = BlockCache(CACHED_FACTORS)

    def describe(self) -> Description:
        # the files themselves, so that a changed one is not merged elsewhere
        sources = {id(change.source): change.source for changes in self.changes.values() for change in changes}
        return {**super().describe(), "files": [source.describe() for source in sources.values()]}

    def pieces(self, parameter: Parameter) -> Iterator[Piece]:
        return blocks(parameter) if parameter.path in self.changes else self.base.pieces(parameter)

    def read(self, path: str, start: int, stop: int) -> Array:
        if path not in self.changes or start >= stop:
            return self.typed.cast(path, self.base.read(path, start, stop))
        values = self.base.read(path, start, stop)
        with np.errstate(all="ignore"):
            for change in self.changes[path]:
                if isinstance(change, LowRank):
                    product = self._product(change, self.model.parameters[path].shape[0], path, start, stop)
                    values = widened(values) + product
                    continue
                array = read_alias(change.source, change.path, start, stop)
                # an array of integers, such as a counter, is only ever replaced, and keeps every bit
                values = array if change.scale is None else widened(values) + widened(array) * change.scale
        return self.typed.cast(path, values)

    def _product(self, change: LowRank, rows: int, path: str, start: int, stop: int) -> Array:
        """Return the values of a product from one flat index of its array to another."""
        left, right = self._matrices(change)
        columns = self.model.parameters[path].size // rows
        first, last = start // columns, -(-stop // columns)
        part: Array = left[first:last] @ right
        values: Array = part.reshape(-1)[start - first * columns : stop - first * columns]
        return values * change.scale

    def _matrices(self, change: LowRank) -> tuple[Array, Array]:
        left, right = (
            self._factors.get((id(change), path), lambda path=path: self._matrix(change.source, path))  # type: ignore[misc]
            for path in (change.left, change.right)
        )
        left, right = left.reshape(left.shape[0], -1), right.reshape(right.shape[0], -1)
        return (right.T, left.T) if change.transposed else (left, right)

    def _matrix(self, source: Source, path: str) -> Array:
        shape = source.model.parameters[path].shape
        values = np.concatenate(list(gather(source, path, select_all(shape))))
        return widened(values).reshape(shape)
