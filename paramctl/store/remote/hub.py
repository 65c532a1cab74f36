"""The hub of Hugging Face: ``hf://ORG/MODEL[@REVISION][/PATH]``, and its cache on this machine.

HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_CACHE and HF_HUB_OFFLINE mean what they mean to the hub's own library. All files
are of the commit that the first answer names.
https://huggingface.co/docs/hub/api
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from functools import partial
from http.client import HTTPMessage
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from paramctl.errors import InputError
from paramctl.store.folder import beside_in, choose, resolve_folder
from paramctl.store.io.json_limits import parse_json
from paramctl.store.location import Location, MissingFile, open_location
from paramctl.store.remote.credentials import hub_home, is_on, of_hub
from paramctl.store.remote.file import RemoteFile
from paramctl.store.remote.http import Connections, origin_of, split
from paramctl.store.remote.http_ranges import REASONS, Access, HttpRanges

ADDRESS = re.compile(
    r"hf://(?:(?P<kind>datasets|spaces)/)?(?P<repository>[^/@]+(?:/[^/@]+)?)"
    r"(?:@(?P<revision>refs/(?:convert/[^/]+|pr/[0-9]+)|[^/]+))?(?:/(?P<path>.*))?",
    re.IGNORECASE,
)
COMMIT = re.compile(r"[0-9a-f]{40}")
PREFERRED = ("model.safetensors.index.json", "model.safetensors")
MAX_ANSWER, MAX_TOKENS = 1 << 26, 1 << 22
"""Bytes of the API's answer about a repository, which has an entry for each file; and its names, values and commas."""
LOGIN = "Set HF_TOKEN, or log in with: hf auth login"
HUB_REASONS = REASONS | {
    401: f"requires a login, or does not exist (401). {LOGIN}",
    403: "access is restricted (403). Ask for it on the page of the repository, and log in with: hf auth login",
    404: "no such file, revision or repository (404)",
}


class Address(NamedTuple):
    """The parts of an address. kind: models, datasets or spaces. path: "" for the whole repository."""

    kind: str
    repository: str
    revision: str
    path: str

    @property
    def repository_url(self) -> str:
        """The repository in URLs of files, relative to the endpoint."""
        prefix = "" if self.kind == "models" else f"{self.kind}/"
        return f"{prefix}{quote(self.repository)}"

    @property
    def is_file(self) -> bool:
        """True for the path of a file, which has a suffix."""
        return bool(self.path) and not self.path.endswith("/") and "." in self.path.rpartition("/")[2]

    def __str__(self) -> str:
        kind = "" if self.kind == "models" else f"{self.kind}/"
        revision = "" if self.revision == "main" else f"@{self.revision}"
        return f"hf://{kind}{self.repository}{revision}" + (f"/{self.path}" if self.path else "")


def parse_address(url: str) -> Address:
    """Parse an address. Raises InputError."""
    match = ADDRESS.fullmatch(url)
    if match is None or ".." in url.split("/"):
        raise InputError(f"{url}: must be written hf://ORG/MODEL, or hf://ORG/MODEL@REVISION/FILE")
    kind, revision = match["kind"] or "models", unquote(match["revision"] or "main")
    return Address(kind.lower(), match["repository"], revision, match["path"] or "")


def open_url(url: str) -> Location:
    """Open a file of a repository, or the file that opens the repository or a folder in it. Raises InputError."""
    address = parse_address(url)
    is_offline = is_on(os.environ, "HF_HUB_OFFLINE")
    if is_offline or COMMIT.fullmatch(address.revision):  # a commit never changes
        if cached := _cached(address):
            return open_location(cached)
        if is_offline:
            raise InputError(f"{address}: is not in the hub's cache, {_cache()}, and HF_HUB_OFFLINE is set")
    hub = Hub()
    if address.is_file:  # the API is asked only for the names in a folder
        return RemoteFile(HubFile(hub, address))
    return hub.open_folder(address)


