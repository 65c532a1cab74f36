"""One array of weights, read when it is indexed."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral
from typing import TYPE_CHECKING, Any

from paramctl.core.indexing import Selection, Slice, select
from paramctl.errors import AddressError
from paramctl.store.contents import gather

if TYPE_CHECKING:
    import numpy as np

    from paramctl.core.dtypes import Array
    from paramctl.core.parameter import Parameter
    from paramctl.source.base import Source


class LazyArray:
    """One array, whose values are read when it is indexed. np.asarray reads all of it."""

    def __init__(self, source: Source, path: str) -> None:
        self._source, self.path = source, path

    @property
    def parameter(self) -> Parameter:
        """Its path, axes with their roles, kind, dtype, and whether it is trainable."""
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
        from paramctl.core.dtypes import numpy_dtype

        return numpy_dtype(self._source.model.owner(self.path).dtype)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without axes")
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        """Return values as NumPy does. Integers, slices and an ellipsis read only what they select."""
        indices = _basic_indices(key)
        if indices is None:
            return self.__array__()[key]  # arrays of indices, masks, new axes: NumPy's own rules, on all values
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
        import numpy as np  # for values alone: a file is opened and listed without it

        pieces = list(gather(self._source, self.path, selection))
        values = np.concatenate(pieces) if pieces else np.empty(0, self.dtype)
        return values.reshape(selection.shape)

    def __repr__(self) -> str:
        return f"<array {self.path!r}: shape {self.shape}, {self.dtype.name}>"


def _basic_indices(key: Any) -> tuple[int | Slice | None, ...] | None:
    """Return an index as core.indexing has it, where None is an ellipsis; None for an index of another kind."""
    indices: list[int | Slice | None] = []
    for part in key if isinstance(key, tuple) else (key,):
        if part is Ellipsis:
            indices.append(None)
        elif isinstance(part, Integral) and not isinstance(part, bool):
            indices.append(int(part))
        elif isinstance(part, slice):
            indices.append(Slice(part.start, part.stop, part.step))
        else:
            return None
    return tuple(indices) if indices.count(None) < 2 else None
