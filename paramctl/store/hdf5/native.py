"""The native layout's own names, and the limits on paths, for the parser and for the writer.


The parent process and the worker share them, so this module imports nothing.
"""

from __future__ import annotations

METADATA_GROUP = "__paramctl__"
MAX_OBJECTS = 300_000
"""Objects in a file, counted once for each path."""
MAX_DEPTH = 64
"""Parts of a path: groups, and the array."""
MAX_PATH = 4_096
"""Characters of a path."""
TEXTS = ("document", "model", "ties", "keras")
"""Scalar text datasets in the metadata group. All but the document hold JSON."""
NUMBERS = ("version", "recipe")
"""Integer attributes of the metadata group: the version of this layout, and of the recipe that drew the values."""
ATTRIBUTES: dict[str, type] = {"axes": str, "kind": str, "scheme": str, "seed": int, "exactly": str, "trainable": bool}
"""The attributes of a parameter's dataset, and the type of each."""
PROVENANCE = ("scheme", "seed", "exactly")
"""The ATTRIBUTES that record the origin of the values."""
