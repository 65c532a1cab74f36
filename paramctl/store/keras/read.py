"""Read Keras' files: one file, or the shards of an index.

The arrays of optimizers and metrics are separated from the parameters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from paramctl.core.parameter import Parameter
from paramctl.errors import InputError
from paramctl.model import Document, Model, Tie
from paramctl.store.checkpoint import Checkpoint, build_model
from paramctl.store.contents import JoinedReader, KerasLayout, OptimizerState, Origin, Reader
from paramctl.store.hdf5 import NAME as HDF5_NAME
from paramctl.store.hdf5.element import ArrayEntry
from paramctl.store.hdf5.listing import Listing, ParameterCollector, link_ties, model_name
from paramctl.store.io.rebuild_hint import misfit
from paramctl.store.io.shard_index import INCOMPLETE
from paramctl.store.keras import SHARDS_NAME, WEIGHTS_NAME
from paramctl.store.keras.config_names import ConfigNames, Order, Shapes, names_in_config, number_custom_layers
from paramctl.store.keras.layer_cache import LayerCache
from paramctl.store.keras.legacy_config import completed, legacy_order
from paramctl.store.keras.legacy_names import keras2_variables, weights_root
from paramctl.store.keras.names import (
    NUMBERED_VARIABLE,
    GroupAttributes,
    KerasVariable,
    copied_kernels,
    is_optimizer,
    keras3_variables,
    own_names,
    variable_group,
)
from paramctl.store.keras.recorded_names import with_names
from paramctl.store.keras.skeleton import skeleton_model
from paramctl.store.keras.training import Training
from paramctl.store.keras.untranslated import untranslated_settings
from paramctl.store.keras.variables import variable_attributes
from paramctl.store.location import Location

Variables = Mapping[str, KerasVariable]
"""The parameters of a file by their stored paths."""


def read_keras3(file: Location, listing: Listing, config: tuple[str, Any] | None = None) -> Checkpoint:
    """Return the contents of a file with the layout of Keras 3.

    config: the text of the configuration in the same archive, and its parsed content.
    """
    return _keras3(file, [listing], listing.groups, config)


def read_keras2(file: Location, listing: Listing, config: Any = None) -> Checkpoint:
    """Return the contents of a file with the layout of Keras 2.

    config: the configuration in it, parsed, if it has one.
    """
    groups = listing.groups
    root = weights_root(groups)
    config = completed(config, groups[root.rstrip("/")]["layer_names"]) if config is not None else None
    version = next((groups[path]["keras_version"] for path in ("", "model_weights") if _has_version(groups, path)), "")
    keras2 = not version.startswith("3")
    training = Training(config, inherited=keras2)
    variables = keras2_variables(listing.arrays, groups, config)
    order = partial(legacy_order, config, training=training)
    checkpoint, _ = _checkpoint(file, [listing], variables, groups, config, training, order)
    lost = (*checkpoint.origin.other_content, *untranslated_settings(config, keras2))
    return replace(checkpoint, origin=replace(checkpoint.origin, other_content=lost))


def _has_version(groups: GroupAttributes, path: str) -> bool:
    return "keras_version" in groups.get(path, {})


def read_index(index: Location, listings: Mapping[str, Listing], weight_map: Mapping[str, Any]) -> Checkpoint:
    """Return the contents of sharded Keras 3 weights: from each shard only the groups that the index assigns to it.

    listings: of the shards, by file name.
    weight_map: by group, such as ``/layers/dense/vars``, the name of its file or a list of names.
    Raises InputError if a shard lacks a group, or two shards hold one array.
    """
    assigned: dict[str, set[str]] = {}  # the groups of each file
    for group, files in weight_map.items():
        if not group.startswith("/") or not group.endswith("/vars"):
            raise InputError(f"{index.name}: a key must be a group such as '/layers/dense/vars' (got {group!r})")
        for name in [files] if isinstance(files, str) else files:
            assigned.setdefault(name, set()).add(group[1:])
    groups: dict[str, dict[str, Any]] = {}
    shards = []
    ignored: list[str] = []
    for name, listing in listings.items():
        arrays = [array for array in listing.arrays if _group(array) in assigned[name]]
        missing = assigned[name].difference(map(_group, arrays))
        if missing:
            raise misfit(index, f"{name} does not have '/{min(missing)}', which the index assigns to it", INCOMPLETE)
        unassigned = {_group(array) for array in listing.arrays if _group(array)}.difference(*assigned.values())
        if unassigned:
            raise misfit(index, f"{name} has '/{min(unassigned)}', which the index assigns to no file")
        # Keras reads a group only from the files that the index names for it
        ignored += sorted(
            f"{array['path']} of {name}" for array in listing.arrays if _group(array) not in assigned[name]
        )
        shards.append(replace(listing, arrays=arrays, skipped={}))
        for group, attributes in listing.groups.items():
            # Keras may write an object's name into an empty group of one shard and its values into the next shard.
            # The attributes beside the values take precedence.
            others = groups.get(group, {})
            groups[group] = {**others, **attributes} if group in assigned[name] else {**attributes, **others}
    checkpoint = _keras3(index, shards, groups)
    other_content = (*checkpoint.origin.other_content, *ignored)
    return replace(checkpoint, origin=replace(checkpoint.origin, format=SHARDS_NAME, other_content=other_content))


def _group(array: ArrayEntry) -> str:
    return variable_group(array["path"])


def _keras3(
    file: Location, listings: Sequence[Listing], groups: GroupAttributes, config: tuple[str, Any] | None = None
) -> Checkpoint:
    """Return the contents of one file, or of the shards of an index, with the layout of Keras 3."""
    arrays = [array for listing in listings for array in listing.arrays]
    _check_unique((array["path"] for array in arrays), f"{file.name}: two shards hold the array")
    text, parsed = config or (None, None)
    groups = with_names(groups, parsed)
    variables: Variables = keras3_variables(arrays, groups)
    if parsed is not None:
        variables = number_custom_layers(parsed, variables)
    checkpoint, paths = _checkpoint(file, listings, variables, groups, parsed, Training(parsed))
    layout = KerasLayout({path: stored for stored, path in paths.items()}, own_names(groups), text)
    optimizer = checkpoint.origin.optimizer
    origin = replace(
        checkpoint.origin,
        format=WEIGHTS_NAME,
        keras=layout,
        optimizer=replace(optimizer, layout=layout) if optimizer is not None else None,
    )
    return replace(checkpoint, origin=origin)


def _checkpoint(
    file: Location,
    listings: Sequence[Listing],
    variables: Variables,
    groups: GroupAttributes,
    config: Any,
    training: Training,
    order: Order | None = None,
) -> tuple[Checkpoint, dict[str, str]]:
    """Return the contents of a file or a set of shards, and the path of each parameter by its stored path.

    variables: the parameters. All other arrays belong to optimizers or metrics.
    config: the configuration, parsed, or None. Its names replace those of the variables if it has the same arrays.
    training: its settings. order: of the variables in the file; see names_in_config.
    """
    # 1. Names: Keras' from the file, then the configuration's.
    shapes = _shapes(listings, variables)
    cache = LayerCache()
    names = names_in_config(config, variables, shapes, model_name(file), cache, order)
    paths = {stored: names.paths.get(variable.path, variable.path) for stored, variable in variables.items()}
    _check_unique(paths.values(), f"{file.name}: two arrays would both be called")

    # 2. Arrays: each file's by those names, then all in Keras' order.
    parts = [_stored_arrays(listing, variables, paths) for listing in listings]
    unordered = {path: parameter for part in parts for path, parameter in part.parameters.items()}
    parameters = training.in_order({path: training.described(unordered[path]) for path in paths.values()})
    links = [tie for listing in listings for tie in link_ties(listing.links, paths)]
    tied = {tie.tied for tie in links}
    copies = [Tie(paths[inner], paths[outer]) for outer, inner in copied_kernels(variables).items()]
    ties = (*links, *(tie for tie in copies if tied.isdisjoint((tie.kept, tie.tied))))

    # 3. The tree, and everything else that the files hold.
    optimizer = _optimizer_state(listings, variables, groups)
    model, document, missing = _model(config, names, parameters, ties, model_name(file), cache)
    origin = Origin(
        location=file,
        format=HDF5_NAME,
        provenance={path: value for part in parts for path, value in part.notes.items()},
        document=document,
        optimizer=optimizer,
        extents=parts[0].extents if listings[0].file is file else {},  # a set is not changed in place
        skipped={path: kind for listing in listings for path, kind in listing.skipped.items()},
        other_content=tuple(words for listing in listings for words in listing.user_block),
        missing={**missing, **_gaps(optimizer)},
    )
    aliases = {path: stored for part in parts for path, stored in part.stored.items()}
    return Checkpoint(replace(model, aliases=aliases), _reader(parts), origin), paths


def _shapes(listings: Sequence[Listing], variables: Variables) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the parameters by their paths in Keras."""
    arrays = {array["path"]: array for listing in listings for array in listing.arrays}
    return {variable.path: tuple(arrays[stored]["shape"]) for stored, variable in variables.items()}


