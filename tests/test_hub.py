"""hf:// reads repositories of the hub: by its real URLs, one commit, with the token for the hub alone, or offline."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import paramctl as library
from paramctl.errors import InputError
from tests.conftest import Run
from tests.hub_server import COMMIT, TOKEN, HubServer, serving_hub

MODEL = "input: [40]\nlayers:\n- dense: 64\n- dense: {units: 500, name: wide}\n- dense: {units: 3, name: head}\n"
VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HF_HUB_OFFLINE")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Repositories: org/single, org/sharded and org/both."""
    folder = tmp_path_factory.mktemp("hub")
    (folder / "m.yaml").write_text(MODEL)
    model = library.load_model(folder / "m.yaml")
    for name in ("single", "sharded", "both", "single/unet"):
        (folder / "org" / name).mkdir(parents=True)
    library.save(model, folder / "org/single/model.safetensors")
    library.save(model, folder / "org/single/tf_model.h5")
    library.save(model, folder / "org/single/unet/diffusion.safetensors")
    (folder / "org/single/config.json").write_text('{"model_type": "x"}')
    library.save(model, f"{folder}/org/sharded/", max_shard_size=20_000)
    library.save(model, folder / "org/both/model.safetensors")
    library.save(model, folder / "org/both/model.fp16.safetensors")
    (folder / "org/pickled").mkdir()
    (folder / "org/pickled/vocab.txt").write_text("a")
    return folder


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with serving_hub(folder) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        yield server


def equal(url: str, path: Path) -> bool:
    return not library.diff(url, path).rows


@pytest.mark.parametrize(
    ("address", "file"),
    [
        ("hf://org/single", "org/single/model.safetensors"),
        ("hf://org/single@main", "org/single/model.safetensors"),
        ("hf://org/single@refs/pr/1", "org/single/model.safetensors"),
        ("hf://org/single@refs%2Fpr%2F1/tf_model.h5", "org/single/tf_model.h5"),
        (f"hf://org/single@{COMMIT}/unet", "org/single/unet/diffusion.safetensors"),
        ("hf://org/single/unet/diffusion.safetensors", "org/single/unet/diffusion.safetensors"),
        ("hf://org/sharded", "org/sharded"),
        ("hf://org/both", "org/both/model.safetensors"),
    ],
)
def test_addresses(hub: HubServer, folder: Path, address: str, file: str) -> None:
    """A repository, a folder in it and a file are opened at a branch, a commit and a pull request."""
    assert equal(address, folder / file)
    assert not any("Authorization" in request.headers for request in hub.storage.requests)


def test_requests_of_a_file(hub: HubServer, folder: Path) -> None:
    """A file takes one request to the hub, and two to the storage that it redirects to; its header and no byte more."""
    library.summary("hf://org/single/model.safetensors")
    path = folder / "org/single/model.safetensors"
    assert len(hub.front.requests) == 1
    assert len(hub.storage.requests) == 2
    assert hub.storage.bytes == 8 + int.from_bytes(path.read_bytes()[:8], "little")


def test_all_files_are_of_one_commit(hub: HubServer, folder: Path) -> None:
    """The files of a set are requested by the commit that the first answer names, not by a branch that may move."""
    library.summary("hf://org/sharded")
    assert all(f"/resolve/{COMMIT}/" in request.path for request in hub.front.requests[1:])
    hub.front.forget()
    weights = library.open("hf://org/sharded/model.safetensors.index.json")
    assert "/resolve/main/" in hub.front.requests[0].path
    assert all(f"/resolve/{COMMIT}/" in request.path for request in hub.front.requests if "index" not in request.path)
    address = weights.describe()["path"]
    assert address == f"hf://org/sharded@{COMMIT}/model.safetensors.index.json"
    assert library.reopen(weights.describe()).parameters.keys() == weights.parameters.keys()


def test_other_checkpoints_are_named(hub: HubServer, paramctl: Run) -> None:
    """A note says which other checkpoints of a repository are not read; the shards of a set are not among them."""
    assert "reading model.safetensors, not tf_model.h5" in paramctl("summary", "hf://org/single").stderr
    assert paramctl("summary", "hf://org/sharded").stderr == ""


