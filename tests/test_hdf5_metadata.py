"""The reader of HDF5 metadata in plain Python: what it reads is what the HDF5 library says, and no worker starts.

The library's list is the reference. It comes from the worker's own code, in this process for sound files, and from a
worker for damaged ones.
"""

import json
import random
import shutil
import struct
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import paramctl
from paramctl.store.hdf5 import client as hdf5_client
from paramctl.store.hdf5.client import Client, WorkerExited
from paramctl.store.hdf5.listing import list_file, shared_file
from paramctl.store.hdf5.metadata_reader.lookup3 import lookup3
from paramctl.store.hdf5.metadata_reader.parsed_file import parse_file
from paramctl.store.hdf5.parser import Parser
from paramctl.store.hdf5.window import NamedFile
from paramctl.store.keras.dialect import DIALECT
from paramctl.store.location import open_location
from tests import forks
from tests.conftest import ROOT, Run

FIXTURES = sorted((ROOT / "tests/fixtures").rglob("*.h5"))
LIBVERS: list[Any] = ["earliest", "v108", "v110", "v112", "v114", "latest", ("v108", "v110")]
TEXTS, LISTS = DIALECT.texts, DIALECT.lists


def own(path: Path) -> dict[str, Any] | None:
    """Return the list by paramctl's own reader, None if it leaves the file to the library."""
    listing = parse_file(open_location(str(path))).listing(TEXTS, LISTS)
    answer: dict[str, Any] | None = json.loads(json.dumps(listing))
    return answer


def by_library(path: Path) -> dict[str, Any]:
    """Return the list of a sound file by the HDF5 library, in this process."""
    whole = NamedFile(str(path), by_name=True)
    parser = Parser(whole, 0, None, whole.data_size)
    try:
        answer: dict[str, Any] = json.loads(json.dumps(parser.list(TEXTS, LISTS)))
    finally:
        parser.close()
    return answer


def check_same(path: Path) -> dict[str, Any]:
    """Assert that both readers list the same, in the same order, and return it."""
    ours, theirs = own(path), by_library(path)
    assert ours is not None, "the file was left to the library"
    assert ours == theirs
    assert list(ours["groups"]) == list(theirs["groups"])
    assert list(ours["skipped"]) == list(theirs["skipped"])
    return ours