def _stored_arrays(listing: Listing, variables: Variables, paths: Mapping[str, str]) -> ParameterCollector:
    """Return the parameters that one file holds.

    paths: their final paths, by stored path.
    """
    part = ParameterCollector(listing)
    for array in listing.arrays:
        stored = array["path"]
        if stored not in variables:
            continue
        attributes: Mapping[str, Any] = variables[stored].attributes
        old, new = (path.rpartition("/")[2] for path in (variables[stored].path, paths[stored]))
        if old != new:  # the configuration supplied the name, and so what it implies
            attributes = variable_attributes(new, array["dtype"])
        part.add(array, paths[stored], attributes)
    return part


def _model(
    config: Any,
    names: ConfigNames,
    parameters: Mapping[str, Parameter],
    ties: tuple[Tie, ...],
    name: str,
    cache: LayerCache,
) -> tuple[Model, Document | None, Shapes]:
    """Return the tree of the document, else of the configuration's list of layers, else of the parameters' paths.

    Returns the document too, if the arrays do not fit it; and the parameters that the file lacks.
    """
    if config is not None and names.document is None:
        skeleton = skeleton_model(config, parameters, name, cache)
        if skeleton is not None:
            return replace(skeleton.model, ties=ties), None, names.missing or skeleton.missing
    return (*build_model(name, parameters, ties, names.document), names.missing)


