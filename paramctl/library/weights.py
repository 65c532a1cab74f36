"""Weights: a source as a mapping from paths to arrays, which are read on demand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from paramctl.address.patterns import nearest_hint
from paramctl.core.dtypes import Array, numpy_dtype
from paramctl.core.indexing import Selection, Slice, select
from paramctl.errors import AddressError
from paramctl.inspect.summary import summarize
from paramctl.library.display import brief, html
from paramctl.source.base import Source
from paramctl.store.contents import gather

if TYPE_CHECKING:
    from paramctl.core.parameter import Parameter
    from paramctl.inspect.summary import Summary
    from paramctl.model import Model


class LazyArray:
    """One array, whose values are read when it is indexed. np.asarray reads all values."""

    def __init__(self, source: Source, path: str) -> None:
        self._source, self.path = source, path

    @property
    def parameter(self) -> Parameter:
        """The facts about the array: path, axes with their roles, kind, dtype, trainable."""
        return self._source.model.parameters[self.path]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.parameter.shape

    @property
    def size(self) -> int:
        return self.parameter.size

    @property
    def ndim(self) -> int:
        return len(self.parameter.axes)

    @property
    def dtype(self) -> np.dtype[Any]:
        return numpy_dtype(self._source.model.owner(self.path).dtype)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without axes")
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        """Return values as NumPy does. Integers, slices and an ellipsis read only the selected values."""
        indices = _basic_indices(key)
        if indices is None:
            return np.asarray(self)[key]  # arrays of indices, masks, new axes: NumPy's own rules, on all values
        try:
            selection = select(indices, self.shape, self.path)
        except AddressError as error:
            raise IndexError(str(error)) from error
        values = self._read(selection)
        return values[()] if not selection.shape else values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        values = self._read(select(None, self.shape, self.path))
        return values if dtype is None else values.astype(dtype, copy=False)

    def blocks(self) -> Iterator[Array]:
        """Yield all values in C order, in flat pieces of bounded size."""
        return gather(self._source, self.path, select(None, self.shape, self.path))

    def _read(self, selection: Selection) -> Array:
        pieces = list(gather(self._source, self.path, selection))
        values = np.concatenate(pieces) if pieces else np.empty(0, self.dtype)
        return values.reshape(selection.shape)

    def __repr__(self) -> str:
        return f"<array {self.path!r}: shape {self.shape}, {self.dtype.name}>"


def _basic_indices(key: Any) -> tuple[int | Slice | None, ...] | None:
    """Return an index in the form of core.indexing, where None is an ellipsis; None for an index of another kind."""
    indices: list[int | Slice | None] = []
    for part in key if isinstance(key, tuple) else (key,):
        if part is Ellipsis:
            indices.append(None)
        elif isinstance(part, (int, np.integer)) and not isinstance(part, bool):
            indices.append(int(part))
        elif isinstance(part, slice):
            indices.append(Slice(part.start, part.stop, part.step))
        else:
            return None
    return tuple(indices) if indices.count(None) < 2 else None


class Weights(Mapping[str, LazyArray]):
    """Named arrays with values: a checkpoint, a model drawn from its schemes, or one of these edited or converted.

    It is a mapping from the paths of parameters, tied ones included, to arrays, and a context manager that closes the
    file. Functions of this library that change values return new Weights and leave this one unchanged.
    """

    def __init__(self, source: Source, notes: tuple[str, ...] = ()) -> None:
        self.source = source
        self.notes = notes
        """The items skipped when the file was opened, or the result of a conversion for each array, as text."""

    @property
    def model(self) -> Model:
        """The structure: blocks, parameters, ties."""
        return self.source.model

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """The parameters by path: shape, dtype, axes, kind, and whether they are trainable."""
        return self.source.model.parameters

    def __getitem__(self, path: str) -> LazyArray:
        if path not in self.parameters:
            raise AddressError(f"{self.model.name} has no parameter of this name", repr(path), nearest_hint(path, self))
        return LazyArray(self.source, path)

    def __contains__(self, path: object) -> bool:
        return path in self.parameters

    def __iter__(self) -> Iterator[str]:
        return iter(self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)

    def blocks(self, path: str) -> Iterator[Array]:
        """Yield the values of one array in C order, in flat pieces of bounded size."""
        return self[path].blocks()

    def close(self) -> None:
        """Close the file of the values, if any. Values can then no longer be read."""
        location = self.source.origin.location
        if location is not None:
            location.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _summary(self, depth: int | None = None) -> Summary:
        return summarize(self.model, depth=depth, schemes={})

    def __repr__(self) -> str:
        return brief(self._summary(depth=1))

    def _repr_html_(self) -> str:
        return html(self._summary())
