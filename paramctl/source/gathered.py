"""A source that has arrays of several sources under new names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from paramctl.core.dtypes import Array
from paramctl.core.parameter import Parameter
from paramctl.errors import InputError
from paramctl.source.base import Description, Source
from paramctl.store.checkpoint import build_model
from paramctl.store.contents import Origin, Piece, blocks, read_alias


class Gathered:
    """Arrays of several sources. arrays: the source and the path of each array, by its new name."""

    def __init__(self, name: str, arrays: Mapping[str, tuple[Source, str]]) -> None:
        self.arrays = arrays
        parameters = {new: replace(source.model.parameters[path], path=new) for new, (source, path) in arrays.items()}
        self.model, _ = build_model(name, parameters, ())
        self.origin = Origin()

    def read(self, path: str, start: int, stop: int) -> Array:
        source, name = self.arrays[path]
        return read_alias(source, name, start, stop)

    def pieces(self, parameter: Parameter) -> Iterator[Piece]:
        return blocks(parameter)

    def describe(self) -> Description:
        raise InputError(f"{self.model.name}: gathered arrays cannot be opened again in another process")
