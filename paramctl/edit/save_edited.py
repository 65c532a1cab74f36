"""Write an edited source: where possible, as a copy of its file that is changed only where values change."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from operator import call
from typing import NamedTuple, cast

from paramctl.core.dtypes import Array
from paramctl.errors import OutputError, message
from paramctl.parallel import Progress, in_parallel
from paramctl.source import save
from paramctl.source.base import Source
from paramctl.source.derived import Retied
from paramctl.source.edited import Changed, Edited, Tally
from paramctl.source.with_state import with_state
from paramctl.store.contents import Contents, Piece, Provenance
from paramctl.store.format import Patchable
from paramctl.store.io.atomic import Temporary, parts_to_copy, replacing
from paramctl.store.io.extents import Extent, as_bytes
from paramctl.store.io.write_values import WriteOptions, Written
from paramctl.store.registry import by_name, for_writing
from paramctl.store.sums.patching import ChangedSums, PieceSums, sealed
from paramctl.store.sums.record import gaps


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
        return self.read_changed(path, start, stop).values

    def read_changed(self, path: str, start: int, stop: int) -> Changed:
        changed = self.edited.read_changed(path, start, stop)
        with self._lock:
            self.counted[path] = self.counted.get(path, Tally()).add(changed)
        return changed


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
    """Write a copy of the file with other values. Only blocks without a change are copied, unless all are shared."""
    edited, origin = counting.edited, counting.origin
    assert origin.location is not None
    format_, source = by_name(origin.format), origin.location.descriptor()
    sums = ChangedSums(sealed(origin.location, format_), origin.location.name)
    with replacing(path, options.force, options.confirm) as temporary:
        unchanged = [] if temporary.share(source) else _unchanged(edited, temporary.reserve_like(source))
        copies = (partial(temporary.copy_range, source, begin, end) for begin, end in unchanged)
        pieces = (partial(_patch, counting, temporary, sums, piece) for piece in _pieces(edited, sums))
        # in one pool: the disk writes the copies while the processors compute and hash
        jobs: Iterator[Callable[[], _Patched | None]] = chain(copies, pieces)
        for patched in in_parallel(call, jobs):
            if patched is not None:
                sums.add(origin.extents[patched.written.path].offset, patched.sums)
                yield patched.written
        base = edited.base.origin.provenance
        recorded = [name for name in edited.by_path if base.get(name, Provenance()) != Provenance()]
        if recorded:  # the values no longer come from the scheme and seed that the file records
            cast(Patchable, format_).clear_provenance(temporary, recorded)
        sums.seal(temporary)


class _Patched(NamedTuple):
    """A piece of a changed array, and its hash before and after if the file records one."""

    written: Written
    sums: PieceSums | None


def _pieces(edited: Edited, sums: ChangedSums) -> Iterator[Piece]:
    """Yield the pieces to write, and all others of an array whose hash is recorded, to hash it."""
    for path in edited.by_path:
        owner = edited.model.parameters[path]
        if owner.size:  # an empty array has no values to change, and no extent
            is_recorded = sums.has(edited.origin.extents[path].offset)
            yield from (piece for piece in edited.pieces(owner) if is_recorded or edited.touches(*piece))


def _patch(counting: _Counting, temporary: Temporary, sums: ChangedSums, piece: Piece) -> _Patched:
    """Write a piece if a change may touch it, and hash it."""
    (path, start, _), changed = piece, counting.read_changed(*piece)
    extent = counting.origin.extents[path]
    begin, is_touched = extent.bytes_before(start), counting.edited.touches(*piece)
    data = _as_stored(changed.values, extent)
    if is_touched:
        temporary.write(data, extent.offset + begin)
    before = data if changed.before is changed.values else _as_stored(changed.before, extent)
    count = changed.values.nbytes if is_touched else 0
    return _Patched(Written(path, changed.values.size, count), sums.of_piece(extent.offset, begin, before, data))


def _as_stored(values: Array, extent: Extent) -> memoryview | bytes:
    """Return the bytes of values in a file. A patched file of another program keeps its own byte order."""
    return values.astype(extent.numpy_dtype).tobytes() if extent.order == ">" else as_bytes(values)


def _unchanged(edited: Edited, size: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of a file of some size between the pieces that are written, in parts to copy at once."""
    written = []
    for path, start, stop in edited.touched():
        extent = edited.origin.extents[path]
        written.append((extent.offset + extent.bytes_before(start), extent.offset + extent.bytes_before(stop)))
    for begin, end in gaps(written, size):
        yield from parts_to_copy(begin, end)


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
