"""A source in another layout, or held against a model: torch.nn's arrays made of Keras', and the other way round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from paramctl.convert import torch as torch_layout
from paramctl.convert.report import TIED, Allowed, Misfits, TensorRow, prefix_hint, row_of, skipped
from paramctl.convert.torch import TorchLayout
from paramctl.convert.torch_rules import NoCounterpart
from paramctl.core.dtypes import Array
from paramctl.core.indexing import select_all
from paramctl.core.views import Arrangement, View, view
from paramctl.errors import AddressError
from paramctl.model import Model, Tie, from_document
from paramctl.source.arranged import ArrangedSource
from paramctl.source.base import Source
from paramctl.store.checkpoint import model_of


def with_layers(model: Model) -> Model | None:
    """The model whose layers tell what a model's arrays are: itself, or that of the document they come with."""
    if model.inputs:
        return model
    return from_document(model.origin, model.name) if model.origin is not None else None


def is_torch_layout(model: Model, like: Model | None) -> bool:
    """Whether a model has the names of torch's arrays of another, and not that one's own."""
    if like is None or model.inputs:
        return False
    names = model.parameters.keys()
    return len(names & torch_layout.layout(like).laid.keys()) > len(names & like.parameters.keys())


def to_torch(source: Source, allowed: Allowed) -> tuple[Source, list[TensorRow]]:
    """A source whose layers are known in torch's layout. Raises AddressError for layers that torch.nn has not."""
    model, found = source.model, torch_layout.layout(source.model)
    misfits = Misfits(allowed, allowed.source or model.name, "torch.nn")
    for path, reason in found.without.items():
        misfits.add(path, f"{path}: {reason}", skipped(path, model.parameters[path].shape, reason))
    misfits.finish()
    made = in_torch(model, found)
    tied, copies = {tie.tied: tie.kept for tie in made.ties}, {tie.tied for tie in model.ties}
    rows = []
    for name, each in found.laid.items():
        copied = name not in tied and copies & set(each.made.paths)
        note = f"{TIED}{tied[name]}" if name in tied else "a copy: it lies otherwise in torch" if copied else ""
        rows.append(row_of(name, each.made, model, "not a parameter here" if each.dropped else note))
    return ArrangedSource(source, made, {name: each.made for name, each in found.laid.items()}), rows + misfits.rows


def in_torch(model: Model, found: TorchLayout | None = None) -> Model:
    """The arrays of a model whose layers are known as a model of torch's."""
    found = found or torch_layout.layout(model)
    parameters = torch_layout.parameters(found, model)
    made = model_of(model.name, parameters, torch_layout.ties(found, model))
    return replace(made, origin=model.document or model.origin)


def to_keras(source: Source, like: Model, allowed: Allowed) -> tuple[Source, list[TensorRow]]:
    """A source in torch's layout as the model that it is of. Raises AddressError if its names or shapes do not fit."""
    found, there = torch_layout.layout(like), source.model.parameters
    misfits = _misfits(source, like, allowed)
    shapes = {name: each.shape for name, each in there.items()}
    fitting = misfits.hold(
        shapes, {name: each.made.shape for name, each in found.laid.items()}, _free(found, like, there)
    )
    for name in (name for name, each in found.laid.items() if each.dropped and name in fitting):
        each = found.laid[name]
        misfits.rows.append(skipped(name, each.made.shape, "not a parameter here"))
        if each.dtype is None and not _is_filled(source, name, each.made.fill):
            misfits.add(name, f"{name} must be {each.made.fill:g} throughout, for {each.of} has no such parameter")
    for path, reason in found.without.items():
        misfits.add(path, f"{path}: {reason}")
    made = {path: of for path, of in found.back(like, fitting).items() if set(of.paths) <= fitting}
    for path, of in made.items():
        try:
            torch_layout.check_alike({name: source.model.owner(name).dtype for name in of.paths})
        except NoCounterpart as error:
            misfits.add(path, f"{path}: {error}")
    misfits.finish(lambda: prefix_hint(there, found.laid, source.model.separator))
    used = {name for of in made.values() for name in of.paths}
    unused = (name for name in fitting - used if not found.laid[name].dropped)
    rows = [skipped(name, shapes[name], "its layer's others are missing") for name in sorted(unused)]
    return _as_model(source, like, made, [*misfits.rows, *rows])


def _free(found: TorchLayout, like: Model, there: Mapping[str, object]) -> set[str]:
    """The arrays that need not be there: those made here, and those of tied names alone whose others are there."""
    by_path: dict[str, list[str]] = {}
    for name, each in found.laid.items():
        for path in each.made.paths:
            by_path.setdefault(path, []).append(name)
    kept = {tie.tied: tie.kept for tie in like.ties}

    def is_there(path: str) -> bool:
        return path in kept and all(name in there for name in by_path.get(kept[path], ("",)))

    return {
        name
        for name, each in found.laid.items()
        if each.dropped or (each.made.paths and all(map(is_there, each.made.paths)))
    }


def match_to(source: Source, like: Model, allowed: Allowed) -> tuple[Source, list[TensorRow]]:
    """A source as the model that it is of, whose names and shapes it must have. Raises AddressError if it has not."""
    there = {path: each.shape for path, each in source.model.parameters.items()}
    wanted = {path: each.shape for path, each in like.parameters.items()}
    misfits = _misfits(source, like, allowed)
    fitting = misfits.hold(there, wanted, {tie.tied for tie in like.ties if tie.kept in there})
    misfits.finish(lambda: _hint(source.model, like))
    made = {path: Arrangement(shape, (view(path, shape),)) for path, shape in wanted.items() if path in fitting}
    return _as_model(source, like, made, misfits.rows)


