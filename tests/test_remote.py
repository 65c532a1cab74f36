"""URLs as sources: only headers and the values that are asked for travel, of one version of the file, or none."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import paramctl as library
from paramctl.errors import InputError, OutputError
from paramctl.source.from_checkpoint import parse_scheme
from paramctl.store.folder import resolve_folder
from paramctl.store.registry import FORMATS
from paramctl.store.remote import http, http_ranges, retries
from tests.conftest import ROOT, Run
from tests.forks import REAL
from tests.formats import NAMES
from tests.range_server import FileServer, Handler, Request, serving
from tests.samples import SAMPLES

MODEL = """
input: [40]
layers:
- dense: 64
- dense: {units: 5000, name: wide}
- dense: {units: 3, name: head}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of 1.4 MB in every format."""
    folder = tmp_path_factory.mktemp("remote")
    (folder / "m.yaml").write_text(MODEL)
    for name in NAMES:
        options = {"max_shard_size": 300_000} if name.endswith(("/", ".json")) else {}
        target = folder / ("set" if name.endswith("/") else name.rpartition(".")[2]) / name.replace("m/", "")
        target.parent.mkdir(exist_ok=True)
        library.save(library.load_model(folder / "m.yaml"), f"{target}{'/' if name == 'm/' else ''}", **options)
    library.save(library.load_model(folder / "m.yaml"), folder / "m.safetensors")
    library.save(library.load_model(folder / "m.yaml"), folder / "m.h5")
    return folder


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setattr(retries, "FIRST_DELAY", 0.01)
    with serving(folder) as files:
        yield files


def header_size(path: Path) -> int:
    return 8 + int.from_bytes(path.read_bytes()[:8], "little")


def test_a_header_takes_two_requests_and_not_a_byte_more(server: FileServer, folder: Path) -> None:
    """A summary of a safetensors file transfers its header alone."""
    facts = library.summary(f"{server.url}/m.safetensors")
    assert facts.totals.parameters == library.summary(folder / "m.safetensors").totals.parameters
    assert [request.method for request in server.requests] == ["GET", "GET"]
    assert server.bytes == header_size(folder / "m.safetensors")


def test_one_tensor_takes_exactly_its_bytes(server: FileServer, folder: Path) -> None:
    """Values are requested by their extents, and nothing is read ahead."""
    with library.open(f"{server.url}/m.safetensors") as weights:
        server.forget()
        np.testing.assert_array_equal(
            weights["wide/kernel"][:], library.open(folder / "m.safetensors")["wide/kernel"][:]
        )
    assert server.bytes == 64 * 5000 * 4
    assert len(server.requests) == -(-64 * 5000 // 2**18)


@pytest.mark.parametrize(
    ("address", "most_bytes", "requests"),
    [
        ("head/kernel[0,:2]", 2 * 4, 1),
        ("wide/kernel[3,:5]", 5 * 4, 1),
        ("wide/kernel[3:5]", 2 * 5000 * 4, 1),
        ("wide/kernel[::63,7]", 2 * 64 * 5000 * 4, 2),
        ("wide/kernel[-1,::-1]", 5000 * 4, 1),
        ("wide/bias[100:103]", 3 * 4, 1),
    ],
)
def test_a_slice_takes_what_it_selects(
    server: FileServer, folder: Path, paramctl: Run, address: str, most_bytes: int, requests: int
) -> None:
    """A slice transfers from its first value to its last; neighbors come with one request."""
    expected = paramctl("dump", str(folder / "m.safetensors"), address, "--format", "json")
    received = paramctl("dump", f"{server.url}/m.safetensors", address, "--format", "json")
    assert (received.returncode, received.stdout) == (0, expected.stdout), received.stderr
    assert server.bytes - header_size(folder / "m.safetensors") <= most_bytes
    assert len(server.requests) == 2 + requests


def test_a_saved_selection_takes_its_bytes(server: FileServer, folder: Path, paramctl: Run) -> None:
    """A file of some arrays of a URL transfers the header and these arrays."""
    result = paramctl("save", f"{server.url}/m.safetensors", "head/**", "-o", "part.safetensors")
    assert result.returncode == 0, result.stderr
    assert server.bytes == header_size(folder / "m.safetensors") + 4 * (5000 * 3 + 3)


def every_file() -> list[str]:
    return [name for name in NAMES if name not in ("m/",)] + ["set/model.safetensors.index.json"]


@pytest.mark.parametrize("name", every_file())
def test_every_format_is_equal_to_the_local_file(server: FileServer, folder: Path, name: str) -> None:
    """A checkpoint of any format at a URL has the model and the values of the local one, for fewer bytes in summary."""
    path = name if "/" in name else f"{name.rpartition('.')[2]}/{name}"
    local, url = folder / path, f"{server.url}/{path}"
    assert library.summary(url).parameters == library.summary(local).parameters
    total = sum(
        file.stat().st_size for file in local.parent.iterdir() if file.stem.startswith(local.stem.partition(".")[0])
    )
    assert server.bytes < total / 4
    assert not library.diff(url, local).rows


@pytest.mark.parametrize("name", [format_.name for format_ in FORMATS if not format_.writable])
def test_formats_that_are_only_read(name: str, tmp_path: Path) -> None:
    """A sample of each format that is only read is equal at a URL, or refused in one line if only a folder has it."""
    if name not in SAMPLES:
        pytest.skip("no sample")
    path = Path(resolve_folder(str(SAMPLES[name](tmp_path))))
    with serving(tmp_path) as server:
        url = f"{server.url}/{path.relative_to(tmp_path)}"
        if name == "Orbax":  # TensorStore reads it, from a disk
            with pytest.raises(InputError, match="must be a folder on a disk"):
                library.open(url)
        else:
            local = library.open(path)
            assert library.summary(url).parameters == library.summary(local).parameters
            assert not library.diff(url, local).rows


def test_a_document_at_a_url(server: FileServer, paramctl: Run, folder: Path) -> None:
    """A model document is read from a URL, and keeps its name."""
    local = paramctl("summary", str(folder / "m.yaml"))
    assert paramctl("summary", f"{server.url}/m.yaml").stdout == local.stdout


def test_chunked_values_and_attributes_of_hdf5(tmp_path: Path, paramctl: Run) -> None:
    """Chunks are read through the library's worker, which asks for parts of the file; attributes are carried over."""
    import h5py

    with h5py.File(tmp_path / "c.h5", "w") as file:
        file.create_dataset("w", data=np.arange(1e6).reshape(1000, 1000), chunks=(10, 1000))
        file["w"].attrs["unit"] = "m"
        file["note"] = "text"
    with serving(tmp_path) as server:
        assert (
            paramctl("dump", f"{server.url}/c.h5", "w[500,:2]", "--format", "csv")
            .stdout.split()[-1]
            .endswith("500001.0")
        )
        assert server.bytes < 200_000
        saved = paramctl("save", f"{server.url}/c.h5", "-o", "copy.h5")
        assert saved.returncode == 0, saved.stderr
    assert paramctl("diff", "c.h5", "copy.h5").returncode == 0
    with h5py.File(tmp_path / "copy.h5") as file:
        assert file["w"].attrs["unit"] == "m"
        assert file["note"][()] == b"text"


