"""Check files against the hashes that they record, or against a list of hashes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from paramctl.address.resolve import resolve_all
from paramctl.core.indexing import select
from paramctl.errors import AddressError, InputError, message
from paramctl.inspect.sums import content_sums
from paramctl.parallel import Progress, advancing
from paramctl.source.base import SelectedValues, Source
from paramctl.store import registry
from paramctl.store.foreign import check_not_foreign, may_be_document
from paramctl.store.format import Format
from paramctl.store.io.index_files import files_in_indexes
from paramctl.store.location import LocalFile, Location, MissingFile
from paramctl.store.sums.checking import RecordedFile, is_recorded, read_record
from paramctl.store.sums.patching import array_sums

Advance = Callable[[int], object]
AGAINST = "Check it against a list with: --against SUMS"
ALTERED = "its values do not match the recorded hash"


@dataclass(frozen=True, slots=True)
class VerifyRow:
    """A part of a file, and whether it is as it was written.

    file: the file that has it.
    path: of an array; None for everything else in the file.
    status: "match", "altered", "missing" or "extra".
    expected, sha256: the recorded hash and that of the file; None if unknown.
    detail: the change, in words.
    """

    file: str
    path: str | None
    status: str
    expected: str | None = None
    sha256: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of a check. rows: one for each array, and for the rest of each file.

    frame: everything besides the arrays' values, in words, if it was checked.
    """

    file: str
    rows: list[VerifyRow]
    frame: str = ""

    @property
    def matches(self) -> bool:
        return all(row.status == "match" for row in self.rows)

    @property
    def altered(self) -> list[VerifyRow]:
        return [row for row in self.rows if row.status != "match"]

    @property
    def arrays(self) -> int:
        return sum(row.path is not None for row in self.rows)


def verify_file(location: Location, progress: Progress | None = None, values: bool = True) -> Verification:
    """Check a file, or a set of files by its index, against its record.

    values: False for everything but the values of arrays.
    Raises InputError for a readable file without a record, and for one that cannot be read, unless it has a part of a
        record or the format or suffix of a file that paramctl writes.
    """
    format_ = registry.detect(location)
    try:
        record = read_record(location, format_) if format_ is not None else None
        files = sorted(format_.set_files(location)) if format_ is not None else []
        names = _names(location, format_) if record is not None and format_ is not None and values else {}
    except InputError as error:
        if not _may_be_written(location, format_) and not is_recorded(location):
            raise
        return _unreadable(location, _reason(location, error))
    if record is None or format_ is None:
        # one changed bit can hide a record from its format, but not all of its text
        if location.connections <= 1 and is_recorded(location):
            return _unreadable(location, "its format is not recognized")
        if fault := _fault(location, format_):
            if not _may_be_written(location, format_):
                raise fault
            return _unreadable(location, _reason(location, fault))
        raise unverifiable(location, format_)
    return _verify_recorded(location, format_, record, files, names, progress if values else None, values)


def _verify_recorded(
    location: Location,
    format_: Format,
    record: RecordedFile,
    files: Sequence[str],
    names: Mapping[str, str],
    progress: Progress | None,
    values: bool,
) -> Verification:
    if files:
        return _verify_set(location, format_, record, files, names, progress, values)
    record = record if values else record._replace(sums=None)
    advance = advancing(progress, sum(end - begin for begin, end in record.ranges))
    return Verification(location.name, list(_rows(location, format_, record, names, advance)), format_.frame)


def frame_faults(location: Location) -> list[VerifyRow]:
    """Return the changes of a file, or a set of files, besides those of values; none of a file without a record."""
    format_ = registry.detect(location)
    try:
        record = read_record(location, format_) if format_ is not None else None
        if record is None or format_ is None:
            return []
        files = sorted(format_.set_files(location))
    except InputError:
        return verify_file(location, values=False).altered if is_recorded(location) else []
    return _verify_recorded(location, format_, record, files, {}, None, values=False).altered


def unverifiable(location: Location, format_: Format | None) -> InputError:
    """Return the error for a file without a record, which says what was checked instead."""
    if format_ is None:
        rule = "must be a checkpoint: a model document has no hashes"
        return InputError(f"{location.name}: {rule}")
    rule = f"{location.name}: records no hashes, so it cannot be verified"
    return InputError(message(rule, hint=AGAINST))


