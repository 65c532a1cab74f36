"""The hub of Hugging Face on this machine, with its real layout of URLs: an API, files, and another host for large ones.

tests/interop/test_remote.py downloads from it with the hub's own library, which proves the layout.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote

from tests.range_server import FileServer, Handler, Request, serving

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_s3cr3t"  # noqa: S105  of this server alone
LARGE = (".safetensors", ".h5", ".gguf")
"""The suffixes of files that the hub keeps on another host."""


@dataclass
class HubServer:
    """A hub with one repository for each folder ORG/NAME. private: those that require the token."""

    front: FileServer
    storage: FileServer
    private: set[str] = field(default_factory=set)
    revisions: tuple[str, ...] = ("main", COMMIT, "refs/pr/1")

    @property
    def url(self) -> str:
        return self.front.url

    def behave(self, handler: Handler, request: Request) -> bool:
        """Answer a request to the front."""
        parts = [unquote(part) for part in request.path.partition("?")[0].strip("/").split("/")]
        repository = "/".join(parts[2:4]) if parts[0] == "api" else "/".join(parts[:2])
        folder = self.front.folder / repository
        if not folder.is_dir() or (
            repository in self.private and request.headers.get("Authorization") != f"Bearer {TOKEN}"
        ):
            handler.answer(request, 401, b"{}", X_Error_Code="RepoNotFound")
        elif parts[0] == "api":
            is_tree = len(parts) > 4 and parts[4] == "tree"
            self._describe(handler, request, folder, parts[5] if len(parts) > 5 else "main", is_tree)
        else:
            self._send(handler, request, folder, parts[3], "/".join(parts[4:]))
        return True

    def _describe(self, handler: Handler, request: Request, folder: Path, revision: str, tree: bool) -> None:
        if revision not in self.revisions:
            handler.answer(request, 404, b"{}", X_Error_Code="RevisionNotFound")
            return
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        if tree:
            handler.answer(request, 200, json.dumps([_entry(path, folder) for path in paths]).encode())
            return
        names = [str(path.relative_to(folder)) for path in paths]
        facts = {"id": f"{folder.parent.name}/{folder.name}", "sha": COMMIT, "private": False, "tags": []}
        body = json.dumps(facts | {"siblings": [{"rfilename": name} for name in names]}).encode()
        handler.answer(request, 200, body, Content_Type="application/json")

    def _send(self, handler: Handler, request: Request, folder: Path, revision: str, name: str) -> None:
        path = folder / name
        if revision not in self.revisions or not path.is_file():
            handler.answer(request, 404, X_Error_Code="EntryNotFound")
            return
        data = path.read_bytes()
        etag = f'"{sha256(data).hexdigest()}"'
        if name.endswith(LARGE):
            target = f"{self.storage.url}/{folder.parent.name}/{folder.name}/{name}?Signature=s3cr3t"
            linked = {"X_Linked_Size": str(len(data)), "X_Linked_Etag": etag}
            handler.answer(request, 302, b"", Location=target, X_Repo_Commit=COMMIT, **linked)
        elif request.method == "HEAD":
            handler.answer(request, 200, data, ETag=etag, X_Repo_Commit=COMMIT)
        else:
            handler.send_file(request, data, X_Repo_Commit=COMMIT)


def _entry(path: Path, folder: Path) -> dict[str, object]:
    """Describe a file as the API's tree does."""
    data, name = path.read_bytes(), str(path.relative_to(folder))
    entry = {"type": "file", "path": name, "size": len(data), "oid": sha256(data).hexdigest()[:40]}
    large = {"lfs": {"oid": sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}}
    return entry | large if name.endswith(LARGE) else entry


def _store(handler: Handler, request: Request) -> bool:
    """Answer a request for a large file: without its signature it is refused, and so is a token."""
    if "Signature=" not in request.path or "Authorization" in request.headers:
        handler.answer(request, 403)
        return True
    return False


@contextmanager
def serving_hub(folder: Path) -> Iterator[HubServer]:
    """Serve the folders ORG/NAME of a folder as repositories."""
    with serving(folder) as front, serving(folder) as storage:
        hub = HubServer(front, storage)
        front.behave, storage.behave = hub.behave, _store
        yield hub
