"""The arrays of parameters to compute with: whole, in the shape and dtype of the computation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from paramctl.compute.graph import Step
from paramctl.core.dtypes import Array
from paramctl.core.indexing import select_all
from paramctl.source.base import Source
from paramctl.store.contents import gather


class Values(Mapping[str, Array]):
    """The arrays of a source by path, each read when it is first used. A tied array is read once.

    dtype: of the floating-point arrays.
    """

    def __init__(self, source: Source, dtype: np.dtype[Any]) -> None:
        self.source, self.dtype = source, dtype
        self._arrays: dict[str, Array] = {}

    def __getitem__(self, path: str) -> Array:
        model = self.source.model
        kept, tie = model.owner(path).path, model.tied.get(path)
        if kept not in self._arrays:
            self._arrays[kept] = self._read(kept)
        array = self._arrays[kept]
        return array.T if tie is not None and tie.transpose else array

    def put(self, path: str, array: Array) -> None:
        """Replace an array, by the path that keeps it."""
        self._arrays[path] = array

    def of(self, step: Step) -> dict[str, Array]:
        """Return the arrays of a step, by path relative to its layer."""
        return {name: self[path] for name, path in step.parameters.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(self.source.model.parameters)

    def __len__(self) -> int:
        return len(self.source.model.parameters)

    def _read(self, path: str) -> Array:
        """Read one array, piece by piece, so that no second copy of it in another dtype exists."""
        parameter = self.source.model.parameters[path]
        flat: Array | None = None
        start = 0
        for piece in gather(self.source, path, select_all(parameter.shape)):
            if flat is None:
                is_float = piece.dtype.kind not in "biuc"
                flat = np.empty(parameter.size, self.dtype if is_float else piece.dtype)
            flat[start : start + piece.size] = piece
            start += piece.size
        return (np.empty(0, self.dtype) if flat is None else flat).reshape(parameter.shape)
