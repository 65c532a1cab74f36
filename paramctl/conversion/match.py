"""A source matched to a model: by names and shapes, or converted from or to torch's layout."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from paramctl.conversion.keras_places import paths_by_place
from paramctl.conversion.report import (
    TIED,
    Allowed,
    Mismatches,
    TensorRow,
    grouped_notes,
    prefix_hint,
    row_of,
    skip_hint,
    skipped_row,
)
from paramctl.conversion.torch import TorchLayout, check_same_dtype, torch_layout, torch_parameters, torch_ties
from paramctl.conversion.weight_norm import spectral_hint
from paramctl.core.dtypes import Array
from paramctl.core.indexing import select_all
from paramctl.core.parameter import Parameter
from paramctl.core.views import Arrangement, view
from paramctl.errors import AddressError
from paramctl.model import Document, Model, Tie, from_document
from paramctl.model.layers.torch import NoCounterpart, same
from paramctl.source.arranged import Arranged
from paramctl.source.base import Source
from paramctl.store.checkpoint import build_model
from paramctl.store.contents import KerasLayout, gather

NOT_IN_KERAS = "not in the Keras layer"
"""The note of a synthetic tensor."""


class Converted(NamedTuple):
    """A converted source, a row for each array, and notes on the settings of torch code."""

    source: Source
    rows: list[TensorRow]
    notes: Sequence[str] = ()


class Reference(NamedTuple):
    """A model that arrays are matched to, and the source that it comes from.

    keras: the layout of a Keras file of the model. document: the model's document, if its arrays have another layout.
    """

    source: Source
    model: Model
    keras: KerasLayout | None = None
    document: Document | None = None


def reference(source: Source) -> Reference | None:
    """Return the model with layers that a source's arrays belong to: its own, or that of the document in its file."""
    if source.model.inputs:
        return Reference(source, source.model, source.origin.keras)
    document = source.origin.document
    return Reference(source, from_document(document, source.model.name)) if document is not None else None


def like_reference(source: Source) -> Reference:
    """Return the model of --like: with its layers where the file records them, otherwise its arrays alone."""
    return reference(source) or Reference(source, source.model)


def torch_reference(like: Reference) -> Reference:
    """Return the arrays of a model with layers in torch's layout."""
    return like._replace(model=torch_model(like.model), keras=None, document=like.model.document)


def is_torch_layout(model: Model, like: Reference | None) -> bool:
    """Return whether a model has the names of another's torch layout, rather than the other's own names."""
    if like is None or model.inputs:
        return False
    names = model.parameters.keys()  # compared by majority, because files may have more or fewer arrays
    return len(names & torch_layout(like.model).tensors.keys()) > len(names & like.model.parameters.keys())


def to_torch(source: Source, allowed: Allowed) -> Converted:
    """Return a source with layers in torch's layout. Raises AddressError for layers without a counterpart in torch."""
    model, layout = source.model, torch_layout(source.model)
    mismatches = Mismatches(allowed, f"{allowed.source or model.name} must match torch.nn")
    for path, reason in layout.unsupported.items():
        mismatches.add(path, reason, skipped_row(path, model.parameters[path].shape, reason))
    mismatches.finish(lambda: skip_hint(layout.unsupported.values()))
    converted = torch_model(model, layout)
    kept, tied = {tie.tied: tie.kept for tie in converted.ties}, {tie.tied for tie in model.ties}
    rows = []
    for name, tensor in layout.tensors.items():
        # torch cannot share an array with its transpose, so such a tie of the model becomes a copy
        is_copy = name not in kept and tied & set(tensor.arrangement.paths)
        note = f"{TIED}{kept[name]}" if name in kept else "a copy: torch cannot share the array" if is_copy else ""
        rows.append(row_of(name, tensor.arrangement, model, NOT_IN_KERAS if tensor.synthetic else note))
    arrangements: Mapping[str, Arrangement] = {name: each.arrangement for name, each in layout.tensors.items()}
    document = model.document or source.origin.document
    base, arrangements = _as_drawn(source, arrangements, converted.ties)
    arranged = Arranged(base, converted, arrangements, "to_torch", document=document, partial=allowed.patterns)
    return Converted(arranged, rows + mismatches.rows, grouped_notes(layout.notes))


