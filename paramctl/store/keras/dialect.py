"""Keras' layouts of HDF5 files, as a dialect, and sets of such files under one index.

A file that carries Keras' marks is checked before it is read, because Keras itself would refuse it or crash on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from paramctl.errors import InputError
from paramctl.store.checkpoint import Checkpoint
from paramctl.store.hdf5.listing import Listing, list_file
from paramctl.store.io.json_limits import parse_json
from paramctl.store.keras.names import NUMBERED_VARIABLE, is_keras2, is_keras3
from paramctl.store.keras.read import read_index, read_keras2, read_keras3
from paramctl.store.location import Location

TEXTS = ("name", "model_config", "keras_version")
LISTS = ("layer_names", "weight_names")


@dataclass(frozen=True)
class KerasDialect:
    """The layouts of Keras 2 and 3.

    config: the text of Keras' configuration, if it is stored outside the HDF5 file, as in a ``.keras``.
    """

    config: str | None = None
    texts: ClassVar[tuple[str, ...]] = TEXTS
    lists: ClassVar[tuple[str, ...]] = LISTS

    def matches(self, listing: Listing) -> bool:
        """Return whether a file has one of the layouts. Raises InputError if it breaks their rules."""
        _check(listing)
        return is_keras2(listing.groups) or is_keras3(listing.arrays, listing.groups)

    def read(self, listing: Listing) -> Checkpoint:
        """Return the checkpoint in a file that matches."""
        if not is_keras2(listing.groups):  # asked first: a layer of Keras 2 may be called "vars"
            config = (self.config, _parse(self.config)) if self.config is not None else None
            return read_keras3(listing.file, listing, config)
        stored = listing.groups.get("", {}).get("model_config")
        return read_keras2(listing.file, listing, _parse(self.config or stored))


def read_together(index: Location, shards: Mapping[str, Location], weight_map: Mapping[str, Any]) -> Checkpoint:
    """Read the shards of Keras 3 weights as one checkpoint.

    Args:
        index: the location of the index, for errors.
        shards: the files by their names in the index.
        weight_map: the index's map of groups to the names of files.
    """
    listings = {name: list_file(shard, texts=TEXTS, lists=LISTS) for name, shard in shards.items()}
    for listing in listings.values():
        if listing.metadata is None:
            _check(listing)
    return read_index(index, listings, weight_map)


def _parse(text: object) -> Any:
    """Return a configuration, None if it is missing or damaged: the arrays can be read without it."""
    try:
        return parse_json(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _check(listing: Listing) -> None:
    """Raise InputError for a file with Keras' marks that holds anything but numeric datasets where variables belong."""
    keras2 = any("layer_names" in listing.groups.get(root, {}) for root in ("", "model_weights"))
    if not keras2 and not any(_last(path) == "vars" for path in listing.groups):
        return
    place = listing.file.name
    for path, kind in listing.skipped.items():
        if kind == "a soft link":  # Keras refuses to follow links, which could lead anywhere
            raise InputError(f"{place}: {path} is a soft link, which Keras does not allow")
    listed = {
        f"{group}/{weight}" if group else f"{weight}"
        for group, attributes in listing.groups.items()
        for weight in attributes.get("weight_names", ())
    }
    arrays = {entry["path"] for entry in listing.arrays}
    for path, kind in (*listing.skipped.items(), *((path, "a group") for path in listing.groups)):
        if path in listed or NUMBERED_VARIABLE.fullmatch(path):
            raise InputError(f"{place}: {path} must be a numeric dataset, as every variable of Keras is (got {kind})")
    for path in (*arrays, *listing.skipped):
        if _last(path) == "vars":
            raise InputError(f"{place}: {path} must be a group, because Keras stores variables in it (got a dataset)")
    for path in sorted(listed - arrays):
        # an optimizer's weights are listed even where Keras did not save them
        if not path.startswith(("optimizer_weights/", "model_weights/optimizer_weights/")):
            raise InputError(f"{place}: {path} is listed in weight_names but missing")


def _last(path: str) -> str:
    return path.rpartition("/")[2]


DIALECT = KerasDialect()
