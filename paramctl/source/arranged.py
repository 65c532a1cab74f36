"""A source whose arrays are rearrangements of another source's arrays.

Values are computed a slab at a time, so memory use is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import prod

import numpy as np

from paramctl.core.dtypes import Array, cast, numpy_dtype
from paramctl.core.indexing import Selection, boxes
from paramctl.core.parameter import Parameter
from paramctl.core.views import Arrangement, View, of_owner
from paramctl.errors import OutputError
from paramctl.init.engines.native import BLOCK_SIZE
from paramctl.model import Model
from paramctl.parallel import workers
from paramctl.source.base import BlockCache, Source
from paramctl.store.checkpoint import Provenance

SLABS_BYTES = 64 << 20
"""About how many bytes of arrays that are turned are made at once, by all threads together."""
LEAST_SLAB = 4 << 20
"""How many each makes at least: for every slab the array it is made of is passed over once."""
SLABS = 2
"""How many of those are kept for those who ask for parts of them."""


class ArrangedSource(Source):
    """A source whose arrays are made of another's."""

    def __init__(self, base: Source, model: Model, made: Mapping[str, Arrangement]) -> None:
        super().__init__(model, seed=base.seed, checkpoint=base.checkpoint)
        self.base, self.made = base, made
        self._slabs = BlockCache(SLABS)

    @property
    def notes(self) -> dict[str, Provenance]:
        """How each array came by its values, where it has those of one other."""
        notes = self.base.notes
        known = {path: of.paths[0] for path, of in self.made.items() if len(of.paths) == 1 and not of.summed}
        owners = {path: self.base.model.owner(old).path for path, old in known.items()}
        return {path: notes[old] for path, old in owners.items() if old in notes}

    def pieces(self, parameter: Parameter) -> Iterator[tuple[str, int, int]]:
        step = self._slab(parameter.path)
        for start in range(0, parameter.size, step):
            yield parameter.path, start, min(start + step, parameter.size)

    def _slab(self, path: str) -> int:
        """How many values of an array are best made at once: each time all of what it is made of is passed over."""
        of = self.made[path]
        if of.is_identity or not of.views:
            return BLOCK_SIZE
        most = max(SLABS_BYTES // workers(), LEAST_SLAB) // numpy_dtype(self.model.parameters[path].dtype).itemsize
        tail = next(size for axis in range(len(of.joined_shape) + 1) if (size := prod(of.joined_shape[axis:])) <= most)
        return most // max(tail, 1) * max(tail, 1)

    def read(self, path: str, start: int, stop: int) -> Array:
        of, dtype = self.made[path], self.model.parameters[path].dtype
        if start >= stop:
            return np.empty(0, numpy_dtype(dtype))
        try:
            if not of.views:
                return cast(np.full(stop - start, of.fill), dtype)
            if of.is_identity:
                return cast(self.base.read_alias(of.views[0].path, start, stop), dtype)
            return cast(self._from_slabs(path, start, stop), dtype)
        except OverflowError as error:
            raise OutputError(f"{path}: {error}") from error

    def _from_slabs(self, path: str, start: int, stop: int) -> Array:
        """Values that are moved; of a part of a slab all is made, and kept, for the rest is asked for next."""
        of, size = self.made[path], self._slab(path)
        whole = self.model.parameters[path].size
        if start % size == 0 and stop == min(start + size, whole):
            return self._moved(of, start, stop)
        parts = []
        for number in range(start // size, (stop - 1) // size + 1):
            begin = number * size
            make = partial(self._moved, of, begin, min(begin + size, whole))
            parts.append(self._slabs.get((path, number), make)[max(start - begin, 0) : stop - begin])
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def _moved(self, of: Arrangement, start: int, stop: int) -> Array:
        """Values of an arrangement from one place to another in C order."""
        parts = [self._box(of, box).reshape(-1) for box in boxes(of.joined_shape, start, stop)]
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def _box(self, of: Arrangement, box: Sequence[range]) -> Array:
        """A part of an arrangement, as far as possible without a copy."""
        if of.summed:
            first, *others = (self._seen(each, box) for each in of.views)
            wide = np.result_type(first.dtype, np.float32) if first.dtype.kind in "fV" else first.dtype
            total: Array = sum((each.astype(wide) for each in others), first.astype(wide))
            return total
        parts, place = [], 0
        for each in of.views:
            count = each.result_shape[of.axis] if each.axes else 1
            here = box[of.axis] if box else range(1)
            begin, end = max(here.start - place, 0), min(here.stop - place, count)
            if begin < end:
                parts.append(self._seen(each, (*box[: of.axis], range(begin, end), *box[of.axis + 1 :]) if box else ()))
            place += count
        return np.concatenate(parts, of.axis) if len(parts) > 1 else parts[0]

    def _seen(self, of: View, box: Sequence[range]) -> Array:
        """A part of what a view sees."""
        ranges = list(of.ranges)
        for axis, part in zip(of.axes, box, strict=True):
            ranges[axis] = ranges[axis][part.start : part.stop]
        parameter, tie = self.base.model.parameters[of.path], self.base.model.tied.get(of.path)
        if tie is not None and tie.transpose and of.shape != parameter.shape:
            turned = of_owner(of._replace(ranges=tuple(ranges)), tie.kept, parameter.shape)
            if turned is None:
                whole = self.base.read_alias(of.path, 0, parameter.size).reshape(of.shape)
                return whole[np.ix_(*ranges)].transpose(of.axes)
            of, ranges = turned, list(turned.ranges)
        sizes = tuple(map(len, ranges))
        found = np.empty(prod(sizes), numpy_dtype(self.base.model.owner(of.path).dtype))
        place = 0
        for piece in self.base.seen(of.path, of.shape, Selection(tuple(ranges), (False,) * len(ranges))):
            found[place : place + piece.size] = piece
            place += piece.size
        return found.reshape(sizes).transpose(of.axes)
