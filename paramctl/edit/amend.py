"""An edited source into a file: where it can be, a copy of the file it comes from, changed in the extents touched."""

from __future__ import annotations

from collections.abc import Iterator

from paramctl import store
from paramctl.edit.assign import Edited, touched
from paramctl.source import Piece, save
from paramctl.store.atomic import replacing
from paramctl.store.extents import as_bytes, in_parallel


def amend(edited: Edited, path: str, force: bool) -> Iterator[Piece]:
    """Write an edited source; gives each piece as it is done, and must be exhausted.

    From a file to one of the same format, everything that is not changed is as it was, to the byte: attributes,
    ties, and what is no parameter. Raises OutputError; what was at the path before is then there still.
    """
    checkpoint = edited.checkpoint
    format_ = store.format_of(path)
    if checkpoint is None or not in_extents(edited) or store.detect(checkpoint.file) is not format_:
        yield from save(edited, path, force)
        return
    with replacing(path, force) as temporary:
        temporary.copy(checkpoint.file.descriptor())
        format_.load().unmark(temporary, [path for path in edited.by_path if path not in edited.model.stored])

        def work(job: tuple[str, int, int]) -> Piece:
            name, start, stop = job
            values = edited.values(name, start, stop)
            extent = checkpoint.extents[name]
            data = values.astype(extent.dtype).tobytes() if extent.dtype.byteorder == ">" else as_bytes(values)
            temporary.write(data, extent.offset + start * extent.dtype.itemsize)
            return Piece(name, values.size, values.nbytes)

        yield from in_parallel(work, touched(edited))


def in_extents(edited: Edited) -> bool:
    """Whether all that is changed lies in one piece in the file that it comes from."""
    return edited.checkpoint is not None and edited.by_path.keys() <= edited.checkpoint.extents.keys()