def _misfits(source: Source, like: Model, allowed: Allowed) -> Misfits:
    return Misfits(allowed, allowed.source or source.model.name, allowed.like or like.name)


def _hint(model: Model, like: Model) -> str:
    """How a model would fit another: in the other layout, or under other names, those of torch's arrays among them."""
    if is_torch_layout(model, like):
        return "These are torch.nn's arrays: --layout keras turns them."
    hint = prefix_hint(model.parameters, like.parameters, model.separator)
    return hint or prefix_hint(model.parameters, torch_layout.layout(like).laid, model.separator)


def align_lenient(source: Source, like: Model) -> Source:
    """A source in torch's layout under the names of the model that it is of; what does not fit stays as it is.

    Nothing is refused: this is to be compared.
    """
    found, there = torch_layout.layout(like), source.model.parameters
    fitting = {name for name, each in found.laid.items() if name in there and there[name].shape == each.made.shape}
    made = {path: of for path, of in found.back(like, fitting).items() if set(of.paths) <= fitting}
    used = {name for of in made.values() for name in of.paths}
    for name, each in found.laid.items():
        if name in fitting and each.dropped and (each.dtype is not None or _is_filled(source, name, each.made.fill)):
            used.add(name)
        elif name in there and name not in fitting and len(each.made.paths) == 1 and each.made.paths[0] not in made:
            shape = there[name].shape  # another: so the comparison tells it
            made[each.made.paths[0]] = Arrangement(shape, (view(name, shape),))
            used.add(name)
    made |= {
        name: Arrangement(each.shape, (view(name, each.shape),)) for name, each in there.items() if name not in used
    }
    owners = {path: source.model.owner(of.paths[0]).path for path, of in made.items()}
    ties = [tie for tie in like.ties if tie.kept in made and owners.get(tie.tied, owners[tie.kept]) == owners[tie.kept]]
    return ArrangedSource(source, _of(source, like, made, tuple(ties)), made)


def _as_model(
    source: Source, like: Model, made: Mapping[str, Arrangement], left_out: list[TensorRow]
) -> tuple[Source, list[TensorRow]]:
    """The model with the values and dtypes of arrangements, and the report; without its layers if some are missing."""
    ties = tuple(tie for tie in like.ties if tie.kept in made)
    loose = ArrangedSource(source, _of(source, like, made, ()), made)
    for tie in ties:
        if tie.tied in made and not _same_values(loose, tie):
            raise AddressError(f"{like.name} ties {tie.tied} to {tie.kept}, and their values differ", source.model.name)
    tied = {tie.tied: tie for tie in ties}
    rows = [
        row_of(path, of, source.model, f"{TIED}{tied[path].kept}" if path in tied else "") for path, of in made.items()
    ]
    for path, tie in tied.items():
        if path not in made:
            shape, note = like.parameters[path].shape, f"{TIED}{tie.kept}"
            rows.append(TensorRow(path, "mapped", made[tie.kept].paths, None, shape, note))
    if any(path not in made and path not in tied for path in like.parameters):
        return ArrangedSource(source, _of(source, like, made, ties), made), rows + left_out
    dtypes = {path: source.model.owner(of.paths[0]).dtype for path, of in made.items()}
    typed = like.map_parameters(lambda each: replace(each, dtype=dtypes.get(each.path, each.dtype)))
    others = [tie for tie in source.model.ties if _is_new(tie, made, ties, typed)]
    return ArrangedSource(source, replace(typed, ties=(*ties, *others), stored={}), made), rows + left_out


def _of(source: Source, like: Model, made: Mapping[str, Arrangement], ties: tuple[Tie, ...]) -> Model:
    """The arrays that are made, and what is tied to them, without the model's layers."""
    tied = {tie.tied: tie.kept for tie in ties}
    chosen = {}
    for path in dict.fromkeys([*like.parameters, *made]):
        of = made.get(path) or made.get(tied.get(path, ""))
        if of is not None:
            origin = source.model.owner(of.paths[0])
            known = like.parameters.get(path, origin)
            fits = path not in made or known.shape == of.shape
            chosen[path] = replace(known if fits else origin, path=path, dtype=origin.dtype)
    return replace(model_of(like.name, chosen, ties), origin=like.document)


def _is_new(tie: Tie, made: Mapping[str, Arrangement], ties: tuple[Tie, ...], typed: Model) -> bool:
    """Whether a tie of the source is one of the result too: names that are the same in both, and tied nowhere else."""
    taken = {name for each in ties for name in (each.kept, each.tied)}
    names = (tie.kept, tie.tied)
    same = all(name in made and made[name].is_identity and made[name].paths == (name,) for name in names)
    return same and taken.isdisjoint(names) and all(name in typed.parameters for name in names)


def _same_values(source: Source, tie: Tie) -> bool:
    """Whether two arrays have the same bytes, the second perhaps as the transpose of the first."""
    if source.model.parameters[tie.kept].dtype != source.model.parameters[tie.tied].dtype:
        return False
    tied = source.model.parameters[tie.tied]
    one = {tie.tied: Arrangement(tied.shape, (_seen(source, tie),))}
    other = ArrangedSource(source, model_of("", {tie.tied: tied}, ()), one)
    return all(_equal(source.read(*piece), other.read(*piece)) for piece in other.pieces(tied))


def _seen(source: Source, tie: Tie) -> View:
    shape = source.model.parameters[tie.kept].shape
    return view(tie.kept, shape, tuple(reversed(range(len(shape)))) if tie.transpose else None)


def _equal(a: Array, b: Array) -> bool:
    return bool(np.array_equal(a.view(np.uint8), b.view(np.uint8)))


def _is_filled(source: Source, name: str, fill: float) -> bool:
    pieces = source.gather(name, select_all(source.model.parameters[name].shape))
    return all(bool((piece == fill).all()) for piece in pieces)
