"""Files behind any other URL, by fsspec: s3://, gs:// and many more. An extra: ``pip install 'paramctl[remote]'``.

fsspec's open() reads megabytes to return a few bytes, so only ``cat_file`` with a start and an end is used.
https://filesystem-spec.readthedocs.io
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from paramctl.errors import InputError, without_credentials
from paramctl.store.folder import beside_in, choose
from paramctl.store.location import Location, MissingFile
from paramctl.store.remote.file import RemoteFile

VERSION = ("VersionId", "ETag", "etag", "generation", "md5Hash", "LastModified", "last_modified", "mtime", "updated")
"""The names by which file systems give the version of a file."""
T = TypeVar("T")


def open_url(url: str) -> Location:
    """Open a file, or the file that opens a folder. Raises InputError."""
    name = without_credentials(url)
    scheme = url.partition("://")[0]
    try:
        import fsspec
    except ImportError as error:
        raise InputError(f"{name}: {scheme}:// requires fsspec: pip install 'paramctl[remote]'") from error
    system, path = _ask(name, lambda: fsspec.core.url_to_fs(url))
    file = FsspecFile(system, path, name, url)
    if file.facts.get("type") != "directory":
        return RemoteFile(file)
    listed = _ask(name, lambda: system.ls(path, detail=False))
    present = sorted(each.rstrip("/").rpartition("/")[2] for each in listed)
    chosen = choose(name, present)
    folder = FsspecFile(system, f"{path.rstrip('/')}/", f"{name.rstrip('/')}/", f"{url.rstrip('/')}/", file.facts)
    return RemoteFile(folder.sibling(chosen), beside_in(chosen, present))


class FsspecFile:
    """A file of a file system.

    Args:
        system: the file system.
        path: the file's path in it.
        name: for errors.
        url: the file's URL.
        facts: what ``info`` has returned; None to ask.
    """

    def __init__(self, system: Any, path: str, name: str, url: str, facts: Mapping[str, Any] | None = None) -> None:
        self.system, self.path, self.name, self.url = system, path, name, url
        self.facts = self._info() if facts is None else facts
        size = self.facts.get("size")
        if not isinstance(size, int) and self.facts.get("type") != "directory":
            raise InputError(f"{name}: the file system does not give the size of the file. Download it")
        self.size: int | None = size
        self.reads = 0

    def _info(self) -> Mapping[str, Any]:
        self.system.invalidate_cache(self.path.rpartition("/")[0])
        facts: Mapping[str, Any] = _ask(self.name, lambda: self.system.info(self.path))
        return facts

    def fetch(self, start: int, stop: int) -> bytes:
        """Return bytes, and check that the file has not changed: a version cannot be asked for in every system."""
        assert self.size is not None
        stop = min(stop, self.size)
        if start >= stop:
            return b""
        data: bytes = _ask(self.name, lambda: self.system.cat_file(self.path, start=start, end=stop))
        self.reads += 1  # the first read follows the question for the facts at once
        if self.reads > 1 and self._changed(self._info()):
            raise InputError(f"{self.name}: changed while it was being read. Run the command again")
        if len(data) != stop - start:
            raise InputError(f"{self.name}: the file system returns {len(data):,} of {stop - start:,} bytes")
        return data

    def _changed(self, facts: Mapping[str, Any]) -> bool:
        return facts.get("size") != self.size or _version(facts) != self.version()

    def address(self) -> str | None:
        return self.url if without_credentials(self.url) == self.url else None

    def version(self) -> list[Any]:
        return _version(self.facts)

    def sibling(self, name: str) -> FsspecFile:
        path, shown, url = (f"{text.rpartition('/')[0]}/{name}" for text in (self.path, self.name, self.url))
        return FsspecFile(self.system, path, shown, url)


def _version(facts: Mapping[str, Any]) -> list[str]:
    return [str(facts[key]) for key in VERSION if facts.get(key) is not None]


def _ask(name: str, question: Callable[[], T]) -> T:
    """Return the answer of a file system. Raises InputError for every error that one raises."""
    try:
        return question()
    except FileNotFoundError as error:
        raise MissingFile(f"{name}: no such file") from error
    except Exception as error:  # each file system has its own
        text = " ".join(str(error).split())[:300] or type(error).__name__
        hint = ". Install it, or: pip install 'paramctl[remote]'" if isinstance(error, ImportError) else ""
        raise InputError(f"{name}: {without_credentials(text)}{hint}") from error