def _may_be_written(location: Location, format_: Format | None) -> bool:
    """Return whether a local file, which cannot be read, has the suffix of files that paramctl writes, or their format.

    A remote file may only be out of reach. The suffix is more certain: the beginning of a .pt is that of any zip.
    """
    likely = registry.by_suffix(location.name) or format_
    return location.connections <= 1 and likely is not None and likely.writable


def _fault(location: Location, format_: Format | None) -> InputError | None:
    """Return the error of a file that cannot be read; None for a checkpoint without faults, and for a document."""
    try:
        if format_ is None:
            check_not_foreign(location)
            format_ = None if may_be_document(location) else registry.by_suffix(location.name)
        if format_ is not None:
            registry.read(location, format_)
    except InputError as error:
        return error
    return None


def _reason(location: Location, error: InputError) -> str:
    return str(error).removeprefix(f"{location.name}: ")


def _unreadable(location: Location, reason: str) -> Verification:
    row = VerifyRow(location.name, None, "altered", detail=f"the file cannot be read: {reason}")
    return Verification(location.name, [row])


def _names(location: Location, format_: Format) -> Mapping[str, str]:
    """Return the paths of parameters by the stored paths of arrays that have other names in the file."""
    with suppress(InputError):  # the arrays are checked under their stored paths
        model = registry.read(location, format_).model
        return {stored: path for path, stored in model.aliases.items()}
    return {}


def _rows(
    location: Location, format_: Format, record: RecordedFile, names: Mapping[str, str], advance: Advance
) -> Iterator[VerifyRow]:
    """Yield the rows of one file: its frame, then its arrays."""
    place = location.name
    if not record.is_whole:
        words = f"{format_.frame} does not match the seal" if record.seal else "the record of hashes is damaged"
        yield VerifyRow(place, None, "altered", record.seal or None, detail=words)
    else:
        yield VerifyRow(place, None, "match", record.seal, record.seal)
    if record.sums is None:  # the file has another number of arrays, so that no hash can be assigned
        return
    known = set() if record.is_whole else set(record.sums)
    expected = dict(zip(record.arrays, record.sums, strict=True))
    for array, digest in array_sums(location.read, record.arrays, place, advance):
        # with a damaged header, arrays may be in another order
        matches = digest == expected[array] or digest in known
        path = names.get(array.path, array.path)
        status, words = ("match", "") if matches else ("altered", ALTERED)
        yield VerifyRow(place, path, status, digest if matches else expected[array], digest, words)


def _verify_set(
    index: Location,
    format_: Format,
    record: RecordedFile,
    files: Sequence[str],
    names: Mapping[str, str],
    progress: Progress | None,
    values: bool,
) -> Verification:
    """Check an index, and the files that it names. Their seals are in its record, in the order of their names."""
    rows = list(_rows(index, format_, record._replace(sums=None), names, lambda size: None))
    seals = _seals(record, files)
    opened: list[tuple[Location, Format, RecordedFile]] = []
    for name in files:
        expected = seals.get(name)
        place = os.path.join(os.path.dirname(index.name), name)
        try:
            file = index.sibling(name)
        except InputError:
            rows.append(VerifyRow(place, None, "missing", expected, detail="the file is missing"))
            continue
        shard_format = registry.detect(file)
        # a damaged file is one row, so that the others are still checked
        try:
            shard = read_record(file, shard_format) if shard_format is not None else None
        except InputError as error:
            reason = _reason(file, error)
            rows.append(VerifyRow(place, None, "altered", expected, detail=f"the file cannot be read: {reason}"))
            continue
        if shard is None or shard_format is None:
            rows.append(VerifyRow(place, None, "altered", expected, detail=_no_record(file, shard_format)))
        # whole by itself, such as one of an older set with the same names
        elif shard.is_whole and shard.seal != expected:
            words = "the file is another one than the index records"
            rows.append(VerifyRow(place, None, "altered", expected, shard.seal, words))
        else:
            opened.append((file, shard_format, shard))
    advance = advancing(progress, sum(end - begin for _, _, shard in opened for begin, end in shard.ranges))
    for file, shard_format, shard in opened:
        rows += _rows(file, shard_format, shard if values else shard._replace(sums=None), names, advance)
    if (unlisted := format_.unlisted_file(index)) is not None:
        rows.append(_empty_file(index, unlisted))
    rows += [
        VerifyRow(place, None, "extra", detail="the index does not name the file") for place in _extra(index, files)
    ]
    return Verification(index.name, rows, "the headers and the index")


