"""An edited source into a file: where it can be, a copy of the file it comes from, changed in the extents touched."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

from paramctl import store
from paramctl.edit.assign import EditedSource, touched
from paramctl.errors import OutputError
from paramctl.parallel import in_parallel
from paramctl.saving import Piece, save_as
from paramctl.store.checkpoint import Checkpoint, JoinedReader, Provenance, Reader
from paramctl.store.io.atomic import replacing
from paramctl.store.io.extents import as_bytes


def write_in_place(edited: EditedSource, path: str, force: bool, in_place: bool = False) -> Iterator[Piece]:
    """Write an edited source; gives each piece as it is done, and must be exhausted.

    From a file to one of the same format, everything that is not changed is as it was, to the byte: attributes,
    ties, and what is no parameter. In place a file keeps its format whatever it is called. Raises OutputError; what
    was at the path before is then there still.
    """
    checkpoint = edited.checkpoint
    if checkpoint is None or not copies(edited, path, in_place):
        target, most = rewrite_target(path, checkpoint) if in_place and checkpoint else (path, None)
        yield from save_as(edited, target, force or in_place, most)
        return
    with replacing(path, force or in_place) as temporary:
        temporary.copy(checkpoint.file.descriptor())
        told = [name for name in edited.by_path if checkpoint.notes.get(name, Provenance()) != Provenance()]
        if told:
            _format(checkpoint).load().clear_provenance(temporary, told)

        def work(job: tuple[str, int, int]) -> Piece:
            name, start, stop = job
            values = edited.read(name, start, stop)
            extent = checkpoint.extents[name]
            data = values.astype(extent.dtype).tobytes() if extent.dtype.byteorder == ">" else as_bytes(values)
            temporary.write(data, extent.offset + start * extent.dtype.itemsize)
            return Piece(name, values.size, values.nbytes)

        yield from in_parallel(work, touched(edited))


def copies(edited: EditedSource, path: str, in_place: bool) -> bool:
    """Whether what is written is a copy of the source: of its format, and all that is changed in one piece there."""
    if edited.checkpoint is None:
        return False
    changed = {path for path in edited.by_path if edited.model.parameters[path].size}
    same = in_place or (not path.endswith("/") and store.format_of(path) is _format(edited.checkpoint))
    return same and changed <= edited.checkpoint.extents.keys()


def rewrite_target(path: str, checkpoint: Checkpoint) -> tuple[str, int | None]:
    """The path by which a file that is no plain one, or a set of files, is written again, and the size of its shards.

    Raises OutputError for what is not written in its own format, or not under its own name.
    """
    if _format(checkpoint) is store.SHARDED and isinstance(checkpoint.reader, JoinedReader):
        sizes: Counter[Reader] = Counter()
        for owner in checkpoint.model.owners():
            sizes[checkpoint.reader.readers[owner.path]] += owner.bytes
        return checkpoint.file.name.removesuffix(".index.json"), max(sizes.values())
    if not os.path.isdir(path) and store.format_of(path) is _format(checkpoint):
        return path, None
    rule = "what is changed is compressed or cut up, and such a file is not written anew under this name"
    raise OutputError(f"{path}: {rule}: give another by -o")


def _format(checkpoint: Checkpoint) -> store.Format:
    """The format of the file that a checkpoint is read from."""
    found = store.detect(checkpoint.file)
    assert found is not None
    if found is store.HDF5 and checkpoint.model.stored:  # Keras' own, whose suffix is another
        return store.KERAS_WEIGHTS if checkpoint.model.keras else found
    return found
