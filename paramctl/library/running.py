"""run: the outputs of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import Any

import numpy as np

from paramctl.compute import inputs as model_inputs
from paramctl.compute.graph import Graph, graph_of
from paramctl.compute.inputs import Arrays, Rows
from paramctl.compute.run import BATCH_SIZE, check_computable
from paramctl.compute.run import output_names as run_names
from paramctl.compute.run import run as run_source
from paramctl.core.dtypes import Array
from paramctl.errors import AddressError, DocumentError, InputError
from paramctl.init.rules import resolve_seed
from paramctl.library.arguments import InputLike, choice, whole
from paramctl.library.arguments import seed as checked_seed
from paramctl.library.converting import convert
from paramctl.library.opening import Openable, as_source, openable, texts
from paramctl.library.weights import Weights
from paramctl.model import Model
from paramctl.parallel import Progress
from paramctl.source.base import Source
from paramctl.source.computed import Computed


def run(
    model: Openable,
    inputs: InputLike = None,
    *,
    weights: Openable | None = None,
    taps: str | Sequence[str] = (),
    rows: int | None = None,
    batch_size: int = BATCH_SIZE,
    seed: int | None = None,
    dtype: str = "float32",
    progress: Progress | None = None,
) -> Weights:
    """Compute the outputs of a model: a row for each example.

    inputs: an array with a row for each example; by name, if the model has several inputs; a path of an npy file or of
        any checkpoint with these arrays; None for random examples, standard normal or valid integers.
    weights: the values of the parameters, as convert takes them; the model's own by default.
    taps: patterns of layers whose outputs are returned as well.
    rows: the number of examples: the first of the inputs, all by default; or random ones, 1 by default.
    batch_size: the number of rows that are computed at once.
    seed: of random inputs, and of a model's values; the document's by default, else 0.
    dtype: of the computation, ``float32`` or ``float64``.
    The outputs have the names of their layers. The notes say where a value is not finite first.
    Raises AddressError for inputs that do not fit, and InputError for what a layer cannot compute.
    """
    choice("dtype", dtype, ("float32", "float64"))
    batch_size, rows = whole("batch_size", batch_size, 1) or BATCH_SIZE, whole("rows", rows, 1)
    source = with_values(model, weights, checked_seed(seed))
    graph = check_computable(source)
    checked = checked_inputs(source.model, graph, inputs, rows, resolve_seed(source.model, seed), np.dtype(dtype))
    outputs = run_source(source, checked, taps=texts(taps), batch_size=batch_size, progress=progress)
    notes = [outputs.note] if outputs.note else []
    return Weights(Computed(source.model.name, outputs.arrays), notes=notes)


def with_values(model: Openable, weights: Openable | None, seed: int | None) -> Source:
    """Return a model with the values to compute with."""
    if weights is None:
        return as_source(model, seed)
    return convert(weights, layout="keras", like=model).source


def checked_inputs(
    model: Model,
    graph: Graph,
    inputs: InputLike,
    rows: int | None,
    seed: int,
    dtype: np.dtype[Any],
    purpose: str = "",
) -> model_inputs.Inputs:
    """Return the inputs of a model: the first rows of the given ones, or for None, random ones.

    purpose: as in check_inputs. Raises AddressError for inputs that do not fit.
    """
    arrays = given_or_random(model, graph, inputs, rows, seed)
    return model_inputs.check_inputs(model, graph, arrays, dtype, purpose).first(rows)


def given_or_random(model: Model, graph: Graph, inputs: InputLike, rows: int | None, seed: int) -> Mapping[str, Rows]:
    """Return arrays by name: the given ones, or for None, random inputs of a model, 1 row by default."""
    if inputs is not None:
        return as_arrays(inputs)
    return model_inputs.random_inputs(model, graph, rows or 1, seed)


def output_names(model: Openable, taps: str | Sequence[str] = ()) -> list[str]:
    """Return the names of the outputs of ``run``; none if the layers of a file are unknown."""
    opened = openable(model)
    structure = opened if isinstance(opened, Model) else opened.model
    if not structure.output_ids:
        return []
    return [*run_names(structure, graph_of(structure), texts(taps)).values()]


def as_arrays(inputs: InputLike) -> Arrays:
    """Return arrays by name. A single array without a name has an empty one."""
    if isinstance(inputs, Arrays):
        return inputs
    if isinstance(inputs, Weights):
        return _stored(inputs)
    if isinstance(inputs, Mapping):
        return Arrays({name: _single(name, array) for name, array in inputs.items()})
    if isinstance(inputs, (str, PathLike)):
        return _stored(_opened(inputs), fspath(inputs))
    return Arrays({"": _array(inputs, "the input")})


def _opened(path: str | PathLike[str]) -> Weights:
    rule = f"{fspath(path)}: must be an npy file, or an npz or another checkpoint with arrays"
    try:
        opened = openable(path)
    except DocumentError as error:  # a file that is no checkpoint is read as a model document
        raise InputError(f"{rule} (got another file)") from error
    if isinstance(opened, Model):
        raise InputError(f"{rule} (got a model document)")
    return opened


def _stored(weights: Weights, file: str = "") -> Arrays:
    rows = {path: model_inputs.StoredRows(weights.source, path, file) for path in weights}
    return Arrays(rows, file, weights.skipped)


def _array(values: Any, name: str) -> Array:
    """Return values as an array. Raises AddressError if its rows have different shapes."""
    try:
        return np.asarray(values)
    except ValueError as error:
        raise AddressError(f"the rows of {name} must have equal shapes", "lists of different lengths") from error


def _single(name: str, value: Any) -> Any:
    """Return the values of one input: an array, or the only one of weights or of a file, or the one with its name."""
    file = fspath(value) if isinstance(value, (str, PathLike)) else ""
    if file:
        value = _opened(value)
    if not isinstance(value, Weights):
        return _array(value, f"the array {name!r}")
    stored = _stored(value, file)
    if name in stored:
        return stored[name]
    if len(stored) != 1:
        raise stored.error(f"the values of the input {name!r} must be one array", f"{len(stored):,} arrays")
    return next(iter(stored.values()))
