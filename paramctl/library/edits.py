"""assign, tie, untie and rename: weights with other values, ties or names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, get_args, overload

import numpy as np

from paramctl.core.dtypes import Array
from paramctl.core.parameter import DTYPE_BYTES
from paramctl.edit import assign as edit_assign
from paramctl.edit.document_edit import with_model_ties
from paramctl.edit.tie import add_ties, remove_ties
from paramctl.errors import AddressError
from paramctl.init.rules import resolve_seed
from paramctl.inspect.edits import edits
from paramctl.inspect.ties import refuse_reuse
from paramctl.library.arguments import expect, filters
from paramctl.library.arguments import seed as checked_seed
from paramctl.library.initialization import as_scheme
from paramctl.library.opening import Openable, as_model, as_source, openable, rename_rules, texts
from paramctl.library.weights import Weights
from paramctl.model import Model
from paramctl.source.arithmetic import Number
from paramctl.source.derived import Retied
from paramctl.source.derived import rename as rename_source


def assign(
    weights: Openable,
    assignments: Mapping[str, Any] | str | Sequence[str],
    *,
    trainable: bool | None = None,
    dtype: str | None = None,
    kind: str | None = None,
    min_size: int | None = None,
    seed: int | None = None,
) -> Weights:
    """Assign values to the parameters that addresses match, in order.

    assignments: values by address, each a number, an array that broadcasts to the selection, or a scheme; or texts as
        the command line has them, ``"dense/kernel[0] += 1"``.
    trainable, dtype, kind, min_size: only parameters like this.
    seed: for the schemes among the values.
    The report has a row for each assignment and parameter; it reads what they change.
    Raises AddressError for an address that matches nothing, and for a value that does not fit.
    """
    seed = checked_seed(seed)
    source = as_source(weights, seed)
    if isinstance(assignments, Mapping):
        parsed = [_assignment(address, value) for address, value in assignments.items()]
    else:
        parsed = [edit_assign.parse_assignment(text.strip()) for text in texts(assignments)]
    selected = filters(trainable, dtype, kind, min_size)
    edited = edit_assign.assign(source, parsed, selected, resolve_seed(source.model, seed))
    return Weights(edited, lambda measured: edits(edited, measured or None))


def _assignment(address: str, value: Any) -> edit_assign.Assignment:
    expect("an address", address, str, "a text")
    if isinstance(value, (str, Mapping)):
        scheme = as_scheme(value, address)
        assert scheme is not None
        return edit_assign.Assignment(address, address, "=", scheme)
    return edit_assign.Assignment(address, address, "=", _numbers(value, address))


def _numbers(value: Any, address: str) -> Array | Number:
    """Return a number, or a copy of an array, because its owner may change it before it is read."""
    try:
        array = edit_assign.to_array(value)
    except ValueError:  # lists of different lengths
        array = np.array(None)
    if array.dtype.kind == "O":  # integers beyond 64 bits, or no numbers
        with suppress(TypeError, ValueError, OverflowError):
            array = array.astype(np.float64) if all(isinstance(each, int) for each in array.flat) else array
    is_extension = array.dtype.kind == "V" and array.dtype.name in DTYPE_BYTES
    if np.ma.isMaskedArray(value) or not (array.dtype.kind in "biufc" or is_extension):
        rule = f"{address}: a value must be a number, an array of numbers, or a scheme"
        raise AddressError(rule, type(value).__name__ if array.dtype.kind == "O" else str(array.dtype))
    # NumPy's float64 is a subclass of float, but not a number of Python's own
    return array.item() if type(value) in get_args(Number) else array


@overload
def tie(weights: Model, keep: str, others: str | Sequence[str], *, transpose: bool = False) -> Model: ...
@overload
def tie(weights: Openable, keep: str, others: str | Sequence[str], *, transpose: bool = False) -> Model | Weights: ...
def tie(weights: Openable, keep: str, others: str | Sequence[str], *, transpose: bool = False) -> Model | Weights:
    """Make parameters share one array, whose values are those of ``keep``. A model stays a model, without values.

    others: addresses of the parameters that will share it.
    transpose: they are its transpose.
    Raises AddressError where shapes or dtypes differ, and for a parameter that is already tied.
    """
    arrays = openable(weights)
    return _retied(arrays, add_ties(as_model(arrays), keep, texts(others), transpose))


@overload
def untie(weights: Model, others: str | Sequence[str]) -> Model: ...
@overload
def untie(weights: Openable, others: str | Sequence[str]) -> Model | Weights: ...
def untie(weights: Openable, others: str | Sequence[str]) -> Model | Weights:
    """Give tied parameters separate arrays, with unchanged values. Raises AddressError if one is not tied."""
    arrays = openable(weights)
    refuse_reuse(as_model(arrays), texts(others))
    return _retied(arrays, remove_ties(as_model(arrays), texts(others)))


def _retied(arrays: Model | Weights, model: Model) -> Model | Weights:
    if isinstance(arrays, Model):
        return with_model_ties(arrays, model)
    return Weights(Retied(arrays.source, model), skipped=arrays.skipped)


def rename(weights: Openable, rules: Mapping[str, str] | Sequence[str]) -> Weights:
    """Rename parameters: ``{"model.**": "**"}``. A wildcard of a pattern keeps its match in the name.

    Raises AddressError for a rule that matches nothing, and where two parameters would have the same name.
    """
    return Weights(rename_source(as_source(weights), rename_rules(rules)))