def test_tokens(hub: HubServer, paramctl: Run, tmp_path: Path) -> None:
    """The token of the environment, or of the file that a login writes, goes to the hub alone."""
    hub.private.add("org/single")
    for name in ("hf://org/single", "hf://org/single/model.safetensors"):
        result = paramctl("summary", name)
        assert result.returncode == 2
        assert "requires a login, or does not exist (401). Set HF_TOKEN, or log in with: hf auth login" in result.stderr
    assert paramctl("summary", "hf://org/single", env={"HF_TOKEN": f"{TOKEN}\n"}).returncode == 0
    (tmp_path / "home").mkdir()
    (tmp_path / "home/token").write_text(TOKEN)
    assert paramctl("summary", "hf://org/single").returncode == 0
    assert paramctl("summary", "hf://org/single", env={"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}).returncode == 2
    assert not any("Authorization" in request.headers for request in hub.storage.requests)
    result = paramctl("summary", "hf://org/single", env={"HF_TOKEN": "hf_s3cr3t\nInjected: 1"})
    assert result.stderr == "HF_TOKEN: must be printable ASCII, on one line\n"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("hf://", "must be written hf://ORG/MODEL"),
        ("hf://org/../x", "must be written hf://ORG/MODEL"),
        ("hf://org/single/none.safetensors", "no such file, revision or repository"),
        ("hf://org/single@none", "no such file, revision or repository"),
        ("hf://org/single/none", "no such folder"),
        ("hf://org/none", "does not exist"),
        ("hf://org/pickled", "one safetensors file"),
    ],
)
def test_errors(hub: HubServer, address: str, words: str) -> None:
    """A malformed address, and what the hub does not have, is one line that begins with the address."""
    with pytest.raises(InputError, match=words) as error:
        library.open(address)
    assert str(error.value).startswith(address)


@pytest.fixture
def cache(folder: Path, tmp_path: Path) -> Path:
    """A cache as the hub's library writes it: files by their content, links to them, and a name of the commit."""
    repository = tmp_path / "home/hub/models--org--single"
    (repository / "blobs").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(COMMIT)
    (repository / f"snapshots/{COMMIT}").mkdir(parents=True)
    (repository / "blobs/abc").write_bytes((folder / "org/single/model.safetensors").read_bytes())
    (repository / f"snapshots/{COMMIT}/model.safetensors").symlink_to("../../blobs/abc")
    return tmp_path / "home/hub"


def test_offline(hub: HubServer, cache: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline, and for a commit, files of the cache are read without a request; others are refused."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for address in ("hf://org/single", "hf://org/single@main/model.safetensors", f"hf://org/single@{COMMIT}"):
        assert equal(address, folder / "org/single/model.safetensors")
    for address in ("hf://org/single/tf_model.h5", "hf://org/sharded", "hf://org/single@other"):
        with pytest.raises(InputError, match="is not in the hub's cache"):
            library.open(address)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert equal(f"hf://org/single@{COMMIT}/model.safetensors", folder / "org/single/model.safetensors")
    assert not hub.front.requests
    monkeypatch.setenv("HF_HUB_CACHE", str(cache / "elsewhere"))
    assert equal(f"hf://org/single@{COMMIT}/model.safetensors", folder / "org/single/model.safetensors")
    assert hub.front.requests


def test_a_mirror_without_the_api(hub: HubServer, folder: Path) -> None:
    """Without the API, the files are tried that nearly every repository has."""
    real = hub.behave
    hub.front.behave = lambda handler, request: (
        not handler.answer(request, 404) if request.path.startswith("/api/") else real(handler, request)
    )
    assert equal("hf://org/single", folder / "org/single/model.safetensors")
    assert equal("hf://org/sharded", folder / "org/sharded")


def test_answers_of_no_hub(hub: HubServer) -> None:
    """An endpoint that is no hub is refused in one line."""
    for body in (b"<html>", b"[1]", b"[" * 100_000, b'{"siblings": 3}', b'{"siblings": [{"rfilename": 3}, 4]}'):
        hub.front.behave = lambda handler, request, body=body: not handler.answer(request, 200, body)  # type: ignore[misc]
        with pytest.raises(InputError, match=r"hf://org/single: .*(hub's answer|no such folder|siblings)"):
            library.open("hf://org/single")
