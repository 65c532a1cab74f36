"""sums and verify: content hashes of arrays, and files checked against them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike, fspath

from paramctl.address.resolve import resolve_all
from paramctl.core.indexing import select, slice_text
from paramctl.errors import InputError
from paramctl.inspect.sum_text import parse_sums
from paramctl.inspect.sums import SumRow, content_sums
from paramctl.inspect.verify import Verification, verify_against, verify_file
from paramctl.library.arguments import filters
from paramctl.library.opening import Openable, as_source, openable
from paramctl.library.weights import Weights
from paramctl.model import Model
from paramctl.parallel import Progress
from paramctl.source.base import SelectedValues, Source, place_of
from paramctl.source.save import verify as verify_checksums
from paramctl.store.contents import check_decodable
from paramctl.store.location import Location
from paramctl.store.opening import open_source

MAX_LIST = 1 << 28
"""Bytes of a list of hashes."""


@dataclass(frozen=True, slots=True)
class Sums:
    """Content hashes. rows: one for each array or slice."""

    rows: list[SumRow]


def sums(
    weights: Openable,
    *addresses: str,
    trainable: bool | None = None,
    dtype: str | None = None,
    kind: str | None = None,
    min_size: int | None = None,
    seed: int | None = None,
    state: bool = False,
    progress: Progress | None = None,
) -> Sums:
    """Compute the content hashes of arrays, or of the slices that addresses select, from their values.

    trainable, dtype, kind, min_size: only parameters like this.
    seed: of a model's values. state: add the arrays of the file's optimizer.
    The hash depends on the dtype, the shape and the values alone, so it is the same in a file of any format.
    docs/trust.md defines it. Raises AddressError.
    """
    source = as_source(weights, seed, state=state)
    if not addresses:
        verify_checksums(source)
    selected = []
    for path, indices in resolve_all(source.model, addresses, filters(trainable, dtype, kind, min_size)):
        owner = source.model.owner(path)
        # the bytes of a packed dtype can be hashed, but not cut
        if indices is not None or owner.encoding is not None:
            check_decodable(source.model, path)
        name = path if indices is None else f"{path}[{slice_text(indices)}]"
        selection = select(indices, source.model.parameters[path].shape, path)
        selected.append(SelectedValues(source, path, name, selection))
    return Sums(content_sums(selected, progress))


def verify(
    weights: Openable,
    *,
    against: Mapping[str, str] | str | PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Check a file against the hashes that it records, or against a list of hashes.

    weights: a path, or what it opens as.
    against: hashes by path, or the path of a list that ``paramctl sum`` has printed, of any format's file; ``-`` for
        standard input.
    Every file that paramctl saves has a record: a hash of each array, and a seal of everything else. A set of files is
    checked by its index. Raises InputError for a file without a record, and for one that cannot be read.
    """
    if against is not None:
        listed = against if isinstance(against, Mapping) else _read_list(fspath(against))
        source = as_source(weights)
        verify_checksums(source)
        return verify_against(_with_listed_state(source, listed), listed, place_of(source), progress)
    return verify_file(_location(weights), progress)


def _location(weights: Openable) -> Location:
    """Return the file of weights, which may be too damaged to be opened as one."""
    if isinstance(weights, (str, PathLike)):  # no checkpoint is built, because a damaged file cannot be read as one
        return open_source(fspath(weights))
    opened = openable(weights)
    location = opened.source.origin.location if isinstance(opened, Weights) else None
    if location is None:
        name = opened.name if isinstance(opened, Model) else opened.model.name
        raise InputError(f"{name}: must be a checkpoint, because values that are in no file have no record")
    return location


def _read_list(path: str) -> dict[str, str]:
    location = open_source(path)
    try:
        text = location.read(0, MAX_LIST).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{location.name}: must be text in UTF-8, as paramctl sum prints it") from error
    finally:
        location.close()
    return parse_sums(text, location.name)


def _with_listed_state(source: Source, listed: Mapping[str, str]) -> Source:
    """Return a source with the arrays of its optimizer, if the list has any of them."""
    from paramctl.source.with_state import with_state

    state = source.origin.optimizer
    return with_state(source) if state is not None and any(path in state.arrays for path in listed) else source
