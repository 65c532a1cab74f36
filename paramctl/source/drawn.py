"""A source drawn from the schemes assigned to its arrays, block by block, when values are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property, partial

import numpy as np

from paramctl.core.dtypes import Array, cast, compute_dtype
from paramctl.core.parameter import Parameter
from paramctl.errors import AddressError, OutputError
from paramctl.init.engines.base import DrawRequest, Draws, TooLargeToDraw
from paramctl.init.engines.native import NATIVE
from paramctl.init.rules import AssignedScheme
from paramctl.model import Model
from paramctl.source.base import BlockCache, Description, Source
from paramctl.source.describe import assigned_to_json, model_to_json
from paramctl.store.contents import Origin, Piece, Provenance, blocks

CACHED_BLOCKS = 4


class BlockReader:
    """The values of an engine, from any flat index to another. Blocks that are read in parts are cached."""

    def __init__(self, draws: Draws) -> None:
        self.draws = draws
        self._cache = BlockCache(CACHED_BLOCKS)

    def read(self, path: str, size: int, start: int, stop: int) -> Array:
        """Return values of a parameter. size: the number of all its values."""
        step = self.draws.block_size(path)
        first, last = start // step, max(start, stop - 1) // step
        # exactly one block, as pieces() cuts arrays: no part of it will be read again, so it is not cached
        if first == last and start == first * step and stop == min(start + step, size):
            return self.draws.draw(path, first)
        drawn = [self._cache.get((path, k), partial(self.draws.draw, path, k)) for k in range(first, last + 1)]
        if step == stop == size:  # a large block that is drawn at once, read to its end
            self._cache.drop((path, 0))
        values = np.concatenate(drawn) if len(drawn) > 1 else drawn[0]
        return values[start - first * step : stop - first * step]

    def pieces(self, parameter: Parameter) -> Iterator[Piece]:
        """Yield the pieces of a parameter, which are the engine's blocks."""
        return blocks(parameter, self.draws.block_size(parameter.path))


class Drawn:
    """A model with the values of its assigned schemes. Arrays without a scheme are read from ``base``.

    A value depends only on the seed, the array's path and shape, and its scheme.
    """

    def __init__(
        self, model: Model, assigned: Mapping[str, AssignedScheme], seed: int = 0, base: Source | None = None
    ) -> None:
        self.model, self.assigned, self.seed, self.base = model, assigned, seed, base
        origin = base.origin if base is not None else Origin()
        drawn = {path: Provenance(scheme.scheme, seed) for path, scheme in assigned.items()}
        self.origin = replace(origin, provenance={**origin.provenance, **drawn})

    def read(self, path: str, start: int, stop: int) -> Array:
        if path not in self.assigned:
            assert self.base is not None, f"{path} has neither a scheme nor a stored value"
            return self.base.read(path, start, stop)
        parameter = self.model.parameters[path]
        try:
            return cast(self._blocks.read(path, parameter.size, start, stop), parameter.dtype)
        except OverflowError as error:
            raise OutputError(f"{path}: {error}") from error
        except TooLargeToDraw as error:
            raise AddressError(f"{self.assigned[path].scheme} for {path}: {error}", str(parameter.shape)) from error

    @cached_property
    def _blocks(self) -> BlockReader:
        """The engine's values of the arrays that have a scheme."""
        requests = {}
        for path, assigned in self.assigned.items():
            if parameter := self.model.parameters.get(path):
                requests[path] = DrawRequest(assigned.distribution, parameter.shape, compute_dtype(parameter.dtype))
        return BlockReader(NATIVE.start(self.seed, requests))

    def pieces(self, parameter: Parameter) -> Iterator[Piece]:
        if self.base is not None and parameter.path not in self.assigned:
            return self.base.pieces(parameter)
        return self._blocks.pieces(parameter)

    def describe(self) -> Description:
        assigned = {path: assigned_to_json(scheme) for path, scheme in self.assigned.items()}
        origin = model_to_json(self.model) if self.base is None else {"base": self.base.describe()}
        return {"source": "drawn", "seed": self.seed, "assigned": assigned, **origin}
