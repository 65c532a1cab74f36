"""The native layout's own names: paramctl's metadata group, and the attributes it gives datasets.

The parent process and the worker share them, so this module imports nothing.
"""

from __future__ import annotations

METADATA_GROUP = "__paramctl__"
TEXTS = ("document", "model", "ties", "keras")
"""Scalar text datasets in the metadata group. All but the document hold JSON."""
NUMBERS = ("version", "recipe")
"""Integer attributes of the metadata group: the version of this layout, and of the recipe that drew the values."""
ATTRIBUTES: dict[str, type] = {"axes": str, "kind": str, "scheme": str, "seed": int, "trainable": bool}
"""The attributes of a parameter's dataset, and the type of each."""
PROVENANCE = ("scheme", "seed")
"""The ATTRIBUTES that record the origin of the values."""
