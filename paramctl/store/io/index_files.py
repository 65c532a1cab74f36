"""The indexes of sets of files, and the files that they name."""

from __future__ import annotations

import os

from paramctl.store.io.json_limits import parse_json

MAX_INDEX_BYTES = 64_000_000
INDEX_SUFFIXES = (".index.json", ".weights.json")


def is_file_name(name: object) -> bool:
    """Return whether an index may name this file: it is in the same folder, so not ../../secrets.safetensors."""
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\\0")


def files_in_index(path: str) -> set[str]:
    """Return the files that an index names; none if the index does not exist.

    Raises OSError and ValueError if it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            entries = parse_json(file.read(MAX_INDEX_BYTES).decode())["weight_map"].values()
        # Keras lists several files for a group whose variables are in more than one
        lists = (entry if isinstance(entry, list) else [entry] for entry in entries)
        return {name for names in lists for name in names if isinstance(name, str)}
    except FileNotFoundError:
        return set()
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: damaged index") from error


def files_in_indexes(folder: str, except_for: str = "") -> set[str]:
    """Return the files that the indexes in a folder name. except_for: the name of an index to leave out.

    Raises OSError and ValueError if one cannot be read.
    """
    names = [name for name in os.listdir(folder) if name.lower().endswith(INDEX_SUFFIXES) and name != except_for]
    return {file for name in names for file in files_in_index(os.path.join(folder, name))}
