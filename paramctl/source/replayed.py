"""A source of a framework's tensors, with the values that the framework's own generator gives them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

from paramctl.core.dtypes import Array, cast
from paramctl.core.parameter import Parameter
from paramctl.errors import AddressError, InputError, OutputError
from paramctl.init.engines.base import DrawRequest, Engine, TooLargeToDraw
from paramctl.model import Model
from paramctl.source.base import Description
from paramctl.source.drawn import BlockReader
from paramctl.store.contents import Origin, Piece


class Replayed:
    """The tensors of a framework, drawn as the framework draws them.

    engine: the framework's generator. requests: its draws in order, by name; ``model`` has those whose values are read.
    """

    def __init__(self, model: Model, engine: Engine, requests: Mapping[str, DrawRequest], seed: int) -> None:
        self.model, self.engine, self.requests, self.seed = model, engine, requests, seed
        self.origin = Origin()

    @cached_property
    def _blocks(self) -> BlockReader:
        return BlockReader(self.engine.start(self.seed, self.requests))

    def read(self, path: str, start: int, stop: int) -> Array:
        parameter = self.model.parameters[path]
        try:
            return cast(self._blocks.read(path, parameter.size, start, stop), parameter.dtype)
        except OverflowError as error:
            raise OutputError(f"{path}: {error}") from error
        except TooLargeToDraw as error:
            raise AddressError(f"{path}: {error}", str(parameter.shape)) from error

    def pieces(self, parameter: Parameter) -> Iterator[Piece]:
        return self._blocks.pieces(parameter)

    def describe(self) -> Description:
        raise InputError(f"{self.model.name}: the tensors of a framework are described by the model that has them")
