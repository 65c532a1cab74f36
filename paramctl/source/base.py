"""Source: a model whose arrays have values: drawn from schemes, read from a file, or derived from another source.

A command opens a source, selects by address, and reads values piece by piece. No source holds all values in memory.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from paramctl.address.resolve import NO_FILTERS, Filters, resolve_all
from paramctl.core.indexing import Selection, select, slice_text
from paramctl.core.parameter import Parameter
from paramctl.model import Model
from paramctl.store.contents import Contents, Origin, Piece, Recorded, RecordedSum, check_decodable, gather

if TYPE_CHECKING:
    from paramctl.core.dtypes import Array

Description = Mapping[str, Any]
"""A source in the types of JSON, from which edit.reopen.reopen makes it again in another process."""


class Source(Contents, Protocol):
    """A model whose arrays have values, as a format writes it, that can be made again from a description."""

    def describe(self) -> Description:
        """Return a description from which ``reopen`` makes this source again. Raises InputError if it cannot."""


def place_of(source: Contents) -> str:
    """Return the name of the file that a source comes from, or that of its model, for errors."""
    location, document = source.origin.location, source.model.document
    if location is not None:
        return location.name
    return (document.source if document is not None else "") or source.model.name


class Derived:
    """A source that an operation derives from another source. Subclasses implement ``read``.

    operation, options: the name of the operation in edit.reopen, and its arguments in the types of JSON.
    keeps_values: True if an array with the path, the shape and the dtype of one in the base has its values.
    """

    keeps_values: ClassVar[bool] = False

    def __init__(self, base: Source, model: Model, origin: Origin, operation: str, **options: Any) -> None:
        self.base, self.model, self.origin = base, model, origin
        self.operation, self.options = operation, options

    def pieces(self, parameter: Parameter) -> Iterator[Piece]:
        return self.base.pieces(parameter)

    def recorded_sums(self) -> Mapping[str, RecordedSum]:
        """Return the recorded hashes of those arrays that are read as they are in the file."""
        if not self.keeps_values or not isinstance(self.base, Recorded):
            return {}
        old, new = self.base.model.parameters, self.model.parameters
        return {
            path: digest
            for path, digest in self.base.recorded_sums().items()
            if path not in new or (path in old and _type(old[path]) == _type(new[path]))
        }

    def describe(self) -> Description:
        options = {
            name: option.describe() if hasattr(option, "describe") else option for name, option in self.options.items()
        }
        return {"source": self.operation, "base": self.base.describe(), **options}


def _kept(values: Array) -> Array:
    """Return the values themselves."""
    return values


def _type(parameter: Parameter) -> tuple[tuple[int, ...], str]:
    return parameter.shape, parameter.dtype


class SelectedValues(NamedTuple):
    """Selected values of one parameter. name: its path, with the slice if several are selected from that path."""

    source: Source
    path: str
    name: str
    selection: Selection

    @property
    def dtype(self) -> str:
        return self.source.model.owner(self.path).dtype

    def pieces(self, ranges: tuple[range, ...] | None = None) -> Iterator[Array]:
        """Yield the values in C order, in flat pieces of bounded size; or those of other ranges of the array."""
        selection = self.selection if ranges is None else Selection(ranges, (False,) * len(ranges))
        return gather(self.source, self.path, selection)

    def reads(self) -> Iterable[tuple[int, Callable[[], Array]]]:
        """Return the size of each piece, and a function that returns its values, for workers that read in parallel.

        A whole array is read in its stored order, so a transposed tie has the order of its array.
        """
        source = self.source
        if self.selection.everything:
            pieces = source.pieces(source.model.owner(self.path))
            return ((stop - start, partial(source.read, owner, start, stop)) for owner, start, stop in pieces)
        # A slice is gathered in order, in this thread; only the measurement is left to the workers.
        return ((values.size, partial(_kept, values)) for values in self.pieces())

    def index_of(self, number: int) -> tuple[int, ...]:
        """Return the index, in the array under its selected name, of the value with this number in reading order."""
        import numpy as np

        model, selection = self.source.model, self.selection
        tie = model.tied.get(self.path)
        shape = model.owner(self.path).shape if selection.everything else tuple(map(len, selection.ranges))
        index = tuple(int(place) for place in np.unravel_index(number, shape))
        if not selection.everything:
            return tuple(axis[place] for axis, place in zip(selection.ranges, index, strict=True))
        return index[::-1] if tie is not None and tie.transpose else index


def select_values(
    source: Source, addresses: Sequence[str], filters: Filters = NO_FILTERS, decodable: bool = True
) -> list[SelectedValues]:
    """Return the values that addresses select, in the model's order. Without addresses, every array once.

    decodable: False to select arrays whose values cannot be read too.
    Raises AddressError for an address that matches nothing, or a slice that does not fit, and InputError for a dtype
    whose values cannot be read.
    """
    model = source.model
    matches = resolve_all(model, addresses, filters)
    for path, _ in matches if decodable else ():
        check_decodable(model, path)  # before the values of another parameter are printed
    counts = Counter(path for path, _ in matches)  # w[0] and w[1] are shown with their slices, w[0] alone as w
    return [
        SelectedValues(
            source,
            path,
            path if counts[path] == 1 or indices is None else f"{path}[{slice_text(indices)}]",
            select(indices, model.parameters[path].shape, path),
        )
        for path, indices in matches
    ]


class BlockCache:
    """The blocks computed last, for callers that read parts of one block after another."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.blocks: OrderedDict[Hashable, Array] = OrderedDict()
        self.lock = threading.Lock()

    def get(self, key: Hashable, compute: Callable[[], Array]) -> Array:
        # computed under the lock: two threads that want the same block must not both compute it
        with self.lock:
            if key in self.blocks:
                self.blocks.move_to_end(key)
                return self.blocks[key]
            block = compute()
            self.blocks[key] = block
            if len(self.blocks) > self.capacity:
                self.blocks.popitem(last=False)
            return block

    def drop(self, key: Hashable) -> None:
        with self.lock:
            self.blocks.pop(key, None)