@pytest.fixture
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every start of a worker fail."""

    def start() -> subprocess.Popen[bytes]:
        raise AssertionError("a worker was started")

    monkeypatch.setattr(hdf5_client, "_start", start)
    monkeypatch.setattr(hdf5_client, "_spare", [])
    monkeypatch.setattr(hdf5_client, "_listers", [])


def test_lookup3() -> None:
    """The hashes that its author publishes, and texts of each length up to two steps, which do not mix."""
    assert lookup3([b"Four score and seven years ago"]).tolist() == [0x17770551]
    assert lookup3([b"x", b""]).tolist()[1] == 0xDEADBEEF
    texts = [bytes(range(length)) for length in range(40, -1, -1)]
    assert lookup3(texts).tolist() == [lookup3([text]).tolist()[0] for text in texts]
    assert len({*lookup3(texts).tolist()}) == len(texts)


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
def test_files_of_keras(path: Path, no_worker: None) -> None:
    """Files that Keras 2 and 3 wrote are listed by the own reader, with the values that h5py reads."""
    ours = check_same(path)
    assert ours["arrays"]
    assert not list_file(open_location(str(path)), texts=TEXTS, lists=LISTS).used_library
    with paramctl.open(path) as checkpoint, h5py.File(path) as file:
        assert sum(array.size for array in checkpoint.values()) > 0
        for entry in ours["arrays"]:
            assert file[entry["path"]].id.get_offset() == entry["offset"]


def test_there_are_files_of_keras() -> None:
    assert len(FIXTURES) > 10


def test_a_keras_archive(no_worker: None) -> None:
    """The HDF5 member of a zip begins in the middle of a file."""
    path = ROOT / "tests/fixtures/keras3_nested.keras"
    values = json.loads((ROOT / "tests/fixtures/keras3_nested.values.json").read_text())
    with paramctl.open(path) as checkpoint:
        assert len(checkpoint) == len(values) > 3
        with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as member, h5py.File(member) as file:
            wanted = sorted(float(np.sum(file[name])) for name in datasets(file))
        assert sorted(float(np.sum(array[...])) for array in checkpoint.values()) == pytest.approx(wanted)


def datasets(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_our_own_files(dtype: str, paramctl: Run, tmp_path: Path, no_worker: None) -> None:
    """A file that init wrote, with the texts of its metadata group and the attributes of each array."""
    paramctl("init", str(ROOT / "sample_models/mlp.yaml"), "-o", "m.h5", "--dtype", dtype, check=True)
    ours = check_same(tmp_path / "m.h5")
    assert ours["metadata"]["document"]
    assert ours["metadata"]["recipe"]
    assert ours["arrays"][0]["attributes"]["scheme"]
    assert not list_file(open_location(str(tmp_path / "m.h5"))).used_library


def without_offset(file: h5py.File) -> None:
    """Write arrays whose values have no offset: compact ones, and those that were never written."""
    file.create_dataset("unwritten", (4, 5), "float32")
    file.create_dataset("filled", (4, 5), "float32", fillvalue=7)
    file["empty"] = np.zeros((0, 5))
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_layout(h5d.COMPACT)
    compact = h5d.create(file.id, b"compact", h5t.IEEE_F32LE, h5s.create_simple((4,)), properties)
    compact.write(h5s.ALL, h5s.ALL, np.arange(4, dtype="float32"))


def everything(path: Path, libver: Any, track_order: bool, groups: int, attributes: int, **options: Any) -> None:
    """Write a file with everything that the own reader knows."""
    rng = np.random.default_rng(0)
    values = ["text", 5, 1.5, True, np.arange(3), b"bytes", ["a", "b"], np.array([b"x", b"yy"]), np.complex64(1j)]
    with h5py.File(path, "w", libver=libver, track_order=track_order, **options) as file:
        for number in range(groups, 0, -1):
            group = file.create_group(f"layer_{number}_é{'x' * (37 * number % 90)}", track_order=track_order)
            array = rng.standard_normal((3, number % 4)).astype("float32")
            weight = group.create_dataset("w", data=array, track_order=track_order)
            for other in range(attributes):
                weight.attrs[f"attribute {other}{'y' * other}"] = values[other % len(values)]
            group.attrs["weight_names"] = [b"w", b"bias"]
            file[f"soft {number}"] = h5py.SoftLink(f"{group.name}/w")
        for dtype in ("i1", "<u2", ">i2", "<i4", ">u8", "<f2", ">f4", "<f8", "<c8", ">c16", "?"):
            file[f"of {dtype}"] = np.array([1, 0, 1]).astype(dtype)
        file["scalar"], file["note"], file["notes"] = 5.0, "words", [b"a", b"bc"]
        file["hard"] = file["scalar"]
        file["null"] = h5py.Empty("float32")
        file.create_dataset("brain", data=np.zeros(3, "V2")).attrs["dtype"] = "bfloat16"
        file.create_dataset("bytes", data=np.zeros(3, "V1"))
        without_offset(file)
        file.attrs["layer_names"], file.attrs["keras_version"] = ["a", "bb"], "2.0"
        group["loop"] = file["/"]


@pytest.mark.parametrize("track_order", [False, True], ids=["by name", "by creation"])
@pytest.mark.parametrize("libver", LIBVERS, ids=str)
def test_each_version_of_the_format(libver: Any, track_order: bool, tmp_path: Path) -> None:
    """Few links and attributes are in object headers, many in B-trees and fractal heaps; with a user block too."""
    for number, (groups, attributes, options) in enumerate(
        [(3, 4, {}), (40, 1, {}), (400, 0, {}), (2, 40, {}), (2, 9, {"userblock_size": 2048})]
    ):
        path = tmp_path / f"{number}.h5"
        everything(path, libver, track_order, groups, attributes, **options)
        ours = check_same(path)
        assert len(ours["arrays"]) > groups + 15
        assert len(ours["groups"]) > groups
        assert ours["links"]
        assert not list_file(open_location(str(path))).used_library


def test_values_without_an_offset(tmp_path: Path) -> None:
    """A worker starts for them only when they are read: compact ones, and fill values, behind a user block too."""
    for size in (0, 512):
        path = tmp_path / f"{size}.h5"
        with h5py.File(path, "w", userblock_size=size) as file:
            without_offset(file)
            file["stored"] = np.arange(3, dtype=">i2")
        with paramctl.open(path) as checkpoint:
            assert checkpoint["compact"][...].tolist() == [0, 1, 2, 3]
            assert (checkpoint["filled"][...] == 7).all()
            assert (checkpoint["unwritten"][...] == 0).all()
            assert checkpoint["empty"].shape == (0, 5)
            assert checkpoint["stored"][...].tolist() == [0, 1, 2]


def test_a_list_that_the_library_refuses_gives_no_values(tmp_path: Path) -> None:
    """A file that was damaged after the own reader read it: each read of a value that needs a worker is refused."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        without_offset(file)
    with paramctl.open(path) as checkpoint:
        with path.open("r+b") as raw:
            raw.write(b"no HDF5 file")
        for _ in range(2):
            with pytest.raises(paramctl.InputError, match=r"filled: the HDF5 library says: .*signature"):
                checkpoint["filled"][...]