def _no_record(file: Location, format_: Format | None) -> str:
    """Return why a file of a set has no record, in words."""
    fault = _fault(file, format_)
    return f"the file cannot be read: {_reason(file, fault)}" if fault else "the file records no hashes"


def _empty_file(index: Location, name: str) -> VerifyRow:
    """Return the row of a file without arrays that the index does not name."""
    place = os.path.join(os.path.dirname(index.name), name)
    record = None
    try:
        file = index.sibling(name)
        format_ = registry.detect(file)
        record = read_record(file, format_) if format_ is not None else None
    except MissingFile:
        return VerifyRow(place, None, "missing", detail="the file is missing")
    except InputError as error:
        reason = str(error).removeprefix(f"{place}: ")
        return VerifyRow(place, None, "altered", detail=f"the file cannot be read: {reason}")
    if record is None or format_ is None:
        return VerifyRow(place, None, "altered", detail=_no_record(file, format_))
    if record.arrays:
        return VerifyRow(place, None, "altered", detail="the file must have no arrays, because the index names none")
    if not record.is_whole:
        return VerifyRow(place, None, "altered", record.seal, detail=f"{format_.frame} does not match the seal")
    return VerifyRow(place, None, "match", record.seal, record.seal)


def _seals(record: RecordedFile, files: Sequence[str]) -> dict[str, str]:
    """Return the recorded seal of each file."""
    seals = record.listed
    return dict(zip(files, seals, strict=False)) if len(seals) == len(files) else {}


def _extra(index: Location, files: Sequence[str]) -> list[str]:
    """Return the paths of files beside an index that have the names of its files with other numbers."""
    if not isinstance(index, LocalFile):
        return []
    folder = os.path.dirname(index.name)
    patterns = {re.sub("[0-9]+", "[0-9]+", re.escape(name)) for name in files}
    with suppress(OSError, ValueError):
        others = [name for name in os.listdir(folder or ".") if any(re.fullmatch(one, name) for one in patterns)]
        named = files_in_indexes(folder or ".")
        return [os.path.join(folder, name) for name in sorted(others) if name not in named]
    return []


def verify_against(
    source: Source, sums: Mapping[str, str], place: str, progress: Progress | None = None
) -> Verification:
    """Check the values of a source against hashes by path: missing, extra and different arrays.

    place: the name of the source's file. A path may be any name of an array, or an address with a slice.
    """
    model = source.model
    selected: dict[str, SelectedValues] = {}
    for path in sums:
        values = _select(source, path)
        if values is not None:
            selected[path] = values
    listed = {model.owner(values.path).path for values in selected.values()}
    extra = [owner for owner in model.owners() if owner.path not in listed]
    computed = content_sums([*selected.values()], progress)
    digests = dict(zip(selected, (row.sha256 for row in computed), strict=True))
    rows = []
    for path, expected in sums.items():
        digest = digests.get(path)
        if digest is None:
            rows.append(VerifyRow(place, path, "missing", expected, detail="the file lacks the array"))
        elif digest == expected:
            rows.append(VerifyRow(place, path, "match", expected, digest))
        else:
            words = "its dtype, shape or values do not match the listed hash"
            rows.append(VerifyRow(place, path, "altered", expected, digest, words))
    rows += [VerifyRow(place, owner.path, "extra", detail="the list lacks the array") for owner in extra]
    return Verification(place, rows)


def _select(source: Source, path: str) -> SelectedValues | None:
    """Return the values of an array or, for an address with a slice, of a part; None if the model has no such array."""
    parameters = source.model.parameters
    if path in parameters:
        return SelectedValues(source, path, path, select(None, parameters[path].shape, path))
    if path.endswith("]"):
        with suppress(AddressError):
            ((name, indices),) = resolve_all(source.model, [path])
            return SelectedValues(source, name, path, select(indices, parameters[name].shape, name))
    return None
