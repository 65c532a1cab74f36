"""Assignments: ``dense/kernel[0, 0] = 42``, ``bias += 1``, ``embed[0] = zeros``, parsed, resolved and checked."""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Sequence
from contextlib import suppress
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from paramctl.address.quoting import partition_address
from paramctl.address.resolve import NO_FILTERS, Filters, resolve
from paramctl.core.dtypes import Array, cast, numpy_dtype
from paramctl.core.indexing import Selection, select
from paramctl.core.parameter import Parameter
from paramctl.errors import AddressError, InputError, without_credentials
from paramctl.init.registry import SchemeMismatch, Target
from paramctl.init.rules import AssignedScheme, Scheme
from paramctl.model.document import parse_value
from paramctl.source.arithmetic import OPERATIONS, Number
from paramctl.source.base import Source
from paramctl.source.edited import Change, Edited
from paramctl.source.from_checkpoint import parse_scheme
from paramctl.store.contents import check_decodable

OPERATORS = (*OPERATIONS, "=")

ANY_INTEGER = range(-(2**63), 2**64)
"""The integers that int64 or uint64 can hold."""

NOT_FINITE = {sign + dot + name: sign + name for sign in ("", "+", "-") for dot in ("", ".") for name in ("inf", "nan")}
"""Infinities and NaN as Python or YAML spells them. Documents refuse them, so ``parse_value`` does not read them."""


class Assignment(NamedTuple):
    """One assignment: an address, an operator, and a value or a scheme. text: the assignment as written, for errors."""

    text: str
    address: str
    operator: str
    value: Array | Number | Scheme


def split_assignment(text: str) -> tuple[str, str, str]:
    """Split an assignment into address, operator and value. The operator is the longest at the first ``=``.

    An ``=`` within quotes or brackets belongs to the address. Raises AddressError for a text without an operator.
    """
    address, equals, value = partition_address(text)
    operator = "="
    if equals and f"{address[-1:]}=" in OPERATIONS:
        address, operator = address[:-1], f"{address[-1]}="
    address, value = address.strip(), value.strip()
    if address and value:
        return address, operator, value
    raise AddressError("an assignment must be written ADDRESS=VALUE, or with +=, -=, *= or /=", repr(text))


def parse_assignment(text: str) -> Assignment:
    """Parse an assignment. Its value is a number, nested lists, @FILE.npy, @- for standard input, or a scheme.

    Raises AddressError, DocumentError, and InputError for a file that is not an array of numbers.
    """
    address, operator, value = split_assignment(text)
    return Assignment(without_credentials(text), address, operator, _parse_value(value, operator, text))


def _parse_value(text: str, operator: str, assignment: str) -> Array | Number | Scheme:
    if text.startswith("@"):
        return read_npy(text[1:])
    if text.lower() in NOT_FINITE:
        return float(NOT_FINITE[text.lower()])
    value = parse_value(text, assignment, ANY_INTEGER)
    if isinstance(value.value, (str, dict)):  # a name, or a mapping from a name to its options
        if operator != "=":
            raise AddressError("a scheme can only be assigned with '='", repr(assignment))
        return parse_scheme(text, assignment)
    try:
        array = to_array(value.plain())
    except ValueError:  # lists of different lengths
        array = np.array(None)
    if array.dtype.kind not in "biuf":
        raise value.error("a value must be a number, or evenly nested lists of numbers")
    return array if array.ndim else array.item()


def to_array(value: Any) -> Array:
    """Return a number or nested lists as an array. Raises ValueError for lists of different lengths.

    Whole numbers are exact: NumPy makes float64 of [9007199254740993, 1.0] and of [9223372036854775809, 1], and rounds.
    """
    array = np.array(value)
    if array.dtype.kind != "f" or not isinstance(value, (list, tuple)):
        return array
    numbers = np.array(value, object)
    if (array == numbers).all() or not all(isfinite(number) and number == int(number) for number in numbers.flat):
        return array
    with suppress(OverflowError):  # no dtype holds both a negative number and one beyond int64
        return numbers.astype(np.uint64 if (numbers >= 2**63).any() else np.int64)
    return array