def _as_drawn(
    source: Source, arrangements: Mapping[str, Arrangement], ties: Sequence[Tie]
) -> tuple[Source, Mapping[str, Arrangement]]:
    """Return the tensors that torch drew and their arrangements, if the source has them; else the same as given.

    The model does not have all of them: where torch adds two biases, it has the sum.
    """
    from paramctl.conversion.exact.source import Exactly  # with the schemes, which a comparison of files needs not

    if not isinstance(source, Exactly) or source.framework.preset != "torch":
        return source, arrangements
    drawn = source.tensors.model.parameters
    unchanged = {name: same(name, name, parameter.shape).arrangement for name, parameter in drawn.items()}
    unchanged |= {tie.tied: unchanged[tie.kept] for tie in ties if tie.kept in unchanged}
    # a transposed tie that torch cannot share is a copy, whose values only the model has
    is_complete = all(name in unchanged or not arrangement.views for name, arrangement in arrangements.items())
    return (source.tensors, {**arrangements, **unchanged}) if is_complete else (source, arrangements)


def torch_model(model: Model, layout: TorchLayout | None = None) -> Model:
    """Return the arrays of a model with layers as a torch model's. layout: its torch layout, if known already."""
    layout = layout or torch_layout(model)
    ties = torch_ties(layout.tensors.values(), model)
    return build_model(model.name, torch_parameters(layout, model), ties)[0]


def to_keras(source: Source, like: Reference, allowed: Allowed) -> tuple[Source, list[TensorRow]]:
    """Return a source in torch's layout as the model that it belongs to. Raises AddressError if they do not match."""
    layout, actual = torch_layout(like.model), source.model.parameters
    tensors = layout.tensors
    mismatches = _mismatches(source, like, allowed)
    shapes = {name: parameter.shape for name, parameter in actual.items()}
    expected = {name: tensor.arrangement.shape for name, tensor in tensors.items()}
    matching = mismatches.compare(shapes, expected, _optional(layout, like.model, actual))
    for name in (name for name, tensor in tensors.items() if tensor.synthetic and name in matching):
        tensor, fill = tensors[name], tensors[name].arrangement.fill
        mismatches.rows.append(skipped_row(name, tensor.arrangement.shape, NOT_IN_KERAS))
        # A weight of ones that Keras lacks can be dropped; other values would be lost. Counters (dtype) do not matter.
        if tensor.dtype is None and not _is_filled(source, name, fill):
            message = f"{name} must be all {fill:g}, because {tensor.layer} has no such parameter"
            mismatches.add(name, message)
    for path, reason in layout.unsupported.items():
        mismatches.add(path, reason)
    arrangements = _complete(layout, like.model, matching)
    for path, arrangement in arrangements.items():
        try:
            check_same_dtype({name: source.model.owner(name).dtype for name in arrangement.paths})
        except NoCounterpart as error:
            mismatches.add(path, f"{path}: {error}")
    mismatches.finish(lambda: spectral_hint(actual, tensors) or prefix_hint(actual, tensors, source.model.separator))
    used = {name for arrangement in arrangements.values() for name in arrangement.paths}
    unused = sorted(name for name in matching - used if not tensors[name].synthetic)
    rows = [skipped_row(name, shapes[name], "other tensors of its layer are missing") for name in unused]
    options = {"like": like.source, "partial": allowed.patterns}
    return _as_model(source, like, arrangements, [*mismatches.rows, *rows], "to_keras", options)


def _complete(layout: TorchLayout, like: Model, names: set[str]) -> dict[str, Arrangement]:
    """Return the parameters of a model for which all tensors are among these names."""
    arrangements = layout.to_keras(like, names)
    return {path: arrangement for path, arrangement in arrangements.items() if set(arrangement.paths) <= names}


def _optional(layout: TorchLayout, like: Model, actual: Container[str]) -> set[str]:
    """Return the tensors that may be missing: synthetic ones, and those of tied parameters whose owner exists."""
    tensors_of: dict[str, list[str]] = {}
    for name, tensor in layout.tensors.items():
        for path in tensor.arrangement.paths:
            tensors_of.setdefault(path, []).append(name)
    kept = {tie.tied: tie.kept for tie in like.ties}

    def owner_exists(path: str) -> bool:
        return path in kept and all(name in actual for name in tensors_of.get(kept[path], ("",)))

    return {
        name
        for name, tensor in layout.tensors.items()
        if tensor.synthetic or (tensor.arrangement.paths and all(map(owner_exists, tensor.arrangement.paths)))
    }


