"""A source matched to a model: by names and shapes, or converted from or to torch's layout."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace

import numpy as np

from paramctl.convert.report import TIED, Allowed, Mismatches, TensorRow, prefix_hint, row_of, skipped_row
from paramctl.convert.torch import TorchLayout, check_same_dtype, torch_layout, torch_parameters, torch_ties
from paramctl.core.dtypes import Array
from paramctl.core.indexing import select_all
from paramctl.core.views import Arrangement, view
from paramctl.errors import AddressError
from paramctl.model import Model, Tie, from_document
from paramctl.model.layers.torch import NoCounterpart
from paramctl.source.arranged import ArrangedSource
from paramctl.source.base import Source
from paramctl.store.checkpoint import model_of

NOT_IN_KERAS = "not in the Keras layer"
"""The note of a synthetic tensor."""


def with_layers(model: Model) -> Model | None:
    """Return the model with its layers: itself, or built from the document in its file; None without a document."""
    if model.inputs:
        return model
    return from_document(model.origin, model.name) if model.origin is not None else None


def is_torch_layout(model: Model, like: Model | None) -> bool:
    """Return whether a model has the names of another's torch layout, rather than the other's own names."""
    if like is None or model.inputs:
        return False
    names = model.parameters.keys()  # compared by majority, because files may have more or fewer arrays
    return len(names & torch_layout(like).tensors.keys()) > len(names & like.parameters.keys())


def to_torch(source: Source, allowed: Allowed) -> tuple[Source, list[TensorRow]]:
    """Return a source with layers in torch's layout. Raises AddressError for layers without a counterpart in torch."""
    model, layout = source.model, torch_layout(source.model)
    mismatches = Mismatches(allowed, f"{allowed.source or model.name} must match torch.nn")
    for path, reason in layout.unsupported.items():
        mismatches.add(path, f"{path}: {reason}", skipped_row(path, model.parameters[path].shape, reason))
    mismatches.finish()
    converted = torch_model(model, layout)
    kept, tied = {tie.tied: tie.kept for tie in converted.ties}, {tie.tied for tie in model.ties}
    rows = []
    for name, tensor in layout.tensors.items():
        is_copy = name not in kept and tied & set(tensor.arrangement.paths)
        note = f"{TIED}{kept[name]}" if name in kept else "a copy: torch cannot share the array" if is_copy else ""
        rows.append(row_of(name, tensor.arrangement, model, NOT_IN_KERAS if tensor.synthetic else note))
    arrangements = {name: tensor.arrangement for name, tensor in layout.tensors.items()}
    return ArrangedSource(source, converted, arrangements), rows + mismatches.rows


def torch_model(model: Model, layout: TorchLayout | None = None) -> Model:
    """Return the arrays of a model with layers as a torch model's. layout: its torch layout, if known already."""
    layout = layout or torch_layout(model)
    ties = torch_ties(layout.tensors.values(), model)
    return replace(model_of(model.name, torch_parameters(layout, model), ties), origin=model.document or model.origin)


def to_keras(source: Source, like: Model, allowed: Allowed) -> tuple[Source, list[TensorRow]]:
    """Return a source in torch's layout as the model that it belongs to. Raises AddressError if they do not match."""
    layout, actual = torch_layout(like), source.model.parameters
    tensors = layout.tensors
    mismatches = _mismatches(source, like, allowed)
    shapes = {name: parameter.shape for name, parameter in actual.items()}
    expected = {name: tensor.arrangement.shape for name, tensor in tensors.items()}
    matching = mismatches.compare(shapes, expected, _optional(layout, like, actual))
    for name in (name for name, tensor in tensors.items() if tensor.synthetic and name in matching):
        tensor, fill = tensors[name], tensors[name].arrangement.fill
        mismatches.rows.append(skipped_row(name, tensor.arrangement.shape, NOT_IN_KERAS))
        # A weight of ones that Keras lacks can be dropped; other values would be lost. Counters (dtype) do not matter.
        if tensor.dtype is None and not _is_filled(source, name, fill):
            message = f"{name} must be all {fill:g}, because {tensor.layer} has no such parameter"
            mismatches.add(name, message)
    for path, reason in layout.unsupported.items():
        mismatches.add(path, f"{path}: {reason}")
    arrangements = _complete(layout, like, matching)
    for path, arrangement in arrangements.items():
        try:
            check_same_dtype({name: source.model.owner(name).dtype for name in arrangement.paths})
        except NoCounterpart as error:
            mismatches.add(path, f"{path}: {error}")
    mismatches.finish(lambda: prefix_hint(actual, tensors, source.model.separator))
    used = {name for arrangement in arrangements.values() for name in arrangement.paths}
    unused = sorted(name for name in matching - used if not tensors[name].synthetic)
    rows = [skipped_row(name, shapes[name], "other tensors of its layer are missing") for name in unused]
    return _as_model(source, like, arrangements, [*mismatches.rows, *rows])


def _complete(layout: TorchLayout, like: Model, names: set[str]) -> dict[str, Arrangement]:
    """Return the parameters of a model for which all tensors are among these names."""
    arrangements = layout.to_keras(like, names)
    return {path: arrangement for path, arrangement in arrangements.items() if set(arrangement.paths) <= names}


def _optional(layout: TorchLayout, like: Model, actual: Container[str]) -> set[str]:
    """Return the tensors that may be missing: synthetic ones, and those made of tied parameters whose owner exists."""
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


