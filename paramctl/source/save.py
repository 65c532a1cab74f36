"""Save a source to a file, or a set of files, of the format that the path names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import IO, Any, cast

from paramctl.core.parameter import PACKED_BITS, Parameter
from paramctl.errors import InputError, OutputError, message
from paramctl.model import Model, shared_text
from paramctl.parallel import Progress, advancing
from paramctl.source.base import Source
from paramctl.source.with_state import split_state
from paramctl.store.checkpoint import build_model
from paramctl.store.contents import Contents, Omitted, OptimizerState, Origin, check_decodable, kept_origin
from paramctl.store.io.write_values import WriteOptions, Written
from paramctl.store.registry import by_name, for_writing
from paramctl.store.safetensors import NAME as SAFETENSORS
from paramctl.store.safetensors import files as safetensors

DEFAULTS = WriteOptions()
MOST_LISTED = 20
"""Items of content to name."""
MOST_ATTRIBUTES = 5
"""Attributes to name: a file may have some for each array."""


def save(
    source: Contents, path: str, options: WriteOptions = DEFAULTS, progress: Progress | None = None
) -> dict[str, Any]:
    """Write a source to a file, and return the joined results of WriteOptions.measure for each array.

    path: its suffix names the format; a path that ends in a slash is a folder of safetensors.
    Raises OutputError, and then leaves an existing file at the path unchanged.
    """
    return finish(write(source, path, options), source, progress)


def finish(pieces: Iterator[Written], source: Contents, progress: Progress | None) -> dict[str, Any]:
    """Write all the pieces of a source, in order, and join what was measured of each array."""
    advance = advancing(progress, _stored_bytes(source))
    measured: dict[str, Any] = {}
    for piece in pieces:
        advance(piece.bytes)
        if piece.measured is not None:
            before = measured.get(piece.path)
            measured[piece.path] = piece.measured if before is None else before.join(piece.measured)
    return measured


def write(source: Contents, path: str, options: WriteOptions = DEFAULTS) -> Iterator[Written]:
    """Yield each piece of a source when it is written; see save."""
    format_ = for_writing(path)
    if options.max_shard_size is not None and not format_.shardable:
        raise OutputError(f"{path}: shards must be written to NAME.safetensors, NAME.weights.json or FOLDER/")
    # a Keras file has the optimizer where Keras keeps it, so its arrays are not written as the model's
    if "optimizer" in format_.carries:
        source = _in_its_layout(source, path)
    format_.check_names(source.model, path)
    if source.origin.marked and not format_.records_trainable:
        rule = f"{path}: {format_.name} does not record which parameters are trainable"
        raise OutputError(message(rule, hint="Save it as .safetensors, .h5 or .npz"))
    check_complete(source)
    packed = next((owner for owner in source.model.owners() if owner.dtype in PACKED_BITS), None)
    if packed is not None and not format_.packed:
        rule = f"{format_.name} cannot hold {packed.path}, which has the dtype {packed.dtype}"
        raise OutputError(f"{path}: {rule}. Save it as .safetensors")
    check_encodings(source)
    verify(source)  # before the first byte is written
    return format_.write(path, source, options)


def _in_its_layout(source: Contents, target: str) -> Contents:
    """Return a source without the arrays of its optimizer, which the format carries over by itself.

    Raises OutputError if it does not carry over these.
    """
    source, state = split_state(cast(Source, source))
    if state is None:
        return source
    carried = kept_origin(source, target).carried_optimizer
    if carried is None or _types(carried) != _types(state):
        rule = f"{target}: Keras' files have an optimizer's state only as Keras wrote it, whole and with its layout"
        raise OutputError(message(rule, hint="Leave out --state"))
    return source


def _types(state: OptimizerState) -> dict[str, tuple[tuple[int, ...], str]]:
    return {path: (array.shape, array.dtype) for path, array in state.arrays.items()}


def check_target(path: str, force: bool, names: Collection[str] = ()) -> None:
    """Raise OutputError, before any work, for a file that save would refuse: its suffix, its folder, or that it exists.

    names: of the arrays to write; none if they are not known yet.
    """
    format_ = for_writing(path)
    format_.check_target(path, force)
    if names:
        parameters = {name: Parameter(name, (), "unknown", None, None, "float32") for name in names}
        format_.check_names(build_model("", parameters, ())[0], path)


def check_writable(source: Contents, path: str, options: WriteOptions = DEFAULTS) -> None:
    """Raise the error that write would raise before the first value. The file is begun and removed."""
    # a file of empty arrays is complete before its first piece, and would replace the old one
    pieces = write(source, path, replace(options, confirm=_stop))
    with suppress(_Complete):
        next(pieces, None)
    if isinstance(pieces, Generator):
        pieces.close()


class _Complete(Exception):
    """The end of a write that must not replace a file."""


def _stop() -> None:
    raise _Complete


def write_stream(source: Contents, file: IO[bytes], progress: Progress | None = None) -> None:
    """Write a source to an open file as the bytes of a safetensors file, in order."""
    by_name(SAFETENSORS).check_names(source.model, "standard output")
    check_encodings(source)
    verify(source)
    advance = advancing(progress, _stored_bytes(source))
    for data in safetensors.stream(source):
        file.write(data)
        advance(len(data))


def _stored_bytes(source: Contents) -> int:
    return sum(owner.bytes for owner in source.model.owners())


def check_complete(source: Contents) -> None:
    """Raise InputError if the file that a source comes from lacks parameters of its own configuration, or has none
    beside the arrays of an optimizer.
    """
    if missing := source.origin.missing:
        place = source.origin.location.name if source.origin.location else source.model.name
        first, *others = missing
        names = f"{first} and {len(others):,} more" if len(others) > 1 else " and ".join(missing)
        hint = "Save the others with: paramctl save --partial PATTERN"
        raise InputError(message(f"{place}: must have all parameters of its model", f"missing {names}", hint))
    if source.origin.optimizer and not source.model.parameters:
        received = f"{source.origin.optimizer} alone"
        raise InputError(message(f"{source.model.name}: must have parameters", received, "Add --state to save these."))


def check_encodings(source: Contents) -> None:
    """Raise InputError for a quantized array that cannot be decoded. Arrays of packed dtypes are copied."""
    for owner in source.model.owners():
        if owner.encoding is not None:
            check_decodable(source.model, owner.path)


def dequantized(source: Contents) -> list[str]:
    """Describe the arrays whose values a new file has decoded: ``12 of q4_k in float32``."""
    counts = Counter((owner.encoding.name, owner.dtype) for owner in source.model.owners() if owner.encoding)
    return [f"{count:,} of {name} in {dtype}" for (name, dtype), count in counts.items()]


def verify(source: Contents) -> None:
    """Check the checksums of the files that a source comes from, where their formats have any. Raises InputError."""
    for origin in (source.origin, *source.origin.others):
        for location in origin.zips():
            # for a part of a file at a URL, all of the file would be transferred
            if not (origin.is_part and location.connections > 1):
                from paramctl.store.io.zips import verify_checksums  # zipfile is slow to import

                verify_checksums(location)


def not_carried(source: Contents, path: str) -> list[str]:
    """Describe the content of the source's file that a file at this path does not include."""
    origin = kept_origin(source, path)
    carries: frozenset[str] = frozenset()
    with suppress(OutputError):  # a set that is written in place may have any name
        carries = for_writing(path).carries
    missing = []
    if (state := origin.optimizer) and not (origin.carried_optimizer and "optimizer" in carries):
        arrays = {path: array for path, array in state.arrays.items() if path not in source.model.parameters}
        missing += [str(replace(state, arrays=arrays))] if arrays else []
    return [*missing, *other_content_lost(origin, source.model, path)]