def chunked(file: h5py.File) -> None:
    file.create_dataset("w", data=np.arange(100.0), chunks=(10,))


def compressed(file: h5py.File) -> None:
    file.create_dataset("w", data=np.arange(100.0), chunks=(10,), compression="gzip")


def reference(file: h5py.File) -> None:
    file["w"] = np.ones(3)
    file["w"].attrs["to"] = file.ref


def few_bits(file: h5py.File) -> None:
    type_ = h5t.STD_I16LE.copy()
    type_.set_precision(12)
    h5d.create(file.id, b"w", type_, h5s.create_simple((3,))).write(h5s.ALL, h5s.ALL, np.arange(3, dtype="int16"))


def committed(file: h5py.File) -> None:
    file["type"] = np.dtype("float32")
    file.create_dataset("w", (3,), file["type"])


UNKNOWN: list[Callable[[h5py.File], None]] = [chunked, compressed, reference, few_bits, committed]


@pytest.mark.parametrize("build", UNKNOWN, ids=lambda build: build.__name__)
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_the_library_lists_what_the_reader_does_not_know(
    build: Callable[[h5py.File], None], libver: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver=libver) as file:
        build(file)
    assert own(path) is None
    listing = list_file(open_location(str(path)))
    assert listing.used_library
    assert [entry["path"] for entry in listing.arrays] == ["w"]


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..")
)
ARRAYS = st.tuples(
    st.sampled_from(["f4", ">f8", "i1", "u8", "?", "c8", "f2", "S3"]), st.lists(st.integers(0, 3), max_size=3)
)
TREES: Any = st.recursive(ARRAYS, lambda inner: st.dictionaries(NAMES, inner, max_size=12), max_leaves=40)
VALUES = st.one_of(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))), st.integers(-9, 9))


def write_tree(group: h5py.Group, tree: Any, attributes: dict[str, Any]) -> None:
    for name, inner in tree.items():
        if isinstance(inner, dict):
            item = group.create_group(name, track_order=bool(len(name) % 2))
            write_tree(item, inner, attributes)
        else:
            dtype, shape = inner
            item = group.create_dataset(name, data=np.ones(shape).astype(dtype))
        for key, value in attributes.items():
            item.attrs[key] = value


