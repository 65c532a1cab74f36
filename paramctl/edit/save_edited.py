"""Write an edited source: where possible, as a copy of its file that is changed only where values change."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

from paramctl.core.dtypes import Array
from paramctl.errors import OutputError, message
from paramctl.parallel import Progress, in_parallel
from paramctl.source import save
from paramctl.source.base import Source
from paramctl.source.derived import Retied
from paramctl.source.edited import Edited, Tally
from paramctl.source.with_state import with_state
from paramctl.store.contents import Contents, Piece, Provenance
from paramctl.store.format import Patchable
from paramctl.store.io.atomic import replacing
from paramctl.store.io.extents import as_bytes
from paramctl.store.io.write_values import WriteOptions, Written
from paramctl.store.registry import by_name, for_writing
from paramctl.store.sums.patching import seal_again, sealed


def save_edited(
    edited: Edited,
    path: str,
    options: WriteOptions = save.DEFAULTS,
    in_place: bool = False,
    progress: Progress | None = None,
) -> dict[str, Tally]:
    """Write an edited source to a file, and return the changes of each array.

    From a file to one of the same format, everything that is not assigned stays the same to the byte: attributes, ties,
    and content other than parameters. In place, a file keeps its format whatever its name.
    Raises OutputError, and then leaves an existing file at the path unchanged.
    """
    options = replace(options, force=options.force or in_place)
    counting = _Counting(edited)
    if copies_file(edited, path, in_place):
        save.finish(_copy_and_patch(counting, path, options), edited, progress)
        return counting.counted
    if in_place:
        path, options = rewrite_target(path, edited, options)
    save.save(with_kept_state(counting) if in_place else counting, path, options, progress)
    return counting.counted


class _Counting:
    """An edited source that counts the changes of the values that are read."""

    def __init__(self, edited: Edited) -> None:
        self.edited, self.model, self.origin = edited, edited.model, edited.origin
        self.pieces = edited.pieces
        self.counted: dict[str, Tally] = {}
        self._lock = threading.Lock()
        self.recorded_sums = edited.recorded_sums

    def read(self, path: str, start: int, stop: int) -> Array:
        changed = self.edited.read_changed(path, start, stop)
        with self._lock:
            self.counted[path] = self.counted.get(path, Tally()).add(changed)
        return changed.values


def copies_file(edited: Edited, path: str, in_place: bool) -> bool:
    """Return whether to write a patched copy of the file: it keeps its format, and all changed arrays have extents."""
    origin = edited.origin
    if origin.location is None:  # drawn, so no file to copy
        return False
    # an empty array has no values to change, and no extent
    changed = {path for path in edited.by_path if edited.model.parameters[path].size}
    same_format = in_place or (not path.endswith("/") and for_writing(path).name == origin.format)
    return same_format and changed <= origin.extents.keys()


def _copy_and_patch(counting: _Counting, path: str, options: WriteOptions) -> Iterator[Written]:
    edited, origin = counting.edited, counting.origin
    assert origin.location is not None
    format_ = by_name(origin.format)
    record = sealed(origin.location, format_)
    with replacing(path, options.force, options.confirm) as temporary:
        temporary.copy(origin.location.descriptor())
        base = edited.base.origin.provenance
        recorded = [name for name in edited.by_path if base.get(name, Provenance()) != Provenance()]
        if recorded:  # the values no longer come from the scheme and seed that the file records
            cast(Patchable, format_).clear_provenance(temporary, recorded)

        def write(piece: Piece) -> Written:
            name, start, _ = piece
            values = counting.read(*piece)
            extent = origin.extents[name]
            is_big_endian = extent.dtype.byteorder == ">"
            # as_bytes is little-endian, as all files of paramctl are; a patched file keeps its own byte order
            data = values.astype(extent.dtype).tobytes() if is_big_endian else as_bytes(values)
            temporary.write(data, extent.offset + start * extent.dtype.itemsize)
            return Written(name, values.size, values.nbytes)

        touched = set()
        for item in in_parallel(write, edited.touched()):
            touched.add(origin.extents[item.path].offset)
            yield item
        if record is not None:
            seal_again(temporary, origin.location, record, touched)


def with_kept_state(source: Contents) -> Contents:
    """Return a source with the arrays of its optimizer, for writing its file again, unless the format keeps them."""
    # otherwise a tie in place would drop the state
    carries = by_name(source.origin.format).carries if source.origin.format else frozenset()
    return source if "optimizer" in carries else with_state(cast(Source, source))


def rewrite_target(path: str, source: Source, options: WriteOptions) -> tuple[str, WriteOptions]:
    """Return the path and the options for writing a file again that cannot be patched: a set keeps its shard size.

    Raises OutputError if the path does not name the file's own format.
    """
    origin, model = source.origin, source.model
    if origin.format and not by_name(origin.format).writable:
        raise OutputError(f"{path}: {origin.format} is only read (use -o to write another file)")
    only_links = origin.keras is None or any(tie.transpose for tie in model.ties)  # a hard link cannot transpose
    if isinstance(source, Retied) and model.aliases and only_links:
        raise OutputError(message(f"{path}: Keras' layout cannot store these ties", hint="Use -o NAME.h5"))
    if origin.marked and model.aliases and origin.keras is None:
        rule = f"{path}: Keras' layout does not record which parameters are trainable"
        raise OutputError(message(rule, hint="Use -o NAME.h5"))
    if origin.rewrite is not None:
        path, shard_size = origin.rewrite
        return path, replace(options, max_shard_size=shard_size)
    if not os.path.isdir(path) and for_writing(path).name == origin.format:
        if lost := save.other_content_lost(origin, model, path):
            rule = f"changed in place, the file would lose {', '.join(lost)}"
            raise OutputError(f"{path}: {rule} (use -o to write another file)")
        return path, options
    rule = "a compressed or chunked file cannot be changed in place under this name"
    raise OutputError(f"{path}: {rule} (use -o to write another file)")