def _cache() -> Path:
    """Return the folder of the hub's cache."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(named).expanduser() if named else hub_home() / "hub"


def _cached(address: Address) -> str | None:
    """Return the path of a file in the cache of this machine, or None.

    https://huggingface.co/docs/huggingface_hub/guides/manage-cache
    """
    folder = _cache() / "--".join([address.kind, *address.repository.split("/")])
    commit = address.revision
    if not COMMIT.fullmatch(commit):
        try:
            commit = (folder / "refs" / commit).read_text().strip()
        except (OSError, UnicodeDecodeError):
            return None
    # a file in a snapshot is a link to its content, which other revisions share
    path = folder / "snapshots" / commit / address.path
    if address.is_file or not path.is_dir():
        return str(path) if path.is_file() else None
    preferred = next((name for name in PREFERRED if (path / name).is_file()), None)
    return str(path / preferred) if preferred else resolve_folder(str(path))


class Hub:
    """The server, and the credentials for it alone."""

    def __init__(self) -> None:
        self.endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
        try:
            origin = origin_of(split(self.endpoint))
        except ValueError as error:
            raise InputError(f"HF_ENDPOINT: {error}") from error
        self.access = Access(Connections(), (origin, of_hub()), HUB_REASONS)

    def url(self, address: Address) -> str:
        """Return the URL of a file."""
        revision = quote(address.revision, safe="")
        return f"{self.endpoint}/{address.repository_url}/resolve/{revision}/{quote(address.path)}"

    def open_folder(self, address: Address) -> Location:
        """Open the file that opens a repository, or a folder in it."""
        prefix = f"{address.path.rstrip('/')}/" if address.path else ""
        try:
            answer = self._ask(address)
        except MissingFile:
            if preferred := self._preferred(address, prefix):
                return preferred
            raise
        commit, files = answer.get("sha"), answer.get("siblings")
        entries = files if isinstance(files, list) else []
        names = [entry.get("rfilename") for entry in entries if isinstance(entry, dict)]
        inside = [name[len(prefix) :] for name in names if isinstance(name, str) and name.startswith(prefix)]
        present = sorted({name.partition("/")[0] for name in inside})
        if not present:  # such as a path that has neither a suffix nor files below it
            raise MissingFile(f"{address}: no such folder, or it is empty")
        # a repository may also have other variants, such as model.fp16.safetensors
        name = next((name for name in PREFERRED if name in inside), None) or choose(str(address), present)
        if name not in inside:  # a folder of a format, such as that of the latest step
            return self.open_folder(address._replace(path=f"{prefix}{name}"))
        pinned = commit if isinstance(commit, str) and COMMIT.fullmatch(commit) else ""
        file = HubFile(self, address._replace(path=f"{prefix}{name}"), pinned)
        return RemoteFile(file, beside_in(name, present))

    def _preferred(self, address: Address, prefix: str) -> Location | None:
        """Return the file that opens a folder of a mirror without the API, None if none has a usual name."""
        for name in PREFERRED:
            file = RemoteFile(HubFile(self, address._replace(path=f"{prefix}{name}")))
            with suppress(MissingFile):
                file.size()
                return file
        return None

    def _ask(self, address: Address) -> dict[str, Any]:
        """Return the API's facts about a revision: its commit, and the names of its files."""
        url = f"{self.endpoint}/api/{address.kind}/{quote(address.repository)}"
        file = HttpRanges(f"{url}/revision/{quote(address.revision, safe='')}", self.access, str(address))
        try:
            answer = parse_json(file.fetch_whole(MAX_ANSWER).decode(), MAX_TOKENS)
        except ValueError as error:
            raise InputError(f"{address}: the hub's answer is not JSON ({self.endpoint})") from error
        if not isinstance(answer, dict):
            raise InputError(f"{address}: the hub's answer is not an object of JSON ({self.endpoint})")
        return answer


class HubFile(HttpRanges):
    """A file of a repository. commit: that of the repository, "" until the first answer names it."""

    def __init__(self, hub: Hub, parts: Address, commit: str = "") -> None:
        access = hub.access
        self.hub, self.parts, self.commit = hub, parts, commit
        asked = parts._replace(revision=commit) if commit else parts
        own = Access(access.connections, access.credentials, access.reasons, partial(self._see_commit))
        super().__init__(hub.url(asked), own, str(parts))

    def _see_commit(self, headers: HTTPMessage) -> None:
        named = headers.get("X-Repo-Commit", "")
        if not self.commit and COMMIT.fullmatch(named):
            self.commit = named

    def address(self) -> str | None:
        return str(self.parts._replace(revision=self.commit) if self.commit else self.parts)

    def sibling(self, name: str) -> HubFile:
        return HubFile(self.hub, self.parts._replace(path=f"{_folder(self.parts.path)}{name}"), self.commit)


def _folder(path: str) -> str:
    folder, slash, _ = path.rpartition("/")
    return f"{folder}{slash}"
