"""Write values into the extents of a file whose header has been written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from paramctl.core.dtypes import Array
from paramctl.core.indexing import select_all
from paramctl.core.parameter import Parameter
from paramctl.parallel import in_parallel
from paramctl.store.contents import Contents, Piece, blocks, connections, gather
from paramctl.store.io.atomic import Temporary
from paramctl.store.io.extents import Extent, as_bytes

Measure = Callable[[str, Array], Any]


class Written(NamedTuple):
    """A written piece of an array. measured: the result of WriteOptions.measure for its values."""

    path: str
    size: int
    bytes: int
    measured: Any = None


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """Options for writing a file.

    force: replace an existing file.
    max_shard_size: bytes of values in each file of a set; None for the format's default.
    measure: computed for each piece of each array, in the thread that writes it.
    threads: the number of threads; None for one per processor.
    confirm: called when the new file is complete, and before it replaces the old one, which an error keeps.
    """

    force: bool = False
    max_shard_size: int | None = None
    measure: Measure | None = None
    threads: int | None = None
    confirm: Callable[[], None] = lambda: None


def write_values(
    contents: Contents,
    parameters: Iterable[Parameter],
    temporary: Temporary,
    extents: Mapping[str, Extent],
    options: WriteOptions,
) -> Iterator[Written]:
    """Write the parameters that have an extent: arrays in parallel, then the copies under tied names.

    The optimizer's arrays follow if the file has extents for them, whose keys begin with a slash.
    """
    # a tied name has an extent only where the format cannot share, such as a transposed tie in a Keras file
    tied = contents.model.tied
    present = [parameter for parameter in parameters if parameter.path in extents]
    copies = [parameter for parameter in present if parameter.path in tied]

    def write(piece: Piece) -> Written:
        (path, start, _), values = piece, contents.read(*piece)
        extent = extents[path]
        temporary.write(as_bytes(values), extent.offset + extent.bytes_before(start))
        return written(path, values, options.measure)

    owners = (parameter for parameter in present if parameter.path not in tied)
    threads = options.threads or connections(contents)
    yield from in_parallel(write, (piece for owner in owners for piece in contents.pieces(owner)), threads)
    for parameter in copies:
        values = gather(contents, parameter.path, select_all(parameter.shape))
        yield from _write_in_order(parameter.path, values, temporary, extents[parameter.path])
    yield from _write_optimizer(contents, temporary, extents)


def written(path: str, values: Array, measure: Measure | None) -> Written:
    return Written(path, values.size, values.nbytes, measure(path, values) if measure is not None else None)


def _write_optimizer(contents: Contents, temporary: Temporary, extents: Mapping[str, Extent]) -> Iterator[Written]:
    optimizer = contents.origin.carried_optimizer
    for path, array in optimizer.arrays.items() if optimizer else ():
        if f"/{path}" in extents:
            assert optimizer is not None
            values = (optimizer.reader.read(path, start, stop) for _, start, stop in blocks(array))
            yield from _write_in_order(path, values, temporary, extents[f"/{path}"])


def _write_in_order(path: str, pieces: Iterable[Array], temporary: Temporary, extent: Extent) -> Iterator[Written]:
    offset = extent.offset
    for values in pieces:
        temporary.write(as_bytes(values), offset)
        offset += values.nbytes
        yield written(path, values, None)