def test_the_bytes_of_a_long_hdf5_file(tmp_path: Path) -> None:
    """The summary of a Keras weights file of some MB transfers a small part of it."""
    (tmp_path / "deep.yaml").write_text("input: [128]\nlayers:\n" + "- dense: 128\n" * 40)
    library.save(library.load_model(tmp_path / "deep.yaml"), tmp_path / "deep.weights.h5")
    with serving(tmp_path) as server:
        library.summary(f"{server.url}/deep.weights.h5")
        assert server.bytes < (tmp_path / "deep.weights.h5").stat().st_size / 10


def test_a_set_keeps_its_connections(server: FileServer, folder: Path) -> None:
    """The headers of a set are read in parallel over a bounded number of connections that are kept."""
    library.summary(f"{server.url}/set/model.safetensors.index.json")
    shards = len(list((folder / "set").glob("*.safetensors")))
    assert len(server.requests) == 2 + 2 * shards
    assert len(server.connections) <= 8 + 1
    assert server.bytes < 10_000


def test_a_set_is_checked_against_its_index(server: FileServer, paramctl: Run) -> None:
    """A shard that the index names and the server lacks, or that has other arrays, is an error as for local files."""
    server.behave = lambda handler, request: "00002" in request.path and not handler.answer(request, 404)
    result = paramctl("summary", f"{server.url}/set/model.safetensors.index.json")
    assert result.returncode == 2
    assert "the index names model-00002-of-0000" in result.stderr
    assert "which does not exist" in result.stderr
    assert "--rebuild-index" not in result.stderr
    server.behave = lambda handler, request: (
        "00002" in request.path and not handler.send_file(request, (server.folder / "m.safetensors").read_bytes())
    )
    assert "but the index says" in paramctl("summary", f"{server.url}/set/model.safetensors.index.json").stderr


