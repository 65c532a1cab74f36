"""The walk over a file's groups and links, within budgets.

The low-level functions of h5py are used, because its high-level ones follow every link and open every object that they
name.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5l, h5o

from paramctl.store.hdf5.budget import Budget
from paramctl.store.hdf5.carry_over import attributes_of
from paramctl.store.hdf5.claims import Claims
from paramctl.store.hdf5.element import OPAQUE, ArrayEntry, is_opaque, named_by
from paramctl.store.hdf5.element_types import ElementTypes, holds_references, named_dtype, plain_value
from paramctl.store.hdf5.native import ATTRIBUTES, MAX_DEPTH, METADATA_GROUP
from paramctl.store.hdf5.refusal import Refused
from paramctl.store.hdf5.storage import check_inside, has_unknown_values, storage_of

DIGITS = "0123456789"


class Walk:
    """A walk over a file, and its results so far.

    Args:
        claims: checks the sizes of datasets.
        types: the element types of the file.
        budget: limits on objects and paths.
        native: True to read the attributes of the native layout.
        texts, lists: the group attributes to read; see list_file.
    """

    def __init__(
        self,
        claims: Claims,
        types: ElementTypes,
        budget: Budget,
        native: bool,
        texts: Sequence[str],
        lists: Sequence[str],
    ) -> None:
        self.claims, self.types, self.budget = claims, types, budget
        self.native, self.texts, self.lists = native, texts, lists
        self.path = ""
        """The current path, for errors of the library."""
        self.arrays: list[ArrayEntry] = []
        self.links: list[tuple[str, str]] = []
        self.skipped: dict[str, str] = {}
        self.lost: list[str] = []
        """The content that carry_over leaves out, in words."""
        self.attributes: list[str] = []
        """The attributes that carry_over copies, in words."""
        self.groups: dict[str, dict[str, Any]] = {}
        self.first: dict[int, tuple[str, int | None]] = {}
        """By the address of its object header, an array's first path and the offset of its values."""

    def visit_root(self, root: Any) -> None:
        self._note_attributes(root, "")
        self.groups[""] = self._group_attributes(root)
        self._visit(root, "", {_address(root)})

    def _visit(self, group: Any, prefix: str, above: set[int]) -> None:
        """Visit the links of a group. above: the addresses of this group and of those that contain it."""
        for name in group:
            path = self.path = self.budget.path_of(name, prefix)
            if path == METADATA_GROUP:
                continue
            link = group.links.get_info(name).type
            if link == h5l.TYPE_SOFT:
                self.skipped[path] = "a soft link"
            elif link == h5l.TYPE_HARD:
                self._visit_object(h5o.open(group, name), path, above)
            else:  # external links, and links that a plugin defines
                raise Refused(f"{path} is a link to another file, which paramctl never follows")

    def _visit_object(self, item: Any, path: str, above: set[int]) -> None:
        if isinstance(item, h5d.DatasetID):
            self._visit_dataset(item, path)
        elif isinstance(item, h5g.GroupID):
            address = _address(item)
            if len(above) >= MAX_DEPTH:
                raise Refused(f"groups are nested deeper than {MAX_DEPTH} levels")
            if address in above:  # each array has a path that does not pass here again
                self._skip(path, "a hard link to a group that contains it")
                return
            self._note_attributes(item, path)
            self.groups[path] = self._group_attributes(item)
            self._visit(item, f"{path}/", above | {address})
        else:
            self._skip(path, "a named datatype")

    def _visit_dataset(self, dataset: Any, path: str) -> None:
        properties = dataset.get_create_plist()
        check_inside(properties, path)  # first, so that no type or shape lets a dataset escape this check
        element, shape = self.types.of(dataset.get_type()), dataset.shape
        dtype = named_by(named_dtype(dataset), element.size) if element.name == OPAQUE else element.name
        if dtype is None or shape is None:
            self.skipped[path] = element.words if shape is not None else "a null dataspace"
            if holds_references(dataset.get_type()):
                self.lost.append(f"{path} ({element.words})")
            return
        if has_unknown_values(dataset, properties, shape):
            self._skip(path, "an array that was never written and has no fill value")
            return
        self._note_attributes(dataset, path)
        if element.name != OPAQUE and is_opaque(named := named_dtype(dataset)):
            raise Refused(f"{path} holds {dtype}, but its attribute dtype says {named}")
        address = _address(dataset)
        if address in self.first:  # the object header is the same, so this is a hard link to the same array
            self.links.append((self.first[address][0], path))
        else:
            self.first[address] = path, self.claims.add(storage_of(dataset, properties), shape, element, path)
        self.arrays.append(
            {
                "path": path,
                "shape": shape,
                "dtype": dtype,
                "order": element.order,
                "offset": self.first[address][1],
                "unwritten": bool(prod(shape)) and not dataset.get_storage_size(),
                "attributes": _native_attributes(dataset) if self.native else {},
            }
        )

    def _skip(self, path: str, kind: str) -> None:
        """Skip an object that cannot be carried over to another file either."""
        self.skipped[path] = kind
        self.lost.append(f"{path} ({kind})")

    def _note_attributes(self, item: Any, path: str) -> None:
        """Note the attributes of an object, except for those that the native layout or a dtype explains."""
        explained = {*ATTRIBUTES, "type", "dtype"} if self.native else {"dtype"}
        for name, is_lost in attributes_of(item):
            subject = f"{name} of {path or '/'}"
            if is_lost and not (self.native and name in explained):
                self.lost.append(f"the attribute {subject}")
            elif name not in explained:
                self.attributes.append(subject)

    def _group_attributes(self, group: Any) -> dict[str, Any]:
        """Return the attributes of a group that the caller asked for.

        A list of more than 64 KB does not fit one attribute, so Keras stores it as NAME0, NAME1, and so on.
        """
        values: dict[str, Any] = {}
        parts: dict[str, list[tuple[int, list[Any]]]] = {}
        attributes = h5py.AttributeManager(h5py.Group(group)) if h5a.get_num_attrs(group) else {}
        for name in attributes:
            base = name.rstrip(DIGITS) if isinstance(name, str) else ""
            if name in self.texts and isinstance(text := plain_value(attributes[name]), str):
                values[name] = text
            elif base in self.lists:
                texts = [plain_value(text) for text in np.atleast_1d(attributes[name])]
                parts.setdefault(base, []).append((int(name[len(base) :] or 0), texts))
        for base, numbered in parts.items():
            numbered.sort(key=lambda part: part[0])
            values[base] = [text for _, texts in numbered for text in texts]
        return values


def _native_attributes(dataset: Any) -> dict[str, Any]:
    """Return the attributes of the native layout that have the right type."""
    attributes = h5py.Dataset(dataset).attrs
    values = ((name, plain_value(attributes.get(name)), type_) for name, type_ in ATTRIBUTES.items())
    return {name: value for name, value, type_ in values if isinstance(value, type_)}


def _address(item: Any) -> int:
    return int(h5o.get_info(item).addr)