def match_to(source: Source, like: Reference, allowed: Allowed) -> tuple[Source, list[TensorRow]]:
    """Return a source as a model with the same names and shapes. Raises AddressError if they do not match."""
    actual = {path: parameter.shape for path, parameter in source.model.parameters.items()}
    expected = {path: parameter.shape for path, parameter in like.model.parameters.items()}
    mismatches = _mismatches(source, like, allowed)
    names = {} if actual == expected else paths_by_place(like.model, like.keras, source.model, source.origin.keras)
    if names:
        arrangements = {path: _unchanged(names[path], shape) for path, shape in expected.items()}
    else:
        matching = mismatches.compare(actual, expected, {tie.tied for tie in like.model.ties if tie.kept in actual})
        mismatches.finish(lambda: _hint(source.model, like))
        arrangements = {path: _unchanged(path, shape) for path, shape in expected.items() if path in matching}
    options = {"like": like.source, "partial": allowed.patterns, "layout": "torch" if like.document else None}
    return _as_model(source, like, arrangements, mismatches.rows, "match", options)


def _unchanged(path: str, shape: tuple[int, ...]) -> Arrangement:
    return Arrangement(shape, (view(path, shape),))


def _mismatches(source: Source, like: Reference, allowed: Allowed) -> Mismatches:
    return Mismatches(allowed, f"{allowed.source or source.model.name} must match {allowed.like or like.model.name}")


def _hint(model: Model, like: Reference) -> str:
    """Return how a model would match another: in the other layout, or under other names, in either layout."""
    if is_torch_layout(model, like):
        return "It has torch.nn's layout: use --layout keras."
    hint = spectral_hint(model.parameters, like.model.parameters)
    hint = hint or prefix_hint(model.parameters, like.model.parameters, model.separator)
    return hint or prefix_hint(model.parameters, torch_layout(like.model).tensors, model.separator)


def align_lenient(source: Source, like: Reference) -> Source:
    """Return a source in torch's layout under a model's names, for a comparison; mismatches keep name and layout."""
    layout, actual = torch_layout(like.model), source.model.parameters
    expected = {name: tensor.arrangement.shape for name, tensor in layout.tensors.items()}
    matching = {name for name, shape in expected.items() if name in actual and actual[name].shape == shape}
    arrangements = _complete(layout, like.model, matching)
    used = {name for arrangement in arrangements.values() for name in arrangement.paths}
    for name, tensor in layout.tensors.items():
        paths, fill = tensor.arrangement.paths, tensor.arrangement.fill
        if name in matching and tensor.synthetic and (tensor.dtype is not None or _is_filled(source, name, fill)):
            used.add(name)
        elif name in actual and name not in matching and len(paths) == 1 and paths[0] not in arrangements:
            # Under the parameter's name the comparison reports another shape, not two missing arrays.
            arrangements[paths[0]] = _unchanged(name, actual[name].shape)
            used.add(name)
    arrangements |= {name: _unchanged(name, array.shape) for name, array in actual.items() if name not in used}
    owners = {path: source.model.owner(arrangement.paths[0]).path for path, arrangement in arrangements.items()}
    # a tie of the model that the file does not share would hide the second array from the comparison
    ties = [
        tie
        for tie in like.model.ties
        if tie.kept in arrangements and owners.get(tie.tied, owners[tie.kept]) == owners[tie.kept]
    ]
    model = _arrays_of(source, like.model, arrangements, tuple(ties))
    return Arranged(source, model, arrangements, "align", document=like.model.document, like=like.source)


def _as_model(
    source: Source,
    like: Reference,
    arrangements: Mapping[str, Arrangement],
    skipped: list[TensorRow],
    operation: str,
    options: Mapping[str, Any],
) -> tuple[Source, list[TensorRow]]:
    """Return a model with the source's values and dtypes, and the rows; without layers if an array is missing.

    operation, options: of the result; see source.base.Derived.
    """
    model = like.model
    ties = tuple(tie for tie in model.ties if tie.kept in arrangements)
    untied = Arranged(source, _arrays_of(source, model, arrangements, ()), arrangements, operation)
    for tie in ties:  # only one of the two arrays is kept
        if tie.tied in arrangements and not same_values(untied, tie):
            rule = f"{model.name} ties {tie.tied} to {tie.kept}, so their values must be equal"
            raise AddressError(rule, f"different values in {source.model.name}")
    rows = _rows(source, model, arrangements, ties) + skipped
    tied = {tie.tied for tie in ties}
    # with an array missing, the layers no longer describe the file, so only its arrays are kept
    if any(path not in arrangements and path not in tied for path in model.parameters):
        arrays = _arrays_of(source, model, arrangements, ties)
        return Arranged(source, arrays, arrangements, operation, document=model.document, **options), rows
    origins = {path: source.model.owner(arrangement.paths[0]) for path, arrangement in arrangements.items()}
    typed = model.map_parameters(lambda parameter: _typed_as(parameter, origins.get(parameter.path, parameter)))
    more_ties = [tie for tie in source.model.ties if _is_new(tie, arrangements, ties, typed)]
    result = replace(typed, ties=(*ties, *more_ties), aliases={})
    arranged = Arranged(source, result, arrangements, operation, document=like.document, keras=like.keras, **options)
    return arranged, rows


