"""Keras' files, read: one, or the shards of an index. What an optimizer or a metric keeps stands apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from paramctl.core.parameter import Parameter
from paramctl.errors import InputError
from paramctl.model import KerasLayout, Model
from paramctl.store.checkpoint import Checkpoint, JoinedReader, OptimizerState, Provenance, Reader, model_of
from paramctl.store.hdf5.listing import ArrayEntry, Listing, ParameterCollector, link_ties, model_name
from paramctl.store.keras import names as keras
from paramctl.store.keras.layer_cache import LayerCache
from paramctl.store.keras.names import Named
from paramctl.store.keras.skeleton import sketch
from paramctl.store.keras.variables import says
from paramctl.store.location import Location


def read_keras3(file: Location, listing: Listing, config: tuple[str, Any] | None = None) -> Checkpoint:
    """What a file with the layout of Keras 3 holds. config: the text of Keras' own, and what it says."""
    return _keras3(file, [listing], listing.groups, config)


def read_keras2(file: Location, listing: Listing, config: Any = None) -> Checkpoint:
    """What a file with the layout of Keras 2 holds. config: what Keras' configuration says, if there is one."""
    names = keras.names2(listing.arrays, listing.groups, config)
    return _checkpoint(file, [listing], names, listing.groups, config)[0]


def read_index(index: Location, listings: Mapping[str, Listing], weight_map: Mapping[str, Any]) -> Checkpoint:
    """What the shards of Keras 3 weights hold: of each only the groups that the index says are in it.

    listings: by the names of the files. Raises InputError if they do not have what the index says, or have it twice.
    """
    wanted: dict[str, set[str]] = {}
    for key, files in weight_map.items():
        if not key.startswith("/") or not key.endswith("/vars"):
            raise InputError(f"{index.name}: an index of Keras names groups, as /layers/dense/vars (got {key!r})")
        for name in [files] if isinstance(files, str) else files:
            wanted.setdefault(name, set()).add(key[1:])
    told: dict[str, dict[str, Any]] = {}  # an object may tell its name in another file than the one with its values
    parts = []
    for name, listing in listings.items():
        arrays = [each for each in listing.arrays if _group(each) in wanted[name]]
        missing = wanted[name].difference(map(_group, arrays))
        if missing:
            raise InputError(f"{index.name}: '/{min(missing)}' must lie in {name}, which does not have it")
        parts.append(replace(listing, arrays=arrays, skipped={}))
        for path, said in listing.groups.items():
            told[path] = {**told.get(path, {}), **said} if path in wanted[name] else {**said, **told.get(path, {})}
    return _keras3(index, parts, told)


def _group(each: ArrayEntry) -> str:
    return str(each["path"]).rpartition("/")[0]


def _keras3(
    file: Location,
    listings: Sequence[Listing],
    told: Mapping[str, Mapping[str, Any]],
    config: tuple[str, Any] | None = None,
) -> Checkpoint:
    arrays = [each for listing in listings for each in listing.arrays]
    _check_single([each["path"] for each in arrays], f"{file.name}: two of its files have the array")
    text, known = config or (None, None)
    names: Mapping[str, Named] = keras.names3(arrays, told)
    if known is not None:
        names = keras.without_own_classes(known, names)
    made, shown = _checkpoint(file, listings, names, told, known)
    layout = KerasLayout({name: path for path, name in shown.items()}, keras.told_names(told), text)
    return replace(made, model=replace(made.model, keras=layout))


def _checkpoint(
    file: Location,
    listings: Sequence[Listing],
    names: Mapping[str, Named],
    told: Mapping[str, Mapping[str, Any]],
    config: Any,
) -> tuple[Checkpoint, dict[str, str]]:
    """Layers' arrays under Keras' names, or their document's; and what each is called here, by its path in its file."""
    there = {each["path"]: each for listing in listings for each in listing.arrays}
    document = keras.document_of(config) if config is not None else None
    shapes = {named.path: tuple(there[path]["shape"]) for path, named in names.items()}
    renamed = keras.by_document(document, shapes, model_name(file)) if document is not None else {}
    known = LayerCache()
    if config is not None and not renamed:
        renamed, document = keras.by_class(config, shapes, known), None
    shown = {path: renamed.get(named.path, named.path) for path, named in names.items()}
    _check_single(list(shown.values()), f"{file.name}: two arrays in it would be called")
    parts = []
    for listing in listings:
        parts.append(ParameterCollector(listing))
        for each in listing.arrays:
            if (path := each["path"]) in names:
                parts[-1].add(each, shown[path], _says(names[path], shown[path], each))
    found = {path: parameter for part in parts for path, parameter in part.parameters.items()}
    parameters = {path: found[path] for path in shown.values()}
    ties = tuple(tie for listing in listings for tie in link_ties(listing.links, shown))
    model: Model | None = None
    if config is not None and document is None:
        model = sketch(config, parameters, model_name(file), known)
    model = replace(model, ties=ties) if model else model_of(model_name(file), parameters, ties, document)
    return _joined(file, listings, parts, model, _apart(listings, names, told)), shown


def _says(named: Named, shown: str, each: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is said of an array; of one that had only a number, by the name that its document or class gives it."""
    name = shown.rpartition("/")[2]
    numbered = named.path.rpartition("/")[2].isdecimal() and not name.isdecimal()
    return says(name, each["dtype"]) if numbered else named.says


def _joined(
    file: Location,
    listings: Sequence[Listing],
    parts: Sequence[ParameterCollector],
    model: Model,
    apart: OptimizerState | None,
) -> Checkpoint:
    stored = {path: of for part in parts for path, of in part.stored.items()}
    notes: dict[str, Provenance] = {path: note for part in parts for path, note in part.notes.items()}
    skipped = tuple(each for listing in listings for each in listing.skipped_words())
    if listings[0].file is file:
        reader, extents = parts[0].reader, parts[0].extents
    else:
        reader, extents = (
            JoinedReader({path: of for part in parts for of in [part.reader] for path in part.parameters}),
            {},
        )
    return Checkpoint(replace(model, stored=stored), reader, file, notes, skipped, extents, apart)


def _apart(
    listings: Sequence[Listing], names: Collection[str], told: Mapping[str, Mapping[str, Any]]
) -> OptimizerState | None:
    """The arrays that have no names as parameters."""
    arrays: dict[str, Parameter] = {}
    readers: dict[str, Reader] = {}
    for listing in listings:
        found = ParameterCollector(listing)
        for each in listing.arrays:
            if each["path"] not in names:
                found.add(each, each["path"], {})
        arrays |= found.parameters
        readers |= dict.fromkeys(found.parameters, found.reader)
    return OptimizerState(arrays, JoinedReader(readers), keras.told_names(told, apart=True)) if arrays else None


def _check_single(names: Sequence[str], trouble: str) -> None:
    doubled = next((name for name, count in Counter(names).items() if count > 1), None)
    if doubled is not None:
        raise InputError(f"{trouble} {doubled!r}")