def not_combined(origin: Origin, first: Origin) -> list[str]:
    """Describe the content of a further file of a combination that differs from the content of the first."""
    metadata = [key for key in _described_keys(origin) if first.metadata.get(key) != origin.metadata[key]]
    skipped = [name for name in origin.skipped if name not in first.skipped]
    parts = [str(origin.optimizer)] if origin.optimizer else []
    parts += [f"{name} ({origin.skipped[name]})" for name in skipped[:MOST_LISTED]]
    parts += [f"the metadata {key!r}" for key in metadata[:MOST_LISTED]]
    more = max(len(skipped) - MOST_LISTED, 0) + max(len(metadata) - MOST_LISTED, 0)
    return [*parts, f"{more:,} more items"] if more else parts


def copied_ties(source: Contents, path: str) -> list[str]:
    """Return the parameters that a file at this path stores as copies of arrays that they share in the source."""
    with suppress(OutputError):  # as in not_carried
        if not for_writing(path).transposed_ties:
            ties = [tie for tie in source.model.ties if tie.transpose]
            return [f"{tie.tied} ({shared_text(tie.kept, transpose=True)})" for tie in ties]
    return []


def other_content_lost(origin: Origin, model: Model, path: str) -> list[str]:
    """Describe the content besides arrays of numbers that a file of a model at this path does not include."""
    lost = list(origin.other_content)
    skipped = [*_attributes(origin), *(f"{name} ({kind})" for name, kind in origin.skipped.items())]
    dropped = _described_keys(origin)
    with suppress(OutputError):  # as in not_carried
        format_ = for_writing(path)
        if origin.keras and "other_content" in format_.carries:
            lost = []
        if origin.companion is not None and "skipped" in format_.carries and format_.name == origin.format:
            skipped = []
        if "metadata" in format_.carries:
            carried = safetensors.carried_metadata(model, origin)
            dropped = [key for key in dropped if key not in carried]
    items = list(dict.fromkeys([*lost, *skipped, *_metadata(origin, dropped)]))
    more = len(items) - MOST_LISTED
    return items if more <= 0 else [*items[:MOST_LISTED], f"{more:,} more items"]


def _described_keys(origin: Origin) -> list[str]:
    """Return the keys of metadata that are about the arrays, not about the file that they come from."""
    of_file = by_name(origin.format).file_keys if origin.format else frozenset()
    return [key for key in origin.metadata if key not in of_file]


def _metadata(origin: Origin, keys: Sequence[str]) -> list[str]:
    """Describe metadata that is not carried over: each item, or many in one."""
    values = ((key, origin.metadata[key]) for key in keys)
    names = [f"{key!r} ({value})" if isinstance(value, Omitted) else repr(key) for key, value in values]
    if len(names) <= MOST_ATTRIBUTES:
        return [f"the metadata {name}" for name in names]
    return [f"the metadata {', '.join(names[:MOST_ATTRIBUTES])} and {len(names) - MOST_ATTRIBUTES:,} more"]


def _attributes(origin: Origin) -> list[str]:
    """Describe the attributes of an HDF5 file as one item, or none."""
    names = origin.attributes
    if len(names) < 2:
        return [f"the attribute {name}" for name in names]
    more = len(names) - MOST_ATTRIBUTES
    return [f"the attributes {', '.join(names[:MOST_ATTRIBUTES])}" + (f" and {more:,} more" if more > 0 else "")]
