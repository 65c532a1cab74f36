"""The tree of an Orbax checkpoint: the names of its values and their kinds, parsed within limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from paramctl.store.io.json_limits import parse_json
from paramctl.store.location import Location

MAX_BYTES = 64 << 20
MAX_TOKENS = 3_000_000
"""About 100,000 values."""
MAX_NAME = 4_096
EMPTY_KINDS = frozenset({"None", "Dict", "List", "Tuple", "NamedTuple"})
"""Kinds of places in the tree that hold no value."""
STRING, SCALAR = "string", "scalar"


class Leaf(NamedTuple):
    """A value of the tree.

    keys: from the root to it. kind: of the value, such as ``jax.Array`` or ``scalar``.
    stored_name: the name of its array in the database, or of its folder.
    """

    keys: tuple[str, ...]
    kind: str
    stored_name: str

    @property
    def path(self) -> str:
        return "/".join(self.keys)


class Tree(NamedTuple):
    """The contents of the file of names.

    zarr3: True if the arrays have version 3 of the zarr format. is_complete: True if all values are stored; otherwise
    those that equal a fill value may be missing. metadata: what the user has added.
    """

    leaves: tuple[Leaf, ...]
    zarr3: bool
    is_complete: bool
    metadata: Mapping[str, Any]


def parse_tree(location: Location) -> Tree:
    """Parse the file of names. Raises ValueError."""
    data = location.read(0, MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"may have at most {MAX_BYTES:,} bytes")
    tree = parse_json(data.decode(), MAX_TOKENS)
    entries = tree.get("tree_metadata") if isinstance(tree, dict) else None
    if not isinstance(entries, dict):
        raise ValueError("tree_metadata must be an object")
    leaves = [leaf for name, entry in entries.items() if (leaf := _leaf(name, entry)) is not None]
    # ("a", "b.c") and ("a.b", "c") would share an array
    for attribute in ("path", "stored_name"):
        names = [getattr(leaf, attribute) for leaf in leaves]
        if len(set(names)) < len(names):
            raise ValueError(f"has two values with the name {next(name for name in names if names.count(name) > 1)!r}")
    custom = tree.get("custom_metadata")
    return Tree(
        tuple(leaves),
        tree.get("use_zarr3") is True,
        tree.get("store_array_data_equal_to_fill_value") is True,
        custom if isinstance(custom, dict) else {},
    )


def _leaf(name: str, entry: Any) -> Leaf | None:
    """Return the value of an entry, or None for a place without one."""
    try:
        kind = entry["value_metadata"]["value_type"]
        keys = tuple(str(key["key"]) for key in entry["key_metadata"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"the entry {name[:60]!r} must have key_metadata and value_metadata") from error
    if kind in EMPTY_KINDS:
        return None
    leaf = Leaf(keys, str(kind), ".".join(keys))
    check_name(leaf)
    return leaf


def check_name(leaf: Leaf) -> None:
    """Raise ValueError for a name that leads out of the folder, or that no file can have."""
    if any(part in ("", ".", "..") or "\0" in part for part in (*leaf.keys, *leaf.stored_name.split("/"))):
        raise ValueError(f"{leaf.path[:60]!r} cannot be the name of an array")
    if len(leaf.path) > MAX_NAME:
        raise ValueError(f"a name may have at most {MAX_NAME:,} characters")
