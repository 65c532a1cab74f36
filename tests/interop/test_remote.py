"""URLs against real servers and clients: nginx, S3 with s3fs, and the hub's own library."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import paramctl as library
from paramctl.errors import InputError
from tests.hub_server import TOKEN, serving_hub

MODEL = "input: [40]\nlayers:\n- dense: 64\n- dense: {units: 5000, name: wide}\n- dense: {units: 3, name: head}\n"
NAMES = ("m.safetensors", "m.h5", "m.weights.h5", "m.keras", "m.npz")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 1.4 MB in some formats, and a set of it."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "m.yaml").write_text(MODEL)
    model = library.load_model(folder / "m.yaml")
    for name in NAMES:
        library.save(model, folder / name)
    library.save(model, f"{folder}/set/", max_shard_size=400_000)
    return folder


def header_size(path: Path) -> int:
    return 8 + int.from_bytes(path.read_bytes()[:8], "little")


class Nginx(NamedTuple):
    """A running nginx. log: its file of answers."""

    url: str
    secure_url: str
    certificate: Path
    log: Path

    def answers(self) -> list[tuple[str, int, int, int]]:
        """Return method, status, bytes of the body, and number of the connection of each answer, and forget them."""
        time.sleep(0.05)
        lines = [line.split() for line in self.log.read_text().splitlines()]
        self.log.write_text("")
        return [(method, int(status), int(size), int(connection)) for method, status, size, connection in lines]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


CONFIGURATION = """
daemon off; pid {home}/pid; error_log {home}/errors; user root;
events {{}}
http {{
  log_format counted '$request_method $status $body_bytes_sent $connection';
  access_log {home}/log counted;
  client_body_temp_path {home}/1; proxy_temp_path {home}/2; fastcgi_temp_path {home}/3;
  uwsgi_temp_path {home}/4; scgi_temp_path {home}/5;
  server {{ listen 127.0.0.1:{port}; root {folder}; gzip on; gzip_types *; gzip_min_length 1;
    location /whole/ {{ alias {folder}/; max_ranges 0; }} }}
  server {{ listen 127.0.0.1:{secure} ssl; root {folder};
    ssl_certificate {home}/certificate; ssl_certificate_key {home}/key;
    location /down/ {{ return 302 http://127.0.0.1:{port}/m.safetensors; }} }}
}}
"""


@pytest.fixture(scope="module")
def nginx(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None or shutil.which("openssl") is None:
        pytest.skip("requires nginx and openssl")
    home, port, secure = tmp_path_factory.mktemp("nginx"), _free_port(), _free_port()
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(home / "key"), "-out", str(home / "certificate")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files]
    subprocess.run(command, check=True, capture_output=True)
    text = CONFIGURATION.format(home=home, port=port, secure=secure, folder=folder)
    (home / "nginx.conf").write_text(text if os.getuid() == 0 else text.replace("user root;", ""))
    process = subprocess.Popen([program, "-p", str(home), "-c", str(home / "nginx.conf")], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            if (home / "pid").exists() and (home / "pid").read_text():
                break
            time.sleep(0.05)
        yield Nginx(f"http://127.0.0.1:{port}", f"https://127.0.0.1:{secure}", home / "certificate", home / "log")
    finally:
        process.terminate()
        process.wait(10)


def test_nginx_sends_what_is_asked_for(nginx: Nginx, folder: Path) -> None:
    """A header takes two requests and its bytes, one tensor its bytes, and connections are kept."""
    nginx.answers()
    weights = library.open(f"{nginx.url}/m.safetensors")
    answers = nginx.answers()
    assert [answer[:2] for answer in answers] == [("GET", 206), ("GET", 206)]
    assert sum(size for _, _, size, _ in answers) == header_size(folder / "m.safetensors")
    assert float(weights["wide/kernel"][:].sum()) == float(
        library.open(folder / "m.safetensors")["wide/kernel"][:].sum()
    )
    assert sum(size for _, _, size, _ in nginx.answers()) == 64 * 5000 * 4
    library.summary(f"{nginx.url}/set/model.safetensors.index.json")
    assert len({connection for _, _, _, connection in nginx.answers()}) <= 9


def test_nginx_with_every_format(nginx: Nginx, folder: Path) -> None:
    """Files of each format are equal, although the server would compress them."""
    for name in (*NAMES, "set/model.safetensors.index.json"):
        assert not library.diff(f"{nginx.url}/{name}", folder / name).rows
    assert (
        library.load_model(f"{nginx.url}/m.yaml").parameters.keys()
        == library.load_model(folder / "m.yaml").parameters.keys()
    )
    assert not library.diff(f"{nginx.url}/whole/m.safetensors", folder / "m.safetensors").rows  # without ranges
    with pytest.raises(InputError, match="no such file"):
        library.open(f"{nginx.url}/none.h5")


def test_nginx_refuses_another_version(nginx: Nginx, folder: Path) -> None:
    """A file that is replaced while it is read is an error, by If-Match."""
    target = folder / "changing.safetensors"
    shutil.copy(folder / "m.safetensors", target)
    weights = library.open(f"{nginx.url}/changing.safetensors")
    target.write_bytes((folder / "m.safetensors").read_bytes() + b" ")
    nginx.answers()
    with pytest.raises(InputError, match="changed while it was being read"):
        weights["head/bias"][:]
    assert [status for _, status, _, _ in nginx.answers()] == [412]
    target.unlink()


def test_certificates_are_verified(nginx: Nginx, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown certificate is refused, one in SSL_CERT_FILE accepted, and a redirect to http refused."""
    with pytest.raises(InputError, match=r"its certificate cannot be verified \(self.signed certificate\)"):
        library.open(f"{nginx.secure_url}/m.safetensors")
    monkeypatch.setenv("SSL_CERT_FILE", str(nginx.certificate))
    assert not library.diff(f"{nginx.secure_url}/m.safetensors", folder / "m.safetensors").rows
    with pytest.raises(InputError, match="redirected from https to http, which is refused"):
        library.open(f"{nginx.secure_url}/down/")


class Bucket(NamedTuple):
    """A bucket of an S3-compatible server. answers: method, path, and bytes of the body of each answer."""

    url: str
    client: Any
    answers: list[tuple[str, str, int]]


@pytest.fixture(scope="module")
def bucket(folder: Path) -> Iterator[Bucket]:
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    patch = pytest.MonkeyPatch()
    server.start()
    address = f"http://127.0.0.1:{server._server.server_port}"
    environment = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**environment, "AWS_ENDPOINT_URL": address}.items():
        patch.setenv(name, value)
    application, answers = server._server.app, []

    def counting(environ: Any, start: Any) -> list[bytes]:
        body = b"".join(application(environ, start))
        is_head = environ["REQUEST_METHOD"] == "HEAD"
        answers.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], 0 if is_head else len(body)))
        return [body]

    server._server.app = counting
    import boto3

    client = boto3.client("s3", endpoint_url=address)
    client.create_bucket(Bucket="models")
    for path in folder.rglob("*"):
        if path.is_file():
            client.upload_file(str(path), "models", str(path.relative_to(folder)))
    try:
        yield Bucket("s3://models", client, answers)
    finally:
        server.stop()
        patch.undo()


