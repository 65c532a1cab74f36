"""From a path or URL to a location: the one place that decides by the scheme."""

from __future__ import annotations

from paramctl.store.folder import resolve_folder
from paramctl.store.location import Location, open_location
from paramctl.store.urls import is_remote


def open_source(path: str) -> Location:
    """Open a file, a folder, a URL, or standard input for ``-``. Raises InputError if it cannot be opened."""
    if is_remote(path):
        from paramctl.store.remote.opening import open_url  # imports ssl, and only for a URL

        return open_url(path)
    # a pipe is spooled, so detection may read its beginning before a format or the document's parser does
    return open_location(resolve_folder(path) if path != "-" else path)
