"""Write values into the extents of a file whose header has been written."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from paramctl.core.indexing import select_all
from paramctl.core.parameter import Parameter
from paramctl.parallel import in_parallel
from paramctl.store.contents import BLOCK_SIZE, Contents, Piece, blocks, connections, gather
from paramctl.store.io.atomic import Temporary
from paramctl.store.io.extents import Extent, as_bytes
from paramctl.store.sums.array_sum import ArraySum
from paramctl.store.sums.record import Range
from paramctl.store.sums.sealing import NewSums, Placed, new_sums, piece_sum, seal_file

if TYPE_CHECKING:
    from paramctl.core.dtypes import Array

Measure: TypeAlias = "Callable[[str, Array], Any]"


class Sealed(NamedTuple):
    """A file that is complete: its seal, and the ranges of the arrays' values in it."""

    seal: str
    ranges: list[Range]


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
) -> Generator[Written, None, Sealed]:
    """Write the parameters that have an extent: arrays in parallel, then the copies under tied names.

    The optimizer's arrays follow if the file has extents for them, whose keys begin with a slash. Then the file is
    sealed: its layout must have an unsealed record.
    """
    # a tied name has an extent only where the format cannot share, such as a transposed tie in a Keras file
    tied = contents.model.tied
    present = [parameter for parameter in parameters if parameter.path in extents]
    copies = [parameter for parameter in present if parameter.path in tied]
    sums, placed = new_sums(contents), []

    def write(piece: Piece) -> tuple[Written, ArraySum]:
        (path, start, _), values = piece, contents.read(*piece)
        extent, data = extents[path], as_bytes(values)
        begin = extent.bytes_before(start)
        temporary.write(data, extent.offset + begin)
        digest = piece_sum(data, contents.model.parameters[path].dtype, begin)
        return written(path, values, options.measure), digest

    owners = [parameter for parameter in present if parameter.path not in tied]
    requests = connections(contents)
    # a server answers a request for each piece at once
    jobs = _batches(chain.from_iterable(map(contents.pieces, owners)), BLOCK_SIZE if requests is None else 1)
    results = in_parallel(lambda batch: [*map(write, batch)], jobs, options.threads or requests)
    for path, group in groupby(chain.from_iterable(results), lambda result: result[0].path):
        for item, part in group:
            sums.add(path, part)
            yield item
        # at once, so that the sums of a million arrays are not held together
        owner = contents.model.parameters[path]
        placed.append(_placed(owner, extents[path], sums.finish(path, owner)))
    for parameter in copies:
        values = gather(contents, parameter.path, select_all(parameter.shape))
        stored = replace(parameter, dtype=contents.model.owner(parameter.path).dtype)
        placed.append((yield from _write_in_order(stored, values, temporary, extents[parameter.path])))
    placed += yield from _write_optimizer(contents, temporary, extents)
    return Sealed(seal_file(temporary, placed), [array.range for array in placed])


def _batches(pieces: Iterable[Piece], size: int) -> Iterator[list[Piece]]:
    """Yield the pieces in batches of at least ``size`` values: to hand over a job costs as much as a small piece."""
    batch: list[Piece] = []
    values = 0
    for piece in pieces:
        _, start, stop = piece
        batch.append(piece)
        values += stop - start
        if values >= size:
            yield batch
            batch, values = [], 0
    if batch:
        yield batch


def _placed(parameter: Parameter, extent: Extent, digest: str) -> Placed:
    return Placed((extent.offset, extent.offset + parameter.bytes), digest)


def written(path: str, values: Array, measure: Measure | None) -> Written:
    return Written(path, values.size, values.nbytes, measure(path, values) if measure is not None else None)


def _write_optimizer(
    contents: Contents, temporary: Temporary, extents: Mapping[str, Extent]
) -> Generator[Written, None, list[Placed]]:
    optimizer, placed = contents.origin.carried_optimizer, []
    for path, array in optimizer.arrays.items() if optimizer else ():
        if f"/{path}" in extents:
            assert optimizer is not None
            values = (optimizer.reader.read(path, start, stop) for _, start, stop in blocks(array))
            placed.append((yield from _write_in_order(array, values, temporary, extents[f"/{path}"])))
    return placed


def _write_in_order(
    parameter: Parameter, pieces: Iterable[Array], temporary: Temporary, extent: Extent
) -> Generator[Written, None, Placed]:
    begin, sums = 0, NewSums()
    for values in pieces:
        data = as_bytes(values)
        temporary.write(data, extent.offset + begin)
        sums.add(parameter.path, piece_sum(data, parameter.dtype, begin))
        begin += values.nbytes
        yield written(parameter.path, values, None)
    return _placed(parameter, extent, sums.finish(parameter.path, parameter))