@settings(
    max_examples=30 * forks.ROUNDS,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    tree=st.dictionaries(NAMES, TREES, max_size=20),
    attributes=st.dictionaries(NAMES, VALUES, max_size=10),
    libver=st.sampled_from(LIBVERS),
    track_order=st.booleans(),
)
def test_any_tree(tree: Any, attributes: dict[str, Any], libver: Any, track_order: bool, tmp_path: Path) -> None:
    """Both readers list any tree of groups and arrays alike, and no such file is left to the library."""
    path = tmp_path / "tree.h5"
    with h5py.File(path, "w", libver=libver, track_order=track_order) as file:
        write_tree(file, tree, attributes)
    check_same(path)


SMALL: dict[str, Callable[[Path], object]] = {
    "earliest": lambda path: everything(path, "earliest", False, 2, 3),
    "latest": lambda path: everything(path, "latest", True, 2, 9),
    "user block": lambda path: everything(path, "earliest", True, 1, 1, userblock_size=512),
    "dense": lambda path: everything(path, "v110", False, 30, 0),
    "keras": lambda path: shutil.copy(ROOT / "tests/fixtures/keras2_full_model.h5", path),
}


@pytest.mark.parametrize("name", SMALL)
def test_damaged_files_are_read_alike_or_left_to_the_library(name: str, tmp_path: Path) -> None:
    """For each file with some changed bytes that the own reader accepts, the library's list is the same.

    The library runs in workers, for such a file can crash it. One that it refuses must be left to it.
    """
    SMALL[name](tmp_path / "sound.h5")
    whole = (tmp_path / "sound.h5").read_bytes()
    places = [place for place, byte in enumerate(whole) if byte]
    rng, path, accepted = random.Random(name), tmp_path / "x.h5", 0  # noqa: S311
    for _ in range(60 * forks.ROUNDS):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 2))):
            place = min(rng.choice(places) + rng.choice((0, 0, rng.randrange(8))), len(data) - 1)
            data[place] = rng.choice(
                (0, 1, 2, 8, 0x7F, 0xFF, data[place] ^ 1 << rng.randrange(8), data[place] - 1 & 255)
            )
        if rng.random() < 0.05:
            del data[rng.randrange(len(data)) :]
        path.write_bytes(data)
        ours = own(path)
        if ours is None:
            continue
        accepted += 1
        changes = [(place, old, new) for place, (old, new) in enumerate(zip(whole, data, strict=False)) if old != new]
        assert ours == by_worker(path), f"changed: {changes}, {len(data)} bytes"
    assert 0 < accepted < 60 * forks.ROUNDS


def by_worker(path: Path) -> Any:
    file = open_location(str(path))
    try:
        return Client(file).ask("list", file=shared_file(file), begin=0, size=None, texts=TEXTS, lists=LISTS)
    except WorkerExited as exited:
        return str(exited)


def test_a_list_takes_time_by_the_size_of_the_file(tmp_path: Path) -> None:
    """Links that lead to one large group again and again are left to the library, with its limits."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("g")
        group.attrs["long"] = np.zeros(8_000)
        for number in range(300):
            file[f"link {number}"] = group
    assert own(path) is None
    with h5py.File(path, "w", libver="latest") as file:
        deep = file
        for _ in range(70):
            deep = deep.create_group("g")
    assert own(path) is None


def test_a_truncated_file_is_left_to_the_library(tmp_path: Path) -> None:
    """Each superblock has the size of its file."""
    for libver in ("earliest", "latest"):
        path = tmp_path / f"{libver}.h5"
        everything(path, libver, False, 2, 1)
        data = path.read_bytes()
        path.write_bytes(data[:-1])
        assert own(path) is None
        path.write_bytes(data + bytes(100))
        check_same(path)


def test_a_wrong_checksum_is_left_to_the_library(tmp_path: Path) -> None:
    """One changed byte of a name in an object header of version 2."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file["weight"] = np.ones(3)
    data = path.read_bytes()
    assert data.count(b"weight") == 1
    path.write_bytes(data.replace(b"weight", b"wright"))
    assert own(path) is None
    assert struct.unpack_from("<B", data, 8)[0] >= 3
