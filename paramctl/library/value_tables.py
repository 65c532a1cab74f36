"""Tables of values as Arrow and Parquet, in batches of bounded size. pyarrow is an extra, imported when it is used."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from functools import reduce
from importlib import import_module
from itertools import islice
from types import ModuleType
from typing import IO, Any

import numpy as np

from paramctl.core.dtypes import Array, numpy_dtype, to_native
from paramctl.errors import AddressError, InputError
from paramctl.library.value_rows import VALUES, index_texts
from paramctl.source.base import SelectedValues

BATCH = 1 << 18
"""The number of rows of a batch, and of a row group."""

EXACT_INTEGERS = 1 << 53
"""The integers up to this one are exact in float64."""


class Stream(io.RawIOBase):
    """A file without seeking, whatever the file can do, so that a writer writes the same bytes to a pipe and to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.file.write(data)
        return len(data)


def write_arrow(selections: Sequence[SelectedValues], file: IO[bytes], columns: Sequence[str]) -> None:
    """Write an Arrow IPC file, which is also a Feather file."""
    pa = _pyarrow("arrow")
    table = _Table(pa, selections, columns)
    # not a with statement: it would complete the file after an error
    writer = pa.ipc.new_file(pa.PythonFile(Stream(file), "w"), table.schema)
    for batch in table.batches():
        writer.write_batch(batch)
    writer.close()


def write_parquet(selections: Sequence[SelectedValues], file: IO[bytes], columns: Sequence[str]) -> None:
    """Write a Parquet file, with a row group for each batch."""
    pa = _pyarrow("parquet")
    from pyarrow.parquet import ParquetWriter

    table = _Table(pa, selections, columns)
    repeated = [name for name in columns if name not in VALUES]  # a dictionary of values would have most values once
    writer = ParquetWriter(pa.PythonFile(Stream(file), "w"), table.schema, use_dictionary=repeated)
    for batch in table.batches():
        writer.write_batch(batch, row_group_size=BATCH)
    writer.close()


def _pyarrow(format: str) -> ModuleType:
    try:
        import_module("pyarrow.ipc")
        return import_module("pyarrow")
    except ImportError as error:
        raise InputError(f"the format {format} requires pyarrow: pip install 'paramctl[arrow]'") from error


class _Table:
    """A table of selected values in chosen columns: its schema, and its batches."""

    def __init__(self, pa: ModuleType, selections: Sequence[SelectedValues], columns: Sequence[str]) -> None:
        self.pa, self.selections, self.columns = pa, selections, columns
        self.dtype = _common_dtype(selections) if set(columns) & set(VALUES) else np.dtype(np.float64)
        if self.dtype.kind == "c" and "value" in columns:
            name = next(each.name for each in selections if numpy_dtype(each.dtype).kind == "c")
            raise AddressError(f"{name} is complex, so its columns are real and imag", "'value'")
        self.part = np.empty(0, self.dtype).real.dtype
        paths = dict.fromkeys(selected.path for selected in selections)
        self.numbers = {path: number for number, path in enumerate(paths)}
        self.paths = pa.array(list(paths), pa.string())  # one for all batches: a file has one dictionary
        self.schema = pa.schema([(name, self._type(name)) for name in columns])

    def _type(self, name: str) -> Any:
        pa = self.pa
        if name == "path":
            return pa.dictionary(pa.int32(), pa.string())
        if name == "index":
            return pa.string()
        return pa.from_numpy_dtype(self.part) if name in VALUES else pa.int64()

    def batches(self) -> Iterator[Any]:
        """Yield record batches of at most BATCH rows. Small arrays share one."""
        pending: list[Any] = []
        rows = 0
        for part in self._parts():
            if rows + part.num_rows > BATCH:
                yield self._joined(pending)
                pending, rows = [], 0
            pending.append(part)
            rows += part.num_rows
        if rows:
            yield self._joined(pending)

    def _joined(self, parts: Sequence[Any]) -> Any:
        (batch,) = self.pa.Table.from_batches(parts, self.schema).combine_chunks().to_batches()
        return batch

    def _parts(self) -> Iterator[Any]:
        """Yield a record batch for each piece of each array."""
        for selected in self.selections:
            indices = index_texts(selected.selection.ranges)
            begin = 0
            for piece in selected.pieces():
                for start in range(0, piece.size, BATCH):
                    values = piece[start : start + BATCH]
                    yield self._batch(selected, begin, values, indices)
                    begin += values.size

    def _batch(self, selected: SelectedValues, begin: int, values: Array, indices: Iterator[str]) -> Any:
        """Return the rows of values, of which the first has the number ``begin`` in its selection."""
        pa, ranges, size = self.pa, selected.selection.ranges, values.size
        places = np.unravel_index(np.arange(begin, begin + size), [len(axis) for axis in ranges]) if ranges else ()
        native = to_native(values).astype(self.dtype, copy=False)

        def column(name: str) -> Any:
            if name == "path":
                return pa.DictionaryArray.from_arrays(np.full(size, self.numbers[selected.path], np.int32), self.paths)
            if name == "index":
                return pa.array(list(islice(indices, size)), pa.string())
            if name in VALUES:
                return pa.array(np.ascontiguousarray(native.imag if name == "imag" else native.real), self._type(name))
            axis = int(name[1:])
            if axis >= len(ranges):
                return pa.nulls(size, pa.int64())
            return pa.array(ranges[axis].start + ranges[axis].step * places[axis], pa.int64())

        return pa.record_batch([column(name) for name in self.columns], schema=self.schema)


def _common_dtype(selections: Sequence[SelectedValues]) -> np.dtype[Any]:
    """Return NumPy's narrowest dtype that holds the values of all selections exactly.

    Raises AddressError if none does.
    """
    natives = [to_native(np.empty(0, numpy_dtype(selected.dtype))).dtype for selected in selections]
    if not natives:
        return np.dtype(np.float32)
    common: np.dtype[Any] = reduce(np.promote_types, natives)
    if common.kind in "fc":
        for selected, native in zip(selections, natives, strict=True):
            if native.kind in "iu" and native.itemsize == 8:
                _check_exact(selected, common)
    return common


def _check_exact(selected: SelectedValues, common: np.dtype[Any]) -> None:
    """Raise AddressError for a 64-bit integer that float64 does not hold."""
    for values in selected.pieces():
        beyond = (values > EXACT_INTEGERS) | (values < (-EXACT_INTEGERS if values.dtype.kind == "i" else 0))
        if beyond.any():
            rule = f"{selected.name}: an integer is not exact in {common}, the dtype of the other arrays in the table"
            raise AddressError(rule, f"{values[beyond][0]}", "Write it to a file of its own.")