def read_npy(path: str) -> Array:
    """Read one array of numbers from an npy file, or from standard input for ``-``. Raises InputError."""
    try:
        if path == "-":
            array = np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False)
        else:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "not an npy file"
        raise InputError(f"{path}: {reason}") from error
    # np.load also opens npz archives, and npy files of text or of records
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufc" or array.dtype.fields:
        raise InputError(f"{path}: a value must be one array of numbers in an npy file")
    return array


def resolve_changes(source: Source, assignments: Sequence[Assignment], filters: Filters = NO_FILTERS) -> list[Change]:
    """Return each assignment to each array that its address matches, in order.

    Raises AddressError for an address that matches nothing, and a value that does not broadcast to its selection.
    """
    model = source.model
    changes = []
    for assignment in assignments:
        match = resolve(model, assignment.address)
        matched = [model.parameters[path] for path in match.paths]
        filters.check_any("no selected parameter passes the filters", repr(assignment.address), matched)
        paths = [parameter.path for parameter in matched if filters(parameter)]
        done: set[str] = set()
        for path in paths:
            owner, tie = model.owner(path), model.tied.get(path)
            if owner.path in done and len(paths) > 1:
                continue  # a pattern that matches two names of one array changes it once
            done.add(owner.path)
            parameter = model.parameters[path]
            check_decodable(model, path)
            selection = select(match.indices, parameter.shape, path)
            value = _check_value(assignment, parameter, owner, selection)
            transpose = tie is not None and tie.transpose
            changes.append(Change(owner.path, path, selection, transpose, assignment.operator, value, assignment.text))
    return changes


def _check_value(
    assignment: Assignment, parameter: Parameter, owner: Parameter, selection: Selection
) -> Array | Number | AssignedScheme:
    """Return the value to assign, checked against the selection. Raises AddressError."""
    value = assignment.value
    if not isinstance(value, (np.ndarray, Number)):
        try:
            return AssignedScheme(value.text, value.distribution(Target.of(parameter)), assignment.text)
        except SchemeMismatch as mismatch:
            raise AddressError(f"{value.text} for {parameter.path}: {mismatch}", str(parameter.shape)) from None
    shape = np.shape(value)
    # np.broadcast_shapes takes at most 32 axes
    last = selection.shape[len(selection.shape) - len(shape) :]
    fits = len(shape) <= len(selection.shape) and all(one in (1, size) for one, size in zip(shape, last, strict=True))
    if not fits:
        rule = f"{assignment.text}: the value must broadcast to the shape {selection.shape} of its target"
        raise AddressError(rule, f"the shape {shape}")
    if isinstance(value, (int, float)) and numpy_dtype(owner.dtype).kind in "fVc":
        try:  # it takes the dtype of the array
            cast(np.array([value]), owner.dtype)
        except OverflowError as error:
            raise AddressError(f"{assignment.text}: {error}", str(value)) from None
    if assignment.operator == "/=" and numpy_dtype(owner.dtype).kind in "biu":
        raise AddressError(f"{assignment.text}: /= requires a floating-point dtype", owner.dtype)
    return value


def assign(source: Source, assignments: Sequence[Assignment], filters: Filters = NO_FILTERS, seed: int = 0) -> Edited:
    """Return a source with assignments applied in order. seed: for the schemes among their values.

    Raises AddressError; see resolve_changes.
    """
    changes = resolve_changes(source, assignments, filters)
    described = [
        {
            "text": assignment.text,
            "address": assignment.address,
            "operator": assignment.operator,
            "value": _describe_value(assignment.value),
        }
        for assignment in assignments
    ]
    return Edited(source, changes, seed, assignments=described, filters=list(filters))


def _describe_value(value: Array | Number | Scheme) -> dict[str, Any]:
    """Describe a value in the types of JSON."""
    if not isinstance(value, (np.ndarray, Number)):
        return {"scheme": value.text}
    array = np.asarray(value)
    data = base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": data, "number": isinstance(value, Number)}
