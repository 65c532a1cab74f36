"""Orbax, the checkpoints of JAX: a folder with a tree of names, and an array for each in TensorStore's formats.

https://orbax.readthedocs.io/en/latest/guides/checkpoint/checkpoint_format.html
"""

import re

NAME = "Orbax"
TREE = "_METADATA"
"""The file with the names."""
MANIFEST = "manifest.ocdbt"
"""A file of the database that holds all arrays, unless each has a folder of its own."""
MANIFEST_START = b"\x0c\xdb\x3a\x2a"
AGGREGATE = "checkpoint"
"""The file with the names in older versions."""
PLACEHOLDER = "PLACEHOLDER://"
PLACEHOLDER_WITHIN = 1 << 16
"""The bytes in which the first array of such a file is named."""
STEP = "_CHECKPOINT_METADATA"
"""A file in the folder of the items that were saved together."""
NUMBERED = re.compile(r"(?P<prefix>([^.]*_)?)(?P<step>[0-9]{1,18})")
"""The folder of a step: 500, or step_500 where the checkpoint manager has a prefix."""
MAIN_ITEMS = ("default", "state")
"""The items of a step that are opened, whatever other items it has."""
OTHERS = frozenset({STEP, "commit_success.txt", "metrics", "descriptor"})
"""Names beside the items of a step."""
