"""npz files, written: member after member, with metadata in the comments.

The archive's comment has the versions, the ties and the documents, as far as they fit; see comments.py for the rest.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from paramctl.core.dtypes import Array, to_native
from paramctl.core.indexing import select_all
from paramctl.core.parameter import Parameter
from paramctl.errors import OutputError, ParamctlError, message
from paramctl.store.contents import Contents, gather
from paramctl.store.io.atomic import replacing
from paramctl.store.io.extents import as_bytes
from paramctl.store.io.write_values import WriteOptions, Written, written
from paramctl.store.metadata import array_attributes, file_metadata
from paramctl.store.npz import comments
from paramctl.store.npz.comments import REST
from paramctl.store.npz.npy import FOREIGN, npy_header

Entry = tuple[str, str, tuple[int, ...], Iterable[Array]]
"""An array to write: name, dtype, shape, and its values as flat pieces in C order."""


class _NewMember(NamedTuple):
    """An array to write: its npy header, its values as flat pieces in C order, and its comment."""

    name: str
    header: bytes
    pieces: Iterable[Array]
    comment: bytes = b""


def write_arrays(file: Any, entries: Iterable[Entry]) -> None:
    """Write arrays without metadata, for NumPy. bfloat16 and float8, which NumPy lacks, become float32.

    Args:
        file: a binary file to write to.
        entries: name, dtype, shape and flat pieces of each array. They are written in order, as they come.
    """
    members = (
        _NewMember(name, npy_header(dtype, shape), map(to_native, pieces)) for name, dtype, shape, pieces in entries
    )
    _write_members(file, members)


def _write_members(file: Any, members: Iterable[_NewMember], comment: bytes = b"") -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for member in members:
            info = zipfile.ZipInfo(f"{member.name}.npy")
            info.comment = member.comment
            with archive.open(info, "w", force_zip64=True) as stream:  # the size is not known before it is written
                stream.write(member.header)
                for piece in member.pieces:
                    stream.write(as_bytes(piece))
        archive.comment = comment


def write(path: str, contents: Contents, options: WriteOptions) -> Iterator[Written]:
    """Write a file; see Format.write. The pieces are yielded when all of them are written."""
    return _write(path, contents, options, _write_model)


def write_single(path: str, contents: Contents, options: WriteOptions) -> Iterator[Written]:
    """Write the only array as an npy file. bfloat16 and float8, which NumPy lacks, become float32."""

    def write_array(file: Any, contents: Contents, values: Callable[[str], Iterable[Array]]) -> None:
        (parameter,) = contents.model.parameters.values()
        file.write(npy_header(parameter.dtype, parameter.shape))
        for piece in values(parameter.path):
            file.write(as_bytes(to_native(piece)))

    return _write(path, contents, options, write_array)


def _write(
    path: str,
    contents: Contents,
    options: WriteOptions,
    write_all: Callable[[Any, Contents, Callable[[str], Iterable[Array]]], None],
) -> Iterator[Written]:
    pieces: list[Written] = []

    def values(name: str) -> Iterator[Array]:
        measure = options.measure if name not in contents.model.tied else None
        for array in gather(contents, name, select_all(contents.model.parameters[name].shape)):
            pieces.append(written(name, array, measure))
            yield array

    with replacing(path, options.force, options.confirm) as temporary:
        try:
            with temporary.open() as file:
                write_all(file, contents, values)
        except OSError as error:
            raise (error if isinstance(error, ParamctlError) else temporary.error(error)) from error
        yield from pieces


def _write_model(file: Any, contents: Contents, values: Callable[[str], Iterable[Array]]) -> None:
    """Write a model's parameters with their metadata. NumPy knows no ties, so a tied array is written under each name.

    Args:
        file: a binary file to write to.
        contents: the parameters, ties and document.
        values: the flat pieces of a parameter's values, by its path.

    Raises OutputError for a document that does not fit the comments.
    """
    model = contents.model
    metadata = file_metadata(contents)
    documents = {key: metadata[key] for key in ("document", "model", "keras") if key in metadata}
    comment = comments.fit_comment(
        # the longest entry that REST can become keeps its room
        {key: metadata[key] for key in ("version", "recipe", "written_by")} | {REST: comments.MAX_REST},
        {"ties": metadata["ties"]},
        {key: text for key, text in documents.items() if key != "keras"},
        {key: text for key, text in documents.items() if key == "keras"},
    )
    del comment[REST]
    parameters = model.parameters.values()
    facts = [_facts(contents, parameter, "ties" in comment) for parameter in parameters]
    rest = {key: text for key, text in documents.items() if key not in comment}
    if rest:
        text = json.dumps(rest, separators=(",", ":"))
        comment[REST] = len(text)
        facts = _spread(text, facts)
    members = (
        _NewMember(
            parameter.path,
            npy_header(parameter.dtype, parameter.shape, exact=True),
            values(parameter.path),
            comments.encode_comment(of_member),
        )
        for parameter, of_member in zip(parameters, facts, strict=True)
    )
    _write_members(file, members, comments.encode_comment(comment))


def _facts(contents: Contents, parameter: Parameter, ties_known: bool) -> dict[str, Any]:
    """Return the facts for a member's comment. ties_known: the archive's comment records the ties."""
    tie = contents.model.tied.get(parameter.path)
    return comments.fit_comment(
        {"dtype": parameter.dtype} if parameter.dtype in FOREIGN else {},
        {"tie": [tie.kept, tie.transpose]} if tie and not ties_known else {},
        {} if tie else array_attributes(parameter, contents.origin.provenance.get(parameter.path)),
    )


def _spread(text: str, facts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    spread = comments.spread_text(text, facts)
    if spread is None:
        rule = f"the model's document must fit the comments of a zip of {len(facts):,} arrays"
        raise OutputError(message(rule, f"{len(text):,} bytes", "Save it as .h5"))
    return spread
