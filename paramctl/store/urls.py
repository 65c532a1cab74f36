"""Paths that are URLs. A scheme has at least two letters, so that a drive of Windows is none."""

from __future__ import annotations

import re

from paramctl.errors import InputError, OutputError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(::[A-Za-z0-9+.-]+)*://")
"""The beginning of a URL, of fsspec's chains too: ``simplecache::s3://``."""
_FILE = "file://"


def is_url(path: str) -> bool:
    return _URL.match(path) is not None


def is_remote(path: str) -> bool:
    """Return whether a path is the URL of anything but a local file."""
    return is_url(path) and not path.lower().startswith(_FILE)


def local_path(path: str) -> str:
    """Return the path of a ``file://`` URL, and any other path unchanged. Raises InputError for another host's."""
    if not path.lower().startswith(_FILE):
        return path
    from urllib.parse import unquote  # deferred: most paths are no URLs

    host, slash, rest = path[len(_FILE) :].partition("/")
    if host not in ("", "localhost") or not slash:
        raise InputError(f"{path}: must be the URL of a file of this machine, file:///PATH")
    return unquote(f"/{rest}")


def check_local_folder(path: str) -> None:
    """Raise InputError for a URL, where the files of a folder must be listed and an index written."""
    if is_url(path):
        raise InputError(f"{path}: must be a local folder or an index in one, not a URL")


def check_local(path: str) -> None:
    """Raise OutputError for a URL, where a file is to be written."""
    if is_url(path):
        raise OutputError(f"{path}: cannot be written to, for it is a URL. Write a local file, and upload it")
