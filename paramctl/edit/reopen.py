"""Reopen a source from its description, in this process or another."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from paramctl.address.resolve import Filters
from paramctl.conversion.exact.registry import FRAMEWORKS
from paramctl.conversion.exact.source import Exactly
from paramctl.conversion.match import align_lenient, like_reference, match_to, to_keras, to_torch, torch_reference
from paramctl.conversion.report import Allowed
from paramctl.conversion.weight_norm import Factors, Folded
from paramctl.core.dtypes import Array, numpy_dtype
from paramctl.edit.assign import Assignment, assign
from paramctl.edit.cast_rules import cast_source
from paramctl.edit.combine import combine
from paramctl.edit.merge import merge
from paramctl.errors import InputError
from paramctl.init.rules import AssignedScheme
from paramctl.model import Document, Model, Tie, from_document
from paramctl.source.base import Description, Source
from paramctl.source.combined import rule_from_json
from paramctl.source.derived import Marked, Partial, Retied, rename
from paramctl.source.describe import assigned_from_json
from paramctl.source.drawn import Drawn
from paramctl.source.from_checkpoint import parse_scheme
from paramctl.source.open import open_path
from paramctl.source.selected import reopened as reopen_selected
from paramctl.source.stored import Stored
from paramctl.source.with_state import split_state, with_state


def reopen(description: Description) -> Source:
    """Return the source of a description, as ``Source.describe`` returns it.

    Raises InputError if a file has changed since, and DocumentError if user code no longer loads.
    """
    options = dict(description)
    operation = options.pop("source", None)
    if operation not in OPERATIONS:
        raise InputError(f"a description must have an operation as its source (got {operation!r})")
    return OPERATIONS[operation](**options)


def _stored(path: str, fingerprint: list[Any], dtype: str | None) -> Source:
    checkpoint = open_path(path).checkpoint
    location = checkpoint.origin.location if checkpoint is not None else None
    # a changed file would give other values than the source that was described
    if checkpoint is None or location is None or location.fingerprint() != fingerprint:
        raise InputError(f"{path}: changed since it was described")
    return Stored(checkpoint, dtype)


def _model(
    text: str, name: str, variables: Mapping[str, Any], input_shapes: list[list[Any]], dtypes: Mapping[str, str]
) -> Model:
    """Return the model of a description by describe.model_to_json."""
    shapes = tuple((key, shape) for key, shape in input_shapes)
    model = from_document(Document(text, name, variables, shapes), name)
    # --dtype may have changed those of the document
    return model.map_parameters(lambda parameter: replace(parameter, dtype=dtypes[parameter.path]))


def _drawn(seed: int, assigned: Mapping[str, list[Any]], base: Description | None = None, **document: Any) -> Source:
    stored = reopen(base) if base is not None else None
    model = stored.model if stored is not None else _model(**document)
    return Drawn(model, _assigned_schemes(model, assigned), seed, stored)


def _exactly(
    framework: str, seed: int, assigned: Mapping[str, list[Any]], order: list[str], close: bool, **document: Any
) -> Source:
    model = _model(**document)
    return Exactly(model, FRAMEWORKS[framework], _assigned_schemes(model, assigned), seed, order, close)


def _assigned_schemes(model: Model, assigned: Mapping[str, list[Any]]) -> dict[str, AssignedScheme]:
    return {path: assigned_from_json(scheme, model.parameters[path], reopen) for path, scheme in assigned.items()}


def _retied(base: Description, ties: list[list[Any]]) -> Source:
    source = reopen(base)
    return Retied(source, replace(source.model, ties=tuple(Tie(*tie) for tie in ties)))


def _assigned(base: Description, seed: int, assignments: list[Mapping[str, Any]], filters: list[Any]) -> Source:
    parsed = [
        Assignment(entry["text"], entry["address"], entry["operator"], _value(entry["value"])) for entry in assignments
    ]
    return assign(reopen(base), parsed, Filters(*filters), seed)


def _value(value: Mapping[str, Any]) -> Any:
    if "scheme" in value:
        return parse_scheme(value["scheme"], "assign")
    dtype = numpy_dtype(value["dtype"]).newbyteorder("<")
    array: Array = np.frombuffer(base64.b64decode(value["data"]), dtype).reshape(value["shape"])
    return array.item() if value["number"] else array


def _to_torch(base: Description, partial: list[str]) -> Source:
    return to_torch(reopen(base), Allowed(partial))[0]


def _to_keras(base: Description, like: Description, partial: list[str]) -> Source:
    return to_keras(reopen(base), like_reference(reopen(like)), Allowed(partial))[0]


def _matched(base: Description, like: Description, partial: list[str], layout: str | None) -> Source:
    known = like_reference(reopen(like))
    known = torch_reference(known) if layout == "torch" else known
    return match_to(reopen(base), known, Allowed(partial))[0]


def _combined(
    sources: Mapping[str, Description],
    rule: Mapping[str, Any],
    partial: list[str],
    dtype: list[str],
    allow: list[str],
) -> Source:
    opened = {name: reopen(description) for name, description in sources.items()}
    return combine(opened, rule_from_json(rule), partial, dtype, allow).source


def _merged(
    base: Description,
    adapters: list[str],
    scale: float,
    dtype: list[str],
    allow: list[str],
    files: list[Description],
) -> Source:
    for file in files:
        reopen(file)  # raises InputError if it has changed
    return merge(reopen(base), adapters, scale, dtype, allow).source


OPERATIONS: Mapping[str, Callable[..., Source]] = {
    "stored": _stored,
    "drawn": _drawn,
    "exactly": _exactly,
    "rename": lambda base, rules: rename(reopen(base), rules),
    "cast": lambda base, rules, allow: cast_source(reopen(base), rules, allow),
    "partial": lambda base, allowed: Partial(reopen(base), allowed),
    "fold": lambda base, factors: Folded(reopen(base), {name: Factors(*pair) for name, pair in factors.items()}),
    "retie": _retied,
    "mark": lambda base, paths, trainable: Marked(reopen(base), paths, trainable),
    "select": lambda base, matches, missing: reopen_selected(reopen(base), matches, missing),
    "with_state": lambda base, other=None: with_state(reopen(base), None if other is None else reopen(other)),
    "without_state": lambda base: split_state(reopen(base))[0],
    "assign": _assigned,
    "to_torch": _to_torch,
    "to_keras": _to_keras,
    "match": _matched,
    "combine": _combined,
    "merge": _merged,
    "align": lambda base, like: align_lenient(reopen(base), like_reference(reopen(like))),
}
"""The functions that make sources again from the options of their descriptions, by the operation's name."""
