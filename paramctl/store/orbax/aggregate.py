"""The tree of an older Orbax checkpoint: a file of Flax's msgpack, which names the arrays of the folder.

Where an array was, it has the text ``PLACEHOLDER://`` with the name of the array's folder, or of the array in the
database. Small arrays may be in the file itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from paramctl.core.parameter import Parameter
from paramctl.store.contents import Reader
from paramctl.store.flax.read import read as read_msgpack
from paramctl.store.location import Location
from paramctl.store.orbax import PLACEHOLDER, PLACEHOLDER_WITHIN
from paramctl.store.orbax.tree import Leaf, Tree, check_name


@dataclass(frozen=True, slots=True)
class Inline:
    """The contents of the file of the tree itself. state: the optimizer's arrays."""

    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    state: Mapping[str, Parameter] = field(default_factory=dict)
    readers: Mapping[str, Reader] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)


def is_aggregate(location: Location) -> bool:
    """Return whether a file is such a tree, not one of Flax with all arrays in it."""
    start = location.read(0, PLACEHOLDER_WITHIN)
    return start[:1] >= b"\x80" and PLACEHOLDER.encode() in start


def parse_aggregate(location: Location) -> tuple[Tree, Inline]:
    """Return the arrays that the file names, and its contents. Raises InputError or ValueError."""
    checkpoint = read_msgpack(location)
    origin, leaves, metadata = checkpoint.origin, [], {}
    for path, value in origin.metadata.items():
        if isinstance(value, str) and value.startswith(PLACEHOLDER):
            leaves.append(Leaf((path,), "array", value.removeprefix(PLACEHOLDER)))
            check_name(leaves[-1])
        else:
            metadata[path] = value
    state = origin.optimizer.arrays if origin.optimizer else {}
    parameters = checkpoint.model.parameters
    readers = dict.fromkeys((*parameters, *state), checkpoint.reader)
    return Tree(tuple(leaves), False, False, {}), Inline(parameters, state, readers, dict(origin.skipped), metadata)
