"""A source of a framework's tensors, with the values that the framework's own generator gives them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from paramctl.core.dtypes import Array, cast, numpy_dtype
from paramctl.core.parameter import Parameter
from paramctl.errors import AddressError, OutputError
from paramctl.init.engines.base import DrawRequest, Draws, Engine, TooLargeToDraw
from paramctl.model import Model
from paramctl.parallel import in_parallel
from paramctl.source.base import BlockCache, Description
from paramctl.source.computed import new_array
from paramctl.source.drawn import BlockReader
from paramctl.store.contents import Origin, Piece

MAX_IN_MEMORY = 32 << 20
"""Bytes of a tensor that is kept in memory. A larger one is in a temporary file."""
KEPT = 2


@dataclass(frozen=True, slots=True)
class _Finite:
    """Draws that raise OverflowError for a value that the dtype cannot hold, where a framework has an infinite one."""

    draws: Draws
    requests: Mapping[str, DrawRequest]

    def block_size(self, path: str) -> int:
        return self.draws.block_size(path)

    def draw(self, path: str, block: int) -> Array:
        dtype = self.requests[path].dtype
        try:
            with np.errstate(over="raise", invalid="raise"):
                values = self.draws.draw(path, block)
        except FloatingPointError:
            raise OverflowError(f"a value exceeds the range of {dtype}") from None
        if dtype.name == "bfloat16" and not np.isfinite(values).all():  # whose operations report no overflow
            raise OverflowError(f"a value exceeds the range of {dtype}")
        return values


class Replayed:
    """The tensors of a framework, drawn as the framework draws them.

    engine: the framework's generator. requests: its draws in order, by name; ``model`` has those whose values are read.
    describe: returns the description of the model that has the tensors.
    reread: the tensors that are read many times over. They are drawn once, and the last ones are kept.
    """

    def __init__(
        self,
        model: Model,
        engine: Engine,
        requests: Mapping[str, DrawRequest],
        seed: int,
        describe: Callable[[], Description],
        reread: Collection[str] = (),
    ) -> None:
        self.model, self.engine, self.requests, self.seed, self.reread = model, engine, requests, seed, reread
        self.describe = describe
        self.origin = Origin()
        self._kept = BlockCache(KEPT)

    @cached_property
    def _blocks(self) -> BlockReader:
        return BlockReader(_Finite(self.engine.start(self.seed, self.requests), self.requests))

    def read(self, path: str, start: int, stop: int) -> Array:
        parameter = self.model.parameters[path]
        try:
            if path in self.reread:
                return self._kept.get(path, partial(self._whole, parameter))[start:stop]
            return cast(self._blocks.read(path, parameter.size, start, stop), parameter.dtype)
        except OverflowError as error:
            raise OutputError(f"{path}: {error}") from error
        except OSError as error:
            rule = f"the temporary file of its values: {error.strerror}; TMPDIR names the folder"
            raise OutputError(f"{path}: {rule}") from error
        except TooLargeToDraw as error:
            raise AddressError(f"{path}: {error}", str(parameter.shape)) from error

    def _whole(self, parameter: Parameter) -> Array:
        """Return all values of a tensor, flat."""
        whole = new_array((parameter.size,), numpy_dtype(parameter.dtype), MAX_IN_MEMORY)

        def draw(piece: Piece) -> None:
            _, start, stop = piece
            whole[start:stop] = cast(self._blocks.draws.draw(parameter.path, start // step), parameter.dtype)

        step = self._blocks.draws.block_size(parameter.path)
        for _ in in_parallel(draw, self._blocks.pieces(parameter)):
            pass
        return whole

    def pieces(self, parameter: Parameter) -> Iterator[Piece]:
        return self._blocks.pieces(parameter)
