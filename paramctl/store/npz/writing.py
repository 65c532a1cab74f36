"""npz files, written: member after member, with metadata in the comments.

The archive's comment has the versions, the ties and the documents, as far as they fit; see comments.py for the rest.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from paramctl.core.dtypes import Array, to_native
from paramctl.core.indexing import select_all
from paramctl.core.parameter import Parameter
from paramctl.errors import OutputError, ParamctlError, message
from paramctl.parallel import in_parallel
from paramctl.store.contents import Contents, Piece, connections, gather, is_transposed
from paramctl.store.io.atomic import Temporary, replacing
from paramctl.store.io.extents import as_bytes
from paramctl.store.io.write_values import Measure, WriteOptions, Written, written
from paramctl.store.metadata import array_attributes, file_metadata
from paramctl.store.npz import comments
from paramctl.store.npz.comments import REST
from paramctl.store.npz.npy import FOREIGN, npy_header
from paramctl.store.sums.array_sum import ArraySum
from paramctl.store.sums.record import UNSEALED, Range, record_text
from paramctl.store.sums.sealing import Placed, new_sums, piece_sum, seal_file

Entry = tuple[str, str, tuple[int, ...], Iterable[Array]]
"""An array to write: name, dtype, shape, and its values as flat pieces in C order."""


class _NewMember(NamedTuple):
    """An array to write: its npy header, its values as flat pieces in C order, and its comment.

    comment: called when the values are written, because it may have their hash.
    """

    name: str
    header: bytes
    pieces: Iterable[Array]
    comment: Callable[[], bytes] = bytes


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


def _write_members(file: Any, members: Iterable[_NewMember], comment: bytes = b"") -> list[Range]:
    """Write an archive, and return the ranges of the arrays' values in it."""
    ranges = []
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for member in members:
            info = zipfile.ZipInfo(f"{member.name}.npy")
            with archive.open(info, "w", force_zip64=True) as stream:  # the size is not known before it is written
                stream.write(member.header)
                begin = _position(archive)
                for piece in member.pieces:
                    stream.write(as_bytes(piece))
                ranges.append((begin, _position(archive)))
            info.comment = member.comment()
        archive.comment = comment
    return ranges


def _position(archive: zipfile.ZipFile) -> int:
    """Return the offset at which an archive is written. A pipe has none of its own, so zipfile counts the bytes."""
    assert archive.fp is not None
    return archive.fp.tell()


def write(path: str, contents: Contents, options: WriteOptions) -> Iterator[Written]:
    """Write a file; see Format.write. The pieces are yielded when all of them are written."""

    def write_all(temporary: Temporary, file: Any, values: _Values) -> Callable[[], object]:
        ranges = _write_model(file, contents, values)
        return lambda: seal_file(temporary, [Placed(place, "") for place in ranges], record_sums=False)

    return _write(path, contents, options, write_all)


def write_single(path: str, contents: Contents, options: WriteOptions) -> Iterator[Written]:
    """Write the only array as an npy file, which has no place for a record of its hash.

    bfloat16 and float8, which NumPy lacks, become float32.
    """

    def write_array(temporary: Temporary, file: Any, values: _Values) -> Callable[[], object]:
        (parameter,) = contents.model.parameters.values()
        file.write(npy_header(parameter.dtype, parameter.shape))
        for piece in values.pieces(parameter):
            file.write(as_bytes(to_native(piece)))
        return lambda: None

    return _write(path, contents, options, write_array)


class _Values:
    """The values of a model's parameters, with the pieces and the hashes of those that were read."""

    def __init__(self, contents: Contents, measure: Measure | None) -> None:
        self.contents, self.measure = contents, measure
        self.written: list[Written] = []
        self.sums, self.digests = new_sums(contents), dict[str, str]()

    def pieces(self, parameter: Parameter) -> Iterator[Array]:
        """Yield the values of a parameter in C order. A tied array is read again under each name."""
        path, model = parameter.path, self.contents.model
        owner = model.owner(path)
        if is_transposed(model, path):
            arrays = gather(self.contents, path, select_all(parameter.shape))
            pieces = self._in_order(arrays, owner.dtype)
        else:
            pieces = in_parallel(self._read, self.contents.pieces(owner), connections(self.contents))
        # a transposed copy has other bytes, so its hash is not the owner's
        key = path if is_transposed(model, path) else owner.path
        for values, part in pieces:
            self.written.append(written(path, values, None if path in model.tied else self.measure))
            self.sums.add(key, part)
            yield values
        if parameter.size:
            self.digests[path] = self.sums.finish(key, replace(parameter, dtype=owner.dtype))

    def _read(self, piece: Piece) -> tuple[Array, ArraySum]:
        (path, start, _), values = piece, self.contents.read(*piece)
        dtype = self.contents.model.parameters[path].dtype
        return values, piece_sum(as_bytes(values), dtype, start * values.dtype.itemsize)

    def _in_order(self, arrays: Iterable[Array], dtype: str) -> Iterator[tuple[Array, ArraySum]]:
        begin = 0
        for values in arrays:
            yield values, piece_sum(as_bytes(values), dtype, begin)
            begin += values.nbytes


def _write(
    path: str,
    contents: Contents,
    options: WriteOptions,
    write_all: Callable[[Temporary, Any, _Values], Callable[[], object]],
) -> Iterator[Written]:
    """Write a file. write_all: writes everything, and returns a function that seals the file when it is closed."""
    values = _Values(contents, options.measure)
    with replacing(path, options.force, options.confirm) as temporary:
        try:
            with temporary.open() as file:
                seal = write_all(temporary, file, values)
        except OSError as error:
            raise (error if isinstance(error, ParamctlError) else temporary.error(error)) from error
        seal()
        yield from values.written


def _write_model(file: Any, contents: Contents, values: _Values) -> list[Range]:
    """Write a model's parameters with their metadata. NumPy knows no ties, so a tied array is written under each name.

    Args:
        file: a binary file to write to.
        contents: the parameters, ties and document.
        values: the values of the parameters.

    Returns the ranges of the values in the file. Raises OutputError for a document that does not fit the comments.
    """
    model = contents.model
    metadata = file_metadata(contents)
    documents = {key: metadata[key] for key in ("document", "model", "keras") if key in metadata}
    comment = comments.fit_comment(
        # the longest entry that REST can become keeps its room
        {key: metadata[key] for key in ("version", "recipe", "written_by")}
        | {REST: comments.MAX_REST, comments.SUMS: record_text()},
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

    def comment_of(parameter: Parameter, of_member: dict[str, Any]) -> bytes:
        digest = {comments.SUM: values.digests[parameter.path]} if parameter.size else {}
        return comments.encode_comment(of_member | digest)

    members = (
        _NewMember(
            parameter.path,
            npy_header(parameter.dtype, parameter.shape, exact=True),
            values.pieces(parameter),
            partial(comment_of, parameter, of_member),
        )
        for parameter, of_member in zip(parameters, facts, strict=True)
    )
    return _write_members(file, members, comments.encode_comment(comment))


def _facts(contents: Contents, parameter: Parameter, ties_known: bool) -> dict[str, Any]:
    """Return the facts for a member's comment. ties_known: the archive's comment records the ties."""
    tie = contents.model.tied.get(parameter.path)
    return comments.fit_comment(
        {comments.SUM: UNSEALED} if parameter.size else {},  # replaced by the hash, which has the same length
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