def _reader(parts: Sequence[ParameterCollector]) -> Reader:
    if len(parts) == 1:
        return parts[0].reader
    readers: dict[str, Reader] = {}
    for part in parts:
        readers |= dict.fromkeys(part.parameters, part.reader)
    return JoinedReader(readers)


def _optimizer_state(
    listings: Sequence[Listing], variables: Collection[str], groups: GroupAttributes
) -> OptimizerState | None:
    """Return the arrays that are not parameters, by their stored paths; None without any."""
    arrays: dict[str, Parameter] = {}
    readers: dict[str, Reader] = {}
    for listing in listings:
        part = ParameterCollector(listing)
        for array in listing.arrays:
            if array["path"] not in variables:
                part.add(array, array["path"], {})
        arrays |= part.parameters
        readers |= dict.fromkeys(part.parameters, part.reader)
    return OptimizerState(arrays, JoinedReader(readers), own_names(groups, optimizer=True)) if arrays else None


def _gaps(optimizer: OptimizerState | None) -> dict[str, None]:
    """Return the stored paths that are missing among an optimizer's numbered variables, which have no gaps in Keras."""
    numbers: dict[str, set[int]] = {}
    for path in optimizer.arrays if optimizer is not None else ():
        group, _, number = path.rpartition("/")
        if NUMBERED_VARIABLE.fullmatch(path) and is_optimizer(group):
            numbers.setdefault(group, set()).add(int(number))
    return {
        f"{group}/{number}": None
        for group, present in numbers.items()
        for number in range(min(max(present), 2 * len(present)))  # a hostile number may be huge
        if number not in present
    }


def _check_unique(names: Iterable[str], problem: str) -> None:
    """Raise InputError with the problem and the first name that occurs twice."""
    repeated = next((name for name, count in Counter(names).items() if count > 1), None)
    if repeated is not None:
        raise InputError(f"{problem} {repeated!r}")
