"""metadata and set_metadata: what a file records beside its arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike, fspath

from paramctl.errors import AddressError, InputError
from paramctl.inspect.metadata import MetadataRow, metadata_rows
from paramctl.library.arguments import expect
from paramctl.library.opening import Openable, openable, texts
from paramctl.model import Model


def metadata(weights: Openable) -> list[MetadataRow]:
    """Return the metadata of a checkpoint: a row for each value, with the group or array that it belongs to.

    These are the metadata of a safetensors file, the attributes of an HDF5 file, the configuration of a Keras file,
    plain values beside the arrays of other formats, and paramctl's own record under ``paramctl.KEY``.
    Raises InputError for a model document, which has none, and for a damaged file.
    """
    arrays = openable(weights)
    if isinstance(arrays, Model):
        raise InputError(f"{arrays.name}: a model document has no metadata")
    return metadata_rows(arrays.source.origin)


def set_metadata(
    path: str | PathLike[str],
    metadata: Mapping[str, str],
    *,
    drop_metadata: str | Sequence[str] = (),
    output: str | PathLike[str] | None = None,
    force: bool = False,
) -> str:
    """Change the metadata of a safetensors file or set, or the attributes of an HDF5 file. Returns the file's path.

    metadata: texts by key. In an HDF5 file, ``NAME`` is an attribute of the file, and ``PATH@NAME`` one of a group or
        an array; an attribute that is a number stays one.
    drop_metadata: keys to remove.
    output: another file to write; the file itself is replaced by default, atomically. force: replace an existing one.
    The bytes of the arrays stay the same. Raises OutputError for a format without metadata, and for a key that
    describes the arrays, such as that of a tie.
    """
    expect("metadata", metadata, Mapping, "a mapping")
    removed = texts(drop_metadata)
    texts([*metadata, *metadata.values()])
    if both := next((key for key in removed if key in metadata), None):
        raise AddressError("metadata can be set or dropped, not both", repr(both))
    from paramctl.edit.metadata import change_metadata  # imports NumPy

    changes = {**metadata, **dict.fromkeys(removed)}
    return change_metadata(fspath(path), changes, None if output is None else fspath(output), force)
