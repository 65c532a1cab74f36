"""Values of an ONNX model in other files of its folder."""

from __future__ import annotations

import os
from collections.abc import Mapping

from paramctl.core.dtypes import Array
from paramctl.errors import InputError
from paramctl.store.location import Location

MAX_FILES = 10_000
MAX_PATH = 4_096
"""Characters of a path. Linux allows no more bytes."""


class MissingValues:
    """A reader of values whose file does not exist: names and shapes can be read without it."""

    def __init__(self, rule: str) -> None:
        self.rule = rule

    def read(self, path: str, start: int, stop: int) -> Array:
        raise InputError(self.rule)


class ExternalFiles:
    """The other files of a model, each opened once."""

    def __init__(self, model: Location) -> None:
        self.model = model
        self.files: dict[str, Location | InputError] = {}

    def open(self, name: str, keys: Mapping[str, str]) -> Location | InputError:
        """Open the file with the values of a tensor, or return why it cannot be opened.

        Raises InputError if it is not in the folder of the model.
        """
        path = keys.get("location", "")
        if path not in self.files:
            if len(self.files) >= MAX_FILES:
                raise InputError(f"{self.model.name}: a model may name at most {MAX_FILES:,} files")
            self._check_inside(name, path)
            # a missing file is no error yet: the shapes are known without it
            try:
                self.files[path] = self.model.sibling(path)
            except InputError as error:
                self.files[path] = InputError(
                    f"{self.model.name}: the file {path!r} has the values of {name} ({error})"
                )
        return self.files[path]

    def _check_inside(self, name: str, path: str) -> None:
        """Raise InputError for a path that leads out of the folder of the model.

        A link may lead to where the model itself is if that is a link too, as in the cache of Hugging Face.
        """
        parts = path.split("/")
        is_inside = 0 < len(path) <= MAX_PATH and not set(path) & set("\\\0") and not {"", ".."} & set(parts)
        if is_inside and "\0" not in self.model.name:
            folder = os.path.dirname(os.path.abspath(self.model.name))
            target = os.path.realpath(os.path.join(folder, path))
            roots = (os.path.realpath(folder), os.path.dirname(os.path.realpath(self.model.name)))
            is_inside = any(os.path.commonpath([root, target]) == root for root in roots)
        if not is_inside:
            rule = f"the values of {name} must be in a file in the folder of the model"
            raise InputError(f"{self.model.name}: {rule} (got {path[:200]!r})")


def range_of(name: str, keys: Mapping[str, str], size: int, file_size: int) -> int:
    """Return the offset of a tensor's values of ``size`` bytes in its file. Raises ValueError if they are not there."""
    offset, length = (_number(name, key, keys) for key in ("offset", "length"))
    begin = offset or 0
    if length not in (None, size):
        raise ValueError(f"{name} must have {size:,} bytes (got {length:,})")
    # without both, the tensor is the whole file
    if length is None and "offset" not in keys and file_size != size:
        raise ValueError(f"{name} must have {size:,} bytes (got {file_size:,} in {keys['location']})")
    if begin + size > file_size:
        raise ValueError(f"{keys['location']} is truncated: {name} ends at {begin + size:,} of {file_size:,} bytes")
    return begin


def _number(name: str, key: str, keys: Mapping[str, str]) -> int | None:
    text = keys.get(key)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise ValueError(f"{name}: {key} must be a number (got {text[:60]!r})")
    return int(text)
