"""Functions that draw, change, convert and save values. Each returns new weights and leaves its argument unchanged."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import Any

import numpy as np

from paramctl.address.resolve import Filters
from paramctl.conversion import convert as dispatch
from paramctl.conversion.report import Allowed, TensorRow
from paramctl.core.dtypes import Array
from paramctl.edit import assign as edit_assign
from paramctl.edit.cast import cast_source
from paramctl.edit.in_place import save_edited
from paramctl.edit.tie import add_ties, remove_ties
from paramctl.errors import AddressError
from paramctl.init.presets import PRESETS
from paramctl.init.rules import InitRequest, Rule, Scheme, assign_schemes, resolve_seed
from paramctl.inspect.ties import refuse_reuse
from paramctl.library.opening import Openable, as_source, openable
from paramctl.library.weights import Weights
from paramctl.source.base import Source
from paramctl.source.derived import Retied
from paramctl.source.derived import rename as rename_source
from paramctl.source.drawn import Drawn
from paramctl.source.edited import Edited
from paramctl.source.from_checkpoint import parse_scheme
from paramctl.source.open import require_built
from paramctl.source.save import Progress
from paramctl.source.save import save as save_source
from paramctl.store.io.write_values import WriteOptions

SchemeLike = str | Mapping[str, Any]
"""A scheme as on the command line, ``"normal:stddev=0.01"``, or as in a document, ``{"random_normal": {...}}``."""


def initialize(
    model: Openable,
    *,
    scheme: SchemeLike | None = None,
    rules: Mapping[str, SchemeLike | None] | None = None,
    preset: str | None = None,
    fan_convention: str | None = None,
    seed: int | None = None,
    dtype: str | None = None,
) -> Weights:
    """Draw the values of a model by named schemes, or new values for some arrays of a checkpoint.

    scheme: the scheme of every trainable weight that has fans. rules: schemes by pattern; the first match applies, and
    None keeps the values that the parameter has without rules. preset: the defaults of a framework or a model family.
    fan_convention: ``true``, ``keras`` or ``torch``; the preset's by default. seed: the document's by default, else 0.
    dtype: the dtype of floating-point arrays.
    Values are drawn when they are read. They depend only on the seed, each parameter's path and shape, and its scheme.
    Raises DocumentError for a scheme that is unknown or does not fit, and AddressError for a rule that matches nothing.
    """
    base: Source | None = None
    content = model if isinstance(model, Weights) else openable(model)
    if isinstance(content, Weights):
        base = cast_source(content.source, [dtype]) if dtype is not None else content.source
        structure = base.model
    else:
        structure = require_built(content).with_dtype(dtype)
    if preset is not None and preset not in PRESETS:
        raise AddressError(f"a preset must be one of {', '.join(PRESETS)}", repr(preset))
    chosen = PRESETS[preset] if preset is not None else None
    request = InitRequest(
        tuple(Rule(pattern, _scheme(value, f"rules[{pattern!r}]")) for pattern, value in (rules or {}).items()),
        _scheme(scheme, "scheme"),
        preset or "",
        chosen.schemes(structure) if chosen else {},
        fan_convention or (chosen.convention if chosen else "true"),
    )
    assigned = assign_schemes(structure, request, stored=base is not None)
    return Weights(Drawn(structure, assigned, resolve_seed(structure, seed), base))


def _scheme(value: SchemeLike | None, argument: str) -> Scheme | None:
    if value is None:
        return None
    return parse_scheme(value if isinstance(value, str) else json.dumps(value), argument)


def assign(
    weights: Openable,
    assignments: Mapping[str, Any] | Sequence[str],
    *,
    trainable: bool | None = None,
    dtype: str | None = None,
    kind: str | None = None,
    min_size: int | None = None,
    seed: int | None = None,
) -> Weights:
    """Assign values to the parameters that addresses match, in order.

    assignments: values by address, each a number, an array that broadcasts to the selection, or a scheme; or texts as
    on the command line, ``"dense/kernel[0] += 1"``. trainable, dtype, kind, min_size: only parameters like this.
    seed: for the schemes among the values.
    Raises AddressError for an address that matches nothing, and a value that does not fit.
    """
    source = as_source(weights, seed)
    if isinstance(assignments, Mapping):
        parsed = [_assignment(address, "=", value) for address, value in assignments.items()]
    else:
        parsed = [edit_assign.parse_assignment(text) for text in assignments]
    filters = Filters(trainable, dtype, kind, min_size)
    return Weights(edit_assign.assign(source, parsed, filters, resolve_seed(source.model, seed)))


def _assignment(address: str, operator: str, value: Any) -> edit_assign.Assignment:
    is_scheme = isinstance(value, (str, Mapping))
    parsed: Array | Scheme | None = _scheme(value, address) if is_scheme else np.asarray(value)
    assert parsed is not None
    return edit_assign.Assignment(address, address, operator, parsed)


def tie(weights: Openable, keep: str, others: str | Sequence[str], *, transpose: bool = False) -> Weights:
    """Make parameters share one array. The values of ``keep`` stay.

    others: addresses of the parameters that will share it. transpose: they have its transposed values.
    Raises AddressError if shapes or dtypes differ, or a parameter is already tied.
    """
    source = as_source(weights)
    return Weights(Retied(source, add_ties(source.model, keep, _texts(others), transpose)))


def untie(weights: Openable, others: str | Sequence[str]) -> Weights:
    """Give tied parameters separate arrays, with unchanged values. Raises AddressError if one is not tied."""
    source = as_source(weights)
    refuse_reuse(source.model, _texts(others))
    return Weights(Retied(source, remove_ties(source.model, _texts(others))))


def rename(weights: Openable, rules: Mapping[str, str] | Sequence[str]) -> Weights:
    """Give parameters other names: ``{"model.**": "**"}``. A wildcard in the name repeats the text that it matched.

    Raises AddressError for a rule that matches nothing, and if two parameters would get one name.
    """
    return Weights(rename_source(as_source(weights), _rules(rules)))


def convert(
    weights: Openable,
    *,
    layout: str | None = None,
    like: Openable | None = None,
    partial: Sequence[str] = (),
    rename: Mapping[str, str] | Sequence[str] = (),
    dtype: str | Sequence[str] = (),
    allow: Sequence[str] = (),
) -> Weights:
    """Convert weights to the names, shapes and dtypes of another layout, and check them against a model.

    layout: ``keras``, as in documents, or ``torch``, as in torch.nn's modules. like: the model of the arrays.
    partial: patterns of names that may be missing, unexpected or of another shape. rename: new names, for the written
    arrays with the layout torch, otherwise for the arrays that are read. dtype: DTYPE, or PATTERN=DTYPE rules.
    allow: losses that a cast may have: ``overflow``, ``integers``, ``parts``.
    ``notes`` of the result has a line for each array. Raises AddressError for arrays that do not fit.
    """
    converted, report = _convert(weights, layout, like, partial, rename, dtype, allow)
    return Weights(converted, tuple(map(str, report)))


def _convert(
    weights: Openable,
    layout: str | None,
    like: Openable | None,
    partial: Sequence[str],
    rename: Mapping[str, str] | Sequence[str],
    dtype: str | Sequence[str],
    allow: Sequence[str],
) -> tuple[Source, list[TensorRow]]:
    source = as_source(weights)
    report: list[TensorRow] = []
    if layout is not None or like is not None or rename:
        reference = as_source(like) if like is not None else None
        location = source.origin.location
        allowed = Allowed(_texts(partial), location.name if location is not None else "", _name(like))
        source, report = dispatch.convert(source, layout, reference, _rules(rename), allowed)
    if dtype or allow:
        source = cast_source(source, _texts(dtype), _texts(allow))
    return source, report


def save(
    weights: Openable,
    path: str | PathLike[str],
    *,
    force: bool = False,
    in_place: bool = False,
    max_shard_size: int | None = None,
    layout: str | None = None,
    like: Openable | None = None,
    partial: Sequence[str] = (),
    rename: Mapping[str, str] | Sequence[str] = (),
    dtype: str | Sequence[str] = (),
    allow: Sequence[str] = (),
    progress: Progress | None = None,
) -> list[TensorRow]:
    """Write weights to a file, atomically: until it is complete and on the disk, the old file stays.

    path: its suffix names the format: .h5, .safetensors, .npz, .keras, .weights.h5, .weights.json, or ``/`` for a
    folder of safetensors. force: replace an existing file. in_place: the path is the file of the weights; where only
    values have changed, all other bytes stay. max_shard_size: bytes of each file of a set.
    layout, like, partial, rename, dtype, allow: see convert. progress: called with the bytes done and in total.
    Returns a row for each array of a conversion. Raises OutputError if the file cannot be written.
    """
    source, report = _convert(weights, layout, like, partial, rename, dtype, allow)
    options = WriteOptions(force=force, max_shard_size=max_shard_size)
    if isinstance(source, Edited):
        save_edited(source, fspath(path), options, in_place, progress)
    else:
        save_source(source, fspath(path), WriteOptions(force or in_place, max_shard_size), progress)
    return report


def _name(like: Openable | None) -> str:
    return fspath(like) if isinstance(like, (str, PathLike)) else ""


def _texts(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _rules(rules: Mapping[str, str] | Sequence[str]) -> list[str]:
    return [f"{old}={new}" for old, new in rules.items()] if isinstance(rules, Mapping) else _texts(rules)
