"""A source whose arrays are rearrangements of another source's arrays.

Values are computed slab by slab, so memory use is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import numpy as np

from paramctl.core.dtypes import Array, cast, numpy_dtype
from paramctl.core.indexing import Selection, boxes
from paramctl.core.parameter import Parameter
from paramctl.core.views import Arrangement, View, of_owner
from paramctl.errors import OutputError
from paramctl.model import Document, Model
from paramctl.parallel import workers
from paramctl.source.base import BlockCache, Derived, Source
from paramctl.store.contents import (
    BLOCK_SIZE,
    KerasLayout,
    Piece,
    Provenance,
    Recorded,
    RecordedSum,
    blocks,
    gather_reshaped,
    is_transposed,
    read_alias,
)

SLABS_BYTES = 64 << 20
"""Bytes of rearranged arrays that all threads together compute at once."""
MIN_SLAB_BYTES = 4 << 20
"""The least bytes of a slab, because every slab may pass over the whole array that it comes from."""
CACHED_SLABS = 2


class Arranged(Derived):
    """A source whose arrays are arrangements of the base's arrays."""

    def __init__(
        self,
        base: Source,
        model: Model,
        arrangements: Mapping[str, Arrangement],
        operation: str,
        document: Document | None = None,
        keras: KerasLayout | None = None,
        **options: Any,
    ) -> None:
        origin = replace(
            base.origin,
            provenance=_provenance(base, arrangements),
            document=document,
            keras=keras,
            extents={},
            rewrite=None,
        )
        super().__init__(base, model, origin, operation, **options)
        self.arrangements = arrangements
        self._slabs = BlockCache(CACHED_SLABS)

    def recorded_sums(self) -> Mapping[str, RecordedSum]:
        """Return the recorded hashes of whole arrays in their own order, and those of files with changed headers."""
        sums = self.base.recorded_sums() if isinstance(self.base, Recorded) else {}
        changed = {path: recorded for path, recorded in sums.items() if recorded.fault}
        olds = {path: self._unchanged(path) for path in self.model.parameters} if sums else {}
        return changed | {path: sums[old] for path, old in olds.items() if old is not None and old in sums}

    def _unchanged(self, path: str) -> str | None:
        """Return the array of the base whose values, dtype and shape a parameter has; None if it differs."""
        arrangement, old = self.arrangements.get(path), self.base.model
        if arrangement is None or not arrangement.is_identity or not arrangement.views:
            return None
        owner, new = old.owner(arrangement.views[0].path), self.model.parameters[path]
        is_same = (owner.shape, owner.dtype) == (new.shape, new.dtype)
        return owner.path if is_same and not is_transposed(old, arrangement.views[0].path) else None

    def pieces(self, parameter: Parameter) -> Iterator[Piece]:
        return blocks(parameter, self._slab_size(parameter.path))

    def _slab_size(self, path: str) -> int:
        """Return the number of values to compute at once: whole rows, within the limit on bytes."""
        arrangement = self.arrangements[path]
        if arrangement.is_identity or not arrangement.views:
            return BLOCK_SIZE
        itemsize = numpy_dtype(self.model.parameters[path].dtype).itemsize
        limit = max(SLABS_BYTES // workers(), MIN_SLAB_BYTES) // itemsize
        # (64, 3, 1000) and at most 5,000 values: a row has the last two axes, 3,000 values, so a slab is one row
        shape = arrangement.joined_shape
        row = next(size for axis in range(len(shape) + 1) if (size := prod(shape[axis:])) <= limit)
        return limit // max(row, 1) * max(row, 1)

    def read(self, path: str, start: int, stop: int) -> Array:
        arrangement, dtype = self.arrangements[path], self.model.parameters[path].dtype
        if start >= stop:
            return np.empty(0, numpy_dtype(dtype))
        try:
            if not arrangement.views:
                return cast(np.full(stop - start, arrangement.fill), dtype)
            if arrangement.is_identity:
                return cast(read_alias(self.base, arrangement.views[0].path, start, stop), dtype)
            return cast(self._read_slabs(path, start, stop), dtype)
        except OverflowError as error:
            raise OutputError(f"{path}: {error}") from error

    def _read_slabs(self, path: str, start: int, stop: int) -> Array:
        """Compute rearranged values. A slab that is read in parts is computed once, and cached for the other parts."""
        arrangement, step = self.arrangements[path], self._slab_size(path)
        size = self.model.parameters[path].size
        if start % step == 0 and stop == min(start + step, size):  # a whole slab, as save reads it: nothing to cache
            return self._compute(arrangement, start, stop)
        parts = []
        for number in range(start // step, (stop - 1) // step + 1):
            begin = number * step
            compute = partial(self._compute, arrangement, begin, min(begin + step, size))
            parts.append(self._slabs.get((path, number), compute)[max(start - begin, 0) : stop - begin])
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def _compute(self, arrangement: Arrangement, start: int, stop: int) -> Array:
        """Compute an arrangement's values from one flat index to another in C order."""
        parts = [self._box(arrangement, box).reshape(-1) for box in boxes(arrangement.joined_shape, start, stop)]
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def _box(self, arrangement: Arrangement, box: Sequence[range]) -> Array:
        """Compute a box of an arrangement, where possible without a copy."""
        if arrangement.summed:
            first, *others = (self._view(view, box) for view in arrangement.views)
            # half precision is summed in float32, so that only the cast at the end rounds
            wide = np.result_type(first.dtype, np.float32) if first.dtype.kind in "fV" else first.dtype
            total: Array = sum((values.astype(wide) for values in others), first.astype(wide))
            return total
        axis, parts, position = arrangement.axis, [], 0
        for view in arrangement.views:
            # the part of the box in this view, along the axis that joins the views
            count = view.result_shape[axis] if view.axes else 1
            wanted = box[axis] if box else range(1)
            begin, end = max(wanted.start - position, 0), min(wanted.stop - position, count)
            if begin < end:
                inner = (*box[:axis], range(begin, end), *box[axis + 1 :]) if box else ()
                parts.append(self._view(view, inner))
            position += count
        return np.concatenate(parts, axis) if len(parts) > 1 else parts[0]

    def _view(self, view: View, box: Sequence[range]) -> Array:
        """Read a box of a view."""
        ranges = list(view.ranges)
        for axis, part in zip(view.axes, box, strict=True):
            ranges[axis] = ranges[axis][part.start : part.stop]
        model = self.base.model
        parameter, tie = model.parameters[view.path], model.tied.get(view.path)
        if tie is not None and tie.transpose and view.shape != parameter.shape:
            # a transposed tie has no stored values in its own order: view the stored array instead, or read all of it
            owned = of_owner(view._replace(ranges=tuple(ranges)), tie.kept, parameter.shape)
            if owned is None:
                whole = read_alias(self.base, view.path, 0, parameter.size).reshape(view.shape)
                return whole[np.ix_(*ranges)].transpose(view.axes)
            view, ranges = owned, list(owned.ranges)
        sizes = tuple(map(len, ranges))
        values = np.empty(prod(sizes), numpy_dtype(model.owner(view.path).dtype))
        filled = 0
        selection = Selection(tuple(ranges), (False,) * len(ranges))
        for piece in gather_reshaped(self.base, view.path, view.shape, selection):
            values[filled : filled + piece.size] = piece
            filled += piece.size
        return values.reshape(sizes).transpose(view.axes)


def _provenance(base: Source, arrangements: Mapping[str, Arrangement]) -> dict[str, Provenance]:
    """Return the provenance of arrays whose values all come from one array of the base."""
    provenance = base.origin.provenance
    single = {
        path: arrangement.paths[0]
        for path, arrangement in arrangements.items()
        if len(arrangement.paths) == 1 and not arrangement.summed
    }
    owners = {path: base.model.owner(old).path for path, old in single.items()}
    return {path: provenance[owner] for path, owner in owners.items() if owner in provenance}