def once(answer: Any) -> Any:
    """Misbehave at the second request alone."""
    count = 0

    def behave(handler: Handler, request: Request) -> bool:
        nonlocal count
        count += 1
        if count != 2:
            return False
        answer(handler, request)
        return True

    return behave


def break_off(handler: Handler, request: Request) -> None:
    """Send half of the body, then break the connection."""
    data = (handler.files.folder / request.path.lstrip("/")).read_bytes()
    first, last = map(int, request.headers["Range"].removeprefix("bytes=").split("-"))
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
    handler.send_header("Content-Length", str(last + 1 - first))
    handler.send_header("ETag", '"one"')
    handler.end_headers()
    half = (last + 1 - first) // 2
    handler.wfile.write(data[first : first + half])
    handler.wfile.flush()
    request.sent = half
    time.sleep(0.05)
    handler.reset()


@pytest.mark.parametrize(
    "answer",
    [
        lambda handler, request: handler.answer(request, 503),
        lambda handler, request: handler.answer(request, 429, Retry_After="0"),
        lambda handler, request: handler.answer(request, 502, b"<html>" * 20_000),
        lambda handler, request: handler.reset(),
        break_off,
    ],
    ids=["503", "429", "502", "reset", "broken off"],
)
def test_a_failure_that_passes(server: FileServer, folder: Path, answer: Any) -> None:
    """A request is tried again after a failure; bytes that have arrived are not requested again."""
    server.behave = once(answer)
    assert library.summary(f"{server.url}/m.safetensors").totals.parameters
    assert len(server.requests) == 3
    good = sum(request.sent for request in server.requests if request.status in (0, 206))
    assert good == header_size(folder / "m.safetensors")


def test_a_failure_that_stays(server: FileServer, paramctl: Run) -> None:
    """After some tries the error is one line; a wait of an hour is not waited for."""
    server.behave = lambda handler, request: not handler.answer(request, 503)
    with pytest.raises(InputError, match=r"m\.safetensors: the server answers 503 Service Unavailable, in 5 tries"):
        library.open(f"{server.url}/m.safetensors")
    assert len(server.requests) == 5
    server.behave = lambda handler, request: not handler.answer(request, 429, Retry_After="3600")
    with pytest.raises(InputError, match="asks to wait 3,600 seconds"):
        library.open(f"{server.url}/m.safetensors")


def test_retry_after_is_honored(server: FileServer) -> None:
    """The wait that a server asks for is waited."""
    server.behave = once(lambda handler, request: handler.answer(request, 429, Retry_After="1"))
    begin = time.monotonic()
    library.open(f"{server.url}/m.safetensors")
    assert time.monotonic() - begin >= 1


