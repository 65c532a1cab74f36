"""Change the metadata of a file: a copy with the same arrays and other metadata replaces it, atomically."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from paramctl.errors import InputError, OutputError, message
from paramctl.model import Model
from paramctl.store import registry
from paramctl.store.folder import resolve_folder
from paramctl.store.foreign import check_not_foreign
from paramctl.store.io.atomic import Temporary, changed, replacing
from paramctl.store.location import LocalFile, Location, open_location
from paramctl.store.sums import KEY as SUMS
from paramctl.store.sums.patching import sealed
from paramctl.store.sums.sealing import erase_records, seal_rest


def change_metadata(path: str, changes: Mapping[str, str | None], output: str | None, force: bool) -> str:
    """Write a copy of a file with changed metadata, and return its path.

    changes: the new text of each key; None removes it. output: the copy; None replaces the file.
    Raises InputError for a damaged file or a model document, and OutputError for a key that cannot be changed.
    """
    opened = resolve_folder(path)
    location = open_location(opened)
    format_ = registry.detect(location)
    if format_ is None:
        check_not_foreign(location)
        raise InputError(f"{opened}: must be a checkpoint, because a model document has no metadata")
    if not format_.edits_metadata:
        rule = f"{opened}: {format_.name} has no metadata that can be changed"
        raise OutputError(message(rule, hint="Save the arrays as .safetensors first."))
    # a folder is changed at its index or its only file
    target = opened if output is None else output
    if output is not None and not output.lower().endswith(format_.suffixes):
        rule = f"{output}: a file with other metadata keeps its format, {format_.name}"
        raise OutputError(message(rule, hint=f"Use the suffix {format_.suffixes[0]}"))
    model = registry.read(location, format_).model

    def check_unchanged() -> None:
        if isinstance(location, LocalFile) and not location.is_unchanged():
            raise changed(location.name)

    # the file is read again from the copy, and the error leaves the old file as it was
    drops_record = changes.get(SUMS, "") is None
    record = None if drops_record else sealed(location, format_)
    with replacing(target, force or output is None, check_unchanged) as temporary:
        format_.change_metadata(temporary, location, changes)
        arrays = format_.stored_arrays(LocalFile(os.dup(temporary.descriptor), location.name)) or ()
        ranges = [(array.begin, array.end) for array in arrays]
        if record is not None:  # the values are the same, perhaps at other offsets
            seal_rest(temporary, ranges, record.seal)
        elif drops_record:
            erase_records(temporary, ranges)
        _check_same(model, temporary, location)
    return target


def _facts(model: Model) -> tuple[Any, ...]:
    """Return everything about the arrays of a file that its readers see."""
    arrays = {path: (each.axes, each.kind, each.trainable, each.dtype) for path, each in model.parameters.items()}
    return arrays, model.ties, model.aliases


def _check_same(model: Model, temporary: Temporary, location: Location) -> None:
    """Raise OutputError if the arrays of the copy would be read in another way, such as under another name."""
    copy = LocalFile(os.dup(temporary.descriptor), location.name)
    format_ = registry.detect(copy)
    try:
        read = registry.read(copy, format_).model if format_ is not None else None
    except InputError as error:
        raise OutputError(f"{temporary.target}: with this metadata the file could not be read ({error})") from error
    # such as Keras' layer_names, or a key of safetensors that would be the second name of an array
    if read is None or _facts(read) != _facts(model):
        raise OutputError(f"{temporary.target}: this metadata decides how the arrays are read, so it cannot be changed")