def match_to(source: Source, like: Model, allowed: Allowed) -> tuple[Source, list[TensorRow]]:
    """Return a source as a model with the same names and shapes. Raises AddressError if they do not match."""
    actual = {path: parameter.shape for path, parameter in source.model.parameters.items()}
    expected = {path: parameter.shape for path, parameter in like.parameters.items()}
    mismatches = _mismatches(source, like, allowed)
    matching = mismatches.compare(actual, expected, {tie.tied for tie in like.ties if tie.kept in actual})
    mismatches.finish(lambda: _hint(source.model, like))
    arrangements = {path: _unchanged(path, shape) for path, shape in expected.items() if path in matching}
    return _as_model(source, like, arrangements, mismatches.rows)


def _unchanged(path: str, shape: tuple[int, ...]) -> Arrangement:
    return Arrangement(shape, (view(path, shape),))


def _mismatches(source: Source, like: Model, allowed: Allowed) -> Mismatches:
    return Mismatches(allowed, f"{allowed.source or source.model.name} must match {allowed.like or like.name}")


def _hint(model: Model, like: Model) -> str:
    """Return how a model would match another: in the other layout, or under other names, in either layout."""
    if is_torch_layout(model, like):
        return "It has torch.nn's layout: use --layout keras."
    hint = prefix_hint(model.parameters, like.parameters, model.separator)
    return hint or prefix_hint(model.parameters, torch_layout(like).tensors, model.separator)


def align_lenient(source: Source, like: Model) -> Source:
    """Return a source in torch's layout under a model's names, for a comparison; mismatches keep name and layout."""
    layout, actual = torch_layout(like), source.model.parameters
    expected = {name: tensor.arrangement.shape for name, tensor in layout.tensors.items()}
    matching = {name for name, shape in expected.items() if name in actual and actual[name].shape == shape}
    arrangements = _complete(layout, like, matching)
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
    ties = [
        tie
        for tie in like.ties
        if tie.kept in arrangements and owners.get(tie.tied, owners[tie.kept]) == owners[tie.kept]
    ]
    return ArrangedSource(source, _arrays_of(source, like, arrangements, tuple(ties)), arrangements)


def _as_model(
    source: Source, like: Model, arrangements: Mapping[str, Arrangement], skipped: list[TensorRow]
) -> tuple[Source, list[TensorRow]]:
    """Return a model with the source's values and dtypes, and the rows; without layers if an array is missing."""
    ties = tuple(tie for tie in like.ties if tie.kept in arrangements)
    untied = ArrangedSource(source, _arrays_of(source, like, arrangements, ()), arrangements)
    for tie in ties:  # only one of the two arrays is kept
        if tie.tied in arrangements and not _same_values(untied, tie):
            rule = f"{like.name} ties {tie.tied} to {tie.kept}, so their values must be equal"
            raise AddressError(rule, f"different values in {source.model.name}")
    rows = _rows(source, like, arrangements, ties) + skipped
    tied = {tie.tied for tie in ties}
    if any(path not in arrangements and path not in tied for path in like.parameters):
        return ArrangedSource(source, _arrays_of(source, like, arrangements, ties), arrangements), rows
    dtypes = {path: source.model.owner(arrangement.paths[0]).dtype for path, arrangement in arrangements.items()}
    typed = like.map_parameters(lambda parameter: replace(parameter, dtype=dtypes.get(parameter.path, parameter.dtype)))
    more_ties = [tie for tie in source.model.ties if _is_new(tie, arrangements, ties, typed)]
    return ArrangedSource(source, replace(typed, ties=(*ties, *more_ties), stored={}), arrangements), rows


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
            has_shape = path not in arrangements or known.shape == arrangement.shape
            parameters[path] = replace(known if has_shape else origin, path=path, dtype=origin.dtype)
    return replace(model_of(like.name, parameters, ties), origin=like.document)


def _is_new(tie: Tie, arrangements: Mapping[str, Arrangement], ties: tuple[Tie, ...], model: Model) -> bool:
    """Return whether a tie of the source holds in the result: same names in both, and not among the model's ties."""
    taken = {name for other in ties for name in (other.kept, other.tied)}
    names = (tie.kept, tie.tied)
    are_unchanged = all(
        name in arrangements and arrangements[name].is_identity and arrangements[name].paths == (name,)
        for name in names
    )
    return are_unchanged and taken.isdisjoint(names) and all(name in model.parameters for name in names)


def _same_values(source: Source, tie: Tie) -> bool:
    """Return whether two arrays have the same bytes, the second as the transpose of the first if the tie says so."""
    kept, tied = source.model.parameters[tie.kept], source.model.parameters[tie.tied]
    if kept.dtype != tied.dtype:
        return False
    axes = tuple(reversed(range(len(kept.shape)))) if tie.transpose else None
    arrangement = Arrangement(tied.shape, (view(tie.kept, kept.shape, axes),))
    expected = ArrangedSource(source, model_of("", {tie.tied: tied}, ()), {tie.tied: arrangement})
    return all(_same_bytes(source.read(*piece), expected.read(*piece)) for piece in expected.pieces(tied))


def _same_bytes(a: Array, b: Array) -> bool:
    return bool(np.array_equal(a.view(np.uint8), b.view(np.uint8)))


def _is_filled(source: Source, name: str, fill: float) -> bool:
    """Return whether all values of an array are this one."""
    pieces = source.gather(name, select_all(source.model.parameters[name].shape))
    return all(bool((piece == fill).all()) for piece in pieces)
