"""An edited source into a file: where it can be, a copy of the file it comes from, changed in the extents touched."""

from __future__ import annotations

from collections.abc import Iterator

from paramctl import store
from paramctl.edit.assign import Edited, touched
from paramctl.saving import Piece, save_as
from paramctl.store.atomic import replacing
from paramctl.store.checkpoint import Note
from paramctl.store.extents import as_bytes, in_parallel


def amend(edited: Edited, path: str, force: bool, in_place: bool = False) -> Iterator[Piece]:
    """Write an edited source; gives each piece as it is done, and must be exhausted.

    From a file to one of the same format, everything that is not changed is as it was, to the byte: attributes,
    ties, and what is no parameter. In place a file keeps its format whatever it is called. Raises OutputError; what
    was at the path before is then there still.
    """
    checkpoint = edited.checkpoint
    of_source = store.detect(checkpoint.file) if checkpoint is not None else None
    if of_source is store.HDF5 and checkpoint is not None and checkpoint.model.keras and checkpoint.model.stored:
        of_source = store.KERAS_WEIGHTS  # whose suffix is another
    same = of_source is not None and (in_place or store.format_of(path) is of_source)
    if checkpoint is None or of_source is None or not same or not in_extents(edited):
        yield from save_as(edited, path, force)
        return
    with replacing(path, force or in_place) as temporary:
        temporary.copy(checkpoint.file.descriptor())
        told = [name for name in edited.by_path if checkpoint.notes.get(name, Note()) != Note()]
        if told:
            of_source.load().unmark(temporary, told)

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
    changed = {path for path in edited.by_path if edited.model.parameters[path].size}
    return edited.checkpoint is not None and changed <= edited.checkpoint.extents.keys()
