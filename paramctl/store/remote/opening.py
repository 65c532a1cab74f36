"""From a URL to a location."""

from __future__ import annotations

from paramctl.store.location import Location
from paramctl.store.remote.file import RemoteFile
from paramctl.store.remote.http_ranges import HttpRanges


def open_url(url: str) -> Location:
    """Open a file by its URL, or a repository or folder by the file that opens it. Raises InputError."""
    scheme = url.partition("://")[0].lower()
    if scheme in ("http", "https"):
        return RemoteFile(HttpRanges(url))
    if scheme == "hf":
        from paramctl.store.remote import hub

        return hub.open_url(url)
    from paramctl.store.remote import fsspec_files  # requires an extra

    return fsspec_files.open_url(url)
