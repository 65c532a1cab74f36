"""Save a source to a file, or a set of files, of the format that the path names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from paramctl.errors import OutputError
from paramctl.source.base import Source
from paramctl.store.io.write_values import WriteOptions, Written
from paramctl.store.registry import for_writing
from paramctl.store.safetensors import files as safetensors

DEFAULTS = WriteOptions()

Progress = Callable[[int, int], object]
"""Called with the bytes done and the bytes in total."""


def save(
    source: Source, path: str, options: WriteOptions = DEFAULTS, progress: Progress | None = None
) -> dict[str, Any]:
    """Write a source to a file, and return the joined results of WriteOptions.measure for each array.

    path: its suffix names the format; a path that ends in a slash is a folder of safetensors.
    Raises OutputError, and then leaves an existing file at the path unchanged.
    """
    return finish(write(source, path, options), source, progress)


def finish(pieces: Iterator[Written], source: Source, progress: Progress | None) -> dict[str, Any]:
    """Write all pieces of a source in order, and return the joined measurements of each array."""
    total = sum(owner.bytes for owner in source.model.owners())
    done = 0
    measured: dict[str, Any] = {}
    for piece in pieces:
        done += piece.bytes
        if piece.measured is not None:
            before = measured.get(piece.path)
            measured[piece.path] = piece.measured if before is None else before.join(piece.measured)
        if progress is not None:
            progress(done, total)
    return measured


def write(source: Source, path: str, options: WriteOptions = DEFAULTS) -> Iterator[Written]:
    """Yield each piece of a source when it is written; see save."""
    format_ = for_writing(path)
    if options.max_shard_size is not None and not format_.shardable:
        raise OutputError(f"{path}: shards must be written to NAME.safetensors, NAME.weights.json or FOLDER/")
    verify(source)  # before the first byte is written
    return format_.write(path, source, options)


def stream(source: Source) -> Iterator[bytes | memoryview]:
    """Yield a source as the bytes of a safetensors file, in order."""
    verify(source)
    return safetensors.stream(source)


def verify(source: Source) -> None:
    """Check the checksums of the file that a source comes from, where its format has any. Raises InputError."""
    location = source.origin.location
    if location is not None and location.read(0, 2) == b"PK":
        from paramctl.store.io.zips import verify_checksums  # zipfile is slow to import

        verify_checksums(location)


def not_carried(source: Source, path: str) -> list[str]:
    """Describe the content of the source's file that a file at this path does not include."""
    origin = source.origin
    carries: frozenset[str] = frozenset()
    with suppress(OutputError):  # a set that is written in place may have any name
        carries = for_writing(path).carries
    missing = []
    if origin.optimizer and not (origin.carried_optimizer and "optimizer" in carries):
        missing.append(str(origin.optimizer))
    if origin.other_content and not (origin.keras and "other_content" in carries):
        first, *others = origin.other_content
        missing.append(first + (f" and {len(others):,} more" if others else ""))
    return missing
