"""A source drawn from the schemes assigned to its arrays, block by block, when values are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property, partial

import numpy as np

from paramctl.core.dtypes import Array, cast, compute_dtype
from paramctl.core.parameter import Parameter
from paramctl.errors import AddressError, InputError, OutputError
from paramctl.init.engines.base import DrawRequest, Draws, TooLargeToDraw
from paramctl.init.engines.native import NATIVE
from paramctl.init.rules import AssignedScheme
from paramctl.model import Model
from paramctl.source.base import BlockCache, Description, Source
from paramctl.source.describe import distribution_to_json
from paramctl.store.contents import Origin, Piece, Provenance, blocks

CACHED_BLOCKS = 4


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
        self._cache = BlockCache(CACHED_BLOCKS)

    def read(self, path: str, start: int, stop: int) -> Array:
        if path not in self.assigned:
            assert self.base is not None, f"{path} has neither a scheme nor a stored value"
            return self.base.read(path, start, stop)
        parameter = self.model.parameters[path]
        try:
            return cast(self._draw(parameter, start, stop), parameter.dtype)
        except OverflowError as error:
            raise OutputError(f"{path}: {error}") from error
        except TooLargeToDraw as error:
            raise AddressError(f"{self.assigned[path].scheme} for {path}: {error}", str(parameter.shape)) from error

    @cached_property
    def _draws(self) -> Draws:
        """The engine's values of the arrays that have a scheme."""
        requests = {}
        for path, assigned in self.assigned.items():
            if parameter := self.model.parameters.get(path):
                requests[path] = DrawRequest(assigned.distribution, parameter.shape, compute_dtype(parameter.dtype))
        return NATIVE.start(self.seed, requests)

    def _draw(self, parameter: Parameter, start: int, stop: int) -> Array:
        path = parameter.path
        step = self._draws.block_size(path)
        first, last = start // step, max(start, stop - 1) // step
        # exactly one block, as pieces() cuts arrays: no part of it will be read again, so it is not cached
        if first == last and start == first * step and stop == min(start + step, parameter.size):
            return self._draws.draw(path, first)
        drawn = [self._cache.get((path, k), partial(self._draws.draw, path, k)) for k in range(first, last + 1)]
        if step == stop == parameter.size:  # a large block that is drawn at once, read to its end
            self._cache.drop((path, 0))
        values = np.concatenate(drawn) if len(drawn) > 1 else drawn[0]
        return values[start - first * step : stop - first * step]

    def pieces(self, parameter: Parameter) -> Iterator[Piece]:
        if self.base is not None and parameter.path not in self.assigned:
            return self.base.pieces(parameter)
        return blocks(parameter, self._draws.block_size(parameter.path))

    def describe(self) -> Description:
        assigned = {
            path: [scheme.scheme, distribution_to_json(scheme.distribution), scheme.reason]
            for path, scheme in self.assigned.items()
        }
        description = {"source": "drawn", "seed": self.seed, "assigned": assigned}
        if self.base is not None:
            return description | {"base": self.base.describe()}
        document = self.model.document
        if document is None:
            raise InputError(f"{self.model.name}: only a model with a document can be built again in another process")
        return description | {
            "text": document.text,
            "name": document.name,
            "variables": dict(document.variables),
            "input_shapes": [list(item) for item in document.input_shapes],
            "dtypes": {path: parameter.dtype for path, parameter in self.model.parameters.items()},
        }
