"""A new index for the files of a set, from their headers: where the index is, and which files belong to it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from paramctl.errors import InputError
from paramctl.store.io.atomic import write_text
from paramctl.store.io.index_files import INDEX_SUFFIXES, files_in_indexes
from paramctl.store.io.locks import exclusive, locked
from paramctl.store.urls import check_local_folder


class NewIndex(NamedTuple):
    """The text of an index that is not written yet. path: its file. weight_map: as in the text.

    gone: the names that the old index has and the new one lacks, because no file holds them.
    """

    path: str
    text: str
    weight_map: Mapping[str, Any]
    gone: Sequence[str] = ()

    def write(self) -> None:
        """Write the index, atomically. Raises OutputError."""
        with exclusive(self.path), locked(os.path.dirname(self.path) or "."):
            write_text(self.path, self.text, force=True)


class SetFiles(NamedTuple):
    """The index of a set, which may not exist or may be wrong, and the names of the set's files in its folder."""

    index_path: str
    files: list[str]

    @property
    def folder(self) -> str:
        return os.path.dirname(self.index_path) or "."


def find_set(path: str, index_suffix: str, file: re.Pattern[str]) -> SetFiles | None:
    """Return the files of a set, None for a folder without files of this kind.

    Args:
        path: a folder, or an index.
        index_suffix: of the index.
        file: a pattern for the names of files. Its group "stem" is the index's name without the suffix.

    Raises InputError for a folder with several indexes, and for a path that cannot be listed.
    """
    check_local_folder(path)
    folder = path if os.path.isdir(path) else os.path.dirname(path) or "."
    try:
        present = sorted(os.listdir(folder))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    indexes = [name for name in present if name.endswith(index_suffix)]
    if not os.path.isdir(path):
        if not path.endswith(INDEX_SUFFIXES):
            raise InputError(f"{path}: must be a folder or an index (--rebuild-index lists the files of a folder)")
        indexes = [os.path.basename(path)] if path.endswith(index_suffix) else []
    if len(indexes) > 1:
        raise InputError(f"{path}: has several indexes, {', '.join(indexes)}. Name one of them instead of the folder")
    matches = [match for name in present if (match := file.fullmatch(name))]
    if not matches:
        return None
    index = indexes[0] if indexes else f"{matches[0]['stem'] or 'model'}{index_suffix}"
    try:
        others = files_in_indexes(folder, except_for=index)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: another index cannot be read, and may name any file ({error})") from error
    return SetFiles(os.path.join(folder, index), [match[0] for match in matches if match[0] not in others])


def refuse_duplicate(folder: str, name: str, first: str, second: str) -> InputError:
    """Return the error for an array that two files of a folder have."""
    return InputError(f"{folder}: {name!r} is in {first} and in {second}. Move one of the files to another folder")