def test_s3(bucket: Bucket, folder: Path) -> None:
    """s3:// by s3fs: the header's bytes and the tensor's, equal values of each format, and a folder by its index."""
    bucket.answers.clear()
    weights = library.open(f"{bucket.url}/m.safetensors")
    assert sum(size for _, _, size in bucket.answers) == header_size(folder / "m.safetensors")
    assert [method for method, _, _ in bucket.answers] == ["HEAD", "GET", "GET", "HEAD"]
    bucket.answers.clear()
    assert weights["head/bias"][:].tolist() == [0, 0, 0]
    assert sum(size for _, _, size in bucket.answers) == 3 * 4
    for name in (*NAMES, "set"):
        assert not library.diff(f"{bucket.url}/{name}", folder / name).rows
    description = weights.describe()
    assert library.reopen(description)["head/bias"].shape == (3,)
    bucket.client.upload_file(str(folder / "m.npz"), "models", "m.safetensors")
    with pytest.raises(InputError, match="changed while it was being read"):
        weights["head/bias"][:]
    for url in (f"{bucket.url}/none.h5", "s3://none/m.h5"):
        with pytest.raises(InputError, match="no such file"):
            library.open(url)


def test_the_hubs_own_library_reads_the_same_server(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """huggingface_hub downloads from the server of tests/test_hub.py; what it caches is read offline."""
    hub_library = pytest.importorskip("huggingface_hub")
    repository = tmp_path / "served/org/model"
    shutil.copytree(folder / "set", repository)
    (repository / "config.json").write_text("{}")
    with serving_hub(tmp_path / "served") as hub:
        hub.private.add("org/model")
        cache = tmp_path / "cache"
        options = {"endpoint": hub.url, "token": TOKEN, "cache_dir": cache}
        path = hub_library.hf_hub_download("org/model", "model.safetensors.index.json", **options)
        for name in set(re.findall(r"model-[0-9-]+of-[0-9]+.safetensors", Path(path).read_text())):
            hub_library.hf_hub_download("org/model", name, **options)
        facts = hub_library.HfApi(endpoint=hub.url, token=TOKEN).model_info("org/model", revision="main")
        assert {entry.rfilename for entry in facts.siblings} == {each.name for each in repository.iterdir()}
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert not library.diff("hf://org/model", folder / "set").rows
        requests = len(hub.front.requests)
        monkeypatch.setenv("HF_HUB_CACHE", str(cache))
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        assert not library.diff("hf://org/model", folder / "set").rows
        assert len(hub.front.requests) == requests
