"""A save that writes nothing: all the checks of the real one, and the files that it would write."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from paramctl.core.parameter import PACKED_BITS
from paramctl.parallel import Progress, advancing, in_parallel
from paramctl.source.save import check_encodings, check_writable, verify
from paramctl.store.contents import Contents, Piece
from paramctl.store.io.write_values import WriteOptions
from paramctl.store.registry import by_name, for_writing
from paramctl.store.safetensors import NAME as SAFETENSORS


def rehearse(
    source: Contents, path: str | None, options: WriteOptions, progress: Progress | None = None
) -> Mapping[str, int]:
    """Raise every error that a save would raise, and return the bytes of values of the files it would write, by path.

    All values are read, because a cast may not fit them. path: None for a stream of safetensors.
    """
    planned: Mapping[str, int] = {}
    if path is not None:
        with _without_new_folders(path):
            check_writable(source, path, options)
            planned = for_writing(path).planned_files(path, source, options)
    else:
        by_name(SAFETENSORS).check_names(source.model, "standard output")
        check_encodings(source)
        verify(source)
    advance = advancing(progress, sum(owner.bytes for owner in source.model.owners()))
    # a cast fails only where it meets the value, and a truncated file where it ends
    pieces = (
        piece for owner in source.model.owners() if owner.dtype not in PACKED_BITS for piece in source.pieces(owner)
    )

    def read(piece: Piece) -> int:
        return source.read(*piece).nbytes

    for size in in_parallel(read, pieces):
        advance(size)
    return planned


@contextmanager
def _without_new_folders(path: str) -> Iterator[None]:
    """Remove the folders that a save to this path creates in the block."""
    created, folder = [], os.path.dirname(os.path.abspath(path) + ("/" if path.endswith("/") else ""))
    # new/set/ is created with all its parents, the innermost of which must go first
    while not os.path.lexists(folder):
        created.append(folder)
        folder = os.path.dirname(folder)
    try:
        yield
    finally:
        for each in created:
            with suppress(OSError):  # another process may have put a file there
                os.rmdir(each)