def test_a_silent_server(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer, or sends byte by byte, is given up."""
    monkeypatch.setattr(http, "TIMEOUT", 0.2)

    def drip(handler: Handler, request: Request) -> bool:
        handler.send_response(206)
        first = int(request.headers["Range"].removeprefix("bytes=").partition("-")[0])
        handler.send_header("Content-Range", f"bytes {first}-15/10000")
        handler.send_header("Content-Length", str(16 - first))
        handler.end_headers()
        for _ in range(16 - first):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.15)
        return True

    server.behave = lambda handler, request: bool(time.sleep(0.5)) or True
    with pytest.raises(InputError, match="timed out"):
        library.open(f"{server.url}/m.safetensors")
    server.behave = drip
    with pytest.raises(InputError, match="too slow, in 5 tries"):
        library.open(f"{server.url}/m.safetensors")


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"Content_Range": "bytes 1-16/1000"}, "another range"),
        ({"Content_Range": "bytes 0-99/1000"}, "another range"),
        ({"Content_Range": "items 0-15/1000"}, "another range"),
        ({}, "another range"),
        ({"Content_Range": "bytes 0-15/1000", "Content_Encoding": "gzip"}, "compresses the file"),
    ],
)
def test_a_wrong_answer_is_refused(server: FileServer, headers: dict[str, str], words: str) -> None:
    """The range, the size and the encoding of every answer are checked."""
    server.behave = lambda handler, request: not handler.answer(request, 206, b"x" * 16, **headers)
    with pytest.raises(InputError, match=words):
        library.open(f"{server.url}/m.safetensors")
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_longer_body_is_refused(server: FileServer, folder: Path, chunked: bool) -> None:
    """A server that names the range in its headers, but sends the whole file, gives no wrong values."""
    data = (folder / "m.safetensors").read_bytes()
    weights = library.open(f"{server.url}/m.safetensors")

    def whole(handler: Handler, request: Request) -> bool:
        first, last = request.headers["Range"].removeprefix("bytes=").split("-")
        headers = {"Content_Range": f"bytes {first}-{last}/{len(data)}", "ETag": '"one"'}
        if chunked:
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)
            handler.answer(request, 206, body, Transfer_Encoding="chunked", **headers)
        else:
            handler.answer(request, 206, data, **headers)
        return True

    server.behave = whole
    with pytest.raises(InputError, match="sends more bytes than its headers say"):
        weights["head/bias"][:]


@pytest.mark.parametrize("coding", ["gzip, chunked", "gzip"])
def test_an_unknown_transfer_encoding_is_refused(server: FileServer, coding: str) -> None:
    """Bytes that are not those of the file are never taken for values."""
    headers = {"Transfer_Encoding": coding, "Content_Range": "bytes 0-15/1000"}
    server.behave = lambda handler, request: not handler.answer(request, 206, b"x" * 16, **headers)
    with pytest.raises(InputError, match="unsupported Transfer-Encoding"):
        library.open(f"{server.url}/m.safetensors")


def test_an_interrupt_does_not_wait_for_a_slow_answer(server: FileServer) -> None:
    """The values would take over a minute; the exit code is that of Ctrl-C."""
    values = threading.Event()

    def trickle(handler: Handler, request: Request) -> bool:
        start, _, stop = request.headers["Range"].removeprefix("bytes=").partition("-")
        if int(stop) - int(start) < 100_000:
            return False  # the header
        size = int(stop) - int(start) + 1
        total = (server.folder / "m.safetensors").stat().st_size
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {start}-{stop}/{total}")
        handler.send_header("Content-Length", str(size))
        handler.send_header("ETag", str(server.etag))
        handler.end_headers()
        values.set()
        with suppress(OSError):  # the reader has gone
            for _ in range(size // 2000):
                handler.wfile.write(b"x" * 2000)
                handler.wfile.flush()
                time.sleep(0.1)
        handler.close_connection = True
        return True

    server.behave = trickle
    command = [*REAL, "stat", f"{server.url}/m.safetensors"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert values.wait(60)
    process.send_signal(signal.SIGINT)
    begin = time.monotonic()
    assert process.wait(60) == 128 + signal.SIGINT
    assert time.monotonic() - begin < 15


def test_an_error_page_that_drips(server: FileServer) -> None:
    """The body of an error is not waited for."""

    def drip(handler: Handler, request: Request) -> bool:
        handler.send_response(404)
        handler.send_header("Content-Length", "60000")
        handler.end_headers()
        for _ in range(80):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.1)
        return True

    server.behave = drip
    begin = time.monotonic()
    with pytest.raises(InputError, match="no such file"):
        library.open(f"{server.url}/m.safetensors")
    assert time.monotonic() - begin < 4


def test_headers_that_drip(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sends its headers byte by byte is given up."""
    monkeypatch.setattr(http, "TIMEOUT", 0.3)

    def drip(handler: Handler, request: Request) -> bool:
        handler.send_response(206)
        handler.flush_headers()
        for _ in range(20):
            handler.wfile.write(b"X-Y: z\r\n")
            handler.wfile.flush()
            time.sleep(0.1)
        handler.close_connection = True
        return True

    server.behave = drip
    with pytest.raises(InputError, match="too slow, in 5 tries"):
        library.open(f"{server.url}/m.safetensors")


def test_an_answer_that_is_not_http(server: FileServer, paramctl: Run) -> None:
    """The words of a server, which may repeat the credentials, are not shown."""

    def echo(handler: Handler, request: Request) -> bool:
        handler.wfile.write(request.headers["Authorization"].encode() + b"x" * 3000 + b"\r\n\r\n")
        handler.close_connection = True
        return True

    server.behave = echo
    result = paramctl("summary", f"{server.url.replace('://', '://user:s3cr3t@')}/m.h5")
    assert result.stderr == f"{server.url}/m.h5: no answer (not HTTP), in 5 tries\n"


def test_a_distributed_checkpoint_is_saved_from_a_url(tmp_path: Path, paramctl: Run) -> None:
    """The archives in a file of a distributed checkpoint are verified at a URL as on a disk."""
    path = SAMPLES["torch distributed"](tmp_path)
    with serving(tmp_path) as files:
        url = f"{files.url}/{path.relative_to(tmp_path)}"
        assert paramctl("save", url, "-o", "out.safetensors").returncode == 0
        local = paramctl("stat", str(path), "--format", "json").stdout
        assert paramctl("stat", url, "--format", "json").stdout == local
    assert paramctl("diff", str(path), "out.safetensors").returncode == 0


@pytest.mark.parametrize("name", ["m.npz", "compressed.npz"])
def test_a_part_of_a_zip_is_saved(tmp_path: Path, paramctl: Run, name: str) -> None:
    """A save of some arrays, or of a slice, transfers them, and says that the checksums were not checked."""
    arrays = {"long": np.random.default_rng(0).normal(size=(1000, 500)), "bias": np.arange(5.0)}
    (np.savez if name == "m.npz" else np.savez_compressed)(tmp_path / name, **arrays)
    with serving(tmp_path) as files:
        for address, expected in (("bias", arrays["bias"]), ("bias[1:3]", arrays["bias"][1:3])):
            files.forget()
            result = paramctl("save", f"{files.url}/{name}", address, "-o", "part.npz", "--force")
            assert f"the checksums of {files.url}/{name} were not checked" in result.stderr
            np.testing.assert_array_equal(library.open(tmp_path / "part.npz")["bias"][:], expected)
            assert files.bytes < 100_000
        files.forget()
        assert "checksums" not in paramctl("save", f"{files.url}/{name}", "-o", "all.npz", "--force").stderr
    assert "checksums" not in paramctl("save", name, "bias", "-o", "part.npz", "--force").stderr


def test_a_body_of_another_length_is_no_range(server: FileServer) -> None:
    """A body that is shorter than its range says is never padded."""

    def cut(handler: Handler, request: Request) -> bool:
        first = int(request.headers["Range"].removeprefix("bytes=").partition("-")[0])
        handler.answer(request, 206, b"x", Content_Range=f"bytes {first}-15/1000")
        return True

    server.behave = cut
    with pytest.raises(InputError, match="ended early, in 5 tries"):
        library.open(f"{server.url}/m.safetensors")


def test_a_server_without_ranges(server: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short file is taken whole, by one request; of a long one nothing is read but the first buffers."""
    server.ranges = False
    weights = library.open(f"{server.url}/m.safetensors")
    assert float(weights["head/bias"][0]) == 0.0
    assert len(server.requests) == 1
    monkeypatch.setattr(http_ranges, "MAX_WHOLE", 1000)
    with pytest.raises(InputError, match="sends no ranges, only whole files, of which at most 1,000 bytes"):
        library.open(f"{server.url}/m.safetensors")
    assert len(server.requests) == 2

    def chunked(handler: Handler, request: Request) -> bool:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        data = (folder / "m.safetensors").read_bytes()
        try:
            for start in range(0, len(data), 10_000):
                part = data[start : start + 10_000]
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            handler.wfile.write(b"0\r\n\r\n")
        except OSError:
            handler.close_connection = True
        return True

    server.behave = chunked
    with pytest.raises(InputError, match="sends no ranges"):
        library.open(f"{server.url}/m.safetensors")
    monkeypatch.undo()
    assert library.open(f"{server.url}/m.safetensors").parameters


def test_a_file_that_changes_is_an_error(server: FileServer) -> None:
    """All answers are of one version: by If-Match, and by the ETag, the time and the size of each answer."""
    weights = library.open(f"{server.url}/m.safetensors")
    assert server.requests[1].headers["If-Match"] == '"one"'
    server.etag = '"two"'
    with pytest.raises(InputError, match="changed while it was being read"):
        weights["head/bias"][:]
    assert server.requests[-1].status == 412

    def ignore_condition(handler: Handler, request: Request) -> bool:
        request.headers.pop("If-Match", None)
        return False

    server.behave = ignore_condition
    server.etag = '"one"'
    weights = library.open(f"{server.url}/m.safetensors")
    server.etag = '"two"'
    with pytest.raises(InputError, match="changed while it was being read"):
        weights["head/bias"][:]
    server.etag = None
    weights = library.open(f"{server.url}/m.safetensors")
    server.behave = lambda handler, request: not handler.answer(request, 206, b"abcd", Content_Range="bytes 8-11/99999")
    with pytest.raises(InputError, match=r"another range|changed"):
        weights["head/bias"][:]


def test_redirects_carry_no_credentials_to_another_host(server: FileServer, folder: Path) -> None:
    """A user and password go to the origin of the URL alone; further requests go to the target at once."""
    with serving(folder) as other:
        server.behave = lambda handler, request: (
            not handler.answer(request, 302, Location=f"{other.url}/m.safetensors?X-Amz-Signature=s3cr3t")
        )
        url = server.url.replace("://", "://user:s3cr3t@")
        assert library.open(f"{url}/m.safetensors")["head/bias"].shape == (3,)
        assert server.requests[0].headers["Authorization"] == "Basic dXNlcjpzM2NyM3Q="
        assert len(server.requests) == 1
        assert len(other.requests) == 2
        assert not any("Authorization" in request.headers for request in other.requests)


def test_an_expired_redirect_is_asked_for_again(server: FileServer, folder: Path) -> None:
    """A signed URL that expires while a file is read is replaced by a new one."""
    with serving(folder) as other:
        server.behave = lambda handler, request: not handler.answer(request, 302, Location=f"{other.url}/m.safetensors")
        weights = library.open(f"{server.url}/m.safetensors")
        other.behave = once(lambda handler, request: None)
        refused = iter([True])
        other.behave = lambda handler, request: next(refused, False) and not handler.answer(request, 403)
        assert weights["head/bias"][:].tolist() == [0, 0, 0]
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("/again", "redirected more than 10 times"),
        ("file:///etc/passwd", "must be a URL"),
        ("ftp://h/x", "must be a URL"),
    ],
)
def test_redirects_that_are_refused(server: FileServer, to: str, words: str) -> None:
    """A loop, and a target that is not HTTP, end in one line."""
    server.behave = lambda handler, request: not handler.answer(request, 302, Location=to)
    with pytest.raises(InputError, match=words):
        library.open(f"{server.url}/m.safetensors")
    assert len(server.requests) <= 11


@pytest.mark.parametrize(
    "arguments",
    [
        ["summary", "{}/m.safetensors"],
        ["summary", "{}/m.safetensors", "--format", "json"],
        ["summary", "{}/none.safetensors"],
        ["summary", "{}/m.h5", "{}/m.safetensors"],
        ["stat", "{}/m.h5", "{}/m.safetensors", "--format", "json"],
        ["summary", "{}/m.yaml", "--input-shape", "1,x"],
        ["dump", "{}/m.yaml", "nothing"],
        ["stat", "{}/m.h5", "--format", "json"],
        ["diff", "{}/m.h5", "{}/m.yaml"],
        ["diff", "{}/m.h5", "{}/none"],
        ["init", "m.yaml", "--scheme", "from:{}/m.h5", "-o", "out.h5", "--force"],
        ["init", "m.yaml", "--scheme", "from:{}/m.h5[nothing]", "-o", "out.h5", "--force"],
        ["init", "m.yaml", "--rule", "head=from:{}/m.h5", "-o", "out.h5", "--force"],
        ["set", "m.yaml", "head/bias = from:{}/m.h5", "-o", "out.h5", "--force"],
        ["set", "m.yaml", "head/bias = from:{}/m.h5[nothing]", "-o", "out.h5", "--force"],
        ["save", "{}/m.safetensors", "-o", "out.safetensors", "--force"],
        ["save", "{}/m.h5", "-o", "out.h5", "--force"],
        ["save", "m.yaml", "--like", "{}/m.h5", "-o", "out.h5", "--force"],
        ["save", "m.yaml", "-o", "{}/m.h5"],
        ["save", "{}/m.h5", "--rebuild-index"],
        ["set", "{}/m.h5", "head/bias=1", "--in-place"],
        ["summary", "{}/m\x1b.h5"],
        ["nonsense", "{}/m.h5"],
    ],
)
def test_credentials_are_never_shown(server: FileServer, paramctl: Run, arguments: list[str], tmp_path: Path) -> None:
    """Neither output, errors nor files have a password or a signature of a URL."""
    (tmp_path / "m.yaml").write_text(MODEL)
    base = server.url.replace("://", "://user:s3cr3t@")
    parts = [part.replace("{}", base) for part in arguments]
    signed = [
        part + "?X-Amz-Signature=s3cr3t" if part.startswith("http") and "?" not in part else part for part in parts
    ]
    # characters that a URL may not have, and people write nevertheless
    spaced = [
        part.replace(base, f"{base}/a b's").replace(".h5", ".h5?X-Amz-Signature=s3cr3t") if base in part else part
        for part in parts
    ]
    slashed = [part.replace(":s3cr3t", ":s3cr3t/s3cr3t") for part in parts]
    bracketed = [part.replace(".h5", ".h5?token[]=s3cr3t") if base in part else part for part in parts]
    for command in (parts, signed, spaced, slashed, bracketed):
        result = paramctl(*command)
        assert "Traceback" not in result.stderr
        assert "s3cr3t" not in result.stdout + result.stderr
        for path in tmp_path.iterdir():
            assert b"s3cr3t" not in path.read_bytes()
    assert (
        any(request.headers.get("Authorization") for request in server.requests)
        or "nonsense" in arguments
        or (arguments[-2:] == ["-o", "{}/m.h5"] or "--in-place" in arguments or "--rebuild-index" in arguments)
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["save", "m.yaml", "-o", "https://host/m.h5"],
        ["init", "m.yaml", "-o", "s3://bucket/m.h5"],
        ["set", "m.yaml", "head/bias=1", "-o", "hf://org/model/m.safetensors"],
        ["set", "https://host/m.h5", "head/bias=1", "--in-place"],
        ["save", "https://host/folder", "--rebuild-index"],
    ],
)
def test_nothing_is_written_to_a_url(paramctl: Run, tmp_path: Path, arguments: list[str]) -> None:
    """A URL as a destination is refused in one line, before any request and without a file of that name."""
    (tmp_path / "m.yaml").write_text(MODEL)
    result = paramctl(*arguments)
    assert result.returncode == 2
    assert "URL" in result.stderr
    assert result.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["m.yaml"]


def test_a_url_of_a_local_file(folder: Path, paramctl: Run, tmp_path: Path) -> None:
    """file:// is a path; a drive of Windows is no URL."""
    (tmp_path / "a b.h5").write_bytes((folder / "m.h5").read_bytes())
    local = paramctl("summary", str(tmp_path / "a b.h5"))
    assert paramctl("summary", f"file://{tmp_path}/a%20b.h5").stdout == local.stdout
    assert paramctl("summary", f"file://{folder}/set").returncode == 0
    assert "must be the URL of a file of this machine" in paramctl("summary", "file://host/a.h5").stderr
    assert paramctl("summary", "C:\\m.h5").stderr == "C:\\m.h5: No such file or directory\n"
    assert "No such file" in paramctl("summary", "C://m.h5").stderr


def test_a_description_opens_the_url_again(server: FileServer) -> None:
    """A description has the URL and its version; another version, and a URL with credentials, are refused."""
    description = json.loads(json.dumps(library.open(f"{server.url}/m.h5").describe()))
    assert description["path"] == f"{server.url}/m.h5"
    assert library.reopen(description)["head/bias"][:].tolist() == [0, 0, 0]
    server.etag = '"two"'
    with pytest.raises(InputError, match="changed since it was described"):
        library.reopen(description)
    for url in (f"{server.url}/m.h5?X-Amz-Signature=1", server.url.replace("://", "://user:x@") + "/m.h5"):
        with pytest.raises(InputError, match="without credentials"):
            library.open(url).describe()


def test_values_are_saved_and_copied_from_a_url(
    server: FileServer, folder: Path, paramctl: Run, tmp_path: Path
) -> None:
    """save, init from: and set read from a URL what they read from a file."""
    (tmp_path / "m.yaml").write_text(MODEL)
    assert paramctl("save", f"{server.url}/m.safetensors", "-o", "a.npz").returncode == 0
    assert paramctl("diff", "a.npz", str(folder / "m.safetensors")).returncode == 0
    server.forget()
    assert paramctl("init", "m.yaml", "--scheme", f"from:{server.url}/m.safetensors", "-o", "b.h5").returncode == 0
    assert paramctl("diff", "b.h5", str(folder / "m.safetensors")).returncode == 0
    assert server.bytes < 2.2 * (folder / "m.safetensors").stat().st_size
    assert paramctl("set", f"{server.url}/m.safetensors", "head/bias=1", "-o", "c.safetensors").returncode == 0
    assert paramctl("dump", "c.safetensors", "head/bias", "--format", "csv").stdout.count("1.0") == 3
    with pytest.raises(OutputError, match="URL"):
        library.save(library.open(f"{server.url}/m.h5"), f"{server.url}/m.h5", in_place=True)


def test_only_a_url_imports_the_network(paramctl: Run, folder: Path) -> None:
    """Commands on local files import neither ssl nor http."""
    code = (
        "import sys; from paramctl.cli.main import run; run(['summary', sys.argv[1]]);"
        "assert not {'ssl', 'http.client', 'urllib.request', 'paramctl.store.remote'} & sys.modules.keys(),"
        " sorted(sys.modules)"
    )
    import subprocess
    import sys

    for name in ("m.yaml", "m.h5", "m.safetensors"):
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        result = subprocess.run(
            [sys.executable, "-c", code, str(folder / name)], env=environment, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr


def test_netrc_is_for_https_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry of a host is used for https, and neither for http nor for another host."""
    from urllib.parse import urlsplit

    from paramctl.store.remote.credentials import of_url

    (tmp_path / "netrc").write_text("machine host login me password s3cr3t\ndefault login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert of_url(urlsplit("https://host/x")) == {"Authorization": "Basic bWU6czNjcjN0"}
    assert of_url(urlsplit("http://host/x")) == {}
    assert of_url(urlsplit("https://other/x")) == {}
    (tmp_path / "netrc").write_text("machine host login me passw0rd s3cr3t\n")
    with pytest.raises(InputError) as error:
        of_url(urlsplit("https://host/x"))
    assert "s3cr3t" not in str(error.value)


def test_an_empty_file_and_an_error_page(tmp_path: Path) -> None:
    """An empty file, and a page of HTML in place of a file, are named as they are locally."""
    (tmp_path / "empty.h5").write_bytes(b"")
    (tmp_path / "page.safetensors").write_text("<!doctype html><title>Log in</title>" + " " * 5000)
    with serving(tmp_path) as server:
        with pytest.raises(InputError, match="is empty"):
            library.open(f"{server.url}/empty.h5")
        with pytest.raises(InputError, match="HTML"):
            library.open(f"{server.url}/page.safetensors")


def test_no_server(paramctl: Run) -> None:
    """A connection that is refused, a name without a host, and a malformed URL are one line each."""
    for url in ("http://127.0.0.1:9/m.h5", "http://127.0.0.1:99999/m.h5", "https:///m.h5", "http://h.invalid/m.h5"):
        result = paramctl("summary", url)
        assert result.returncode == 2
        assert result.stderr.startswith(url)
        assert result.stderr.count("\n") == 1


def test_other_schemes_use_fsspec(folder: Path) -> None:
    """Any scheme of fsspec is read, by ranges; a folder by the file that opens it."""
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    for path in (folder / "set").iterdir():
        memory.pipe_file(f"/bucket/set/{path.name}", path.read_bytes())
    memory.pipe_file("/bucket/m.h5", (folder / "m.h5").read_bytes())
    assert not library.diff("memory://bucket/set", folder / "set").rows
    assert not library.diff("memory://bucket/m.h5", folder / "m.h5").rows
    for url, words in (("memory://bucket/none.h5", "no such file"), ("nowhere://a/b", "[Pp]rotocol not known")):
        with pytest.raises(InputError, match=words):
            library.open(url)


def test_names_of_urls(server: FileServer, folder: Path) -> None:
    """The name of a URL has neither user, query nor fragment, whatever characters they have."""
    file = http_ranges.HttpRanges("https://user:p?a@h/a b/m's.h5?X-Signature=a [s3cr3t]\" b#c".replace("p?a", "p%3Fa"))
    assert file.name == "https://h/a b/m's.h5"
    for password in ("pa/ss", "pa?ss", "pa#ss"):
        with pytest.raises(InputError) as caught:
            library.open(f"https://user:{password}@host/m.h5")
        assert "pa" not in str(caught.value).replace("password", "")
    assert "h:80/package@1/m" in str(InputError("http://h:80/package@1/m: no such file"))
    assert str(InputError("http://h/m: no array 'x'. Did you mean 'y'?")).endswith("'y'?")


def test_a_scheme_from_an_address_of_ipv6() -> None:
    """The brackets of a host are no path of a parameter."""
    with pytest.raises(InputError, match=r"^http://\[::1\]:1/w.h5: "):
        parse_scheme("from:http://[::1]:1/w.h5", "--scheme")


def test_the_extra_is_named_where_it_is_missing(paramctl: Run) -> None:
    """Without fsspec, s3:// is one line that names the extra."""
    try:
        import fsspec  # noqa: F401
    except ImportError:
        result = paramctl("summary", "s3://bucket/m.safetensors")
        assert result.returncode == 2
        assert "pip install 'paramctl[remote]'" in result.stderr