def _rows(
    source: Source, like: Model, arrangements: Mapping[str, Arrangement], ties: tuple[Tie, ...]
) -> list[TensorRow]:
    """Return the rows of the arrays of a model, tied ones that have no arrangement last."""
    notes = {tie.tied: f"{TIED}{tie.kept}" for tie in ties}
    rows = [row_of(path, arrangement, source.model, notes.get(path, "")) for path, arrangement in arrangements.items()]
    for tie in ties:
        if tie.tied not in arrangements:
            sources, shape = arrangements[tie.kept].paths, like.parameters[tie.tied].shape
            rows.append(TensorRow(tie.tied, "mapped", sources, None, shape, notes[tie.tied]))
    return rows


def _arrays_of(source: Source, like: Model, arrangements: Mapping[str, Arrangement], ties: tuple[Tie, ...]) -> Model:
    """Return a model without layers: the arrays with an arrangement, and those tied to them."""
    kept = {tie.tied: tie.kept for tie in ties}
    parameters = {}
    for path in dict.fromkeys([*like.parameters, *arrangements]):
        arrangement = arrangements.get(path) or arrangements.get(kept.get(path, ""))
        if arrangement is not None:
            origin = source.model.owner(arrangement.paths[0])
            known = like.parameters.get(path, origin)
            # roles of axes hold only for the declared shape: a misshaped array, allowed by --partial, has unknown ones
            has_shape = path not in arrangements or known.shape == arrangement.shape
            parameters[path] = replace(_typed_as(known if has_shape else origin, origin), path=path)
    return build_model(like.name, parameters, ties)[0]


def _typed_as(parameter: Parameter, origin: Parameter) -> Parameter:
    return replace(parameter, dtype=origin.dtype, encoding=origin.encoding)


def _is_new(tie: Tie, arrangements: Mapping[str, Arrangement], ties: tuple[Tie, ...], model: Model) -> bool:
    """Return whether a tie of the source holds in the result: same names in both, and not among the model's ties."""
    taken = {name for other in ties for name in (other.kept, other.tied)}
    names = (tie.kept, tie.tied)
    are_unchanged = all(
        name in arrangements and arrangements[name].is_identity and arrangements[name].paths == (name,)
        for name in names
    )
    return are_unchanged and taken.isdisjoint(names) and all(name in model.parameters for name in names)


def same_values(source: Source, tie: Tie) -> bool:
    """Return whether two arrays have the same bytes, the second as the transpose of the first if the tie says so."""
    kept, tied = source.model.parameters[tie.kept], source.model.parameters[tie.tied]
    if kept.dtype != tied.dtype:
        return False
    # compared as an arrangement of one array, slab by slab: a transposed embedding may not fit in memory twice
    axes = tuple(reversed(range(len(kept.shape)))) if tie.transpose else None
    arrangement = Arrangement(tied.shape, (view(tie.kept, kept.shape, axes),))
    model, _ = build_model("", {tie.tied: tied}, ())
    expected = Arranged(source, model, {tie.tied: arrangement}, "match")
    return all(_same_bytes(source.read(*piece), expected.read(*piece)) for piece in expected.pieces(tied))


def _same_bytes(a: Array, b: Array) -> bool:
    return bool(np.array_equal(a.view(np.uint8), b.view(np.uint8)))


def _is_filled(source: Source, name: str, fill: float) -> bool:
    """Return whether all values of an array are this one."""
    pieces = gather(source, name, select_all(source.model.parameters[name].shape))
    return all(bool((piece == fill).all()) for piece in pieces)
